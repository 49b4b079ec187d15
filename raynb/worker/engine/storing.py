"""Where a worker puts what it makes, and how it reads what it is given."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef
from raynb.exceptions import ObjectStoreAndDiskFullError, OutOfDiskError
from raynb.serde import pickling
from raynb.store import NoRoom
from raynb.wire import messages as w
from raynb.worker import state
from raynb.worker.engine.requests import Requests

if TYPE_CHECKING:
    from raynb.worker.main import Worker

SOON = 0.0003  # seconds after a frame in which the next message waits for company


class Storing:
    """The part of `WorkerEngine` that stores and reads objects.

    Thread contract: as `WorkerEngine`.
    """

    worker: Worker
    requests: Requests
    ref_log: deque[int]
    _ids: ids.IdSource
    _lock: threading.Lock
    _arena_told: bool

    def read(self, value: Any, object_id: int) -> tuple[Any, Any]:
        """Reads a location without a copy; the pin is a hold on the object."""
        log = self.ref_log
        log.append(~object_id)
        try:
            return self.worker.store.read(value, functools.partial(log.append, object_id))
        except BaseException:
            log.append(object_id)
            raise

    def place(self, packed: Packed) -> tuple[Any, int, tuple[int, ...]]:
        """Puts a packed value where it belongs; returns (value, bytes, contained ids)."""
        contained = tuple(ref._id for ref in packed.contained) if packed.contained else ()
        size = pickling.nbytes(packed)
        if size <= self.worker.settings["inline_limit"]:
            data = pickling.in_band(packed)
            return data, len(data), contained
        location = self._write(packed, size)
        if location[0] == "shm" and not self._arena_told:
            self._tell_arena()
        return location, location[-2], contained  # as it lies there, with what aligns it

    def _write(self, packed: Packed, size: int) -> Any:
        store = self.worker.store
        for attempt in range(3):
            try:
                return store.write(packed.data, packed.buffers)
            except NoRoom:
                if size > store.limit or (attempt and not self.requests.call("make_room", size)):
                    break
                if not attempt:
                    self.worker.link.read_beside()  # what was freed meanwhile
        try:
            return store.write_file(packed.data, packed.buffers)
        except OutOfDiskError as error:
            raise ObjectStoreAndDiskFullError(self.requests.call("store_full", size, str(error))) from error

    def _tell_arena(self) -> None:
        with self._lock:
            if self._arena_told:
                return
            self._arena_told = True
        fd = self.worker.store.fd
        assert fd is not None
        self.worker.link.send_fd(w.Arena(self.worker.number), os.dup(fd))

    def put(self, packed: Packed) -> ObjectRef[Any]:
        return self.put_stored(*self.place(packed))

    def put_stored(self, value: Any, size: int, contained: tuple[int, ...]) -> ObjectRef[Any]:
        """Makes an object of what has its place already, or of an error."""
        running = state.current()
        with self._lock:
            object_id = self._ids.next_put()
            self.worker.books.own(object_id)
            self.worker.link.post(w.Put(object_id, value, size, contained, running.scope if running else 0))
        self.worker.link.soon(SOON)
        return ObjectRef(object_id, self)  # type: ignore[arg-type]
