"""Results of a `Pool`: those to wait for, and iterators over results.

A pool's worker returns a batch: the values, and the places of those that are errors. So one bad item
doesn't take the others with it, and an error keeps the class that the user's function raised.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import TimeoutError
from typing import Any

from raynb import api as ray
from raynb import exceptions

#: Values of calls, with what was raised in the places of calls that failed; those places, in order.
Batch = tuple[list[Any], list[int]]
LOOK_SECONDS = 1.0  # a wait is begun anew so often: a Ctrl-C that came just before it is not seen while it lasts


def _read(ref: Any) -> Batch:
    """Returns a finished batch; what took the whole batch down counts as one failed item."""
    try:
        batch: Batch = ray.get(ref)
        return batch
    except exceptions.RayError as error:
        return [error], [0]


def _values(batch: Batch) -> list[Any]:
    values, failed = batch
    if failed:
        raise values[failed[0]]
    return values


class AsyncResult:
    """Results that may not be there yet; made by the ``_async`` methods of `Pool`.

    Thread contract: may be used from any thread. Callbacks run once, in a thread of the runtime:
    they should return quickly.
    """

    def __init__(
        self,
        refs: list[Any],
        callback: Callable[[Any], None] | None = None,
        error_callback: Callable[[BaseException], None] | None = None,
        single: bool = False,
    ) -> None:
        self._refs = refs
        self._single = single
        self._callback = callback
        self._error_callback = error_callback
        self._called = threading.Event()
        if callback is None and error_callback is None:
            self._called.set()
            return
        self._missing = len(refs)
        # The thread that calls back belongs to the runtime: it must see what the caller sees.
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        for ref in refs:
            ref.future().add_done_callback(self._one_done)
        if not refs:
            self._call_back()

    def _one_done(self, future: Any) -> None:
        with self._lock:
            self._missing -= 1
            last = self._missing == 0
        if last:
            self._context.run(self._call_back)

    def _call_back(self) -> None:
        try:
            value = self._value()
        except Exception as error:
            if self._error_callback is not None:
                self._error_callback(error)
        else:
            if self._callback is not None:
                self._callback(value)
        finally:
            self._called.set()

    def _value(self) -> Any:
        values = [value for ref in self._refs for value in _values(_read(ref))]
        return values[0] if self._single else values

    def wait(self, timeout: float | None = None) -> None:
        """Returns when the results are there, or after ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        if self._refs:
            ray.wait(self._refs, num_returns=len(self._refs), timeout=timeout)
        left = 0.0
        while left >= 0 and not self._called.wait(left):
            left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, end - time.monotonic())

    def get(self, timeout: float | None = None) -> Any:
        """Returns the results.

        Args:
            timeout: seconds to wait; None: as long as it takes.

        Raises:
            multiprocessing.TimeoutError: they are not there in time.
            Exception: what the function raised first.
        """
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        return self._value()

    def ready(self) -> bool:
        """Returns whether the results are there (and the callback has returned)."""
        if not self._called.is_set():
            return False
        return not self._refs or not ray.wait(self._refs, num_returns=len(self._refs), timeout=0)[1]

    def successful(self) -> bool:
        """Returns whether no call failed.

        Raises:
            ValueError: the results are not there yet.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return not any(_read(ref)[1] for ref in self._refs)


class IMapIterator:
    """The results of `Pool.imap`, in order; `next` takes a timeout.

    Chunks are submitted as results are taken, so the input may be endless. Thread contract: use
    one iterator from one thread.
    """

    def __init__(self, submit: Callable[[list[Any]], Any], chunks: Iterator[list[Any]], ahead: int) -> None:
        self._submit = submit
        self._chunks = chunks
        self._running: list[Any] = []
        self._ready: deque[tuple[bool, Any]] = deque()
        for _ in range(ahead):
            self._submit_next()

    def _submit_next(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is not None:
            self._running.append(self._submit(chunk))

    def _choose(self, timeout: float | None) -> Any:
        """Returns the chunk to take next, None if it isn't there in time."""
        ready, _ = ray.wait(self._running[:1], timeout=timeout)
        return ready[0] if ready else None

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """Returns the next result.

        Args:
            timeout: seconds to wait; None: as long as it takes.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: it is not there in time.
            Exception: what the function raised for this item.
        """
        while not self._ready:
            if not self._running:
                raise StopIteration
            ref = self._choose(timeout)
            if ref is None:
                raise TimeoutError
            self._running.remove(ref)
            self._submit_next()
            values, places = _read(ref)
            wrong = set(places)
            self._ready.extend((at in wrong, value) for at, value in enumerate(values))
        failed, value = self._ready.popleft()
        if failed:
            raise value
        return value


class UnorderedIMapIterator(IMapIterator):
    """The results of `Pool.imap_unordered`, as they are ready."""

    def _choose(self, timeout: float | None) -> Any:
        ready, _ = ray.wait(self._running, timeout=timeout)
        return ready[0] if ready else None
