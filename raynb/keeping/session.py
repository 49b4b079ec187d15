"""The place where this process keeps results: the notebook's, else the one that the environment names, else ``.raynb``
in the first folder of a script.

Thread contract: any thread.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
from collections.abc import Callable, Collection

from raynb.base import engine as engines
from raynb.base.interfaces import Engine
from raynb.base.process import module_path
from raynb.keeping.folder import FolderError
from raynb.keeping.keeper import Keeper
from raynb.keeping.place import is_url
from raynb.keeping.shared import open_box

#: Bytes that a script keeps; a notebook has ``Raynb.keep_limit``.
LIMIT_BYTES = 20_000_000_000
FOLDER = ".raynb"

FLUSH_SECONDS = 5.0  # a shutdown waits so long for results that are being written

#: Environment variable that names a folder, or a URL that fsspec knows.
DIRECTORY = "RAYNB_KEEP_DIRECTORY"

#: Set by the notebook: returns its box and keeper.
provider: Callable[[], Keeper] | None = None
#: Set by the notebook: returns what workers take over as it is now (``Raynb.follow``).
follows: Callable[[], Collection[str]] | None = None

_first_folder = module_path.first_folder
_own: dict[str, Keeper] = {}
_lock = threading.Lock()


def keeper(directory: str | os.PathLike[str] | None = None) -> Keeper:
    """Returns the keeper of a folder or URL.

    Args:
        directory: None: the notebook's, else what the environment names, else the script's own.

    Raises:
        FolderError: it can't be used.
    """
    if directory is None and provider is not None:
        return provider()
    named = os.fspath(directory) if directory is not None else os.environ.get(DIRECTORY, "")
    path = place_of(named) or os.path.join(_first_folder, FOLDER)
    with _lock:
        found = _own.get(path)
        if found is None or not found.box.is_there():
            if found is not None:
                found.box.close()
            try:
                found = Keeper(open_box(path, lambda: LIMIT_BYTES, say))
            except OSError as error:
                raise FolderError(f"{path} cannot be used for kept results: {error}.") from error
            _own[path] = found
            atexit.register(found.flush, FLUSH_SECONDS)
            engines.before_stop.append(functools.partial(_finish, found))
        return found


def folder_facts(engine: Engine, follows: Collection[str]) -> list[str]:
    """Returns the folder that tasks run in, as a part of a key: its path from the first one; none if it is that.

    Args:
        engine: whose tasks.
        follows: what they take over as it is now. Without the folder, they run in that of the runtime's start.
    """
    start = engines.starts.get(engine) if "cwd" not in follows else None
    path = os.path.relpath((start.folder if start else "") or module_path.folder(), _first_folder)
    return [f"in {path}"] if path != os.curdir else []


def _finish(keeper: Keeper) -> None:
    """Waits for results that are being written: after the runtime's end they could not be read any more."""
    if not keeper.flush(FLUSH_SECONDS):
        say(f"raynb: some results were not kept: they were not written {FLUSH_SECONDS:.0f} s after the shutdown began.")


def place_of(named: str) -> str:
    """Returns a folder's whole path, or a URL as it is; empty stays empty."""
    return named if not named or is_url(named) else os.path.abspath(os.path.expanduser(named))


def say(text: str) -> None:
    """Prints a message to a script's user, once."""
    print(text, file=sys.stderr)
