"""`Pool`: the interface of ``multiprocessing.Pool`` on actors of the runtime."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from raynb import api as ray
from raynb.exceptions import RuntimeGoneError
from raynb.util._private import private
from raynb.util.multiprocessing.results import AsyncResult, Batch, IMapIterator, UnorderedIMapIterator

logger = logging.getLogger(__name__)


class _PoolWorker:
    """Runs batches of calls, one batch after the other."""

    def __init__(self, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]) -> None:
        if initializer is not None:
            initializer(*initargs)

    def ping(self) -> None:
        """Answers once the worker is there."""

    def call(self, func: Callable[..., object], given: tuple[Any, Any]) -> object:
        """Makes one call; ``given``: its arguments and keywords, None for none. Returns a batch of it."""
        return private(_run(lambda given: func(*(given[0] or ()), **(given[1] or {})), [given]))

    def run(self, func: Callable[..., object], items: list[Any], unpack: bool) -> object:
        """Calls the function for each item, or (``unpack``) with its parts; returns a batch of it."""
        return private(_run((lambda item: func(*item)) if unpack else func, items))


def _run(call: Callable[..., object], items: list[Any]) -> Batch:
    values: list[object] = []
    failed: list[int] = []
    for item in items:
        try:
            values.append(call(item))
        except Exception as error:
            failed.append(len(values))
            values.append(error)
    return values, failed


class Pool:
    """A pool of worker processes with the interface of ``multiprocessing.Pool``.

    Thread contract: may be used from any thread as long as one thread submits at a time.

    Args:
        processes: how many workers; None: as many as the runtime has CPUs.
        initializer: called in each worker when it starts.
        initargs: its arguments.
        maxtasksperchild: batches after which a worker is replaced; None: never.
        context: accepted for compatibility; the runtime starts the processes.
        ray_address: passed to ``init`` if no runtime runs.
        ray_remote_args: actor options of the workers; they take no CPU unless these say so.

    Raises:
        ValueError: ``processes`` is below 1 or more than the runtime has CPUs.

    Example:
        >>> from raynb.util.multiprocessing import Pool
        >>> with Pool(2) as pool:
        ...     pool.map(abs, [-1, -2])
        [1, 2]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        if context is not None:
            logger.warning("Pool ignores 'context': the runtime starts the worker processes.")
        self._closed = False
        self._initializer = initializer
        self._initargs = tuple(initargs or ())
        self._limit = maxtasksperchild
        self._worker_class = ray.remote(_PoolWorker).options(**{"num_cpus": 0, **(ray_remote_args or {})})
        count = _processes(processes, ray_address)
        self._workers: list[tuple[Any, int]] = [self._new_worker() for _ in range(count)]
        self._turn = 0
        self._ending: list[Any] = []
        ray.get([worker.ping.remote() for worker, _ in self._workers])

    def _new_worker(self) -> tuple[Any, int]:
        return self._worker_class.remote(self._initializer, self._initargs), 0

    # -- submitting ----------------------------------------------------------------------------
    def _send(self, submit: Callable[[Any], object]) -> object:
        """Has a batch submitted to the next worker in turn; returns its ref."""
        index = self._turn
        self._turn = (index + 1) % len(self._workers)
        worker, used = self._workers[index]
        ref = submit(worker)
        self._workers[index] = (worker, used + 1)
        if self._limit is not None and used + 1 >= self._limit:
            self._workers[index] = self._new_worker()  # first: whatever interrupts this, no batch goes to one that ends
            self._stop_worker(worker)
        return ref

    def _run(self, func: Callable[..., object], items: list[Any], unpack: bool = False) -> object:
        """Gives calls of a function to a worker, as one batch; returns its ref."""
        return self._send(lambda worker: worker.run.remote(func, private(items), unpack))

    def _stop_worker(self, worker: Any) -> None:
        # Ends after the batches it was given.
        if self._ending:
            _, self._ending = ray.wait(self._ending, num_returns=len(self._ending), timeout=0)
        self._ending.append(worker.__ray_terminate__.remote())

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        unpack: bool,
        callback: Callable[[Any], None] | None = None,
        error_callback: Callable[[BaseException], None] | None = None,
    ) -> AsyncResult:
        self._check_running()
        items = [tuple(item) for item in iterable] if unpack else list(iterable)
        size = _chunk_size(chunksize, len(items), len(self._workers))
        refs = [self._run(func, items[at : at + size], unpack) for at in range(0, len(items), size)]
        return AsyncResult(refs, callback, error_callback)

    def apply(self, func: Callable[..., Any], args: Any = None, kwargs: Any = None) -> Any:
        """Calls ``func(*args, **kwargs)`` in a worker and returns its result.

        Raises:
            ValueError: the pool was closed.
        """
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callable[[Any], None] | None = None,
        error_callback: Callable[[BaseException], None] | None = None,
    ) -> AsyncResult:
        """As `apply`, without waiting.

        Args:
            func: what to call.
            args: its arguments.
            kwargs: its keyword arguments.
            callback: called with the result.
            error_callback: called with the exception, if there is one.

        Returns:
            An `AsyncResult` of it.

        Raises:
            ValueError: the pool was closed.
        """
        self._check_running()
        ref = self._send(lambda worker: worker.call.remote(func, private((args, kwargs))))
        return AsyncResult([ref], callback, error_callback, single=True)

    def map(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Returns ``[func(x) for x in iterable]``, computed by the workers.

        Args:
            func: a function of one argument.
            iterable: its inputs.
            chunksize: how many inputs make one batch; None: four batches a worker.

        Raises:
            ValueError: the pool was closed, or ``chunksize`` is below 1.
        """
        return list(self._map_async(func, iterable, chunksize, False).get())

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], None] | None = None,
        error_callback: Callable[[BaseException], None] | None = None,
    ) -> AsyncResult:
        """As `map`, without waiting.

        Args:
            func: a function of one argument.
            iterable: its inputs.
            chunksize: how many inputs make one batch; None: four batches a worker.
            callback: called with the whole list.
            error_callback: called with the exception, if there is one.

        Returns:
            An `AsyncResult` of the list.

        Raises:
            ValueError: the pool was closed, or ``chunksize`` is below 1.
        """
        return self._map_async(func, iterable, chunksize, False, callback, error_callback)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Returns ``[func(*args) for args in iterable]``, computed by the workers.

        Args:
            func: a function of several arguments.
            iterable: tuples of its arguments.
            chunksize: how many inputs make one batch; None: four batches a worker.

        Raises:
            ValueError: the pool was closed, or ``chunksize`` is below 1.
        """
        return list(self._map_async(func, iterable, chunksize, True).get())

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], None] | None = None,
        error_callback: Callable[[BaseException], None] | None = None,
    ) -> AsyncResult:
        """As `starmap`, without waiting.

        Args:
            func: a function of several arguments.
            iterable: tuples of its arguments.
            chunksize: how many inputs make one batch; None: four batches a worker.
            callback: called with the whole list.
            error_callback: called with the exception, if there is one.

        Returns:
            An `AsyncResult` of the list.

        Raises:
            ValueError: the pool was closed, or ``chunksize`` is below 1.
        """
        return self._map_async(func, iterable, chunksize, True, callback, error_callback)

    def imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator:
        """As `map`, lazily: takes inputs and gives results one by one, in order.

        Args:
            func: a function of one argument.
            iterable: its inputs; may be endless.
            chunksize: how many inputs make one batch; None: 1 for an iterator, four batches a worker for a list.

        Returns:
            An iterator of the results.

        Raises:
            ValueError: the pool was closed, or ``chunksize`` is below 1.
        """
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator:
        """As `imap`, with the results in the order in which they are ready.

        Args:
            func: as of `imap`.
            iterable: as of `imap`.
            chunksize: as of `imap`.

        Returns:
            An iterator of the results.

        Raises:
            ValueError: the pool was closed, or ``chunksize`` is below 1.
        """
        return self._imap(UnorderedIMapIterator, func, iterable, chunksize)

    def _imap(
        self,
        kind: type[IMapIterator],
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
    ) -> IMapIterator:
        self._check_running()
        known = len(iterable) if isinstance(iterable, Sized) else 1
        size = _chunk_size(chunksize, known, len(self._workers))
        # Two batches a worker: one runs while the next waits.
        return kind(
            lambda chunk: self._run(func, chunk),
            _chunks(iter(iterable), size),
            2 * len(self._workers),
        )

    # -- ending --------------------------------------------------------------------------------
    def close(self) -> None:
        """Takes no more work; what was submitted still runs."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(RuntimeGoneError):  # the workers are gone with their runtime
                for worker, _ in self._workers:
                    self._stop_worker(worker)

    def terminate(self) -> None:
        """Takes no more work and ends the workers at once."""
        self._closed = True
        with contextlib.suppress(RuntimeGoneError):
            for worker, _ in self._workers:
                ray.kill(worker)

    def join(self) -> None:
        """Waits until the workers of a closed pool have ended.

        Raises:
            ValueError: the pool was not closed.
        """
        if not self._closed:
            raise ValueError("Pool is still running")
        if self._ending:
            with contextlib.suppress(RuntimeGoneError):
                ray.wait(self._ending, num_returns=len(self._ending))
            self._ending = []

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.terminate()


def _processes(wanted: int | None, address: str | None) -> int:
    if not ray.is_initialized():
        options: dict[str, Any] = {} if address is None else {"address": address}
        if wanted is not None and wanted > 0 and address in (None, "local"):
            options["num_cpus"] = wanted
        ray.init(**options)
    cpus = int(ray.cluster_resources().get("CPU", 0))
    count = cpus if wanted is None else wanted
    if count <= 0:
        raise ValueError("Processes in the pool must be >0.")
    if count > cpus:
        raise ValueError(
            f"Pool(processes={count}) asks for more than the {cpus} CPUs of the running runtime; "
            f"ask for fewer, or init(num_cpus={count})."
        )
    return count


def _chunk_size(wanted: int | None, items: int, workers: int) -> int:
    if wanted is not None:
        if wanted < 1:
            raise ValueError(f"chunksize must be 1 or more, not {wanted}")
        return wanted
    return max(1, -(-items // (4 * workers)))


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk
