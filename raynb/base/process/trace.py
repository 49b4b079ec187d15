"""Keeps errors that were survived: the logger ``raynb``, and a ring of the last ones.

Code that must go on after an error calls `swallowed`, so that no error disappears: it goes to the
logger (level WARNING where something of the user's raised, DEBUG where a peer was just gone) and to
a ring that `%raynb doctor` shows.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass

log = logging.getLogger("raynb")
log.addHandler(logging.NullHandler())

MAX_ERRORS = 50


@dataclass(slots=True)
class Swallowed:
    """An error that was survived: when (seconds since the epoch), where, and the error as text."""

    when: float
    where: str
    error: str


#: The last ones, oldest first. Appending is one call into C, so any thread may do it at any time.
ring: deque[Swallowed] = deque(maxlen=MAX_ERRORS)


def swallowed(where: str, error: BaseException, level: int = logging.WARNING) -> None:
    """Keeps and logs an error that ends here.

    Args:
        where: what was being done, in words.
        error: the error.
        level: of the log record.
    """
    try:
        said = f"{type(error).__name__}: {error}"
    except Exception as broken:  # the user's own class
        said = f"{type(error).__name__}, whose __str__ raises {type(broken).__name__}"
    ring.append(Swallowed(time.time(), where, said))
    log.log(level, "%s: %s", where, said, exc_info=error)
