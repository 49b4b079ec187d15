"""Spills objects to disk when the store is full; puts wait for the room."""

from __future__ import annotations

import contextvars
import gc
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from raynb.base import ids
from raynb.base.engine import Engine, Packed
from raynb.base.process import strikes, trace
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef
from raynb.base.scope import current_scope
from raynb.core.objects import spilling
from raynb.core.vocabulary import events as e
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.seams import Storage
from raynb.engine.refs import OwnRefs
from raynb.exceptions import ObjectStoreAndDiskFullError, OutOfDiskError, RayError, RaySystemError
from raynb.serde import pickling
from raynb.store import NoRoom, UnknownArena

RETRY_SECONDS = 0.05  # where memory was too short even for an answer
STARVED_TRIES = 10  # after so many, the thread that waits in `get` is told
COLLECT_SECONDS = 1.0  # the garbage collector is not run more often than this
PATIENCE_SECONDS = 2.0  # seconds for which destructors, and who makes room at the same time, are waited for
NAMES_MAX_ITEMS = 1_000  # containers longer than this are not looked into for names


def names_of_refs(namespace: Mapping[str, object]) -> dict[int, list[str]]:
    """Returns object id → the notebook's or script's names for it: variables, items in them, and ``Out[5]``."""
    found: dict[int, list[str]] = {}
    for name, value in dict(namespace).items():
        if name.startswith("_"):  # IPython's other names of Out[5]
            continue
        inside: Any = ()
        if isinstance(value, (list, tuple)) and len(value) <= NAMES_MAX_ITEMS:
            inside = enumerate(value)
        elif isinstance(value, dict) and len(value) <= NAMES_MAX_ITEMS:
            inside = list(value.items())
        for key, item in ((None, value), *inside):
            if isinstance(item, ObjectRef):
                found.setdefault(item._id, []).append(name if key is None else f"{name}[{key!r}]")
    return found


