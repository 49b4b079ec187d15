"""Room in the store: puts wait for it, and objects nobody reads go to disk to make it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base.engine import Packed
from raynb.core import events as e
from raynb.core import spilling
from raynb.exceptions import ObjectStoreFullError, OutOfDiskError
from raynb.serde import pickling
from raynb.store import NoRoom, UnknownArena

if TYPE_CHECKING:
    from raynb.engine.local import LocalEngine


class Room:
    """Thread contract: `place` and `make` from any thread, `ask` under the engine's lock."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._making = threading.Lock()

    def place(self, packed: Packed) -> tuple[Any, int]:
        """Puts a value where it belongs; returns (value, bytes). Makes room if there is none.

        Raises:
            ObjectStoreFullError: neither the store nor the disk can take it.
        """
        engine = self.engine
        size = pickling.nbytes(packed)
        if size <= engine.config.inline_limit:
            data = pickling.in_band(packed)
            return data, len(data)
        store = engine.store
        if size <= store.limit:
            for _ in range(3):
                try:
                    location = store.write(packed.data, packed.buffers)
                    return location, location[-2]
                except NoRoom:
                    if not self.make(size):
                        break
        try:
            location = store.write_file(packed.data, packed.buffers)
            return location, location[-2]
        except OutOfDiskError as error:
            with engine.loop.lock:
                who = spilling.holders(engine.machine)
            raise ObjectStoreFullError(
                f"an object of {size / 1e6:.1f} MB fits neither into the object store "
                f"({store.total() / 1e6:.1f} of {store.limit / 1e6:.1f} MB used) nor on the spill disk ({error}). "
                f"The largest objects:\n{who}\nDelete refs to them, or raise object_store_memory."
            ) from error

    def make(self, size: int) -> bool:
        """Spills objects until ``size`` bytes are free; returns whether that worked."""
        engine = self.engine
        with self._making:
            with engine.loop.lock:
                engine.loop.settle(time.monotonic())
            engine.loop.run_callbacks()  # what was just dropped may be enough
            with engine.loop.lock:
                need = engine.store.total() + size - engine.store.limit
                chosen = [(o.id, o.value) for o in spilling.candidates(engine.machine, need)] if need > 0 else []
            engine.loop.flush()
            for identity, value in chosen:
                self._spill(identity, value)
        return self._wait_for_room(size)

    def _spill(self, identity: int, value: Any) -> None:
        engine = self.engine
        try:
            where = engine.store.spill(value)
        except UnknownArena:
            return
        except OutOfDiskError as error:
            engine.warn(f"spilling to disk failed: {error}")
            return
        engine.loop.tell(e.ObjectMoved(time.monotonic(), identity, where))

    def _wait_for_room(self, size: int) -> bool:
        """Workers free their ranges a moment after they are told."""
        store = self.engine.store
        deadline = time.monotonic() + 0.5
        pause = threading.Event()
        while store.total() + size > store.limit:
            if time.monotonic() > deadline:
                return False
            pause.wait(0.001)
        return True

    # -- for workers ---------------------------------------------------------------------------
    def ask(self, size: int, answer: Callable[[bool], None]) -> None:
        """Makes room on a thread of its own, then answers."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="raynb-room", daemon=True)
            self._thread.start()
        self._asked.put((size, answer))

    def _serve(self) -> None:
        engine = self.engine
        while True:
            asked = self._asked.get()
            if asked is None:
                return
            size, answer = asked
            made = self.make(size)
            with engine.loop.lock:
                answer(made)
            engine.loop.flush()

    def stop(self) -> None:
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join(5.0)
