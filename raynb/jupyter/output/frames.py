"""Classifies a traceback's frames: the user's, a library's, Python's own, or raynb's and the notebook's."""

from __future__ import annotations

import os
import re
import sysconfig
from dataclasses import dataclass

from raynb.base.process import package

_STDLIB = sysconfig.get_path("stdlib") + os.sep
_SITE = re.compile(r"[/\\](?:site|dist)-packages[/\\](?P<rest>.+)$")
_ANY_STDLIB = re.compile(r"[/\\]lib[/\\]python3\.\d+[/\\](?P<rest>.+)$")  # of a worker on another machine
_COMPILED = (".pyx", ".pxi", ".pxd")
_NOTEBOOK = ("IPython", "ipykernel", "traitlets", "tornado")


@dataclass(slots=True, frozen=True)
class Frame:
    """One frame of a traceback."""

    filename: str
    line: int
    function: str
    source: str


def is_ours(filename: str) -> bool:
    """Returns whether a frame says nothing to a user: raynb's, IPython's, the interpreter's."""
    if filename.startswith((package.FOLDER, "<frozen")):
        return True
    return any(f"{os.sep}{name}{os.sep}" in filename for name in _NOTEBOOK)


def library_of(filename: str) -> str:
    """Returns the library that a file belongs to (``sklearn``; ``json`` of Python's own); "" for the user's code."""
    found = _SITE.search(filename) or _ANY_STDLIB.search(filename)
    if found is not None:
        rest = found["rest"]
    elif filename.startswith(_STDLIB):
        rest = filename[len(_STDLIB) :]
    elif filename.endswith(_COMPILED) and not os.path.isabs(filename):  # as Cython names its sources
        rest = filename
    else:
        return ""
    return re.split(r"[/\\]", rest)[0].removesuffix(".py")


def is_stdlib(filename: str) -> bool:
    """Returns whether a file is Python's own."""
    return bool(library_of(filename)) and _SITE.search(filename) is None


def is_users(filename: str) -> bool:
    """Returns whether a file is the user's, not a library's, raynb's, IPython's or Python's own."""
    return not is_ours(filename) and not library_of(filename)


def folded(frames: list[Frame]) -> str:
    """Returns the line that stands for frames of libraries: ``… 14 frames in sklearn, joblib``."""
    names = dict.fromkeys(library_of(frame.filename) for frame in frames)
    count = len(frames)
    return f"… {count} {'frame' if count == 1 else 'frames'} in {', '.join(names)}"
