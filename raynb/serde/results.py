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


def split(result: Any, count: int) -> list[Any]:
    """Returns the ``count`` values of a task with several returns.

    Raises:
        ValueError: there are more or fewer, or it is nothing that has items.
    """
    if inspect.isgenerator(result):
        result = list(itertools.islice(result, count))  # as Ray: what it would yield beyond is dropped
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
