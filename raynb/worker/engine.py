"""The engine inside a worker: the same interface as the driver's, over the worker's channels."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from raynb.base import ids
from raynb.base.engine import Context, Packed
from raynb.base.ref import ObjectRef, ObjectRefGenerator
from raynb.base.rows import Snapshot
from raynb.base.spec import STREAMING, ActorSpec, TaskOptions
from raynb.exceptions import GetTimeoutError, ObjectStoreAndDiskFullError, OutOfDiskError
from raynb.serde import pickling, values
from raynb.store import NoRoom
from raynb.wire import messages as w
from raynb.worker import environment, state
from raynb.worker.groups import Groups

if TYPE_CHECKING:
    from raynb.worker.main import Worker


class _Waiting:
    """A request that is not answered yet."""

    __slots__ = ("answer", "callback", "event")

    def __init__(self, callback: Callable[[Any], None] | None = None) -> None:
        self.answer: Any = None
        self.callback = callback
        self.event = threading.Event() if callback is None else None


class WorkerEngine(Groups):
    """Thread contract: every method from any thread of the worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.nonce: int = worker.nonce
        self.alive = True
        self.ref_log = worker.books.log
        self.restarted = False
        env = dict(worker.settings.get("env", ()))
        if "env_vars" in env:
            env["env_vars"] = dict(env["env_vars"])
        self.config = SimpleNamespace(runtime_env=env)  # tasks submitted here inherit it
        self._ids = ids.IdSource(worker.number)
        self._lock = threading.Lock()
        self._requests: dict[int, _Waiting] = {}
        self._request = 0
        self._defined: set[str] = set()
        self._options: dict[int, tuple[int, TaskOptions]] = {}  # id() → key, and the object kept alive
        self._arena_told = False

    # -- storing and reading -------------------------------------------------------------------
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
                if size > store.limit or (attempt and not self.call("make_room", size)):
                    break
                if not attempt:
                    self.worker.link.read_beside()  # what was freed meanwhile
        try:
            return store.write_file(packed.data, packed.buffers)
        except OutOfDiskError as error:
            raise ObjectStoreAndDiskFullError(self.call("store_full", size, str(error))) from error

    def _tell_arena(self) -> None:
        import os

        with self._lock:
            if self._arena_told:
                return
            self._arena_told = True
        fd = self.worker.store.fd
        assert fd is not None
        self.worker.link.send_fd(w.Arena(self.worker.number), os.dup(fd))

    # -- definitions ---------------------------------------------------------------------------
    def define(self, key: str, blob: bytes, refs: Any = ()) -> None:
        if key in self._defined:
            return
        self._defined.add(key)
        self.worker.blobs.setdefault(key, blob)
        self.worker.link.post(w.Definition(key, blob))

    def _options_key(self, options: TaskOptions) -> int:
        known = self._options.get(id(options))
        if known is not None:
            return known[0]
        key = len(self._options) + 1
        self._options[id(options)] = (key, options)
        self.worker.link.post(w.Options(key, pickle.dumps(options, 5)))
        return key

    # -- tasks ---------------------------------------------------------------------------------
    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[Any]] | ObjectRefGenerator:
        running = state.current()
        args, deps, contained, hold = self._arguments(packed)
        count = options.num_returns
        returns = count if count >= 0 else 1
        books = self.worker.books
        with self._lock:
            task = self._ids.next_task(actor)
            key = self._options_key(options)
            for index in range(1, returns + 1):
                books.own(ids.object_id(task, index))
            self.worker.link.post(w.Submit(
                task, key, args, deps, contained, running.task if running else 0,
                running.scope if running else 0, actor, returns))  # fmt: skip
        del hold
        self._soon()
        refs: list[ObjectRef[Any]] = [
            ObjectRef(ids.object_id(task, i), self) for i in range(1, returns + 1)
        ]
        if count == STREAMING:
            return ObjectRefGenerator(refs[0], self)
        return refs

    def _arguments(self, packed: Packed) -> tuple[Any, tuple[int, ...], tuple[int, ...], Any]:
        """Returns (args, deps, contained, what must live until the message is posted)."""
        deps = tuple(ref._id for ref in packed.deps) if packed.deps else ()
        if pickling.nbytes(packed) <= self.worker.settings["inline_limit"]:
            contained = tuple(ref._id for ref in packed.contained) if packed.contained else ()
            return pickling.in_band(packed), deps, contained, packed
        ref = self.put(packed)
        return w.ARGS_IN_STORE, (*deps, ref._id), (), ref

    def _soon(self) -> None:
        """Sends now if the last frame is a while ago; else soon, with others."""
        link = self.worker.link
        if time.monotonic() - link.last_flush > 0.0003:
            link.flush()
        else:
            link.nudge()

    def put(self, packed: Packed) -> ObjectRef[Any]:
        return self.put_stored(*self.place(packed))

    def put_stored(self, value: Any, size: int, contained: tuple[int, ...]) -> ObjectRef[Any]:
        """Makes an object of what has its place already, or of an error."""
        running = state.current()
        with self._lock:
            object_id = self._ids.next_put()
            self.worker.books.own(object_id)
            self.worker.link.post(w.Put(object_id, value, size, contained, running.scope if running else 0))
        self._soon()
        return ObjectRef(object_id, self)

    # -- requests ------------------------------------------------------------------------------
    def replied(self, message: Any) -> None:
        """An answer came (in the main or the control thread)."""
        with self._lock:
            waiting = self._requests.pop(message.request, None)
        if message.lent:
            self.worker.books.lent(message.lent)
        if waiting is None:  # nobody waits any more
            if message.lent:
                self.worker.books.returned(message.lent)
            return
        waiting.answer = message
        if waiting.callback is not None:
            waiting.callback(message)
        elif waiting.event is not None:
            waiting.event.set()

    def _new_request(self, callback: Callable[[Any], None] | None = None) -> tuple[int, _Waiting]:
        waiting = _Waiting(callback)
        with self._lock:
            self._request += 1
            self._requests[self._request] = waiting
            return self._request, waiting

    def _here(self) -> bool:
        """Returns whether the caller is the main thread of a worker that reads its own channel."""
        host = self.worker.executor.host
        return threading.get_ident() == self.worker.main_ident and not (host is not None and host.concurrent)

    def _await(self, make: Callable[[int, bool, tuple[int, ...]], Any], timeout: float | None) -> Any:
        """Sends a request and waits for its answer; None when the time is up."""
        link = self.worker.link
        here = self._here()
        number, waiting = self._new_request()
        handed = self.worker.hand_back_all() if here else ()
        link.post(make(number, not here, handed))
        link.flush()
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while waiting.answer is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                if here:
                    link.wait_data(left)
                    link.read()
                    more = self.worker.hand_back_all() if waiting.answer is None else ()
                    if more:
                        link.post(w.Withdrawn(more))
                        link.flush()
                else:
                    assert waiting.event is not None
                    waiting.event.wait(left)
        finally:
            if waiting.answer is None:
                with self._lock:
                    self._requests.pop(number, None)
                link.post(w.DropRequest(number))
                link.flush()
        return waiting.answer

    def _ask(self, ids_: tuple[int, ...], needed: int, is_wait: bool) -> Callable[..., Any]:
        running = state.current()
        task = running.task if running else 0
        return lambda number, control, handed: w.Ask(number, task, ids_, needed, is_wait, handed, control)

    # -- get, wait -----------------------------------------------------------------------------
    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        if not refs:
            return []
        wanted = tuple(ref._id for ref in refs)
        answer = self._await(self._ask(wanted, len(wanted), False), timeout)
        if answer is None:
            raise GetTimeoutError(f"Get timed out: some object(s) not ready after {timeout} s.")
        try:
            loaded = self._load(wanted, answer)
        finally:
            self.worker.books.returned(answer.lent)
        for item in loaded:
            if type(item) is values.Failed:
                try:
                    raise item.error
                finally:  # or this frame and the error would keep each other, and what callers hold
                    del item, loaded
        return loaded

    def _load(self, wanted: tuple[int, ...], answer: Any) -> list[Any]:
        loaded: list[Any] = []
        for identity, value in zip(wanted, answer.values, strict=False):
            item = values.load(value, identity, self.read)
            loaded.append(item)
            if type(item) is values.Failed:
                break
        return loaded

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        wanted = tuple(ref._id for ref in refs)
        answer = None
        if timeout is None or timeout > 0:
            answer = self._await(self._ask(wanted, num_returns, True), timeout)
        if answer is None:
            answer = self._await(self._ask(wanted, 0, True), None)
        there = set(answer.ids)
        ready = [ref for ref in refs if ref._id in there][:num_returns]
        chosen = {ref._id for ref in ready}
        return ready, [ref for ref in refs if ref._id not in chosen]

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        wanted = (ref._id,)

        def answered(answer: Any) -> None:
            try:
                item = self._load(wanted, answer)[0]
            except BaseException as error:
                item = values.Failed(error)
            finally:
                self.worker.books.returned(answer.lent)
            if type(item) is values.Failed:
                future.set_exception(item.error)
            else:
                future.set_result(item)
            future.raynb_ref = None  # type: ignore[attr-defined]

        future.raynb_ref = ref  # type: ignore[attr-defined]  # the object must live until it is read
        number, _ = self._new_request(answered)
        self.worker.link.post(self._ask(wanted, 1, False)(number, True, ()))
        self.worker.link.flush()
        return future

    def awaitable(self, ref: ObjectRef[Any]) -> Any:
        async def wait() -> Any:
            return await asyncio.wrap_future(self.future(ref))

        return wait()

    def leave_actor(self) -> None:
        """`exit_actor`: the process ends after this call, even if the exception is caught."""
        from raynb.exceptions import AsyncioActorExit
        from raynb.worker.executor import LeaveWorker

        self.worker.executor.leaving = True
        host = self.worker.executor.host
        raise AsyncioActorExit if host is not None and host.spec.is_async else LeaveWorker

    def item_is_ready(self, task: int, index: int) -> bool:
        return bool(self.call("item_is_ready", task, index))

    def pending_calls(self, actor: int) -> int:
        return int(self.call("pending_calls", actor))

    # -- the rest ------------------------------------------------------------------------------
    def call(self, method: str, *args: Any) -> Any:
        """Calls a method of the driver's engine; arguments and result are pickled."""
        packed = pickling.pack(args)
        blob = pickling.in_band(packed)

        def make(number: int, control: bool, handed: tuple[int, ...]) -> w.Call:
            if handed:  # a call has no field for them
                self.worker.link.post(w.Withdrawn(handed))
            return w.Call(number | (1 << 62 if control else 0), method, blob)

        answer = self._await(make, None)
        result = pickling.unpack(*pickling.unpack_in_band(answer.blob))
        self.worker.books.returned(answer.lent)
        if not answer.ok:
            raise result
        return result

    def adopt(self, object_id: int, nonce: int) -> ObjectRef[Any]:
        self.ref_log.append(~object_id)
        return ObjectRef(object_id, self)

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        if not pickling.note_ref(ref):
            self.call("pin", ref._id)  # out of band: nobody can know how long it is needed
        return pickling.rebuild_ref, (ref._id, self.nonce)

    def ref_bundle(self, ref: ObjectRef[Any]) -> dict[str, str]:
        return {"text/plain": repr(ref)}

    def cancel(self, ref: ObjectRef[Any], force: bool, recursive: bool) -> None:
        self.worker.link.post(w.Cancel(ids.task_of(ref._id), force, recursive))
        self.worker.link.flush()

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        self.call("free_ids", tuple(ref._id for ref in refs))

    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[Any] | None:
        running = state.current()
        mine = running.task if running else 0
        answer = self._await(
            lambda number, control, handed: w.NextItem(number, mine, task, index, handed, control), timeout
        )
        if answer is None:
            raise GetTimeoutError(f"no item within {timeout} s")
        return self._item(answer)

    def _item(self, answer: Any) -> ObjectRef[Any] | None:
        if not answer.ids:
            return None
        ref = self.adopt(answer.ids[0], self.nonce)
        self.worker.books.returned(answer.lent)
        return ref

    async def next_item_async(self, task: int, index: int) -> ObjectRef[Any] | None:
        running = state.current()
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        number, _ = self._new_request(future.set_result)
        self.worker.link.post(w.NextItem(number, running.task if running else 0, task, index, (), True))
        self.worker.link.flush()
        return self._item(await asyncio.wrap_future(future))

    def stream_finished(self, task: int, index: int) -> bool:
        return bool(self.call("stream_is_finished", task, index))

    def drop_stream(self, task: int, index: int) -> None:
        self.worker.link.post(w.DropStream(task, index))

    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        running = state.current()
        args, deps, contained, hold = self._arguments(packed)
        where = (running.task, running.scope) if running else (0, 0)
        found: tuple[int, ActorSpec] = self.call(
            "create_actor_for", self.worker.number, where, spec, options, args, deps, contained, get_if_exists
        )
        del hold
        return self._handle_ref(found[0]), found[1]

    def _handle_ref(self, actor: int) -> ObjectRef[Any]:
        # The driver counted one message that named it; this ref is the hold behind that.
        identity = ids.object_id(actor, 1)
        self.worker.books.lent((identity,))
        return ObjectRef(identity, self)

    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[Any], ActorSpec]:
        actor, spec = self.call("actor_named_for", self.worker.number, name, namespace)
        return self._handle_ref(actor), spec

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        return self.call("actor_names", namespace)  # type: ignore[no-any-return]

    def kill(self, actor: int, no_restart: bool) -> None:
        self.call("kill", actor, no_restart)

    def context(self) -> Context:
        running = state.current()
        context = Context(self.worker.number, namespace=self.worker.settings["namespace"])
        if running is not None:
            context.task = running.task
            context.actor = running.actor
            context.scope = running.scope
            context.attempt = running.attempt
            context.name = running.name
            context.function_name = running.options.function_name or running.name
            context.cancelled = running.interrupted
            context.gpu_ids = environment.devices(self.worker.executor.gpus)
            context.resources = {k: v / 10_000 for k, v in running.options.resources}
        if self.worker.actor is not None:
            context.actor = self.worker.actor.actor_id
            context.resources = {k: v / 10_000 for k, v in self.worker.actor.held}
        context.restarted = self.restarted
        return context

    def snapshot(self) -> Snapshot:
        return self.call("snapshot")  # type: ignore[no-any-return]

    def changes(self, since: int) -> Snapshot:
        return self.call("changes", since)  # type: ignore[no-any-return]

    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        return self.call("cluster")  # type: ignore[no-any-return]

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        """Sends a display (or text) to the cell that submitted the running task."""
        if bundle is None:
            self.worker.capture.add(kind, text)
        else:
            self.worker.capture.emit(kind, bundle)
