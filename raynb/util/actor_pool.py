"""`ActorPool`: a fixed set of actors and a stream of calls on them (``ray.util.ActorPool``)."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

from raynb import api as ray
from raynb import exceptions
from raynb.base.process import shelter

logger = logging.getLogger(__name__)

V = TypeVar("V")


class ActorPool:
    """Spreads calls over a fixed set of actors, one call at a time on each.

    Thread contract: use one pool from one thread.

    Args:
        actors: handles of the actors.

    Example:
        >>> Doubler = ray.remote(type("Doubler", (), {"double": lambda self, n: 2 * n}))
        >>> pool = ray.util.ActorPool([Doubler.remote(), Doubler.remote()])
        >>> list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3]))
        [2, 4, 6]
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: list[Any] = list(actors)
        self._queued: deque[tuple[Callable[[Any, Any], Any], Any]] = deque()
        # What runs: call number → (ref or refs, actor), in the order of submission.
        self._running: dict[int, tuple[Any, Any]] = {}
        self._submitted = 0
        self._returned = 0  # calls with smaller numbers were handed out (or skipped)

    def map(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """Calls ``fn(actor, value)``, which must return a ref or a list of refs, for every value.

        Results of earlier submissions that nobody took are dropped.

        Args:
            fn: makes the remote call, e.g. ``lambda a, v: a.double.remote(v)``.
            values: the inputs.

        Returns:
            The results in the order of the values.
        """
        self._drop_previous()
        for value in values:
            self.submit(fn, value)
        return self._take_all(self.get_next)

    def map_unordered(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """As `map`, but the results come in the order in which they are ready.

        Args:
            fn: as of `map`.
            values: as of `map`.

        Returns:
            An iterator of the results.
        """
        self._drop_previous()
        for value in values:
            self.submit(fn, value)
        return self._take_all(self.get_next_unordered)

    def submit(self, fn: Callable[[Any, V], Any], value: V) -> None:
        """Starts ``fn(actor, value)`` on an idle actor, or queues it until one is idle.

        Args:
            fn: makes the remote call, as of `map`.
            value: its input.
        """
        if not self._idle:
            self._queued.append((fn, value))
            return
        actor = self._idle[-1]
        self._running[self._submitted] = (fn(actor, value), actor)  # it is idle still if this raises
        self._idle.pop()
        self._submitted += 1

    def has_next(self) -> bool:
        """Returns whether a result is still to come."""
        return bool(self._running)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Returns the next result in the order of submission.

        Args:
            timeout: seconds to wait; None: as long as it takes.
            ignore_if_timedout: give up on the call when its time is over.

        Raises:
            StopIteration: nothing was submitted that is not yet returned.
            ValueError: `get_next_unordered` has taken results out of turn.
            TimeoutError: the time is over.
        """
        self._check_next()
        if self._returned not in self._running:
            raise ValueError("get_next() cannot follow get_next_unordered(): the order is lost.")
        number = self._returned
        if self._await([number], timeout) is None:
            self._timed_out(number, ignore_if_timedout)
        return self._finish(number)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Returns whichever result is ready first.

        Args:
            timeout: seconds to wait; None: as long as it takes.
            ignore_if_timedout: give up on the oldest call when the time is over.

        Raises:
            StopIteration: nothing was submitted that is not yet returned.
            TimeoutError: the time is over.
        """
        self._check_next()
        number = self._await(list(self._running), timeout)
        if number is None:
            self._timed_out(min(self._running), ignore_if_timedout)
        return self._finish(number)

    def has_free(self) -> bool:
        """Returns whether an actor is idle and no call waits for one."""
        return bool(self._idle) and not self._queued

    def pop_idle(self) -> Any:
        """Takes an idle actor out of the pool and returns it; None if none is free."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Adds an actor.

        Args:
            actor: its handle.

        Raises:
            ValueError: it is in the pool already.
        """
        if actor in self._idle or any(actor == busy for _, busy in self._running.values()):
            raise ValueError("Actor already belongs to current ActorPool")
        self._release(actor)

    def _check_next(self) -> None:
        if not self.has_next():
            raise StopIteration("No more results to get")

    def _timed_out(self, number: int, ignore: bool) -> NoReturn:
        if not ignore:
            raise TimeoutError("Timed out waiting for result")
        ref = self._leave(number)
        raise TimeoutError(f"Timed out waiting for result. The task {ref} has been ignored.")

    def _leave(self, number: int, actor_lives: bool = True) -> Any:
        """Ends the bookkeeping of a call and gives its actor the next one."""
        ref, actor = self._running.pop(number)
        self._returned = max(self._returned, number + 1)
        if actor_lives:
            self._release(actor)
        return ref

    def _await(self, numbers: list[int], timeout: float | None) -> int | None:
        """Returns the first of some calls that is over, or that cannot be waited for: `get` tells why. None: the time
        is over. What is raised here is an interrupt, or the caller's mistake: all results are still to come."""
        left = timeout
        try:
            end = None if timeout is None else time.monotonic() + timeout
            missing = {number: self._refs(number) for number in numbers}
            while True:
                for number, refs in missing.items():
                    if not refs:
                        return number
                last = {refs[-1]: number for number, refs in missing.items()}  # an actor makes that after the others
                ready, _ = ray.wait(list(last), timeout=left)
                if not ready:
                    return None
                missing[last[ready[0]]].pop()
                if end is not None:
                    left = max(0.0, end - time.monotonic())
        except Exception as error:
            if not shelter.was_sent(error):
                for number in numbers:
                    if self._is_lost(number):
                        return number
            raise

    def _refs(self, number: int) -> list[object]:
        returned = self._running[number][0]
        return list(returned) if isinstance(returned, list) else [returned]

    def _is_lost(self, number: int) -> bool:
        """Returns whether a call cannot be waited for: its runtime is gone, or what it has returned is no ref."""
        try:
            for ref in self._refs(number):
                ray.wait([ref], timeout=0)
        except Exception as error:
            if shelter.was_sent(error):
                raise
            return True
        return False

    def _finish(self, number: int) -> Any:
        try:
            value = ray.get(self._running[number][0])
        except exceptions.RayError as error:  # a dead actor would fail every further call
            self._leave(number, not isinstance(error, exceptions.ActorDiedError))
            raise
        except Exception as error:
            if not shelter.was_sent(error):  # else the result is still to come, as after a Ctrl-C
                self._leave(number)
            raise
        self._leave(number)
        return value

    def _release(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._queued:
            self.submit(*self._queued.popleft())

    def _take_all(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()

    def _drop_previous(self) -> None:
        while self.has_next():
            before = set(self._running)
            try:
                self.get_next_unordered(timeout=0, ignore_if_timedout=True)
            except Exception as error:
                if before <= self._running.keys():  # an interrupt
                    raise
                # of a call whose result nobody wants any more (as in Ray)
                logger.debug("A call that map() dropped had failed: %s", error)
