"""Where this process keeps results: beside the notebook, or in ``.raynb`` of the first folder of a script.

Thread contract: any thread.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable

from raynb.base.process import surroundings
from raynb.keeping.box import Box
from raynb.keeping.keeper import Keeper

#: Bytes that a script keeps; a notebook has ``Raynb.keep_limit``.
LIMIT = 20_000_000_000
FOLDER = ".raynb"

#: Set by the notebook: returns its box and keeper.
provider: Callable[[], Keeper] | None = None

_first_folder = surroundings.folder()
_own: Keeper | None = None
_lock = threading.Lock()


def keeper() -> Keeper:
    """Returns the keeper of this process.

    Raises:
        FolderError: the folder can't be used.
    """
    global _own
    if provider is not None:
        return provider()
    with _lock:
        if _own is None:
            _own = Keeper(Box(os.path.join(_first_folder, FOLDER), lambda: LIMIT, say))
            atexit.register(_own.flush, 5.0)
        return _own


def say(text: str) -> None:
    """Prints a message to a script's user, once."""
    print(text, file=sys.stderr)
