"""Return values of a task: one, several, or the items of a generator."""

from __future__ import annotations

import inspect
import itertools
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from raynb.base.process import shelter, trace
from raynb.base.spec import FailedReturn, TaskOptions

Kept = TypeVar("Kept")


def each(result: object, options: TaskOptions, keep: Callable[[Any], Kept], keep_error: Callable[[Exception], Kept],
         count: int | None = None) -> list[Kept]:  # fmt: skip
    """Keeps every return value of a task; of several, one that cannot be pickled fails alone.

    Args:
        result: what the function returned.
        keep: stores one value.
        keep_error: stores the error of a value that cannot travel.
        count: the number of return values, if it is not the options'.

    Raises:
        ValueError: the function returned more or fewer values than ``num_returns`` says.
        TypeError: the only return value cannot be pickled.
    """
    count = options.num_returns if count is None else count
    if count == 0:
        return []
    single = count == 1 and not inspect.isgenerator(result)
    kept: list[Kept] = []
    for value in [result] if single else split(result, count, options.retry_exceptions):
        try:
            kept.append(keep(value))
        except Exception as raised:
            if count == 1:
                raise
            kept.append(keep_error(raised))
    return kept


def items_of(result: Any, name: str, num_returns: str) -> Iterator[Any]:
    """Returns the iterator of a generator task.

    Raises:
        TypeError: the function returned nothing that can be iterated.
    """
    try:
        return iter(result)
    except TypeError as error:
        if _of_users_code(error):
            raise
        raise TypeError(
            f"{name} has num_returns={num_returns!r} but returned {type(result).__name__}, which is no generator"
        ) from None


def _of_users_code(error: TypeError) -> bool:
    """Returns whether the error comes out of a method of the user's, and not of Python's look for one."""
    tb = error.__traceback__
    return tb is not None and tb.tb_next is not None


def dynamic(items: Iterable[object], options: TaskOptions, keep: Callable[[Any], Kept],
            keep_error: Callable[[Exception], Kept]) -> list[Kept]:  # fmt: skip
    """Keeps all items of a ``num_returns="dynamic"`` task; an error in the middle is the last one, as in Ray.

    Raises:
        Exception: what the generator raised, if ``retry_exceptions`` covers it.
    """
    kept: list[Kept] = []
    try:
        for item in items:
            kept.append(keep(item))  # noqa: PERF401  those before an error count
    except Exception as raised:
        if retryable(options.retry_exceptions, raised):
            raise
        kept.append(keep_error(raised))
    return kept


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
    except TypeError as error:
        if _of_users_code(error):
            raise
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
    try:
        classes = pickle.loads(which)
        inner = getattr(raised, "cause", None)
        return isinstance(raised, classes) or (inner is not None and isinstance(inner, classes))
    except BaseException as broken:  # asking the user's classes runs his code
        shelter.pass_on(broken)
        trace.swallowed("asking whether a failed task is to be tried again", broken)
        return False