class Spilling:
    """Stores the driver's values, and frees bytes by spilling.

    Args:
        engine: whose refs it makes.
        warn: prints a warning.
        let_go: has workers drop what they keep for a post-mortem. Under the lock.

    Thread contract: `place` and `make` from any thread, `ask` under the engine's lock.
    """

    def __init__(
        self, engine: Engine, loop: Loop, store: Storage, refs: OwnRefs, numbers: ids.IdSource, inline_limit: int,
        warn: Callable[[str], None], let_go: Callable[[], None],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._loop = loop
        self._machine = loop.machine
        self._store = store
        self._refs = refs
        self._ids = numbers
        self._inline_limit = inline_limit
        self._warn = warn
        self._let_go = let_go
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._making = threading.RLock()  # what the collector runs meanwhile may put something, too
        self._moving = False  # a thread that has it moves what it has chosen
        self._collected = 0.0

    def put(self, packed: Packed) -> ObjectRef[object]:
        """Stores a value of the driver's; returns its ref. Raises as `place` does."""
        loop = self._loop
        contained = self._refs.ids_of(packed.contained) if packed.contained else ()
        value, size = self.place(packed)
        now = time.monotonic()
        with loop.lock:
            dropped = bool(loop.ref_log or loop.view_log)
            if dropped:
                loop.drain_logs(now)
            object_id = self._ids.next_put()
            loop.apply(e.ObjectStored(now, object_id, value, size, contained, 0, current_scope()))
            ref: ObjectRef[object] = self._engine.new_ref(object_id, self._engine)
        if dropped:
            loop.flush()
            loop.run_callbacks()
        return ref

    def place(self, packed: Packed) -> tuple[Any, int]:
        """Puts a value where it belongs; returns (value, bytes). Makes room if there is none.

        Raises:
            ObjectStoreAndDiskFullError: neither the store nor the disk can take it.
        """
        size = pickling.nbytes(packed)
        if size <= self._inline_limit:
            data = pickling.in_band(packed)
            return data, len(data)
        loop = self._loop
        if loop.ref_log or loop.view_log:
            with loop.lock:  # what was dropped gives its room back first
                loop.drain_logs(time.monotonic())
            loop.flush()
            loop.run_callbacks()
        store, refused = self._store, ""
        if size <= store.limit:
            for _ in range(3):
                try:
                    location = store.write(packed.data, packed.buffers)
                    return location, location[-2]
                except NoRoom as no_room:
                    refused = no_room.refused
                    if not self.make(size):
                        break
        try:
            location = store.write_file(packed.data, packed.buffers)
            return location, location[-2]
        except OutOfDiskError as error:
            raise ObjectStoreAndDiskFullError(self.full(size, f"{error}{refused}")) from error

    def full(self, size: int, why: str) -> str:
        """Returns the error text of a full store; ``why``: the disk's error."""
        named = names_of_refs(vars(sys.modules["__main__"]))
        with self._loop.lock:
            return spilling.full(
                self._machine, size, self._store.total(), self._store.limit, why, named
            )

    def make(self, size: int) -> bool:
        """Spills objects until ``size`` bytes are free; returns whether that worked."""
        with self._making:
            if self._moving:
                # A destructor, in the middle of it: to move the same objects, and to write where they were, would
                # give them its value. So that goes to a file.
                return False
            try:
                self._moving = True
                self._move_out(size)
            finally:
                self._moving = False
        return self._wait_for_room(size)

    def _move_out(self, size: int) -> None:
        with self._loop.lock:
            self._loop.drain_logs(time.monotonic())
        self._loop.run_callbacks()  # what was just dropped may be enough
        with self._loop.lock:
            chosen, lacking = self._choose(size)
            if lacking > 0:
                self._let_go()
        if lacking > 0 and self._collect():
            with self._loop.lock:
                self._loop.drain_logs(time.monotonic())
                chosen, lacking = self._choose(size)
        self._loop.flush()
        for identity, value in chosen:
            self._spill(identity, value)

    def _choose(self, size: int) -> tuple[list[tuple[int, Any]], int]:
        """Returns (objects to spill, bytes still missing after that). Under the lock."""
        store = self._store
        need = store.total() + size - store.limit
        chosen = spilling.candidates(self._machine, need) if need > 0 else []
        return [(o.id, o.value) for o in chosen], need - sum(o.size for o in chosen)

    def _collect(self) -> bool:
        """Runs the garbage collector before a put is refused: views in cycles are released, as in Ray."""
        now = time.monotonic()
        if now - self._collected < COLLECT_SECONDS or not self._store.live_views():
            return False
        self._collected = now
        # On a thread of its own, and not waited for without an end: a destructor may wait for a task whose worker asks
        # for room, and whoever is to make that would be the thread that waits for the destructor, or for its lock.
        here = contextvars.copy_context()  # the runtime and the cell that a destructor's calls are for
        collecting = threading.Thread(target=here.run, args=(gc.collect,), name="raynb-collect", daemon=True)
        try:
            collecting.start()
        except RuntimeError:  # no thread can be made
            return False
        collecting.join(PATIENCE_SECONDS)
        return True

    def _spill(self, identity: int, value: Any) -> None:
        try:
            where = self._store.spill(value)
        except UnknownArena:
            return
        except OutOfDiskError as error:
            self._warn(f"spilling to disk failed: {error}")
            return
        self._loop.dispatch(e.ObjectMoved(time.monotonic(), identity, where))

    def _wait_for_room(self, size: int) -> bool:
        """Waits a moment for workers to free their ranges."""
        store = self._store
        objects = self._machine.objects
        deadline = time.monotonic() + 0.5
        while store.total() + size > store.limit:
            if objects.shared_bytes + size > store.limit or time.monotonic() > deadline:
                return False  # what is there is being read: no use to wait for that
            time.sleep(0.001)  # a Ctrl-C in `Event.wait` may come out as a RuntimeError
        return True

    # -- for workers ---------------------------------------------------------------------------
    def ask(self, size: int, answer: Callable[[bool], None]) -> None:
        """Makes room on a thread of its own, then answers. Under the lock."""
        if self._thread is None:
            try:
                thread = strikes.OwnThread(self._serve, "raynb-room")
                thread.start()
            except RuntimeError as error:  # no thread can be made: the worker learns that there is no room
                trace.swallowed("starting a thread that makes room", error)
                answer(False)
                return
            self._thread = thread
        self._asked.put((size, answer))

    @strikes.safe
    def _serve(self) -> None:
        while True:
            asked = self._asked.get()
            if asked is None:
                return
            size, answer = asked
            made = False
            try:
                made = self._attempt(size)
            except (MemoryError, RuntimeError):  # "can't allocate lock"
                pass  # there was not even enough to tell of it
            tries = 0
            while not self._answered(answer, made):
                time.sleep(RETRY_SECONDS)
                if self._loop.health.failure is not None:
                    return
                tries += 1
                if not tries % STARVED_TRIES:  # whoever waits for that worker may have the memory
                    self._loop.waiters.starve()
            if tries >= STARVED_TRIES:  # nobody has waited: who reads next has no reason to raise it
                self._loop.waiters.starved = False

    def _attempt(self, size: int) -> bool:
        if not self._making.acquire(True, PATIENCE_SECONDS):
            return False  # who makes room may wait for this worker, in a destructor: its value goes to a file
        try:
            return self.make(size)
        except RayError as error:  # the runtime is at its end; or what is asked for can't be had
            trace.swallowed("making room for a worker", error)
        except Exception as error:
            # A disk with a fault, or no memory left (OpenSSL calls that a ValueError). What is done in changes
            # ends the runtime by itself; here the worker learns that there is no room.
            trace.swallowed("making room for a worker", error)
            self._warn(f"spilling to disk failed: {type(error).__name__}: {error}")
        finally:
            self._making.release()
        return False

    def _answered(self, answer: Callable[[bool], None], made: bool) -> bool:
        """Answers a worker; returns False if memory was too short for that: it waits, so it must have an answer."""
        loop = self._loop
        try:
            with loop.lock:
                answer(made)
            loop.flush()
        except RaySystemError as error:
            trace.swallowed("answering a worker that asked for room", error)
        except MemoryError:
            return False
        return True

    def stop(self) -> None:
        """Ends the spilling thread and waits for it, 5 seconds at most."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join(5.0)
