"""`InlineEngine`: everything in the driver's own process, at once and in order, for debugging.

``raynb.init(local_mode=True)`` (Ray's word). `remote()` returns when the task has run: `print`
prints, `breakpoint()` and ``%debug`` stop in the task's own frame, and a profiler sees it. Values are
pickled as always, so what works here works on workers; errors are those of the other engines.
"""

from __future__ import annotations

import concurrent.futures
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raynb.base import ends, ids, limits, unshown
from raynb.base.config import RESOURCE_UNIT, Config
from raynb.base.engine import Context, Packed, register
from raynb.base.process.waits import time
from raynb.base.ray_names.one_machine import OneMachine
from raynb.base.ref import ObjectRef, ObjectRefGenerator, logged_in
from raynb.base.rows import (
    ACTOR_TASK,
    BUSY,
    DEAD,
    IDLE,
    NORMAL_TASK,
    TASK_ENDED,
    Output,
    Snapshot,
    StoreRow,
    TaskRow,
    WorkerRow,
)  # fmt: skip
from raynb.base.scope import current_scope
from raynb.base.spec import STREAMING, ActorSpec, TaskOptions
from raynb.core.actors.names import ActorNames
from raynb.engine.inline.actors import InlineActors
from raynb.engine.inline.ending import Endings
from raynb.engine.inline.groups import InlineGroups
from raynb.engine.inline.lives import ActorLives
from raynb.engine.inline.objects import InlineObjects, owned
from raynb.engine.inline.records import InlineTask, leave_actor, running
from raynb.engine.inline.streams import InlineStreamReader
from raynb.engine.inline.tasks import InlineTasks
from raynb.engine.inline.waiting import InlineWaiting
from raynb.engine.local.totals import machine_totals
from raynb.engine.refs import OwnRefs, gone
from raynb.engine.row_store import RowStore
from raynb.engine.unasked import UnaskedFailures
from raynb.serde import functions, pickling

_now = time.monotonic
SELF = 1  # the number of the one "worker"


def _context_of(now: InlineTask, namespace: str) -> Context:
    host = now.host
    held = host.spec.held if host is not None else now.options.resources
    return Context(
        worker=SELF, task=now.row.id, actor=host.spec.actor_id if host is not None else 0, scope=now.scope,
        attempt=now.attempt, name=now.row.name, resources={k: v / RESOURCE_UNIT for k, v in held},
        restarted=host is not None and host.restarts > 0, cancelled=now.cancelled,
        function_name=now.row.function_name,
        namespace=(host.spec.namespace if host is not None else "") or namespace,
    )  # fmt: skip


def _without(total: dict[str, float], taken: list[tuple[tuple[str, int], ...]]) -> dict[str, float]:
    free = dict(total)
    for amounts in taken:
        for name, amount in amounts:
            if name in free:
                free[name] -= amount / RESOURCE_UNIT
    return {name: amount for name, amount in free.items() if amount > 0}


