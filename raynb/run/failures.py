"""Failures of a task, as the values that travel in place of its results."""

from __future__ import annotations

from raynb.base import ends
from raynb.base.spec import Location

#: What Python's `Event.wait` and its like raise when a signal handler raises between their lock's release and their
#: wait: they release it once more.
_OF_LOCKS = ("release unlocked lock", "cannot release un-acquired lock")


def why_left(raised: BaseException) -> str:
    """Returns why a process ends that was asked to end: ``sys.exit`` or ``exit_actor``."""
    if type(raised) is SystemExit:
        return f"it called sys.exit({0 if raised.code is None else raised.code!r})"
    return "exit_actor() was called"


def is_crash(raised: BaseException) -> bool:
    """Returns whether a call that asked its actor's process to end counts as a crash: restarts and retries follow.

    ``exit_actor`` and ``sys.exit(0)`` are a wish to end; any other code of ``sys.exit`` is a crash, as in Ray.
    """
    return isinstance(raised, SystemExit) and raised.code != 0


def is_ended_by(kind: type[BaseException], raised: BaseException) -> bool:
    """Returns whether what a signal handler raised has ended the code that raised this.

    Args:
        kind: the class that the handler raises.
        raised: what came out of the code.
    """
    return isinstance(raised, kind) or (
        type(raised) is RuntimeError and str(raised) in _OF_LOCKS and isinstance(raised.__context__, kind)
    )


def is_interrupt(raised: BaseException) -> bool:
    """Returns whether an interrupt has ended the code that raised this."""
    return is_ended_by(KeyboardInterrupt, raised)


def left(name: str, raised: BaseException) -> tuple[tuple[str, str, tuple[str, ...]], tuple[str, str]]:
    """Returns (error value, (type, text)) of a task that called ``sys.exit``; it is not tried again.

    Args:
        name: the task's name.
        raised: what it raised.
    """
    why = why_left(raised)
    text = f"The worker ended while it ran {name}: {why}. A task that exits by itself is not tried again."
    return ("err", "WorkerCrashedError", (text,)), ("WorkerCrashedError", why)


def timed_out(name: str, seconds: float | None) -> tuple[tuple[str, str, tuple[str, ...]], tuple[str, str]]:
    """Returns (error value, (type, text)) of a task whose ``timeout=`` ran out."""
    text = f"{name} did not finish within its timeout of {seconds} s."
    return ("err", "TaskTimeoutError", (text,)), ("TaskTimeoutError", text)


def cancelled(task: str) -> tuple[Location, tuple[str, str]]:
    """Returns (error value, (type, text)) of a cancelled task.

    Args:
        task: the task's id in hex.
    """
    return ends.cancelled(task), ("TaskCancelledError", "cancelled")


_class_name = vars(type)["__name__"].__get__  # whatever the class's own class does with its attributes


def untold(raised: BaseException, broken: BaseException) -> RuntimeError:
    """Returns what is told in place of an exception that cannot even be asked for its class.

    Args:
        raised: the exception.
        broken: what asking has raised.
    """
    name, why = _class_name(type(raised)), _class_name(type(broken))
    told = RuntimeError(f"it raised {name}, of which nothing else can be told: asking for it raised {why}")
    return told.with_traceback(vars(BaseException)["__traceback__"].__get__(raised))
