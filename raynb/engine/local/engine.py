"""`LocalEngine`: the embedded engine, workers on this machine."""

from __future__ import annotations

import concurrent.futures
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raynb.base import ids
from raynb.base.config import Config
from raynb.base.engine import Packed, register
from raynb.base.interrupts import Allowed, Critical, Deferred
from raynb.base.process import headroom, shelter, trace
from raynb.base.process.limits import NO_THREAD
from raynb.base.process.waits import time
from raynb.base.ray_names.one_machine import OneMachine
from raynb.base.ref import ObjectRef, ObjectRefGenerator, logged_in
from raynb.base.scope import current_scope
from raynb.base.spec import STREAMING, TaskOptions, TaskSpec, Value
from raynb.core.machine import Machine
from raynb.core.vocabulary import events as e
from raynb.engine.driver_code import DriverCode
from raynb.engine.local.actors import LocalActors
from raynb.engine.local.controls import LocalControls
from raynb.engine.local.everywhere import Everywhere
from raynb.engine.local.groups import LocalGroups
from raynb.engine.local.inspection import LocalInspection
from raynb.engine.local.neighbours import Neighbours
from raynb.engine.local.objects.arguments import Arguments
from raynb.engine.local.objects.reading import Reading
from raynb.engine.local.objects.spilling import Spilling
from raynb.engine.local.objects.streams import StreamReader
from raynb.engine.local.objects.waiting import LocalWaiting
from raynb.engine.local.processes.hang_watch import HangWatch
from raynb.engine.local.processes.memory_monitor import MemoryMonitor
from raynb.engine.local.processes.supervision import Supervision
from raynb.engine.local.processes.supervisor_process import Supervised
from raynb.engine.local.totals import LocalScaling, machine_totals
from raynb.engine.local.views import Views
from raynb.engine.local.worker_calls import WorkerCalls
from raynb.engine.loop.effects import Effects
from raynb.engine.loop.inbox import Inbox, Listeners
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.polling import is_taken
from raynb.engine.loop.worker_pages import WorkerPages
from raynb.engine.output import TaskOutput
from raynb.engine.refs import OwnRefs, gone
from raynb.exceptions import RaySystemError, RuntimeGoneError
from raynb.serde import pickling
from raynb.store import DiskTier, Store

_now = time.monotonic
_fill_spec = TaskSpec.__init__
#: What `Arguments.place` returns for a call without arguments.
_NOTHING: tuple[Value, tuple[int, ...], tuple[int, ...], object] = (pickling.EMPTY_IN_BAND, (), (), None)


