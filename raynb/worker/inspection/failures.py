"""The frames of tasks that failed, kept for a post-mortem."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import NamedTuple

from raynb.base.interrupts import Reentrant
from raynb.base.process import package
from raynb.exceptions import RayTaskError
from raynb.serde.errors import BaseExceptionGroup_

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
    number: int  # of all failures of this process
    chain: Chain
    origin: tuple[str, int] | None  # of the nested task whose error this is: see `origin_of`


class Failures:
    """The first and the last failures of the last cells. Thread contract: any thread.

    `get` of many raises the first that failed, so the first are kept as well as the last.
    """

    def __init__(self) -> None:
        self._lock = Reentrant()  # what goes does so without it: the users' destructors run then
        self._kept: list[_Failure] = []
        self._numbers = itertools.count(1)

    def keep(self, scope: int, task: int, error: BaseException, most: int) -> int:
        """Keeps the frames of an error; ``most`` of each cell. Returns its number, by which `find` has it."""
        chain = chain_of(error)  # now: the executor clears the error's own references to its frames
        origin = origin_of(error)
        with self._lock:
            before = list(self._kept)
            number = next(self._numbers)
            self._kept.append(_Failure(scope, task, number, chain, origin))
            of_cell = [kept for kept in self._kept if kept.scope == scope]
            if len(of_cell) > most:
                self._kept.remove(of_cell[(most + 1) // 2])
            cells = list(dict.fromkeys(kept.scope for kept in self._kept))
            self._kept = [kept for kept in self._kept if kept.scope in cells[-MAX_CELLS:]]
        del before[:]  # the frames of those that made room go here
        return number

    def keep_part(self, scope: int, task: int, error: Exception, most: int) -> int:
        """As `keep`, for one of several failures of a task; those that are the same error are kept once. Returns 0 for
        an error that no code of the user's has raised."""
        frames = users_part(error.__traceback__)
        if frames is None or is_ours(frames.tb_frame):
            return 0
        with self._lock:
            for kept in reversed(self._kept):
                if kept.task == task and kept.chain[-1].error is error:
                    return kept.number
        return self.keep(scope, task, error, most)

    def find(self, task: int, number: int = 0) -> Chain | None:
        """Returns a failure of a task (0: its last one), or None."""
        found = self._find(task, number)
        return found.chain if found is not None else None

    def origin(self, task: int, number: int = 0) -> tuple[str, int] | None:
        """Returns the nested task whose error made this one fail, as `origin_of` does; None: its own code did."""
        found = self._find(task, number)
        return found.origin if found is not None else None

    def _find(self, task: int, number: int) -> _Failure | None:
        with self._lock:
            found = [kept for kept in self._kept if kept.task == task and number in (0, kept.number)]
            return found[-1] if found else None

    def forget(self, scope: int | None) -> None:
        """Releases the kept frames of a cell (None: of all)."""
        with self._lock:
            before = self._kept
            self._kept = [] if scope is None else [kept for kept in before if kept.scope != scope]
        del before  # their frames go here


def chain_of(error: BaseException) -> Chain:
    """Returns an exception and its causes, by Python's rule: ``__cause__``, else ``__context__`` unless suppressed.
    Before a group stand its members, each behind its own causes."""
    found: list[ChainLink] = []
    seen: set[int] = set()
    ahead: list[BaseException | None] = [error]  # the newest last
    while ahead and len(found) < CHAIN_MAX:
        at = ahead.pop()
        if at is None or id(at) in seen:
            continue
        seen.add(id(at))
        found.append(ChainLink(at, users_part(at.__traceback__)))
        if isinstance(at, RayTaskError):  # its cause was raised in another process, which has the frames
            continue
        cause = at.__cause__
        ahead.append(cause if cause is not None or at.__suppress_context__ else at.__context__)
        if isinstance(at, BaseExceptionGroup_):
            ahead.extend(at.exceptions)
    return tuple(reversed(found))


def origin_of(error: BaseException | None) -> tuple[str, int] | None:
    """Returns (failure, pid) of the task whose failure an exception is, which another one got; else None.

    A failure is the task in hex, with ``:N`` behind it if it is the N-th of that process, of a task with several.
    """
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
