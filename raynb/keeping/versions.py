"""Finds the version of a module that code runs with: a release, or the hash of its files.

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
import os
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from raynb.base.ray_names.hook import StandIn, installed
from raynb.keeping import releases
from raynb.keeping.mentions import is_set
from raynb.keeping.releases import LIBRARIES

_STDLIB = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")})
_MAX_FILES = 5_000
_MAX_ENTRIES = 50_000
_MAX_TEXT = 200
_DICT_OF_MODULE: Any = vars(ModuleType)["__dict__"]
_READERS = frozenset(("environ", "environb", "getenv", "getenvb"))
_IMPORTERS = frozenset(("import_module", "__import__", "find_spec"))


class Unsure(Exception):
    """Raised when no key can be computed: nothing is looked up, and nothing is kept. The text says why."""


class NoModule(Unsure):
    """Raised for a module that cannot be found."""


class Watched(dict[str, tuple[int, ...]]):
    """The files whose bytes have gone into tokens, with what the system said of each before they were read.

    Attributes:
        variables: names of environment variables that have.
        places: top-level module that was looked for → where it is, with all files of one that somebody may edit; empty:
            nowhere.
        folders: such a module → when one of its folders was changed last, ns since the epoch.
        tokens: module → its token.
        found: top-level module → its file, or its folders.
        python: top-level module → whether it is Python's own.
        hashes: such a module that somebody may edit → that of its files, and of all that it imports.
    """

    def __init__(self) -> None:
        super().__init__()
        self.variables: set[str] = set()
        self.places: dict[str, tuple[str, ...]] = {}
        self.folders: dict[str, int] = {}
        self.tokens: dict[str, str] = {}
        self.found: dict[str, list[str]] = {}
        self.python: dict[str, bool] = {}
        self.hashes: dict[str, str] = {}


_watched: contextvars.ContextVar[Watched | None] = contextvars.ContextVar("watched", default=None)


@contextlib.contextmanager
def watching() -> Iterator[Watched]:
    """Collects what goes into tokens in the ``with`` body, for `changed_since` and `raynb.keeping.generations`."""
    found = Watched()
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


def variable_token(name: str) -> str:
    """Returns an environment variable's name with its value."""
    found = _watched.get()
    if found is not None:
        found.variables.add(name)
    return f"{name}={os.environ.get(name)!r}"


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
        Unsure: the module exists in this process only, or can't be found, or workers would find another one.
    """
    watched = _watched.get()
    if watched is None:
        return _token(name)
    if name not in watched.tokens:
        watched.tokens[name] = _token(name)
    return watched.tokens[name]


def _token(name: str) -> str:
    top = name.partition(".")[0]
    if is_of_python(top):
        return name
    if top == "__main__":
        raise Unsure("it names the notebook's own module")
    if top == "ray" and installed():
        name, top = f"raynb{name[3:]}", "raynb"
    if top == "raynb":  # a result is not another one because raynb's own files have moved
        return f"{name}=={sys.modules['raynb'].__version__}"
    places = _places(name if name in sys.modules else top)
    if all(is_installed(place) for place in places):
        return f"{name}=={_release(top, places)}"
    return f"{name}@{_bytes_of(name)}"


def is_of_python(top: str) -> bool:
    """Returns whether a top-level module is Python's own, and no file of that name comes before it."""
    if top in sys.builtin_module_names:
        return True
    if top not in sys.stdlib_module_names:
        return False
    watched = _watched.get()
    if watched is None:
        return _is_found_in_python(top)
    if top not in watched.python:
        watched.python[top] = _is_found_in_python(top)
    return watched.python[top]


def _is_found_in_python(top: str) -> bool:
    spec = _spec_of(top)
    if spec is None or spec.origin in (None, "frozen") or not os.path.exists(str(spec.origin)):
        return True
    place = os.path.realpath(str(spec.origin))
    return place.startswith(_STDLIB) and f"{os.sep}site-packages{os.sep}" not in place


def name_of(module: ModuleType) -> str:
    """Returns the name that a module is imported by; of what stands for raynb under Ray's name, raynb's.

    Raises:
        Unsure: it was made in this process, and is imported from nowhere.
    """
    if isinstance(module, StandIn):
        module = module._raynb
    own: dict[str, Any] = _DICT_OF_MODULE.__get__(module)
    name = str(own.get("__name__", ""))
    if type(module) is ModuleType and own.get("__spec__") is None and "__file__" not in own:
        raise Unsure(f"the module {name} exists in this process only")
    return name


