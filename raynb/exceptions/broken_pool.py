"""Errors of workers that died, for callers of `Executor` and joblib, who know them as ``BrokenProcessPool``.

Each is an instance of Ray's class and of the standard library's, so that ``except`` with either name catches it. This
module is imported when the first such error is there: with the standard library's class comes multiprocessing.
"""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from raynb.exceptions import tasks


class BrokenPoolWorkerCrashedError(tasks.WorkerCrashedError, BrokenProcessPool):
    """The worker process died while it ran the task."""


class BrokenPoolOutOfMemoryError(tasks.OutOfMemoryError, BrokenProcessPool):
    """The memory monitor stopped the task's worker."""


class BrokenPoolNodeDiedError(tasks.NodeDiedError, BrokenProcessPool):
    """The node died under the task."""


_CLASSES: dict[type[BaseException], type[BaseException]] = {
    tasks.WorkerCrashedError: BrokenPoolWorkerCrashedError,
    tasks.OutOfMemoryError: BrokenPoolOutOfMemoryError,
    tasks.NodeDiedError: BrokenPoolNodeDiedError,
}


def broken_pool(error: BaseException) -> BaseException:
    """Returns the error as one of this module's classes. One of another class stays as it is: that of a task which
    failed because another one had lost its worker says so already."""
    cls = _CLASSES.get(type(error))
    if cls is None:
        return error
    made = cls(*error.args)
    made.__cause__ = error.__cause__
    return made.with_traceback(error.__traceback__)
