"""Makes tokens of modules: of their names, and of the bytes of their files if somebody may edit them.

Thread contract: one thread at a time.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

from raynb.keeping.versions import is_installed, is_of_python

#: Files of one module that are looked at.
MAX_FILES = 50


class Modules:
    """The modules that a notebook's code uses."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}
        self._files: dict[str, tuple[tuple[int, ...], str]] = {}
        self._edited: dict[str, bool] = {}  # top-level module → whether somebody may edit it

    def next_look(self) -> None:
        """Has the files of modules be looked at again: a cell begins, or has ended."""
        self._tokens.clear()
        self._edited = {top: False for top, edited in self._edited.items() if not edited}

    def is_edited(self, name: str) -> bool:
        """Returns whether somebody may edit a module: it isn't Python's own, nor installed."""
        top = name.partition(".")[0]
        if top in ("__main__", "raynb"):
            return False
        if top not in self._edited:
            self._edited[top] = not is_of_python(top) and not _is_installed(top)
        return self._edited[top]

    def token(self, name: str) -> str:
        """Returns what stands for a module: its name; of one that somebody may edit, the bytes of its files, too."""
        known = self._tokens.get(name)
        if known is None:
            known = self._tokens[name] = " ".join([name, *(self._file(path) for path in self._files_of(name))])
        return known

    def _files_of(self, name: str) -> list[str]:
        """Returns the files of a module and of those that it uses, as far as somebody may edit them."""
        found: dict[str, None] = {}
        waiting, seen = [name], {name}
        while waiting and len(found) < MAX_FILES:
            name = waiting.pop()
            own: dict[str, Any] = getattr(sys.modules.get(name), "__dict__", {})
            file = own.get("__file__") if name in sys.modules else _unloaded(name)
            if not isinstance(file, str) or not self.is_edited(name) or is_installed(os.path.realpath(file)):
                continue
            found[file] = None
            package = name if os.path.basename(file).startswith("__init__.") else name.rpartition(".")[0]
            for other in (name.rpartition(".")[0], *_held(own), *_imports_of(file, package)):
                if other and other not in seen and self.is_edited(other):
                    seen.add(other)
                    waiting.append(other)
        return sorted(found)

    def _file(self, path: str) -> str:
        try:
            facts = os.stat(path)
            version = (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino)
            known = self._files.get(path)
            if known is None or known[0] != version:
                with open(path, "rb") as file:
                    known = version, hashlib.sha1(file.read(), usedforsecurity=False).hexdigest()
                self._files[path] = known
        except OSError:
            return "none"
        return known[1]


def _held(own: dict[str, Any]) -> list[str]:
    """Returns the modules that what a loaded module holds is of."""
    found = []
    for value in list(own.values()):
        kind = type(value)
        if kind is ModuleType or kind in (FunctionType, type):
            found.append(value.__name__ if kind is ModuleType else value.__module__)
    return [name for name in found if type(name) is str and name]


def _unloaded(name: str) -> str | None:
    """Returns the file of a module that the kernel has not loaded: a cell imports it on a worker."""
    top, *inner = name.split(".")
    if not inner:
        return next(iter(_places(top)), None)
    folders = getattr(sys.modules[top], "__path__", ()) if top in sys.modules else ()
    if top not in sys.modules and (spec := _spec_of(top)) is not None:
        folders = spec.submodule_search_locations or ()
    places = [os.path.join(str(folder), *inner) for folder in folders]
    files = [file for place in places for file in (os.path.join(place, "__init__.py"), f"{place}.py")]
    return next(filter(os.path.exists, files), None)


def _imports_of(file: str, package: str) -> tuple[str, ...]:
    """Returns the modules that a file imports, and the names that it takes from them, which may be modules, too."""
    try:
        facts = os.stat(file)
        return _imports_of_version(file, package, (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size))
    except (OSError, RecursionError, MemoryError):  # gone; nested too deeply
        return ()


@functools.lru_cache(maxsize=1_000)
def _imports_of_version(file: str, package: str, version: tuple[int, ...]) -> tuple[str, ...]:
    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):  # no Python, or half written
        return ()
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: max(0, len(package.split(".")) + 1 - node.level)] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found[base] = None
            found.update((f"{base}.{alias.name}", None) for alias in node.names)
    return tuple(found)


def _is_installed(top: str) -> bool:
    places = _places(top)
    return bool(places) and all(map(is_installed, places))


def _places(top: str) -> list[str]:
    """Returns the file of a top-level module, without loading it; none if it has none."""
    own: dict[str, object] = getattr(sys.modules.get(top), "__dict__", {})
    file = own.get("__file__")
    if top not in sys.modules:
        spec = _spec_of(top)
        file = spec.origin if spec is not None else None
    return [os.path.realpath(file)] if isinstance(file, str) and os.path.exists(file) else []


def _spec_of(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
