"""What a task returned, made ready to travel."""

from __future__ import annotations

import inspect
import itertools
import pickle
from typing import Any

from raynb.base.engine import Packed
from raynb.base.spec import FailedReturn
from raynb.serde import pickling


def pack_result(value: Any) -> Packed:
    """Pickles a result.

    Raises:
        TypeError: it cannot be pickled; the text names the part that can't.
    """
    if type(value) is FailedReturn:
        raise value.error
    try:
        return pickling.pack(value)
    except RecursionError:
        raise TypeError("the result is nested too deeply to be pickled") from None
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        path = pickling._culprit(value, "the result")
        raise TypeError(f"Could not serialize {path} (of type {type(value).__qualname__}): {error}") from error


def taken(items: Any, count: int, which: bool | bytes) -> list[Any]:
    """Returns the first ``count`` items of a generator; what it would yield beyond is dropped, as in Ray.

    An error in the middle is what the remaining ones raise, unless ``which`` (``retry_exceptions``)
    asks to try again.
    """
    found: list[Any] = []
    try:
        for item in itertools.islice(items, count):
            found.append(item)  # noqa: PERF402  those before an error count
    except Exception as raised:
        if not found or retryable(which, raised):
            raise
        found += [FailedReturn(raised)] * (count - len(found))
    return found


def split(result: Any, count: int, which: bool | bytes = False) -> list[Any]:
    """Returns the ``count`` values of a task with several returns.

    Args:
        which: the task's ``retry_exceptions``.

    Raises:
        ValueError: there are more or fewer, or it is nothing that has items.
    """
    if inspect.isgenerator(result):
        result = taken(result, count, which)
    try:
        given = len(result)
    except TypeError:
        raise ValueError(f"Task returned {type(result).__name__}, but num_returns={count}.") from None
    if given != count:
        raise ValueError(
            f"Task returned {given} objects, but num_returns={count}. "
            "Return a list or tuple of that length, or change num_returns."
        )
    return list(result)


def retryable(which: bool | bytes, raised: BaseException) -> bool:
    """Returns whether ``retry_exceptions`` covers what a task raised."""
    if isinstance(which, bool):
        return which
    classes = pickle.loads(which)
    inner = getattr(raised, "cause", None)
    return isinstance(raised, classes) or (inner is not None and isinstance(inner, classes))
