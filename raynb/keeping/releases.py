"""Finds the release of an installed module, without reading the metadata of every distribution.

`importlib.metadata.packages_distributions` parses the metadata and the file list of all that is installed: 150 ms where
there are 150 distributions. Here the file lists are searched as bytes, and only of those that have the module the names
and versions are read.

Thread contract: any thread; caches are filled with equal values.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import sysconfig
from collections.abc import Iterator

#: Where this Python's installed packages are.
LIBRARIES = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("purelib", "platlib")})

_ENDS = (".dist-info", ".egg-info")
_SEPARATORS = re.compile(r"[-_.]+")
_FIRST = re.compile(rb"^[^/,\n]+", re.MULTILINE)
_ABOVE = re.compile(rb"^\.\./", re.MULTILINE)


def find(top: str, places: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Returns (name and version of all distributions that have a module, the files that say so); empty: none has.

    Args:
        top: a top-level module.
        places: its files, or folders.
    """
    roots = tuple(dict.fromkeys(filter(None, map(_root_of, places))))
    return _found(top, places, tuple((root, os.stat(root).st_mtime_ns) for root in roots))


def _root_of(place: str) -> str:
    """Returns the folder of installed packages that a file is in; empty: none."""
    for library in LIBRARIES:
        if place.startswith(library):
            return library[:-1]
    for name in ("site-packages", "dist-packages"):
        before, mark, _ = place.partition(f"{os.sep}{name}{os.sep}")
        if mark:
            return f"{before}{os.sep}{name}"
    return ""


@functools.lru_cache(maxsize=4_096)
def _found(top: str, places: tuple[str, ...], roots: tuple[tuple[str, int], ...]) -> tuple[str, tuple[str, ...]]:
    """As `find`.

    Args:
        roots: (folder of installed packages, when something was installed in it last).
    """
    said: dict[str, None] = {}
    files: list[str] = []
    for root, installed in roots:
        having = _by_module(root, installed).get(top.encode(), ())
        if not having:  # a path file puts it on the module path, or there is no list of files
            inside = [os.path.relpath(place, root).replace(os.sep, "/") for place in places if _root_of(place) == root]
            lines, folders = [f"\n{path},".encode() for path in inside], _folders(root)
            having = [folder for folder in folders if any(line in _files(folder) for line in lines)]
            having = having or [folder for folder in folders if _is_named(folder, top)]
        for folder in having:
            text, file = _release_in(folder)
            said[text] = None
            files.append(file)
    return ",".join(sorted(said)), tuple(files)


@functools.lru_cache(maxsize=4)
def _by_module(root: str, installed: int) -> dict[bytes, list[str]]:
    """Returns top-level module → the distributions that have it, by their lists of files, else by those of modules."""
    found: dict[bytes, list[str]] = {}
    for folder in _folders(root):
        files = _files(folder)
        names = {name.partition(b".")[0] for name in set(_FIRST.findall(files))}
        for name in names or _read(folder, "top_level.txt").split():
            found.setdefault(name, []).append(folder)
    return found


def _folders(root: str) -> list[str]:
    return sorted(entry.path for entry in os.scandir(root) if entry.name.endswith(_ENDS))


def _files(folder: str) -> bytes:
    """Returns the list of a distribution's files, one a line, each from a new line on; empty: it has none."""
    return b"\n" + (_read(folder, "RECORD") or _ABOVE.sub(b"", _read(folder, "installed-files.txt")))


def _is_named(folder: str, top: str) -> bool:
    name = os.path.basename(folder).rpartition(".")[0].partition("-")[0]
    return _normal(name) == _normal(top)


def _normal(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _release_in(folder: str) -> tuple[str, str]:
    """Returns (name and version of a distribution, the file that says so).

    What was installed from a folder, an archive or a repository counts by the files that it has brought, too: people
    install their own packages again and again under one version.
    """
    name, _, version = os.path.basename(folder).rpartition(".")[0].partition("-")
    source = next((f for f in ("METADATA", "PKG-INFO") if os.path.exists(os.path.join(folder, f))), "")
    for line in _read(folder, source).split(b"\n\n", 1)[0].decode("utf-8", "replace").splitlines():
        field, _, value = line.partition(":")
        if field == "Name":
            name = value.strip()
        elif field == "Version":
            version = value.strip()
    text = f"{name} {version}"
    if _read(folder, "direct_url.json"):
        text += f" {hashlib.sha256(b''.join(_brought(folder))).hexdigest()[:16]}"
    return text, os.path.join(folder, source) if source else folder


def _brought(folder: str) -> Iterator[bytes]:
    inside = f"{os.path.basename(folder)}/".encode()
    for line in sorted(_read(folder, "RECORD").splitlines()):
        if b",sha256=" in line and not line.startswith(inside):
            yield line + b"\n"


def _read(folder: str, name: str) -> bytes:
    """Returns a file of a distribution's; empty if there is none. Of some distributions the folder is a file itself."""
    with contextlib.suppress(OSError), open(os.path.join(folder, name) if name else folder, "rb") as file:
        return file.read()
    return b""
