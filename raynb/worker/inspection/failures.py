"""The frames of tasks that failed, kept for a post-mortem."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import NamedTuple

from raynb.base.process import package
from raynb.exceptions import RayTaskError

MAX_CELLS = 2  # of which failures are kept
CHAIN_MAX = 100  # exceptions of a chain whose frames are kept


class ChainLink(NamedTuple):
    """An exception of a chain (None: only its traceback is known), and the frames that it passed through."""

    error: BaseException | None
    frames: TracebackType | None


#: An exception after those that it was raised from or in the handling of, the oldest first, as pdb numbers them.
Chain = tuple[ChainLink, ...]


@dataclass(slots=True)
class _Failure:
    scope: int
    task: int
    chain: Chain
    origin: tuple[str, int] | None  # (task in hex, pid) of the nested task whose error this is


class Failures:
    """The first and the last failures of the last cells. Thread contract: any thread.

    `get` of many raises the first that failed, so the first are kept as well as the last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[_Failure] = []

    def keep(self, scope: int, task: int, error: BaseException, most: int) -> None:
        """Keeps the frames of an error; ``most`` of each cell."""
        chain = chain_of(error)  # now: the executor clears the error's own references to its frames
        origin = origin_of(error)
        with self._lock:
            self._kept.append(_Failure(scope, task, chain, origin))
            of_cell = [kept for kept in self._kept if kept.scope == scope]
            if len(of_cell) > most:
                self._kept.remove(of_cell[(most + 1) // 2])
            cells = list(dict.fromkeys(kept.scope for kept in self._kept))
            self._kept = [kept for kept in self._kept if kept.scope in cells[-MAX_CELLS:]]

    def find(self, task: int) -> Chain | None:
        """Returns the last failure of a task, or None."""
        with self._lock:
            return next((kept.chain for kept in reversed(self._kept) if kept.task == task), None)

    def origin(self, task: int) -> tuple[str, int] | None:
        """Returns the nested task (in hex) whose error made this one fail, and its process; None: its own code did."""
        with self._lock:
            return next((kept.origin for kept in reversed(self._kept) if kept.task == task), None)

    def forget(self, scope: int | None) -> None:
        """Releases the kept frames of a cell (None: of all)."""
        with self._lock:
            self._kept = [] if scope is None else [kept for kept in self._kept if kept.scope != scope]


def chain_of(error: BaseException) -> Chain:
    """Returns an exception and its causes, by Python's rule: ``__cause__``, else ``__context__`` unless suppressed."""
    found: list[ChainLink] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen and len(found) < CHAIN_MAX:
        seen.add(id(at))
        found.append(ChainLink(at, users_part(at.__traceback__)))
        if isinstance(at, RayTaskError):  # its cause was raised in another process, which has the frames
            break
        cause = at.__cause__
        at = cause if cause is not None or at.__suppress_context__ else at.__context__
    return tuple(reversed(found))


def origin_of(error: BaseException | None) -> tuple[str, int] | None:
    """Returns (task in hex, pid) of the task whose failure an exception is, which another one got; else None."""
    return (error.task_id, error.pid) if isinstance(error, RayTaskError) else None


def is_ours(frame: FrameType) -> bool:
    """Returns whether a frame is raynb's, which users do not step into."""
    return frame.f_code.co_filename.startswith(package.FOLDER)


def users_part(tb: TracebackType | None) -> TracebackType | None:
    """Returns a traceback without raynb's frames at its beginning."""
    at = tb
    while at is not None and is_ours(at.tb_frame):
        at = at.tb_next
    return at if at is not None else tb
