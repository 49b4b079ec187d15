"""Remembers the module paths that tasks have taken along, and what lay there when a runtime began.

A worker keeps the modules that it has loaded. So whoever wants to know which file a worker may have loaded as a module
asks where the module path has led since the worker was started.

Thread contract: any thread; single operations on a dict.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder

from raynb.base.process.waits import time

#: Module paths that are remembered.
MAX_PATHS = 64
#: Files and folders of one folder that are looked at.
MAX_ENTRIES = 10_000

Path = tuple[str, ...]
#: Folder → (its inode and ctime, which nobody can put back; the names in it that could be modules, with their inodes).
Contents = dict[str, tuple[tuple[int, int], frozenset[tuple[str, int]]]]

#: The module paths that submissions have taken along since the notebook's extension was loaded, and what lay there
#: then; in a script none.
taken: dict[Path, None] = {}
lay: Contents = {}

_latest: Contents = {}  # as somebody has looked last

_UNKNOWN = ("", 0)  # in a folder that holds too much to look at
_SETTLED_NS = 1_000_000_000
_ENDS = (".py", ".pyc", ".so", ".pyd")
_INSTALLED = (f"{os.sep}site-packages", f"{os.sep}dist-packages", os.path.dirname(os.__file__))


def folder() -> str:
    """Returns the current folder; ``.`` if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return os.curdir


#: The folder that the process was in when it imported raynb.
first_folder = folder()


def now() -> Path:
    """Returns the module path as whole paths."""
    here = folder()
    return tuple(os.path.normpath(os.path.join(here, entry)) for entry in sys.path if isinstance(entry, str))


def took() -> None:
    """Records that submissions take the module path along as it is now."""
    path = now()
    if path not in taken and len(taken) <= MAX_PATHS:
        lay.update(contents(folder for folder in path if folder not in lay))
        taken[path] = None


def find(name: str, path: Path) -> tuple[str, ...]:
    """Returns the file of a top-level module, or its folders if it has none; empty: no path leads to one."""
    try:
        spec = PathFinder.find_spec(name, path)
    except (ImportError, ValueError, OSError):
        spec = None
    if spec is None:
        return ()
    places = [spec.origin] if spec.origin is not None else list(spec.submodule_search_locations or ())
    return tuple(map(os.path.realpath, places))


def contents(path: Iterable[str]) -> Contents:
    """Returns what lies in the folders of a module path, without those of Python itself and of installed packages."""
    return {folder: _inside(folder) for folder in path if not any(part in folder for part in _INSTALLED)}


def moved(before: Contents) -> set[str] | None:
    """Returns the names of modules that may have come, gone or been exchanged in folders; None: nobody knows."""
    found: set[str] = set()
    for folder, (facts, then) in before.items():
        there = _facts(folder)
        if there[1] and there == facts:
            continue
        if not there[1] or _latest.get(folder, before[folder])[0] != there:
            _latest[folder] = _inside(folder)
        now = _latest[folder][1]
        if _UNKNOWN in then | now:
            return None
        changed = then | now if facts[0] != there[0] else then ^ now
        found.update(name.partition(".")[0] for name, _ in changed)
    return found


def _facts(folder: str) -> tuple[int, int]:
    """Returns a folder's inode and time of change; that of a folder that has just been changed may not say it again."""
    try:
        facts = os.stat(folder)
    except OSError:
        return 0, 0
    settled = time.time_ns() - facts.st_ctime_ns > _SETTLED_NS
    return facts.st_ino, facts.st_ctime_ns if settled else 0


def _inside(folder: str) -> tuple[tuple[int, int], frozenset[tuple[str, int]]]:
    facts, found = _facts(folder), set[tuple[str, int]]()
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count > MAX_ENTRIES:
                    return facts, frozenset((_UNKNOWN,))
                name = entry.name  # data is not asked what it is: a network may have to be, for each file
                if name.endswith(_ENDS) or ("." not in name and (entry.is_symlink() or entry.is_dir())):
                    found.add((name, entry.inode()))
    except OSError:  # it isn't there, or is a file
        pass
    return facts, frozenset(found)
