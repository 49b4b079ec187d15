"""Which workers are kept although they are idle, for the frames of a failure that a post-mortem may want."""

from __future__ import annotations

from collections.abc import Mapping

from raynb.core.step import Step
from raynb.core.vocabulary.records import Worker

MAX_WORKERS = 8  # workers, the latest


class KeptFrames:
    """Rule: a worker whose task has failed is not retired for so many seconds as were said, of all such workers only
    the latest `MAX_WORKERS`."""

    def __init__(self, step: Step, workers: Mapping[int, Worker]) -> None:
        self._step = step
        self._workers = workers
        self._seconds = 0.0

    def keep(self, seconds: float) -> None:
        """Keeps the workers whose tasks fail from now on for so long (0: none), and no longer those from before."""
        self._seconds = seconds
        for worker in self._workers.values():
            worker.frames_until = 0.0

    def failed_on(self, worker: Worker) -> None:
        """Keeps the worker of a task that failed, in the place of the one that is kept for longest."""
        if not self._seconds:
            return
        kept = self.are_on(worker)
        worker.frames_until = self._step.now + self._seconds
        if not kept:
            others = [other for other in self._workers.values() if self.are_on(other)]
            if len(others) > MAX_WORKERS:
                min(others, key=lambda other: other.frames_until).frames_until = 0.0

    def are_on(self, worker: Worker) -> bool:
        """Returns whether a worker is kept."""
        return worker.frames_until > self._step.now