class InlineEngine:
    """Runs tasks and actors in the calling thread.

    A sync actor's methods run one after the other whatever its ``max_concurrency``. An async actor's
    methods run to their end, or to where they await what is still to come; `get` lets them go on.

    Thread contract: every public method from any thread.
    """

    failure = ""
    address = ""
    inspection = None
    scaling = None
    cluster_info = None
    foreign_groups = None

    def __init__(self, config: Config) -> None:
        self.config = config
        self.nonce = secrets.randbits(32)
        self.alive = True
        self.job_env = config.runtime_env or {}
        self.on_output: list[Callable[[Output], None]] = []
        self.row_store = RowStore(config.finished_tasks_kept)
        self.unasked = UnaskedFailures(self._report_failure)
        self.objects = InlineObjects(self)
        self.kinds = self.objects.kinds
        self.ref_log, self.new_ref = self.objects.log, logged_in(self.objects.log)
        self.refs = OwnRefs(self)
        endings, names = Endings(self, self.objects), ActorNames()
        self.tasks = InlineTasks(self, self.objects, endings, ActorLives(self, endings, names))
        self.actors = InlineActors(self, self.objects, names, self.tasks.lives, config.namespace or "")
        self.objects.on_free, self.objects.handles = self.actors.freed, self.actors.handles
        self.waiting = InlineWaiting(self, self.objects, self.actors.loops)
        self.streams = InlineStreamReader(self, self.tasks)
        self._definitions: dict[str, tuple[bytes, Any, list[Any]]] = {}
        self.groups = InlineGroups(self.next_id)
        self._ids = ids.IdSource(0)
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._expose()
        register(self)
        self._store_limit = config.object_store_memory or limits.default_object_store_memory()
        totals = machine_totals(config, limits.memory_available(), self._store_limit)
        self._total = {name: amount / RESOURCE_UNIT for name, amount in totals.items()}
        self._worker = WorkerRow(SELF, self._pid, IDLE, started=_now())

    def _expose(self) -> None:
        """Makes methods of the parts the engine's own."""
        machine = OneMachine(self.nonce, self.cluster)
        self.nodes, self.node_id, self.native_env = machine.nodes, machine.node_id, machine.native_env
        self.adopt, self.adopt_all = self.refs.adopt, self.refs.adopt_all
        self.reduce_ref, self.ref_bundle = self.refs.reduce_ref, self.refs.ref_bundle
        self.get, self.wait = self.waiting.get, self.waiting.wait
        self.future, self.awaitable = self.waiting.future, self.waiting.awaitable
        streams, actors = self.streams, self.actors
        self.next_item, self.next_item_async = streams.next_item, streams.next_item_async
        self.item_is_ready, self.stream_finished = streams.item_is_ready, streams.stream_finished
        self.at_stream_end = streams.at_stream_end
        groups = self.groups
        self.reserve_group, self.return_group = groups.reserve_group, groups.return_group
        self.group_ready, self.groups_table = groups.group_ready, groups.groups_table
        self.create_actor, self.kill = actors.create_actor, actors.kill
        self.actor_named, self.actor_names = actors.actor_named, actors.actor_names
        self.pending_calls, self.leave_actor = actors.pending_calls, leave_actor
        self.own_handle, self.story = actors.own_handle, self.row_store.story

    # -- its life ------------------------------------------------------------------------------
    def shutdown(self, timeout: float) -> None:
        """Ends the actors and lets go of every value."""
        if not self.alive or os.getpid() != self._pid:
            return
        self.objects.drain_log()
        self.unasked.look(over=True)
        for host in list(self.actors.handles.values()):
            self.tasks.lives.end(host, self.tasks.lives.died(host, "the runtime was shut down"), restart=False)
        self.alive = False
        self.objects.clear()
        self._definitions.clear()
        self.tasks.streams.clear()
        for loop in self.actors.loops:
            loop.close()

    def check_alive(self) -> None:
        """Raises `RuntimeGoneError` if the runtime was shut down."""
        if not self.alive:
            raise gone(self._pid)

    def after_fork_in_child(self) -> None:
        """Marks the engine as gone in a forked child: the runtime belongs to the parent."""
        self.alive = False

    def spell(self, number: int, width: int) -> str:
        """Returns an id in Ray's hexadecimal form, ``width`` digits long."""
        return ids.to_hex(number, self.nonce, width)

    def next_id(self, actor: int = 0) -> int:
        """Returns a new task id."""
        with self._lock:
            return self._ids.next_task(actor)

    # -- tasks ---------------------------------------------------------------------------------
    def define(self, key: str, blob: bytes, refs: Sequence[ObjectRef[object]] = ()) -> None:
        """Stores a definition under the hash of its bytes, with the refs inside it; once per key."""
        if key not in self._definitions:
            self.refs.ids_of(refs)
            self._definitions[key] = (blob, refs, [])

    def function(self, key: str) -> Any:
        """Returns the function or class of a definition, made anew from its bytes the first time."""
        blob, _, made = self._definitions[key]
        if not made:
            made.append(functions.load(blob))
        return made[0]

    def arguments(self, packed: Packed) -> tuple[Any, dict[str, Any]]:
        """Loads the arguments; the error of an argument is the task's own."""
        values = self.get(packed.deps, None) if packed.deps else ()
        return pickling.unpack_args(packed.data, packed.buffers, values)

    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[object]] | ObjectRefGenerator:
        """Submits a task or an actor's method call; returns its refs, or a generator of them, at once."""
        self.check_alive()
        self.objects.drain_log()
        host = self.actors.handles[ids.object_id(actor, 1)] if actor else None
        self.refs.ids_of(packed.deps)
        self.refs.ids_of(packed.contained)
        outer = running.get()
        scope = outer.scope if outer is not None else current_scope()
        task = self.next_id(actor)
        row = self.new_row(task, options, ACTOR_TASK if actor else NORMAL_TASK, actor, scope)
        self.row_store.new_task(row)
        count = options.num_returns
        returns = [ids.object_id(task, index) for index in range(1, (count if count >= 0 else 1) + 1)]
        for identity in returns:
            self.objects.reserve(identity, scope)
        try:
            self.tasks.run(row, options, owned(packed), host, scope)
        except BaseException:
            self.ref_log.extend(returns)
            raise
        refs: list[ObjectRef[object]] = [self.new_ref(identity, self) for identity in returns]
        if count == STREAMING:
            return ObjectRefGenerator(refs[0], self)
        return refs

    def new_row(self, task: int, options: TaskOptions, kind: str, actor: int, scope: int) -> TaskRow:
        """Returns the views' row of a task that begins."""
        outer = running.get()
        resources = {name: amount / RESOURCE_UNIT for name, amount in options.resources}
        return TaskRow(
            task, options.name, kind, worker=SELF, pid=self._pid, scope=scope, actor=actor,
            parent=outer.row.id if outer is not None else 0, submitted=_now(), resources=resources,
            function_name=options.function_name or options.name,
        )  # fmt: skip

    def run_on_workers(
        self, options: TaskOptions, packed: Packed, later: bool, now: bool = True, only: int = 0,
        besides: Iterable[concurrent.futures.Future[object]] | None = None,
    ) -> list[concurrent.futures.Future[Any]]:  # fmt: skip
        """Runs the call here, once: this process is the only worker."""
        if not now or only not in (0, SELF):
            return []
        ref = self.submit(options, packed)[0]  # type: ignore[index]
        return [self.future(ref)]

    def put(self, packed: Packed) -> ObjectRef[object]:
        """Stores a packed value; returns its ref."""
        self.check_alive()
        self.objects.drain_log()
        self.refs.ids_of(packed.contained)
        outer = running.get()
        with self._lock:
            identity = self._ids.next_put()
        ref = self.objects.new(identity, outer.scope if outer is not None else current_scope())
        self.objects.keep(identity, packed)
        return ref

    def cancel(self, ref: ObjectRef[object], force: bool, recursive: bool) -> None:
        """Cancels the task that makes an object; only calls of async actors can be unfinished."""
        self.check_alive()
        self.objects.find(ref)
        self.cancel_task(ids.task_of(ref._id), force)

    def cancel_task(self, task: int, force: bool = False) -> None:
        """Cancels a task by id; only calls of async actors can be unfinished."""
        now = self.tasks.open.get(task)
        if now is not None:
            self.tasks.cancel(now)

    def cancel_scope(self, scope: int) -> tuple[int, int]:
        """Cancels the unfinished tasks of a cell; returns (cancelled, already ended)."""
        mine = [now for now in list(self.tasks.open.values()) if now.scope == scope]
        finished = sum(n for state, n in self.row_store.scope_counts(scope).items() if state in TASK_ENDED)
        for now in mine:
            self.tasks.cancel(now)
        return len(mine), finished

    def free(self, refs: Sequence[ObjectRef[object]]) -> None:
        """Releases values although refs to them exist; reading one raises `ObjectFreedError` then."""
        self.check_alive()
        self.free_ids(self.refs.ids_of(refs))

    def free_ids(self, wanted: tuple[int, ...]) -> None:
        """Releases the values of these object ids; reading one raises `ObjectFreedError` then."""
        for identity in wanted:
            spelled = self.spell(identity, ids.OBJECT_HEX)
            self.objects.free(identity, ends.object_freed(spelled, f"{spelled} was freed on request."))

    # -- where the calling code runs -----------------------------------------------------------
    @property
    def driver(self) -> InlineEngine:
        """Returns the engine itself: it is the driver's."""
        return self

    def actor_here(self) -> ActorSpec | None:
        """Returns the spec of the actor that the calling code runs in; None outside of actors."""
        now = running.get()
        return now.host.spec if now is not None and now.host is not None else None

    @property
    def capture(self) -> int:
        """Returns the placement group that submissions of the calling code run in too; 0: none."""
        now = running.get()
        if now is None:
            return 0
        return now.host.spec.capture if now.host is not None else now.options.capture

    def context(self) -> Context:
        """Returns ids, name and resources of the running task."""
        now = running.get()
        if now is None:
            return Context(scope=current_scope(), namespace=self.config.namespace or "")
        return _context_of(now, self.config.namespace or "")

    def check_invariants(self) -> None:
        """Does nothing: there is no machine here."""

    def snapshot(self, settled: bool = False) -> Snapshot:  # they always are
        """Returns the rows of everything (`changes` since the beginning)."""
        return self.changes(-1)

    def changes(self, since: int) -> Snapshot:
        """Returns the rows that changed after version ``since``; all of them if that is too old."""
        self.objects.drain_log()
        self.objects.refresh_rows()
        busy = list(self.tasks.open.values())
        self._worker.state = BUSY if busy else IDLE
        self._worker.task = busy[-1].row.id if busy else 0
        self.row_store.put("workers", self._worker)
        store = StoreRow(
            limit=self._store_limit, used=self.objects.bytes,
            inline=self.objects.bytes, objects=len(self.objects.table), resident=self.objects.bytes,
        )  # fmt: skip
        return self.row_store.changes(since, store, *self.cluster())

    def rows(self, tasks: Sequence[int] = (), actors: Sequence[int] = (), objects: Sequence[int] = ()) -> Snapshot:
        """Returns the rows of these ids only."""
        self.objects.drain_log()
        self.objects.refresh_rows()
        return self.row_store.picture_of(tasks, actors, objects)

    def awaited(self, task: int) -> list[int]:
        """Returns none: a task runs when it is submitted."""
        return []

    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (total, available) resources."""
        taken = [one.options.resources for one in list(self.tasks.open.values())]
        taken += [host.spec.held for host in list(self.actors.handles.values()) if host.row.state != DEAD]
        return dict(self._total), _without(self._total, taken)

    def is_unasked(self, ref: ObjectRef[object]) -> bool:
        """Waits for the task's end; returns whether its failure is one that nobody has asked about."""
        self.wait([ref], 1, None, False)
        return self.unasked.has(ids.task_of(ref._id))

    def _report_failure(self, text: str, scope: int) -> None:
        output = Output("stderr", 0, scope, 0, self._pid, "raynb", 0, f"raynb: {text}\n")
        for listener in self.on_output:
            listener(output)

    def scope_counts(self, scope: int) -> dict[str, int]:
        """Returns state → number of the cell's tasks."""
        self.objects.drain_log()
        return self.row_store.scope_counts(scope)

    def logs(self, task: int | None = None, worker: int | None = None) -> list[Output]:
        """Returns nothing: tasks print directly, and nothing is kept."""
        return []

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        """Sends a display to the cell that submitted the running task."""
        now = running.get()
        output = Output(kind, now.row.id if now else 0, now.scope if now else 0, SELF, self._pid,
                        now.row.name if now else "", text=text, bundle=bundle)  # fmt: skip
        for listener in self.on_output:
            listener(output)
        unshown.show()


__all__ = ["InlineEngine"]
