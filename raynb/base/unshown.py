"""Shows the output of tasks that has arrived before the user's code learns of a task's end.

A worker sends a task's output before its result on the same channel, so when a result is there,
the output is in a screen's queue. Whatever brings results to the user's code (`get`, `wait`, a
generator's next item, ``await``, futures) looks at `pending` and, if it is set, calls `show` in the
user's thread, or `then` where there is none. While tasks print nothing, that costs one comparison.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol


class Screen(Protocol):
    """Shows what an engine's listeners were given. Thread contract: any thread."""

    def show(self, asked: Sequence[int]) -> None:
        """Shows everything that has come, before it returns; ``asked``: ids of the objects that the caller has
        learned of."""

    def after(self, action: Callable[[], None], asked: Sequence[int]) -> None:
        """Runs an action once everything that has come is shown: at once, or soon, on another thread."""


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

    Never waits, so it may be called on the thread that receives.
    """
    if pending:
        for screen in _screens:
            action = functools.partial(screen.after, action, asked)
    action()