class LocalEngine:
    """Runs tasks and actors on workers of this machine. Thread contract: every public method from any thread.

    `_construct` makes the parts and gives each what it uses; `_expose` makes the parts' methods the engine's own,
    without a call in between (benchmark rows "get of an int", "wait", "put" and "actor calls").
    """

    address = ""
    cluster_info = None
    foreign_groups = None
    capture = 0  # the driver's own code runs in no placement group

    loop: Loop
    output: TaskOutput
    inspection: LocalInspection
    supervision: Supervision

    def __init__(self, config: Config, supervised: Supervised) -> None:
        """Takes over a supervisor that is about to start (see `raynb.engine.local.processes.launch`)."""
        self.config = config
        self.nonce = secrets.randbits(32)
        self.alive = True
        self.job_env = config.runtime_env or {}
        self.now = _now
        self.definitions: dict[str, tuple[bytes, Any]] = {}
        self._pid = os.getpid()
        register(self)
        self._ids = ids.IdSource(0)
        undo: list[Callable[[], None]] = []
        try:
            with Deferred():  # a Ctrl-C between making a thing and noting how to undo it would leak it
                self._construct(config, supervised, undo)
            with Allowed():
                self.supervision.await_first_worker(self._has_worker)
        except BaseException:
            self.alive = False
            for step in reversed(undo):
                try:
                    step()
                except Exception as error:
                    trace.swallowed("undoing a failed start", error)
            raise

    def _construct(self, config: Config, supervised: Supervised, undo: list[Callable[[], None]]) -> None:
        """Makes all parts and starts them; appends to ``undo`` what undoes each step."""
        self.neighbours = Neighbours(config, self.nonce)
        undo.append(self.neighbours.leave)
        limit = self.neighbours.store_limit
        self.machine = Machine(config, machine_totals(config, self.neighbours.memory_left, limit), self.nonce)
        self.loop = Loop(self.machine)
        undo.append(self.loop.close)
        self.ref_log: deque[Any] = self.loop.ref_log
        self.new_ref = logged_in(self.ref_log)
        self.disk = DiskTier(config.spill_directory)
        undo.append(self.disk.close)
        self.pages = WorkerPages.create(undo)
        self.neighbours.attach(self.loop, self.pages.ledger)
        self.store = Store(0, limit, self.pages.ledger, self.disk)
        undo.append(self.store.close)
        self.output = TaskOutput()
        self.refs = OwnRefs(self)
        self.spilling = Spilling(
            self, self.loop, self.store, self.refs, self._ids, config.inline_limit, self.output.warn,
            lambda: self.inspection.let_go(),
        )  # fmt: skip
        self.arguments = Arguments(self.refs, self.put, config.inline_limit)
        self.reading = Reading(self.loop, self.store)
        self.waiting = LocalWaiting(self, self.loop, self.refs, self.reading)
        self.streams = StreamReader(self, self.loop)
        self.views = Views(self.loop, self.store, self.pages.ledger, time.time() - _now())
        self.actors = LocalActors(self, self.loop, self._ids, self.arguments, config.namespace or "")
        self.groups = LocalGroups(self.loop, self._ids)
        self.controls = LocalControls(self, self.loop, self.refs)
        self.code = DriverCode(config.namespace or "", self.output.deliver)
        self._expose()
        self.effects = Effects(self.loop, self.store, self.pages, self.definitions, self.output)
        self.everywhere = Everywhere(
            self.loop, self.effects, self.arguments, self._ids, self.reading.read, self.check_alive)  # fmt: skip
        self.effects.on_worker_started = self.everywhere.worker_started
        self.inspection = LocalInspection(self.loop, self.effects, self.check_alive, self.controls, self.disk.path)
        self.scaling = LocalScaling(self.loop, self.check_alive, self.neighbours.scaled)
        peers = self.effects.peers
        self.monitor = MemoryMonitor(self.loop, self.store, peers, config, lambda: self.supervised.process.pid)
        self.hangs = HangWatch(self.loop, peers, self.effects.control, config.hang_warning)
        self.worker_calls = WorkerCalls(self.loop, self.effects, self.spilling.ask, self._callable_by_workers())
        self.inbox = Inbox(self.loop, self.effects, self.store, self.pages, self.definitions, Listeners(
            self.everywhere, self.inspection, self.worker_calls.answer, self.output.deliver, self.hangs.answered,
            self.monitor.system_killed, lambda: self.supervision.lost()))  # fmt: skip
        self.supervision = Supervision(
            supervised, self.loop, config, self.nonce, self.store, self.disk,
            lambda: list(peers), self.inbox.worker_died,
        )  # fmt: skip
        self.effects.processes = self.supervision
        self._connect_loop()
        undo += [lambda: self.supervised.stop(1.0), self.loop.remove_all]
        self.supervision.start()
        undo.append(self.loop.users.stop)
        try:
            self.loop.users.start()
            self.loop.io.start()
        except RuntimeError as error:
            raise RaySystemError(NO_THREAD.format(error)) from error
        undo.append(self.loop.stop)

    def _expose(self) -> None:
        """Makes methods of the parts the engine's own."""
        self.on_output = self.output.listeners
        self.logs = self.output.kept.find
        self.adopt, self.adopt_all = self.refs.adopt, self.refs.adopt_all
        self.reduce_ref, self.ref_bundle = self.refs.reduce_ref, self.refs.ref_bundle
        self.get, self.wait = self.waiting.get, self.waiting.wait
        self.future, self.awaitable = self.waiting.future, self.waiting.awaitable
        self.is_unasked = self.waiting.is_unasked
        self.kinds = self.reading.kinds
        streams = self.streams
        self.next_item, self.next_item_async = streams.next_item, streams.next_item_async
        self.item_is_ready, self.stream_finished = streams.item_is_ready, streams.stream_finished
        self.at_stream_end = streams.at_stream_end
        actors, groups, views = self.actors, self.groups, self.views
        self.create_actor, self.kill = actors.create_actor, actors.kill
        self.actor_named, self.actor_names = actors.actor_named, actors.actor_names
        self.reserve_group, self.return_group = groups.reserve_group, groups.return_group
        self.group_ready, self.groups_table = groups.group_ready, groups.groups_table
        self.snapshot, self.changes, self.rows, self.awaited = views.snapshot, views.changes, views.rows, views.awaited
        self.cluster, self.story = views.cluster, views.story
        machine = OneMachine(self.nonce, self.cluster)
        self.nodes, self.node_id, self.native_env = machine.nodes, machine.node_id, machine.native_env
        self.pending_calls, self.scope_counts = views.pending_calls, views.scope_counts
        self.check_invariants = views.check_invariants
        controls, code = self.controls, self.code
        self.cancel, self.cancel_task, self.cancel_scope = controls.cancel, controls.cancel_task, controls.cancel_scope
        self.free, self.free_ids = controls.free, controls.free_ids
        self.context, self.actor_here, self.leave_actor = code.context, code.actor_here, code.leave_actor
        self.emit, self.own_handle = code.emit, code.own_handle

    def _connect_loop(self) -> None:
        loop = self.loop
        loop.effects = self.effects
        loop.take = self.inbox
        loop.prepare = self.inbox.prepare
        loop.lost = self.inbox.connection_lost
        loop.health.on_broken = self._broken
        loop.on_tick = self._on_tick

    def _callable_by_workers(self) -> dict[str, Callable[..., Any]]:
        """Returns name → what workers may call; what makes room is `WorkerCalls`' own."""
        actors = self.actors
        return {
            "actor_named_for": actors.actor_named_for, "actor_names": self.actor_names, "cancel_task": self.cancel_task,
            "changes": self.changes, "cluster": self.cluster, "create_actor_for": actors.create_actor_for,
            "free_ids": self.free_ids, "group_ready": self.group_ready, "groups_table": self.groups_table,
            "item_is_ready": self.item_is_ready, "kill": self.kill, "pending_calls": self.pending_calls,
            "reserve_group": self.reserve_group, "return_group": self.return_group, "snapshot": self.snapshot,
            "store_full": self.spilling.full, "stream_is_finished": self.stream_finished,
        }  # fmt: skip

    def _on_tick(self, now: float) -> None:
        self.monitor.tick(now)
        self.hangs.tick(now)
        self.neighbours.tick(now)

    def _has_worker(self) -> bool:
        # a list, not a generator: Ctrl-C inside a generator is printed and lost
        return any([peer.pid for peer in self.effects.peers.values()])  # noqa: C419

    @property
    def supervised(self) -> Supervised:
        """Returns the current supervisor process."""
        return self.supervision.process

    # -- tasks ---------------------------------------------------------------------------------
    def check_alive(self) -> None:
        """Raises `RuntimeGoneError` if the runtime was shut down, or its failure if it has failed."""
        if not self.alive:
            raise gone(self._pid)
        if self.loop.health.failure is not None:
            raise self.loop.health.error()

    def define(self, key: str, blob: bytes, refs: Sequence[ObjectRef[object]] = ()) -> None:
        """Stores a definition under the hash of its bytes, with the refs inside it; once per key."""
        if key not in self.definitions:
            self.refs.ids_of(refs)
            self.definitions[key] = (blob, refs)

    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[object]] | ObjectRefGenerator:
        """Submits a task or an actor's method call; returns its refs, or a generator of them, at once."""
        if not self.alive or self.loop.health.failure is not None:
            self.check_alive()
        args, deps, contained, hold = _NOTHING if packed is pickling.NO_ARGS else self.arguments.place(packed)
        count = options.num_returns
        returns = count if count >= 0 else 1
        loop = self.loop
        task_id = self._ids.next_task(actor)
        base = task_id << 32  # ids.INDEX_BITS
        if returns == 1:
            ref = object.__new__(self.new_ref)  # by their classes, ref and spec take 0.15 µs longer
            ref._id, ref._engine = base | 1, self
            refs: list[ObjectRef[object]] = [ref]
        else:
            refs = [self.new_ref(base | i, self) for i in range(1, returns + 1)]
        spec = object.__new__(TaskSpec)
        _fill_spec(spec, task_id, options, args, deps, contained, 0, 0, current_scope(), actor, False, 0, returns)
        loop.submission_queue.append(spec)
        del hold  # refs released from here on are applied after this call: see `Loop.drain_logs`
        loop.pace.submitted(_now())
        if count == STREAMING:
            return ObjectRefGenerator(refs[0], self)
        return refs

    def put(self, packed: Packed) -> ObjectRef[object]:
        """Stores a packed value; returns its ref."""
        if not self.alive or self.loop.health.failure is not None:
            self.check_alive()
        if packed.buffers or len(packed.data) > self.config.inline_limit:
            headroom.check()
            return shelter.run(self.spilling.put, packed)
        # Enqueued as a submission is: an exception between two steps does no harm. The machine applies several at
        # once; applied one by one, "put of an int" takes twice as long.
        contained = self.refs.ids_of(packed.contained) if packed.contained else ()
        data = pickling.in_band(packed)
        now = _now()
        object_id = self._ids.next_put()
        ref = self.new_ref(object_id, self)
        queue = self.loop.submission_queue
        queue.append(e.ObjectStored(now, object_id, data, len(data), contained, 0, current_scope()))
        self.loop.pace.put(now)
        return ref

    def run_on_workers(
        self, options: TaskOptions, packed: Packed, later: bool, now: bool = True, only: int = 0,
        besides: Iterable[concurrent.futures.Future[object]] | None = None,
    ) -> list[concurrent.futures.Future[Any]]:  # fmt: skip
        """Runs a call on every worker (``only``: on one), and with ``later`` first thing on new ones."""
        return shelter.run(self.everywhere.run, options, packed, later, now, only, besides)

    @property
    def driver(self) -> LocalEngine:
        """Returns the engine itself: it is the driver's."""
        return self

    @property
    def failure(self) -> str:
        """Returns why the runtime failed; "" while it works."""
        found = self.loop.health.failure
        return str(found) if found is not None and self.alive else ""

    def _broken(self) -> None:
        """Ends the workers of a runtime whose loop has failed, and says so. Runs on the I/O thread."""
        self.output.warn(str(self.loop.health.failure))
        self.supervised.stop(0.5)

    def shutdown(self, timeout: float) -> None:
        """Stops everything in order; failures of single steps are raised together at the end."""
        if os.getpid() != self._pid:
            return
        self.alive = False
        self.supervision.ended = True
        errors: list[Exception] = []
        self.neighbours.on_stop = lambda who: None

        def step(action: Callable[[], Any]) -> None:
            try:
                action()
            except Exception as error:
                if is_taken(error):
                    trace.swallowed("closing what somebody else has closed", error)
                else:
                    errors.append(error)

        if self.loop.health.failure is None:
            step(self.controls.forget_dropped)
            step(lambda: self.loop.dispatch(e.ShutdownAsked(time.monotonic())))
        self.loop.fail(RuntimeGoneError("The raynb runtime was shut down."))
        step(lambda: self.supervision.let_idle_workers_leave(timeout, self.effects.stop))
        step(self.loop.users.stop)
        step(self.loop.stop)
        step(self.neighbours.leave)
        step(lambda: self.supervised.stop(timeout))
        step(self.spilling.stop)
        for closed in (self.store, self.pages, self.disk):
            step(closed.close)
        self.definitions.clear()
        if errors:
            raise RaySystemError("shutdown was not clean: " + "; ".join(map(str, errors))) from errors[0]

    def after_fork_in_child(self) -> None:
        """Releases in a forked child all that belongs to the parent, without touching the parent's."""
        self.alive = False
        self.loop.health.failure = RuntimeGoneError("This process is a fork: it has no raynb runtime of its own.")
        self.loop.submission_queue.clear()
        self.loop.lock = Critical(self.loop.submission_queue, self.loop.drain_submissions)
        for connection in list(self.loop.connections.values()):
            connection.channel.close()
        self.loop.close()
        self.supervised.abandon()
        self.neighbours.after_fork_in_child()
        self.store.after_fork_in_child()


__all__ = ["LocalEngine", "machine_totals"]
