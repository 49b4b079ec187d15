"""Calls a function once a module is there: now, or right after somebody has imported it.

Print options of numpy, pandas and matplotlib follow to a worker that has not imported them yet;
importing them for that alone would cost each worker hundreds of milliseconds.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

#: Module → what for → what is called.
_waiting: dict[str, dict[str, Callable[[ModuleType], None]]] = {}


def when_imported(name: str, purpose: str, then: Callable[[ModuleType], None]) -> None:
    """Calls ``then`` once the module is loaded; of several that wait for one purpose, the last counts."""
    _waiting.get(name, {}).pop(purpose, None)
    if _is_loaded(name):
        then(sys.modules[name])
        return
    _waiting.setdefault(name, {})[purpose] = then
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _is_loaded(name: str) -> bool:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return module is not None and not getattr(spec, "_initializing", False)


class _Finder:
    """Finds the modules that are waited for, and calls what waits once they are loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the module's spec with a loader that calls what waits for the module."""
        if name not in _waiting:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = cast("Loader", _Loader(spec.loader))
                return spec
        return None


class _Loader:
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Creates the module by its own loader."""
        return self.loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        """Executes the module, then calls what waits for it."""
        self.loader.exec_module(module)
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        for then in _waiting.pop(module.__name__, {}).values():
            then(module)

    def __getattr__(self, name: str) -> Any:  # get_source and kin, for tracebacks
        return getattr(self.loader, name)
