"""The engine inside a worker: the same interface as the driver's, over the worker's channels."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from raynb.base import ids
from raynb.base.engine import Context, Packed
from raynb.base.ray_names.one_machine import OneMachine
from raynb.base.ref import ObjectRef, ObjectRefGenerator, counted, logged_in
from raynb.base.rows import Snapshot
from raynb.base.spec import STREAMING, ActorSpec, TaskOptions
from raynb.exceptions import RuntimeGoneError
from raynb.run import environment
from raynb.serde import pickling
from raynb.serde.refs import rebuild_ref, record_ref
from raynb.wire import messages as w
from raynb.worker import state
from raynb.worker.engine import forks
from raynb.worker.engine.actors import Actors
from raynb.worker.engine.groups import Groups
from raynb.worker.engine.requests import OpenRequests
from raynb.worker.engine.storing import BATCH_SECONDS, Storing
from raynb.worker.engine.waiting import Waiting

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess


class WorkerEngine:
    """The engine of the code that runs in a worker.

    An assembly, as `LocalEngine` is: the parts' methods are the engine's own by assignment. What is written out
    below submits tasks and actors, and says where the calling code runs.

    Thread contract: every method from any thread of the worker.
    """

    driver = None  # that is another process
    foreign_groups = None

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.nonce: int = worker.nonce
        self.alive = True
        self.ref_log = worker.borrowed.log
        self.new_ref = logged_in(self.ref_log)
        self.requests = OpenRequests(worker)
        machine = OneMachine(self.nonce, self.cluster)
        self.nodes, self.node_id, self.native_env = machine.nodes, machine.node_id, machine.native_env
        self.restarted = False
        self.job_env: dict[str, Any] = dict(worker.settings.get("env", ()))
        if "env_vars" in self.job_env:
            self.job_env["env_vars"] = dict(self.job_env["env_vars"])
        self._ids = ids.IdSource(worker.number)
        self._defined: set[str] = set()
        self._options: dict[int, tuple[int, TaskOptions]] = {}  # id() → key, and the object kept alive
        self._keys: dict[tuple[Any, ...], int] = {}  # content → key: f.options() makes an object a call
        self._numbers = itertools.count(1)
        self.storing = Storing(self, worker, self.requests, self._ids)
        self._expose()

    def _expose(self) -> None:
        """Makes methods of the parts the engine's own."""
        storing, groups = self.storing, Groups(self.requests)
        waiting = Waiting(self, self.requests, storing, self.worker.borrowed)
        actors = Actors(self, self.worker, self.requests, self._arguments)
        self.put, self.put_stored, self.place, self.read = storing.put, storing.put_stored, storing.place, storing.read
        self.get, self.wait = waiting.get, waiting.wait
        self.future, self.awaitable = waiting.future, waiting.awaitable
        self.next_item, self.next_item_async = waiting.next_item, waiting.next_item_async
        self.item_is_ready, self.stream_finished = waiting.item_is_ready, waiting.stream_finished
        self.at_stream_end = waiting.at_stream_end
        self.create_actor, self.kill, self.own_handle = actors.create_actor, actors.kill, actors.own_handle
        self.actor_named, self.actor_names = actors.actor_named, actors.actor_names
        self.pending_calls = actors.pending_calls
        self.reserve_group, self.return_group = groups.reserve_group, groups.return_group
        self.group_ready, self.groups_table = groups.group_ready, groups.groups_table

    def check_alive(self) -> None:
        """Raises `RuntimeGoneError` in a child that a task has forked."""
        if not self.alive:
            raise RuntimeGoneError(forks.FORKED)

    def after_fork_in_child(self) -> None:
        """Marks the engine as gone in a forked child: the runtime is the parent's."""
        self.alive = False
        self.requests.after_fork_in_child()
        self.worker.borrowed.after_fork_in_child()

    # -- definitions ---------------------------------------------------------------------------
    def define(self, key: str, blob: bytes, refs: Any = ()) -> None:
        """Stores a definition under the hash of its bytes, with the refs inside it; once per key."""
        if key in self._defined:
            return
        self.worker.blobs.setdefault(key, blob)
        self.worker.link.post(w.Definition(key, blob))
        self._defined.add(key)  # last: an exception in between has it sent once more

    def _options_key(self, options: TaskOptions) -> int:
        known = self._options.get(id(options))
        if known is not None:
            return known[0]
        content = options.content()
        key = self._keys.get(content, 0)
        if key:
            return key
        key = next(self._numbers)
        self.worker.link.post(w.Options(key, pickle.dumps(options, 5)))
        self._keys[content] = key  # last: an exception in between has them sent once more
        self._options[id(options)] = (key, options)
        return key

    # -- tasks ---------------------------------------------------------------------------------
    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[Any]] | ObjectRefGenerator:
        """Submits a task or an actor's method call; returns its refs, or a generator of them, at once."""
        running = state.current()
        if self.worker.capture.pending():  # what the task has printed stands before what it starts prints
            self.worker.capture.forward()
        args, deps, contained, hold = self._arguments(packed)
        count = options.num_returns
        returns = count if count >= 0 else 1
        borrowed = self.worker.borrowed
        # No lock: what the collector runs here, or another thread, may submit in between.
        task = self._ids.next_task(actor)
        key = self._options_key(options)
        refs: list[ObjectRef[Any]] = []
        # The refs before the message: whatever exception comes, they are given back when they die.
        for index in range(1, returns + 1):
            identity = ids.object_id(task, index)
            borrowed.own(identity)
            refs.append(self.new_ref(identity, self))
        self.worker.link.post(w.Submit(
            task, key, args, deps, contained, running.task if running else 0,
            running.scope if running else 0, actor, returns))  # fmt: skip
        del hold
        self.worker.link.maybe_flush(BATCH_SECONDS)
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

    def cancel(self, ref: ObjectRef[Any], force: bool, recursive: bool) -> None:
        """Cancels the task that makes an object; ``force`` kills its worker, ``recursive`` cancels its children too."""
        self.worker.link.post(w.Cancel(ids.task_of(ref._id), force, recursive))
        self.worker.link.flush()

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """Releases values although refs to them exist; reading one raises `ObjectFreedError` then."""
        self.requests.call("free_ids", tuple(ref._id for ref in refs))

    # -- refs --------------------------------------------------------------------------------------
    def adopt(self, object_id: int, nonce: int) -> ObjectRef[Any]:
        """Returns a new, counted ref to an object whose id was read in a value of runtime ``nonce``."""
        return self.adopt_all([object_id], nonce)[0]

    def adopt_all(self, object_ids: list[int], nonce: int) -> list[ObjectRef[Any]]:
        """Returns new, counted refs to objects whose ids were read in a value of runtime ``nonce``."""
        if nonce != self.nonce:
            raise RuntimeGoneError("This ref or handle was pickled in another raynb runtime, which is gone.")
        return counted(object_ids, self)

    def reduce_ref(self, ref: ObjectRef[Any]) -> tuple[Any, ...]:
        """Returns what the ref's `__reduce__` returns; a ref pickled out of band is pinned for good."""
        if not record_ref(ref):
            self.requests.call("pin", ref._id)  # out of band: nobody can know how long it is needed
        return rebuild_ref, (ref._id, self.nonce)

    def ref_bundle(self, ref: ObjectRef[Any]) -> dict[str, str]:
        """Returns how a ref is displayed: MIME type → text."""
        return {"text/plain": repr(ref)}

    # -- where the calling code runs ---------------------------------------------------------------
    @property
    def capture(self) -> int:
        """Returns the placement group that submissions of the calling code run in too; 0: none."""
        if self.worker.actor is not None:
            return self.worker.actor.capture
        running = state.current()
        return running.options.capture if running is not None else 0

    def leave_actor(self) -> NoReturn:
        """`exit_actor`: the process ends after this call, even if the exception is caught; outside of a
        call, and where several run at once, when those that run have ended."""
        from raynb.exceptions import AsyncioActorExit
        from raynb.worker.executor import LeaveWorker

        host = self.worker.executor.host
        running = state.running.get()
        if running is not None and running.is_here():
            running.leaves = True
        if host is not None and host.instance is not None and (running is None or host.concurrent):
            self.worker.link.post(w.ActorExits())
            self.worker.link.flush()
        raise AsyncioActorExit if host is not None and host.spec.is_async else LeaveWorker

    def actor_here(self) -> ActorSpec | None:
        """Returns the spec of the actor that the calling code runs in; None outside of actors."""
        return self.worker.actor

    def context(self) -> Context:
        """Returns ids, name and resources of the running task."""
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

    def snapshot(self, settled: bool = False) -> Snapshot:
        """Returns the rows of everything (`changes` since the beginning)."""
        return self.requests.call("snapshot")  # type: ignore[no-any-return]

    def changes(self, since: int) -> Snapshot:
        """Returns the rows that changed after version ``since``; all of them if that is too old."""
        return self.requests.call("changes", since)  # type: ignore[no-any-return]

    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (total, available) resources."""
        return self.requests.call("cluster")  # type: ignore[no-any-return]

    def name_task(self, name: str) -> None:
        """Names the running task more exactly, in its output's prefixes and its errors."""
        running = state.current()
        if running is not None:
            running.name = name

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        """Sends a display (or text) to the cell that submitted the running task."""
        if bundle is None:
            self.worker.capture.add(kind, text)
        else:
            self.worker.capture.emit(kind, bundle)
