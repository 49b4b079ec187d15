"""How a task ended, as its worker reports it."""

from __future__ import annotations

from typing import NamedTuple

from raynb.base.spec import Value


class Done(NamedTuple):
    """The end of one run of a task."""

    task: int
    values: tuple[tuple[Value, int, tuple[int, ...]], ...]  # (value, size, contained ids) a return, in order
    flags: int = 0  # the bits below
    error: tuple[str, str] = ("", "")  # type, text
    started: float = 0.0  # these three are zero when they were not measured
    fetched: float = 0.0
    ran: float = 0.0


FAILED = 1
RETRYABLE = 2  # ``retry_exceptions`` covers it
CANCELLED = 4
EXITS = 8  # the worker leaves after this (max_calls, exit_actor)
