"""The `Engine` interface over the ``ray`` package: what driver and tasks on the cluster share."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import exceptions as theirs

from raynb.base import engine as slot
from raynb.base import ids, unshown
from raynb.base.engine import Context, Packed
from raynb.base.ref import ObjectRef, ObjectRefGenerator
from raynb.base.spec import STREAMING, TaskOptions
from raynb.engine.cluster import bridge
from raynb.engine.cluster.actors import LOOK, Actors
from raynb.engine.cluster.bridge import Broken, Value
from raynb.engine.cluster.refs import Refs
from raynb.engine.ticking import ticking
from raynb.exceptions import ActorDiedError, GetTimeoutError, RuntimeGoneError
from raynb.serde import errors, pickling

_now = time.monotonic


@dataclass(slots=True)
class Call:
    """What travels with every call, beside its arguments."""

    nonce: int
    task: int
    scope: int
    parent: int
    options: TaskOptions
    #: Native refs of the pickled function, and of the surroundings; nested, so each is fetched once a worker.
    definition: list[Any]
    namespace: str
    setups: int = 0  # how many functions have to run in a worker before its next task
    actor: int = 0


@dataclass(slots=True)
class Missing:
    """Told to whoever watches waits: how many objects are still to come."""

    left: int
    keys: tuple[int, ...] = ()


class Adapter(Refs, Actors):
    """Tasks, objects and actors of raynb as those of Ray.

    Our ids are our own; ``_natives`` maps each to Ray's ref (or, for an actor, its handle), kept as
    long as refs of ours exist in this process. What Ray counts and frees is Ray's part.

    Thread contract: every method from any thread.
    """

    capture = 0  # a driver's own code runs in no placement group

    def __init__(self, nonce: int, process: int, namespace: str) -> None:
        self.nonce = nonce
        self.alive = True
        self.ref_log: deque[int] = deque()
        self.namespace = namespace
        self.setups = 0
        self._ids = ids.IdSource(process)
        self._lock = threading.RLock()
        self._natives: dict[int, list[Any]] = {}  # our id → [native, refs of ours]
        self._streams: dict[int, Any] = {}
        self._defined: dict[str, Any] = {}
        self._remotes: dict[int, tuple[TaskOptions, Any]] = {}  # id() of options → them, Ray's remote function
        self._groups: dict[int, Any] = {}

    # -- what differs between driver and worker --------------------------------------------------
    def here(self) -> tuple[int, int]:
        """Returns (task, scope) of the calling code."""
        raise NotImplementedError

    def submitted(self, task: int, native: Any, options: TaskOptions, actor: int, creates: bool) -> None:
        """A task was handed to Ray."""

    def seen(self, mark: Any) -> None:
        """Called before a value is given out: its task's output comes first."""

    def when_seen(self, mark: Any, then: Callable[[], None]) -> None:
        """The same, without waiting: ``then`` is called when it is time."""
        then()

    def got(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """Values were read."""

    def check_alive(self) -> None:
        if not self.alive:
            raise RuntimeGoneError(
                "The raynb runtime of this ref or handle was shut down; its values are gone. "
                "Run the cells that made them again."
            )

    # -- tasks ---------------------------------------------------------------------------------
    def define(self, key: str, blob: bytes, refs: Sequence[ObjectRef[Any]] = ()) -> None:
        if key not in self._defined:
            self._defined[key] = ray.put(Value(blob, (), self.pairs(refs)))

    def runtime_env(self, value: dict[str, Any] | None) -> tuple[tuple[str, Any], ...]:
        """Returns a task's ``runtime_env`` as it is: what it may say is Ray's to judge."""
        return tuple((value or {}).items())

    def _call(self, options: TaskOptions, key: str, task: int, actor: int) -> Call:
        parent, scope = self.here()
        definition = [self._defined[key]] if key in self._defined else []
        if options.surroundings:
            definition.append(self._defined[options.surroundings])
        return Call(self.nonce, task, scope, parent, options, definition, self.namespace, self.setups, actor)

    def _arguments(self, packed: Packed) -> tuple[Any, list[Any]]:
        deps = [self.native(ref) for ref in packed.deps]
        if packed is pickling.NO_ARGS:
            return None, deps
        return bridge.value_of(packed, self.pairs(packed.contained)), deps

    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[Any]] | ObjectRefGenerator:
        self.check_alive()
        self.settle()
        with self._lock:
            task = self._ids.next_task(actor)
        args, deps = self._arguments(packed)
        call = self._call(options, "" if actor else options.function, task, actor)
        remote = self._method(options, actor) if actor else self._function(options)
        try:
            made = remote.remote(call, args, *deps)
        except theirs.RayError as error:
            made = bridge.translate(error)
            raise made from made.__cause__
        count = options.num_returns
        if count == STREAMING:
            self._streams[task] = made
            ref = self.own(ids.object_id(task, 1), made.completed())
            self.submitted(task, made.completed(), options, actor, False)
            return ObjectRefGenerator(ref, self)  # type: ignore[arg-type]
        natives = made if isinstance(made, list) else [made] if made is not None else []
        self.submitted(task, natives[0] if natives else None, options, actor, False)
        return [self.own(ids.object_id(task, index), native) for index, native in enumerate(natives, 1)]

    def _function(self, options: TaskOptions) -> Any:
        from raynb.engine.cluster import runner

        found = self._remotes.get(id(options))
        if found is None:
            entry = runner.stream_task if options.num_returns == STREAMING else runner.run_task
            given = bridge.task_options(options, self._groups)
            if options.max_calls:
                given["max_calls"] = options.max_calls
            found = self._remotes[id(options)] = (options, ray.remote(**given)(entry))
        return found[1]

    def _method(self, options: TaskOptions, actor: int) -> Any:
        handle = self._natives[ids.object_id(actor, 1)][0]
        entry = handle.stream if options.num_returns == STREAMING else handle.call
        return entry.options(**bridge.method_options(options))

    # -- objects -------------------------------------------------------------------------------
    def put(self, packed: Packed) -> ObjectRef[Any]:
        self.check_alive()
        self.settle()
        with self._lock:
            identity = self._ids.next_put()
        try:
            native = ray.put(bridge.value_of(packed, self.pairs(packed.contained)))
        except theirs.RayError as error:
            made = bridge.translate(error)
            raise made from made.__cause__
        return self.own(identity, native)

    def put_error(self, value: Any) -> ObjectRef[Any]:
        """Stores an error value: reading it raises."""
        with self._lock:
            identity = self._ids.next_put()
        return self.own(identity, ray.put(Broken(value)))

    def get(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        self.check_alive()
        self.settle()
        natives = [self.native(ref) for ref in refs]
        deadline = None if timeout is None else _now() + timeout
        first = LOOK if timeout is None else min(LOOK, timeout)
        try:
            values = ray.get(natives, timeout=first)
        except theirs.GetTimeoutError:
            values = self._get_later(natives, tuple(ref._id for ref in refs), timeout, deadline)
        except BaseException as error:
            made = self.failure(error)
            raise made from made.__cause__
        for value in values:
            if isinstance(value, Value) and value.mark is not None:
                self.seen(value.mark)
        self.got(refs)
        return [self.unpack(value) for value in values]

    def _get_later(
        self, natives: list[Any], keys: tuple[int, ...], timeout: float | None, deadline: float | None
    ) -> list[Any]:
        """Waits in steps, so that Ctrl-C comes through and a progress bar has something to count."""
        waiting = list(dict.fromkeys(natives))
        found: dict[Any, Any] = {}
        missing = Missing(len(waiting), keys)
        over = slot.on_wait(missing) if slot.on_wait is not None else None
        try:
            while missing.left:
                left = LOOK if deadline is None else min(LOOK, deadline - _now())
                if left <= 0:
                    raise GetTimeoutError(
                        f"Get timed out: some object(s) not ready. {missing.left} of {len(natives)} are missing "
                        f"after {timeout} s."
                    )
                ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=left)
                # Read as they come: one that failed is known at once, and not when the last is there.
                found.update(zip(ready, ray.get(ready), strict=True))
                missing.left = len(waiting)
                self.check_alive()
        except GetTimeoutError:
            raise
        except BaseException as error:
            made = self.failure(error)
            raise made from made.__cause__
        finally:
            if over is not None:
                over()
        return [found[native] for native in natives]

    def failure(self, error: BaseException) -> BaseException:
        """Returns our exception for one of Ray's, its task's output being shown."""
        carried = bridge.failure_in(error)
        if carried is not None:
            self.seen(carried.mark)
            with self.holding(carried.natives):
                return bridge.translate(error)
        made = bridge.translate(error)
        if isinstance(made, ActorDiedError) and made.actor_id and bridge.is_actor_died(error):
            told = bridge.kept(f"init:{made.actor_id}")
            if told is not None:  # its constructor raised, and left what
                return errors.load_error(("err", "ActorDiedError", (made.actor_id, "creation", pickle.loads(told))))
        return made

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        self.check_alive()
        self.settle()
        natives = [self.native(ref) for ref in refs]
        deadline = None if timeout is None else _now() + timeout
        missing = Missing(num_returns, tuple(ref._id for ref in refs))
        over = slot.on_wait(missing) if slot.on_wait is not None and timeout != 0 else None
        try:
            while True:
                left = LOOK if deadline is None else max(0, min(LOOK, deadline - _now()))
                ready, _ = ray.wait(natives, num_returns=num_returns, timeout=left, fetch_local=fetch_local)
                if len(ready) == num_returns < len(natives):  # Ray picks any; the first ones are wanted
                    ready, _ = ray.wait(natives, num_returns=len(natives), timeout=0, fetch_local=fetch_local)
                missing.left = num_returns - len(ready)
                if missing.left <= 0 or (deadline is not None and _now() >= deadline):
                    break
                self.check_alive()
        except theirs.RayError as error:
            made = bridge.translate(error)
            raise made from made.__cause__
        finally:
            if over is not None:
                over()
        there = set(ready)
        places = [place for place, native in enumerate(natives) if native in there][:num_returns]
        chosen = set(places)
        return [refs[place] for place in places], [ref for place, ref in enumerate(refs) if place not in chosen]

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        self.check_alive()
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        future.raynb_ref = ref  # type: ignore[attr-defined]  # lives until its value is read

        def arrived(done: concurrent.futures.Future[Any]) -> None:
            error = done.exception()
            carrier: Any = done.result() if error is None else bridge.failure_in(error)
            # This is a thread of Ray's, which must not wait for what comes through Ray.
            self.when_seen(getattr(carrier, "mark", None), lambda: unshown.then(lambda: deliver(done)))

        def deliver(done: concurrent.futures.Future[Any]) -> None:
            try:
                result = self.unpack(done.result())
            except BaseException as error:
                future.set_exception(self.failure(error))
            else:
                future.set_result(result)
            future.__dict__.pop("raynb_ref", None)

        self.native(ref).future().add_done_callback(arrived)
        return future

    def awaitable(self, ref: ObjectRef[Any]) -> Any:
        async def wait() -> Any:
            return await ticking(asyncio.wrap_future(self.future(ref)))

        return wait()

    def cancel(self, ref: ObjectRef[Any], force: bool, recursive: bool) -> None:
        self.check_alive()
        native = self._streams.get(ids.task_of(ref._id)) or self.native(ref)
        ray.cancel(native, force=force, recursive=recursive)

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        # Ray has no call for it (any more): this process lets go of the value, and keeps the error for it.
        for ref in refs:
            self.native(ref)
            text = f"{ref.hex()} was freed on request."
            freed = ray.put(Broken(("err", "ObjectFreedError", (ref.hex(), text))))
            with self._lock:
                entry = self._natives[ref._id]
                entry[0], freed = freed, entry[0]

    # -- views ---------------------------------------------------------------------------------
    def context(self) -> Context:
        return Context(scope=self.here()[1], namespace=self.namespace)

    def nodes(self) -> list[dict[str, Any]]:
        """Returns the cluster's nodes, as Ray describes them."""
        return ray.nodes()  # type: ignore[no-any-return]

    def node_id(self) -> str:
        """Returns Ray's id of the node that the calling code runs on."""
        return ray.get_runtime_context().get_node_id()  # type: ignore[no-any-return]

    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        return dict(ray.cluster_resources()), {k: v for k, v in ray.available_resources().items() if v > 0}


__all__ = ["Adapter", "Call"]
