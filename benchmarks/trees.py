"""Another version of raynb to measure beside this one: a folder, or a commit of this repository."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.session import ROOT


@contextmanager
def package_of(where: str) -> Iterator[Path]:
    """Gives a folder that holds the package ``raynb`` of a tree and nothing else, so that nothing else of it is found.

    Args:
        where: the root of a checkout, or what git names a commit by.

    Raises:
        ValueError: neither is there.
    """
    with tempfile.TemporaryDirectory(prefix="raynb-tree-") as name:
        folder = Path(name)
        if Path(where).is_dir():
            package = Path(where).resolve() / "raynb"
            if not (package / "__init__.py").is_file():
                raise ValueError(f"{where} has no package raynb; name the root of a checkout.")
            (folder / "raynb").symlink_to(package)
        else:
            packed = subprocess.run(["git", "archive", where, "raynb"], cwd=ROOT, capture_output=True)
            if packed.returncode:
                raise ValueError(f"{where} is neither a folder nor a commit: {packed.stderr.decode().strip()}")
            with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
                archive.extractall(folder)
            # What is built and not in git: without it, the older trees cannot be imported as a notebook's.
            for built in ("jupyter/static", "labextension"):
                if (ROOT / "raynb" / built).is_dir() and (folder / "raynb").is_dir():
                    (folder / "raynb" / built).symlink_to(ROOT / "raynb" / built)
        yield folder


def commit_of(where: str) -> str:
    """Returns a tree's commit, ``-dirty`` behind it where files were changed; the name itself if git knows none."""
    folder = where if Path(where).is_dir() else ROOT
    asked = "HEAD" if Path(where).is_dir() else where
    found = subprocess.run(["git", "rev-parse", "--short", asked], cwd=folder, capture_output=True, text=True)
    if found.returncode:
        return os.path.basename(where)
    changed = ""
    if asked == "HEAD":
        changed = subprocess.run(
            ["git", "status", "--porcelain", "raynb"], cwd=folder, capture_output=True, text=True
        ).stdout.strip()
    return found.stdout.strip() + ("-dirty" if changed else "")
