"""Lets exactly the three benchmark scripts of the installed Ray be imported, unchanged."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

SCRIPTS = frozenset(
    f"{__name__}.{name}" for name in ("ray_perf", "ray_microbenchmark_helpers", "ray_client_microbenchmark")
)


class ScriptFinder:
    """Finds the scripts in the installed Ray; everything else is left to the other finders."""

    def __init__(self, package: Path) -> None:
        self._folder = package / "_private"

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in SCRIPTS:
            return None
        return importlib.util.spec_from_file_location(name, self._folder / f"{name.rpartition('.')[2]}.py")


if "RAYNB_BENCHMARK_RAY" in os.environ:
    sys.meta_path.insert(0, ScriptFinder(Path(os.environ["RAYNB_BENCHMARK_RAY"])))
