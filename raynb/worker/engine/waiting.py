"""`get`, `wait`, futures, `await` and streams in a worker."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable, Sequence
from typing import Any

from raynb.base.engine import Engine
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef
from raynb.exceptions import GetTimeoutError
from raynb.serde import values
from raynb.wire import messages as w
from raynb.worker import state
from raynb.worker.engine.borrowed_refs import BorrowedRefs
from raynb.worker.engine.callbacks import CallbackThreads
from raynb.worker.engine.requests import Make, OpenRequests
from raynb.worker.engine.storing import ObjectGone, Storing


class Waiting:
    """Waits for objects and for the items of streams.

    Thread contract: every method from any thread.
    """

    def __init__(self, engine: Engine, requests: OpenRequests, storing: Storing, borrowed: BorrowedRefs) -> None:
        self._engine = engine
        self._requests = requests
        self._read, self._read_once, self._ask_again = storing.read, storing.read_once, storing.ask_again
        self._returned = borrowed.returned
        self._callbacks = CallbackThreads()
        self._known_ready: set[int] = set()  # objects that were ready at the last `wait`

    def _ask(self, ids_: tuple[int, ...], needed: int, is_wait: bool) -> Make:
        running = state.current()
        task = running.task if running else 0
        return lambda number, control, handed: w.Ask(number, task, ids_, needed, is_wait, handed, control)

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """Waits for the values (seconds; None: for ever) and returns them; raises the first error."""
        if not refs:
            return []
        wanted = tuple(ref._id for ref in refs)
        read: values.Read = self._read
        if timeout is not None:
            read = functools.partial(self._read, deadline=time.monotonic() + timeout)
        answer = self._requests.wait(self._ask(wanted, len(wanted), False), timeout)
        if answer is None:
            raise GetTimeoutError(f"Get timed out: some object(s) not ready after {timeout} s.")
        try:
            loaded = self._load(wanted, answer, read)
        finally:
            self._returned(answer.lent)
        for item in loaded:
            if type(item) is values.Failed:
                try:
                    raise item.error
                finally:  # or this frame and the error would keep each other, and what callers hold
                    del item, loaded
        return loaded

    def _load(self, wanted: tuple[int, ...], answer: Any, read: values.Read) -> list[Any]:
        loaded: list[Any] = []
        for identity, value in zip(wanted, answer.values, strict=False):
            item = values.load(value, identity, read)
            loaded.append(item)
            if type(item) is values.Failed:
                break
        return loaded

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """Waits until ``num_returns`` objects are ready or ``timeout`` seconds are over; returns (ready, not ready)."""
        known = self._known_ready  # another thread, or a destructor, may set another one at any time
        ready = self._first_known(refs, num_returns, known)
        if len(ready) < num_returns:
            wanted = tuple(ref._id for ref in refs)
            answer = None
            if timeout is None or timeout > 0:
                answer = self._requests.wait(self._ask(wanted, num_returns, True), timeout)
            if answer is None:
                answer = self._requests.wait(self._ask(wanted, 0, True), None)
            # In a loop over what is left, most of these are waited for again: nobody is asked twice.
            known = set(answer.ids)
            ready = self._first_known(refs, num_returns, known)
        known.difference_update([refs[at]._id for at in ready])
        self._known_ready = known
        rest = list(refs)
        for at in reversed(ready):
            del rest[at]
        return [refs[at] for at in ready], rest

    @staticmethod
    def _first_known(refs: Sequence[ObjectRef[Any]], most: int, known: set[int]) -> list[int]:
        """Returns the places of the first ``most`` that were ready at the last look."""
        ready: list[int] = []
        if known:
            for at, ref in enumerate(refs):
                if ref._id in known:
                    ready.append(at)
                    if len(ready) == most:
                        break
        return ready

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """Returns a future of the object's value."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        wanted = (ref._id,)

        def answered(answer: Any) -> None:
            try:
                item = self._load(wanted, answer, self._read_once)[0]
            except ObjectGone as gone:
                self._requests.later(self._ask_again(gone), functools.partial(self._callbacks.run, answered))
                return
            except BaseException as error:
                item = values.Failed(error)
            finally:
                self._returned(answer.lent)
            if type(item) is values.Failed:
                future.set_exception(item.error)
            else:
                future.set_result(item)
            future.raynb_ref = None  # type: ignore[attr-defined]

        future.raynb_ref = ref  # type: ignore[attr-defined]  # the object must live until it is read
        # Unpickling and done-callbacks are the user's code: not on the thread that reads the answers.
        self._requests.later(self._ask(wanted, 1, False), functools.partial(self._callbacks.run, answered))
        return future

    def awaitable(self, ref: ObjectRef[Any]) -> Any:
        """Returns a coroutine that waits for the object's value without blocking the event loop."""
        async def wait() -> Any:
            wanted = (ref._id,)
            make = self._ask(wanted, 1, False)
            while True:
                answer = await self._answer(make)
                try:
                    item = self._load(wanted, answer, self._read_once)[0]
                    break
                except ObjectGone as gone:  # waited for here, without holding up the loop
                    make = self._ask_again(gone)
                finally:
                    self._returned(answer.lent)
            if type(item) is values.Failed:
                try:
                    raise item.error
                finally:
                    del item
            return item

        return wait()

    async def _answer(self, make: Make) -> Any:
        """Sends a request, and returns the answer with the objects that it lends."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()  # who cancels the waiting must not keep the answer from coming
        self._requests.later(make, future.set_result)
        try:
            return await asyncio.wrap_future(future)
        except BaseException:  # now or later: nobody else gives back what the answer lends
            future.add_done_callback(lambda done: self._returned(done.result().lent))
            raise

    # -- streams -------------------------------------------------------------------------------
    def _ask_item(self, task: int, index: int) -> Make:
        running = state.current()
        mine = running.task if running else 0
        return lambda number, control, handed: w.NextItem(number, mine, task, index, handed, control)

    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[Any] | None:
        """Waits for item ``index`` (seconds; None: for ever); returns its ref, or None when the stream ended before it.

        """
        answer = self._requests.wait(self._ask_item(task, index), timeout)
        if answer is None:
            raise GetTimeoutError(f"no item within {timeout} s")
        return self._item(answer)

    def _item(self, answer: Any) -> ObjectRef[Any] | None:
        if not answer.ids:
            return None
        ref: ObjectRef[Any] = self._engine.adopt(answer.ids[0], self._engine.nonce)
        self._returned(answer.lent)
        return ref

    async def next_item_async(self, task: int, index: int) -> ObjectRef[Any] | None:
        """Waits for item ``index`` without blocking the event loop; returns None when the stream ended before it."""
        return self._item(await self._answer(self._ask_item(task, index)))

    def stream_finished(self, task: int, index: int) -> bool:
        """Returns whether the stream has ended before item ``index``."""
        return bool(self._requests.call("stream_is_finished", task, index))

    def at_stream_end(self, position: list[int]) -> Callable[[], object]:
        """Returns the function that releases the stream when its generator object is released."""
        return functools.partial(self._drop_stream, position)

    def _drop_stream(self, position: list[int]) -> None:
        self._requests.post(w.DropStream(*position))

    def item_is_ready(self, task: int, index: int) -> bool:
        """Returns whether `next_item` would return at once."""
        return bool(self._requests.call("item_is_ready", task, index))
