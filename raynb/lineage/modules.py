"""What stands for modules: their names, and of those that somebody may edit the bytes of their files.

Thread contract: one thread at a time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from types import FunctionType, ModuleType
from typing import Any

from raynb.keeping.versions import is_installed

#: Files of one module that are looked at.
MAX_FILES = 50


class Modules:
    """The modules that a notebook's code uses."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}
        self._files: dict[str, tuple[Any, str]] = {}
        self._installed: set[str] = set()  # top-level modules that nobody edits

    def next_look(self) -> None:
        """Has the files of modules be looked at again: a cell begins, or has ended."""
        self._tokens.clear()

    def is_edited(self, name: str) -> bool:
        """Returns whether somebody may edit a module: it isn't Python's own, nor installed."""
        top = name.partition(".")[0]
        if top in self._installed or top in sys.stdlib_module_names or top in ("__main__", "raynb"):
            return False
        if _is_installed(top):
            self._installed.add(top)
            return False
        return True

    def token(self, name: str) -> str:
        """Returns what stands for a module: its name; of one that somebody may edit, the bytes of its files, too."""
        known = self._tokens.get(name)
        if known is None:
            known = self._tokens[name] = " ".join([name, *(self._file(path) for path in _files_of(name))])
        return known

    def _file(self, path: str) -> str:
        try:
            facts = os.stat(path)
            version = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            known = self._files.get(path)
            if known is None or known[0] != version:
                with open(path, "rb") as file:
                    known = version, hashlib.sha1(file.read(), usedforsecurity=False).hexdigest()
                self._files[path] = known
        except OSError:
            return "none"
        return known[1]


def _files_of(name: str) -> list[str]:
    """Returns the files of a module and of those that it uses, as far as somebody may edit them."""
    if name not in sys.modules:  # a cell imports it on a worker
        top, *inner = name.split(".")
        files = _places(top)
        files += [os.path.join(os.path.dirname(file), *inner) + ".py" for file in files if inner]
        return [file for file in files if not is_installed(file) and os.path.exists(file)]
    found: dict[str, None] = {}
    waiting, seen = [name], {name}
    while waiting and len(found) < MAX_FILES:
        own: dict[str, Any] = getattr(sys.modules.get(waiting.pop()), "__dict__", {})
        file = own.get("__file__")
        if not isinstance(file, str) or is_installed(os.path.realpath(file)) or own.get("__package__") == "raynb":
            continue
        found[file] = None
        for value in list(own.values()):
            kind = type(value)
            other = value.__name__ if kind is ModuleType else value.__module__ if kind in (FunctionType, type) else ""
            if other and other not in seen:
                seen.add(other)
                waiting.append(other)
    return sorted(found)


def _is_installed(top: str) -> bool:
    places = _places(top)
    return bool(places) and all(map(is_installed, places))


def _places(top: str) -> list[str]:
    """Returns the file of a top-level module, without loading it; none if it has none."""
    own: dict[str, Any] = getattr(sys.modules.get(top), "__dict__", {})
    file = own.get("__file__")
    if top not in sys.modules:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        file = spec.origin if spec is not None else None
    return [os.path.realpath(file)] if isinstance(file, str) and os.path.exists(file) else []
