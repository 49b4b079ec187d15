"""Flags by which a worker reports a task's end, and raynb's own error values, which take the place of a result.

An error value names an exception of `raynb.exceptions` with its arguments; `raynb.serde.errors.load_error` makes the
exception. Ids in it are in Ray's hexadecimal form.
"""

from __future__ import annotations

from typing import NamedTuple

from raynb.base.spec import Location, Value


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


def cancelled(task: str) -> Location:
    """Returns the error value of a cancelled task."""
    return ("err", "TaskCancelledError", (task,))


def actor_died(actor: str, class_name: str, name: str, pid: int, why: str) -> Location:
    """Returns the error value of calls to an actor that died; ``name``: its own, "" if it has none."""
    return ("err", "ActorDiedError", (actor, "died", class_name, name, pid, why))


def actor_not_made(actor: str, value: Value) -> Location:
    """Returns the error value of calls to an actor whose constructor failed with ``value``."""
    return ("err", "ActorDiedError", (actor, "creation", value))


def actor_gone(actor: str) -> Location:
    """Returns the error value of calls to an actor that ended with its last handle."""
    return ("err", "ActorDiedError", (actor, "gone"))


def actor_unavailable(actor: str, class_name: str) -> Location:
    """Returns the error value of a call that was at an actor which restarts, and may not run again."""
    return ("err", "ActorUnavailableError", (actor, f"{class_name} is restarting"))


def object_lost(identity: str, why: str = "") -> Location:
    """Returns the error value of an object whose bytes are gone; ``why``: the whole message, if not the usual."""
    return ("err", "ObjectLostError", (identity, why) if why else (identity,))


def object_freed(identity: str, why: str = "") -> Location:
    """Returns the error value of an object that was freed on request; ``why``: the whole message, if not the usual."""
    return ("err", "ObjectFreedError", (identity, why) if why else (identity,))
