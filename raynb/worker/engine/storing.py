"""Stores what a worker makes, and reads what it is given."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from raynb.base import ids
from raynb.base.engine import Engine, Packed
from raynb.base.process import headroom
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef
from raynb.exceptions import GetTimeoutError, ObjectLostError, ObjectStoreAndDiskFullError, OutOfDiskError
from raynb.serde import pickling
from raynb.serde.errors import load_error
from raynb.store import NoRoom
from raynb.wire import messages as w
from raynb.worker import state
from raynb.worker.engine.requests import Make, OpenRequests

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess

BATCH_SECONDS = 0.0003  # seconds after a frame in which the next message waits for company


class ObjectGone(Exception):
    """Raised when the bytes of an object are not where the driver said."""

    def __init__(self, object_id: int, value: Any, why: str) -> None:
        super().__init__(why)
        self.object_id = object_id
        self.value = value


class Storing:
    """Stores values, and reads objects in place.

    Thread contract: every method from any thread.
    """

    def __init__(self, engine: Engine, worker: WorkerProcess, requests: OpenRequests, numbers: ids.IdSource) -> None:
        self._engine = engine
        self._worker = worker
        self._requests = requests
        self._ids = numbers
        self._ref_log = worker.borrowed.log
        self._arena_sent = False

    def read(self, value: Any, object_id: int, deadline: float | None = None) -> tuple[Any, Any]:
        """Reads a location without a copy. If the bytes are gone, waits until they are made again, as a `get`
        does: in place, so that an actor's calls stay in order, and without the task's CPU.

        Raises:
            ObjectLostError: they can't be made again.
            GetTimeoutError: they were not within the deadline.
        """
        while True:
            try:
                return self.read_once(value, object_id)
            except ObjectGone as gone:
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                answer = self._requests.wait(self.ask_again(gone), left)
            if answer is None:
                raise GetTimeoutError("Get timed out while a lost object was being made again.")
            running = state.current()
            if running is not None:
                running.late += answer.lent  # what the value contains must live until the task has it
            else:
                self._worker.borrowed.returned(answer.lent)
            value = answer.values[0]
            if type(value) is bytes:
                return pickling.unpack_in_band(value)
            if value is not None and value[0] in ("exc", "err"):
                raise load_error(value)

    def ask_again(self, gone: ObjectGone) -> Make:
        """Reports that an object's bytes are gone; returns the request for its value."""
        running = state.current()
        task = running.task if running else 0
        if gone.value is not None:
            self._worker.link.post(w.Lost(gone.object_id, gone.value, str(gone)))
        return lambda number, control, handed: w.Ask(number, task, (gone.object_id,), 1, False, handed, control)

    def read_once(self, value: Any, object_id: int) -> tuple[Any, Any]:
        """Reads a location without a copy; the pin is a hold on the object. Raises `ObjectGone`, also for None: what
        was lost after its reader was queued, and is being made again."""
        if value is None:
            raise ObjectGone(object_id, None, "lost before its reader was sent")
        log = self._ref_log
        log.append(~object_id)
        try:
            return self._worker.store.read(value, functools.partial(log.append, object_id))
        except BaseException as error:
            log.append(object_id)
            if isinstance(error, ObjectLostError):
                raise ObjectGone(object_id, value, str(error)) from error
            raise

    def place(self, packed: Packed) -> tuple[Any, int, tuple[int, ...]]:
        """Places a packed value in the message, the store or a file; returns (value, bytes, contained ids)."""
        contained = tuple(ref._id for ref in packed.contained) if packed.contained else ()
        size = pickling.nbytes(packed)
        if size <= self._worker.settings["inline_limit"]:
            data = pickling.in_band(packed)
            return data, len(data), contained
        location = self._write(packed, size)
        if location[0] == "shm" and not self._arena_sent:
            self._send_arena()
        return location, location[-2], contained  # as it lies there, with what aligns it

    def _write(self, packed: Packed, size: int) -> Any:
        headroom.check()  # what was written and not reported would lie there for ever
        store, refused = self._worker.store, ""
        for attempt in range(3):
            try:
                return store.write(packed.data, packed.buffers)
            except NoRoom as no_room:
                refused = no_room.refused
                if size > store.limit or (attempt and not self._requests.call("make_room", size)):
                    break
                if not attempt:
                    self._worker.link.read_beside()  # what was freed meanwhile
        try:
            return store.write_file(packed.data, packed.buffers)
        except OutOfDiskError as error:
            why = f"{error}{refused}"
            raise ObjectStoreAndDiskFullError(self._requests.call("store_full", size, why)) from error

    def _send_arena(self) -> None:
        fd = self._worker.store.fd
        assert fd is not None
        self._worker.link.send_fd(w.Arena(self._worker.number), os.dup(fd))
        self._arena_sent = True  # another thread may have sent it, too: a second one is closed where it comes

    def put(self, packed: Packed) -> ObjectRef[Any]:
        """Stores a packed value; returns its ref."""
        return self.put_stored(*self.place(packed))

    def put_stored(self, value: Any, size: int, contained: tuple[int, ...]) -> ObjectRef[Any]:
        """Makes an object of a placed value, or of an error; returns its ref."""
        running = state.current()
        object_id = self._ids.next_put()
        self._worker.borrowed.own(object_id)
        # The ref before the message: whatever exception comes, it is given back when it dies.
        ref: ObjectRef[Any] = self._engine.new_ref(object_id, self._engine)
        self._worker.link.post(w.Put(object_id, value, size, contained, running.scope if running else 0))
        self._worker.link.maybe_flush(BATCH_SECONDS)
        return ref
