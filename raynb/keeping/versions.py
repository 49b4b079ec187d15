"""Which version of a module code runs with: a release, or the hash of its files.

Modules of Python itself count by Python's version, installed ones by their distribution's, and those
that somebody may be editing (a file of the project, an editable install) by their bytes, together with
every such module that they import.

Thread contract: any thread; caches are filled with equal values.
"""

from __future__ import annotations

import ast
import contextlib
import contextvars
import functools
import hashlib
import importlib.util
import os
import platform
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping

_STDLIB = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
_LIBRARIES = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("purelib", "platlib")})
_MAX_FILES = 5_000


class Unsure(Exception):
    """Raised when no key can be computed: nothing is looked up, and nothing is kept. The text says why."""


class NoModule(Unsure):
    """Raised for a module that cannot be found."""


#: The files whose bytes have gone into tokens, with what the system said of each before they were read.
_watched: contextvars.ContextVar[dict[str, tuple[int, ...]] | None] = contextvars.ContextVar("watched", default=None)


@contextlib.contextmanager
def watching() -> Iterator[dict[str, tuple[int, ...]]]:
    """Collects the files whose bytes go into tokens in the ``with`` body, for `changed_since`."""
    found: dict[str, tuple[int, ...]] = {}
    token = _watched.set(found)
    try:
        yield found
    finally:
        _watched.reset(token)


def watch(path: str, facts: os.stat_result) -> None:
    """Adds a file that is about to be read to what is collected."""
    found = _watched.get()
    if found is not None:
        found.setdefault(os.path.abspath(path), _version(facts))


def changed_since(files: Mapping[str, tuple[int, ...]]) -> str:
    """Returns a file that is another one than it was when it was read; empty: none is."""
    for path, version in files.items():
        try:
            if _version(os.stat(path)) == version:
                continue
        except OSError:
            pass
        return path
    return ""


def _version(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def python_token() -> str:
    """Returns what names the interpreter: ``CPython 3.11.9 x86_64``."""
    return f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"


def module_token(name: str) -> str:
    """Returns ``name`` with the version of its code.

    Raises:
        Unsure: the module exists in this process only, or can't be found.
    """
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return name
    if top == "__main__":
        raise Unsure("it names the notebook's own module")
    places = _places(name if name in sys.modules else top)
    if all(is_installed(place) for place in places):
        return f"{name}=={_release(top, tuple(places), _installations())}"
    return f"{name}@{_bytes_of(name)}"


def import_token(name: str) -> str:
    """Returns `module_token` of a module that code may import, or that there is no such module.

    Raises:
        Unsure: the module exists in this process only.
    """
    try:
        return module_token(name)
    except NoModule:  # code may look whether it is installed
        return f"{name} is not there"


def _places(name: str) -> list[str]:
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) if module is not None else None
    if spec is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
    if spec is None:
        raise NoModule(f"the module {name} cannot be found")
    found = [spec.origin] if spec.origin not in (None, "namespace") else list(spec.submodule_search_locations or ())
    if not found or not os.path.exists(str(found[0])):
        raise Unsure(f"the module {name} has no file")
    return [os.path.realpath(str(place)) for place in found]


def is_installed(place: str) -> bool:
    """Returns whether a file or folder is of Python itself or of an installed package, which nobody edits."""
    return place.startswith(_LIBRARIES) or f"{os.sep}site-packages{os.sep}" in place or (
        place.startswith(_STDLIB) or f"{os.sep}dist-packages{os.sep}" in place
    )


def _installations() -> tuple[int, ...]:
    """Returns what is another after packages were installed, also while this process runs (``%pip install``)."""
    found = []
    for place in _LIBRARIES:
        with contextlib.suppress(OSError):
            found.append(os.stat(place).st_mtime_ns)
    return tuple(found)


@functools.lru_cache(maxsize=2)
def _distributions(installations: tuple[int, ...]) -> dict[str, list[str]]:
    from importlib import metadata

    return dict(metadata.packages_distributions())


@functools.lru_cache(maxsize=4_096)
def _release(top: str, places: tuple[str, ...], installations: tuple[int, ...]) -> str:
    """Returns the version of an installed package; without one, its file's size and time."""
    from importlib import metadata

    found = sorted(_distributions(installations).get(top, ()))
    if not found:  # before 3.11 only distributions with a list of their packages are found
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{top} {metadata.version(top)}"
    if found:
        return ",".join(f"{name} {metadata.version(name)}" for name in found)
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return version
    facts = os.stat(places[0])
    return f"{facts.st_size}/{facts.st_mtime_ns}"


def _bytes_of(name: str) -> str:
    """Returns the hash of a local module's files, and of those of the local modules that it imports."""
    total = hashlib.sha256()
    for path in sorted(_local_files(name)):
        watch(path, os.stat(path))
        with open(path, "rb") as file:
            total.update(f"{os.path.basename(path)}\0".encode() + hashlib.sha256(file.read()).digest())
    return total.hexdigest()


def _local_files(name: str) -> set[str]:
    found: set[str] = set()
    waiting, asked = [name.partition(".")[0]], set()
    while waiting:
        top = waiting.pop()
        if top in asked or top in sys.stdlib_module_names:
            continue
        asked.add(top)
        try:
            places = _places(top)
        except Unsure:  # an import that may never run
            continue
        if all(is_installed(place) for place in places):
            continue
        for path in _files_of(places):
            found.add(path)
            if len(found) > _MAX_FILES:
                raise Unsure(f"the module {name} comes with more than {_MAX_FILES:,} files")
            if path.endswith(".py"):
                waiting.extend(_imports_of_file(path))
    return found


def _files_of(places: Iterable[str]) -> Iterator[str]:
    for place in places:
        folder = os.path.dirname(place) if os.path.basename(place).startswith("__init__.") else place
        if not os.path.isdir(folder):
            yield place
            continue
        for base, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
            yield from (os.path.join(base, name) for name in sorted(names) if name.endswith((".py", ".so", ".pyd")))


def _imports_of_file(path: str) -> list[str]:
    facts = os.stat(path)
    return list(_imports_of_version(path, facts.st_mtime_ns, facts.st_size))


@functools.lru_cache(maxsize=4_096)
def _imports_of_version(path: str, changed: int, size: int) -> tuple[str, ...]:
    try:
        with open(path, "rb") as file:
            return tuple(imported_names(file.read()))
    except (SyntaxError, ValueError):
        return ()


def imported_names(source: str | bytes) -> list[str]:
    """Returns the top-level packages that Python source imports anywhere in it, without relative imports."""
    found: dict[str, None] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update((alias.name.partition(".")[0], None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found[node.module.partition(".")[0]] = None
    return list(found)