def import_token(name: str) -> str:
    """Returns `module_token` of a module that code may import, or that there is no such module.

    Raises:
        Unsure: the module exists in this process only.
    """
    try:
        return module_token(name)
    except NoModule:  # code may look whether it is installed
        return f"{name} is not there"


def _spec_of(name: str) -> ModuleSpec | None:
    """Returns where a process finds a top-level module that has not loaded it; None: nowhere."""
    for finder in list(sys.meta_path):
        look = getattr(finder, "find_spec", None)
        try:
            spec: ModuleSpec | None = look(name, None) if look is not None else None
        except (ImportError, ValueError):
            spec = None
        if spec is not None:
            return spec
    return None


def _places(name: str) -> list[str]:
    """Returns the file of a module, or its folders if it has none.

    Raises:
        NoModule: there is none.
        Unsure: it has no file, or workers would find another one than this process has loaded.
    """
    module, watched = sys.modules.get(name), _watched.get()
    spec = getattr(module, "__spec__", None) if module is not None else None
    if "." in name:
        return _places_in(name, spec)
    if watched is not None and name in watched.found:
        return watched.found[name]
    there = _spec_of(name)
    if there is None and spec is None:
        if watched is not None:
            watched.places[name] = ()
        raise NoModule(f"the module {name} cannot be found")
    places = _places_in(name, spec or there)
    if there is None or _places_in(name, there) != places:
        where = "do not find it" if there is None else "would find another one"
        raise Unsure(f"the module {name} was loaded from {places[0]}, and workers {where}")
    if watched is not None:
        watched.found[name] = places
        watched.places.setdefault(name, tuple(places))
    return places


def _places_in(name: str, spec: ModuleSpec | None) -> list[str]:
    if spec is None:
        raise NoModule(f"the module {name} cannot be found")
    found = [spec.origin] if spec.origin not in (None, "namespace") else list(spec.submodule_search_locations or ())
    if not found or not os.path.exists(str(found[0])):
        raise Unsure(f"the module {name} has no file")
    return [os.path.realpath(str(place)) for place in found]


def is_installed(place: str) -> bool:
    """Returns whether a file or folder is of Python itself or of an installed package, which nobody edits."""
    return place.startswith(LIBRARIES) or f"{os.sep}site-packages{os.sep}" in place or (
        place.startswith(_STDLIB) or f"{os.sep}dist-packages{os.sep}" in place
    )


def _release(top: str, places: list[str]) -> str:
    """Returns the version of an installed package; of what somebody has put there, its files' sizes and times."""
    with contextlib.suppress(NoModule):
        places = _places(top)  # a package's, not those of a module inside it
    version, files = releases.find(top, tuple(places))
    for path in files:
        watch(path, os.stat(path))
    if version:
        return version
    facts = {path: os.stat(path) for path in _files_of(places)}
    for path, found in facts.items():
        watch(path, found)
    text = repr([(os.path.basename(path), found.st_size, found.st_mtime_ns) for path, found in facts.items()])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _bytes_of(name: str) -> str:
    """Returns the hash of a local module's files, of those of the local modules that it imports, of the releases of the
    packages that these import, and of the environment variables that they name."""
    top, watched = name.partition(".")[0], _watched.get()
    if watched is not None and top in watched.hashes:
        return watched.hashes[top]
    files: set[str] = set()
    found = _hash_of(files, _add_modules(files, [top], f"the module {name}"))
    if watched is not None:
        watched.hashes[top] = found
    return found


def folder_token(path: str) -> str:
    """Returns what stands for the code in a folder that workers find modules in before others.

    Raises:
        Unsure: there is too much of it.
    """
    files: set[str] = set()
    imports = _add_files(files, path, [path], f"the folder {path}", lambda file: not is_installed(file))
    packages = _add_modules(files, imports, f"the folder {path}")
    return f"{path}@{_hash_of(files, packages)}"


