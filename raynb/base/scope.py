"""The number of the notebook cell that submits: an int carried by every task, 0 outside cells.

The jupyter extension sets it before a cell runs. Threads that a cell starts inherit it through
`contextvars` only if they copy the context; for the others the main thread's value counts, as
ipykernel sends their output to the running cell.
"""

from __future__ import annotations

import contextvars

UNNUMBERED = 1 << 32  # from here on scopes are no numbers of cells

_scope: contextvars.ContextVar[int | None] = contextvars.ContextVar("raynb_scope", default=None)
_running: int = 0


def current_scope() -> int:
    """Returns the scope that a submission made here belongs to."""
    own = _scope.get()
    return _running if own is None else own


def set_running(scope: int) -> None:
    """Sets the scope of code that has none of its own (the running cell)."""
    global _running
    _running = scope


def enter(scope: int) -> contextvars.Token[int | None]:
    """Gives the calling context a scope of its own; undo with `leave`."""
    return _scope.set(scope)


def leave(token: contextvars.Token[int | None]) -> None:
    """Ends what `enter` began."""
    _scope.reset(token)
