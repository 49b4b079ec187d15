"""Shows the output of tasks that has arrived before the user's code learns of a task's end.

A worker sends a task's output before its result on the same channel, so when a result is there,
the output is in a screen's queue. Whatever brings results to the user's code (`get`, `wait`, a
generator's next item, ``await``, futures) looks at `pending` and, if it is set, calls `show` in the
user's thread, or `then` where there is none. While tasks print nothing, that costs one comparison.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

PATIENCE_SECONDS = 5.0  # a result is kept back so long for a stream that gets nowhere, once; then not until it gets on


class Screen(Protocol):
    """Shows what an engine's listeners were given. Thread contract: any thread."""

    def show(self, asked: Sequence[int]) -> None:
        """Shows everything that has come, before it returns; ``asked``: ids of the objects that the caller has
        learned of."""

    def after(self, action: Callable[[], None], asked: Sequence[int]) -> None:
        """Runs an action once everything that has come is shown: at once, or soon, on another thread."""

    def progress(self) -> object:
        """Returns a value that changes while something is being shown, or a reader is waited for."""


#: Something has come since the last `show`. Screens set it with `mark`.
pending = False

_screens: tuple[Screen, ...] = ()


def add(screen: Screen) -> None:
    """Has `show` ask a screen too."""
    global _screens
    _screens = (*_screens, screen)


def remove(screen: Screen) -> None:
    """Undoes `add`; does nothing if that was never called."""
    global _screens
    _screens = tuple(other for other in _screens if other is not screen)


def after_fork_in_child() -> None:
    """Forgets the screens: a forked child has none of their threads, and what has come is its parent's to show."""
    global pending, _screens
    pending = False
    _screens = ()
    _kept_back.clear()


def mark() -> None:
    """Records that output has arrived."""
    global pending
    pending = True


def show(asked: Sequence[int] = ()) -> None:
    """Shows the output that has arrived.

    Call it where the user's code goes on, without a lock.

    Args:
        asked: ids of the objects that the user's code learns of.
    """
    global pending
    pending = False
    for screen in _screens:
        screen.show(asked)


def then(action: Callable[[], None], asked: Sequence[int] = ()) -> None:
    """Runs an action that hands a result to the user's code, once the output before it is shown.

    Never waits, so it may be called on the thread that receives. The action may run on any thread, see `look`.
    """
    if pending and _screens:
        one = [action]
        _drop_those_that_ran()
        _kept_back.append(one)
        action = functools.partial(_run, one)
        for screen in _screens:
            action = functools.partial(screen.after, action, asked)
    action()


def _drop_those_that_ran() -> None:
    while _kept_back:
        try:
            one = _kept_back.popleft()
        except IndexError:  # another thread was quicker
            return
        if one:
            _kept_back.appendleft(one)
            return


def _run(one: list[Callable[[], None]]) -> None:
    try:
        action = one.pop()
    except IndexError:  # another thread was quicker
        return
    try:
        action()
    except MemoryError:
        one.append(action)  # for the next time
        raise


_kept_back: deque[list[Callable[[], None]]] = deque()  # actions that wait for output; those that have run are empty
_progress: list[object] | None = None  # of the screens, at the last look; None: no action waited
_since = 0.0
_lost_at: list[object] | None = None  # where patience was lost: until a screen gets on


def look(now: float) -> None:
    """Runs the actions that wait for a stream which gets nowhere: it may want a lock of the thread that waits for the
    result. An engine's thread calls it often.

    Args:
        now: monotonic time.
    """
    global _progress, _since, _lost_at
    _drop_those_that_ran()
    if not _kept_back:
        _progress = None
        return
    progress = [screen.progress() for screen in _screens]
    if progress != _progress:
        _progress, _since = progress, now
    if progress == _lost_at or now - _since > PATIENCE_SECONDS:
        _lost_at = progress
        for one in list(_kept_back):  # other threads take from it meanwhile
            _run(one)
        _drop_those_that_ran()