def _hash_of(paths: Iterable[str], packages: Iterable[str]) -> str:
    total = hashlib.sha256(" ".join(map(module_token, sorted(packages))).encode())
    files = sorted(paths)
    for path in files:
        watch(path, os.stat(path))
        with open(path, "rb") as file:
            total.update(f"{os.path.basename(path)}\0".encode() + hashlib.sha256(file.read()).digest())
    for variable in _variables_of([_source_of(path) for path in files if path.endswith(".py")]):
        total.update(f"{variable_token(variable)}\0".encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def _variables_of(sources: list[_Source]) -> list[str]:
    """Returns the environment variables that files name, if any of them reads the environment."""
    if not any(source.reads for source in sources):
        return []
    named = {text for source in sources for text in source.texts if is_set(text)}
    return sorted(named.union(*(filter(str.isidentifier, source.texts) for source in sources if source.reads)))


def _add_modules(found: set[str], waiting: list[str], whose: str) -> set[str]:
    """Adds the files of top-level modules that somebody may edit, with those of such modules that they import; returns
    the installed ones among these."""
    asked, packages = {"raynb", "__main__"}, set[str]()
    while waiting:
        top = waiting.pop()
        if top in asked:
            continue
        asked.add(top)
        if (top == "ray" and installed()) or is_of_python(top):
            continue
        try:
            places = _places(top)
        except NoModule:  # an import that may never run
            continue
        if all(is_installed(place) for place in places):
            packages.add(top)
        else:
            waiting.extend(_add_files(found, top, places, whose))
    return packages


def _add_files(
    found: set[str], name: str, places: list[str], whose: str, wanted: Callable[[str], bool] | None = None
) -> list[str]:
    """Adds the files in the places of a module; returns the top-level modules that they import."""
    files, imports = list(filter(wanted, _files_of(places))), list[str]()
    found.update(files)
    if len(found) > _MAX_FILES:
        raise Unsure(f"{whose} comes with more than {_MAX_FILES:,} files")
    for path in files:
        if path.endswith(".py"):
            imports += _source_of(path).imports
    if (watched := _watched.get()) is not None:
        inside = {os.path.dirname(path) for path in files if path not in places or _is_package(path)}
        watched.places[name] = (*places, *files)
        watched.folders[name] = max((os.stat(folder).st_ctime_ns for folder in inside), default=0)
    return imports


def _is_package(path: str) -> bool:
    return os.path.basename(path).startswith("__init__.")


def _files_of(places: Iterable[str]) -> Iterator[str]:
    for place in places:
        folder = os.path.dirname(place) if _is_package(place) else place
        if not os.path.isdir(folder):
            yield place
            continue
        for base, names in folders_in(folder):
            yield from (os.path.join(base, name) for name in names if name.endswith((".py", ".so", ".pyd")))


def folders_in(folder: str, hidden: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Yields (folder, names of its files) of a folder and all in it, in order; linked folders are followed, once each.

    Args:
        hidden: also those whose names begin with a dot, and caches of Python.

    Raises:
        Unsure: there is too much to look at; with ``hidden``, when somebody has named the folder, there is no limit.
    """
    seen, count = set(), 0
    for base, folders, names in os.walk(folder, followlinks=True):
        facts = os.stat(base)
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        count += 1 + len(names)
        if count > _MAX_ENTRIES and not hidden:
            raise Unsure(f"the folder {folder} has more than {_MAX_ENTRIES:,} files and folders")
        folders[:] = sorted(name for name in folders if hidden or not name.startswith((".", "__pycache__")))
        yield base, sorted(names)


class _Source(NamedTuple):
    """What the source of a module names: top-level packages that it imports, short texts; and whether it reads the
    environment."""

    imports: tuple[str, ...] = ()
    texts: frozenset[str] = frozenset()
    reads: bool = False


def _source_of(path: str) -> _Source:
    return _source_of_version(path, _version(os.stat(path)))


@functools.lru_cache(maxsize=4_096)
def _source_of_version(path: str, version: tuple[int, ...]) -> _Source:
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (SyntaxError, ValueError):
        return _Source()
    except (RecursionError, MemoryError):
        raise Unsure(f"{path} is nested too deeply to find out what it imports") from None
    imports: dict[str, None] = {}
    texts, reads, by_name = set(), False, False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.update((alias.name.partition(".")[0], None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            reads = reads or not _READERS.isdisjoint(alias.name for alias in node.names)
            by_name = by_name or not _IMPORTERS.isdisjoint(alias.name for alias in node.names)
            if not node.level and node.module:
                imports[node.module.partition(".")[0]] = None
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if 0 < len(node.value) < _MAX_TEXT and "\0" not in node.value:
                texts.add(node.value)
        elif isinstance(node, ast.Attribute):
            reads, by_name = reads or node.attr in _READERS, by_name or node.attr in _IMPORTERS
        elif isinstance(node, ast.Name):
            by_name = by_name or node.id in _IMPORTERS
    if by_name:  # texts may be names of modules
        named = (text for text in sorted(texts) if all(part.isidentifier() for part in text.split(".")))
        imports.update((text.partition(".")[0], None) for text in named if text != "__main__")
    return _Source(tuple(imports), frozenset(texts - {"_"}), reads)
