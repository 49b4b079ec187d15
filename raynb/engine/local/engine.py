"""`LocalEngine`: the embedded engine, workers on this machine."""

from __future__ import annotations

import concurrent.futures
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from raynb.base import ids, limits
from raynb.base.config import Config
from raynb.base.engine import Context, Packed, register
from raynb.base.interrupts import Allowed, Deferred
from raynb.base.process import headroom, shelter, trace
from raynb.base.process.shelter import sheltered
from raynb.base.ray_names import one_machine
from raynb.base.ref import ObjectRef, ObjectRefGenerator, OwnRef
from raynb.base.rows import Output, Snapshot
from raynb.base.scope import current_scope
from raynb.base.spec import STREAMING, ActorSpec, TaskOptions, TaskSpec
from raynb.base.text import printable
from raynb.core import invariants, snapshot
from raynb.core.machine import Machine
from raynb.core.scheduling.worker_health import SupervisorDeaths
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.engine.local.everywhere import Everywhere
from raynb.engine.local.hang_watch import HangWatch
from raynb.engine.local.inspection import Inspection
from raynb.engine.local.lifecycle import Lifecycle
from raynb.engine.local.memory_monitor import MemoryMonitor
from raynb.engine.local.reading import Reading
from raynb.engine.local.spilling import Room
from raynb.engine.local.supervisor_process import Supervised
from raynb.engine.local.totals import Scaling, machine_totals
from raynb.engine.local.waiting import Waiting
from raynb.engine.local.worker_calls import WorkerCalls
from raynb.engine.logs import Logs
from raynb.engine.loop.effects import Effects
from raynb.engine.loop.inbox import Inbox
from raynb.engine.loop.loop import Loop
from raynb.engine.refs import OwnRefs
from raynb.exceptions import RaySystemError
from raynb.serde import pickling
from raynb.store import Board, DiskTier, Ledger, Slots, Store, UnsentRows
from raynb.wire.messages import ARGS_IN_STORE

_now = time.monotonic
NO_THREAD = (
    "cannot start a thread of the runtime: {}. The limit of threads and processes (`ulimit -u`, or the container's "
    "pids) or of memory is reached: end other programs or raise it, then start again."
)


class LocalEngine(Lifecycle, Waiting, Reading, OwnRefs, WorkerCalls):
    """Runs tasks and actors on workers of this machine.

    Thread contract: every public method from any thread.
    """

    CONTROL = 1 << 62  # bit of a request number: answer on the control channel
    address = ""
    cluster_info = None
    foreign_groups = None

    def __init__(self, config: Config, supervised: Supervised) -> None:
        """Takes over a supervisor that is about to start (see `raynb.engine.local.launch`)."""
        self.config = config
        self.supervised = supervised
        self.nonce = secrets.randbits(32)
        self.alive = True
        self.marker = supervised.marker
        self.now = _now
        self.on_output: list[Callable[[Output], None]] = []
        self.definitions: dict[str, tuple[bytes, Any]] = {}
        self.logs_kept = Logs()
        self._pid = os.getpid()
        register(self)
        self._ids = ids.IdSource(0)
        self._warned: set[str] = set()
        self._supervisor_deaths = SupervisorDeaths(config.worker_start_attempts)
        limit = config.object_store_memory or limits.default_object_store_memory()
        self.machine = Machine(config, machine_totals(config), self.nonce)
        self.wall = time.time() - _now()
        undo: list[Callable[[], None]] = []
        try:
            with Deferred():  # a Ctrl-C between making a thing and noting how to undo it would leak it
                self._construct(config, limit, undo)
            with Allowed():
                self._await_first_worker()
        except BaseException:
            self.alive = False
            for step in reversed(undo):
                try:
                    step()
                except Exception as error:
                    trace.swallowed("undoing a failed start", error)
            raise

    def _construct(self, config: Config, limit: int, undo: list[Callable[[], None]]) -> None:
        """Makes all parts and starts them; notes in ``undo`` how each is taken back."""
        self.loop = Loop(self.machine)
        undo.append(self.loop.close)
        self.ref_log: deque[int] = self.loop.ref_log
        self.disk = DiskTier(config.spill_directory)
        undo.append(self.disk.close)
        self.ledger = Ledger.create()
        undo.append(self.ledger.close)
        self.slots = Slots()
        self.board = Board.create()
        undo.append(self.board.close)
        self.unsent = UnsentRows()
        undo.append(self.unsent.close)
        self.store = Store(0, limit, self.ledger, self.disk)
        undo.append(self.store.close)
        self.effects = Effects(self)
        self.everywhere = Everywhere(self)
        self.inspection = Inspection(self)
        self.scaling = Scaling(self)
        self.inbox = Inbox(self)
        self.loop.effects = self.effects
        self.loop.take = self.inbox
        self.loop.prepare = self.inbox.prepare
        self.loop.lost = self.inbox.lane_lost
        self.loop.health.on_broken = self._broken
        self.room = Room(self)
        self.monitor = MemoryMonitor(self)
        self.hangs = HangWatch(self)
        self.loop.on_tick = self._on_tick
        undo.append(lambda: self.supervised.stop(1.0))
        undo.append(self.loop.remove_all)
        self._start_supervisor()
        self._start_workers()
        undo.append(self.loop.users.stop)
        try:
            self.loop.users.start()
            self.loop.io.start()
        except RuntimeError as error:
            raise RaySystemError(NO_THREAD.format(error)) from error
        undo.append(self.loop.stop)

    def _on_tick(self, now: float) -> None:
        self.monitor.tick(now)
        self.hangs.tick(now)

    # -- tasks ---------------------------------------------------------------------------------
    def check_alive(self) -> None:
        super().check_alive()
        if self.loop.health.failure is not None:
            raise self.loop.health.error()

    def define(self, key: str, blob: bytes, refs: Any = ()) -> None:
        if key not in self.definitions:
            self.ids_of(refs)
            self.definitions[key] = (blob, refs)

    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[Any]] | ObjectRefGenerator:
        if not self.alive or self.loop.health.failure is not None:
            self.check_alive()
        hold: Any = None
        deps: tuple[int, ...]
        contained: tuple[int, ...]
        if packed is pickling.NO_ARGS:
            args, deps, contained = pickling.EMPTY_IN_BAND, (), ()
        else:
            args, deps, contained, hold = self._arguments(packed)
        count = options.num_returns
        returns = count if count >= 0 else 1
        loop = self.loop
        task_id = self._ids.next_task(actor)
        base = task_id << 32  # ids.INDEX_BITS
        refs: list[ObjectRef[Any]] = (
            [OwnRef(base | 1, self)] if returns == 1 else
            [OwnRef(base | i, self) for i in range(1, returns + 1)]
        )  # fmt: skip
        loop.intake.append(TaskSpec(
            task_id, options, args, deps, contained, 0, 0, current_scope(), actor, False, 0, returns))  # fmt: skip
        del hold  # whatever is let go of from here on is told after this call: see `Loop.settle`
        loop.pace.submitted(_now())
        if count == STREAMING:
            return ObjectRefGenerator(refs[0], self)
        return refs

    def _arguments(self, packed: Packed) -> tuple[Any, tuple[int, ...], tuple[int, ...], Any]:
        """Returns (args, deps, contained, what must live until the machine has counted it)."""
        deps = self.ids_of(packed.deps) if packed.deps else ()
        if (not packed.buffers and len(packed.data) <= self.config.inline_limit) \
                or pickling.nbytes(packed) <= self.config.inline_limit:  # fmt: skip
            contained = self.ids_of(packed.contained) if packed.contained else ()
            return pickling.in_band(packed), deps, contained, packed
        ref = self.put(packed)
        return ARGS_IN_STORE, (*deps, ref._id), (), (ref, packed)

    def _mine(self, ref: ObjectRef[Any]) -> None:
        if ref._engine is not self:
            self.refuse(ref)

    def put(self, packed: Packed) -> ObjectRef[Any]:
        if not self.alive or self.loop.health.failure is not None:
            self.check_alive()
        ref: ObjectRef[Any]
        if packed.buffers or len(packed.data) > self.config.inline_limit:
            headroom.check()
            ref = shelter.run(self.room.put, packed)
            return ref
        # Only noted, as a submission is: an exception may fall in anywhere. The machine is told of several at once;
        # to tell it of each, "put of an int" takes twice as long.
        contained = self.ids_of(packed.contained) if packed.contained else ()
        data = pickling.in_band(packed)
        now = _now()
        object_id = self._ids.next_put()
        ref = OwnRef(object_id, self)
        self.loop.intake.append(e.ObjectStored(now, object_id, data, len(data), contained, 0, current_scope()))
        self.loop.pace.put(now)
        return ref

    # -- control -------------------------------------------------------------------------------
    @sheltered
    def cancel(self, ref: ObjectRef[Any], force: bool, recursive: bool) -> None:
        self.check_alive()
        self._mine(ref)
        self.loop.tell(e.CancelAsked(_now(), ids.task_of(ref._id), force, recursive))

    def run_on_workers(
        self, options: TaskOptions, packed: Packed, later: bool, now: bool = True, only: int = 0
    ) -> list[concurrent.futures.Future[Any]]:
        futures: list[concurrent.futures.Future[Any]] = shelter.run(
            self.everywhere.run, options, packed, later, now, only)  # fmt: skip
        return futures

    @sheltered
    def cancel_task(self, task: int, force: bool = False) -> None:
        """Cancels a task by id (the dashboard's button)."""
        self.check_alive()
        self.loop.tell(e.CancelAsked(_now(), task, force, True))

    @sheltered
    def cancel_scope(self, scope: int) -> tuple[int, int]:
        self.check_alive()
        tasks = self.machine.tasks
        with self.loop.lock:
            finished = sum(tasks.scopes.get(scope, {}).values())
            open_ones = [tasks.table[t] for t in tasks.open_in.get(scope, ()) if not tasks.table[t].spec.creates_actor]
            count = sum(1 for task in open_ones if not task.spec.parent)
            self.loop.apply(e.ScopeCancelAsked(_now(), scope))
        self.loop.flush()
        self.loop.run_callbacks()
        return count, finished

    @sheltered
    def pending_calls(self, actor: int) -> int:
        """Returns how many calls of an actor are unfinished."""
        with self.loop.lock:
            found = self.machine.actors.table.get(actor)
            return found.pending if found is not None else 0

    @sheltered
    def scope_counts(self, scope: int) -> dict[str, int]:
        with self.loop.lock:
            counts = dict(self.machine.tasks.scopes.get(scope, {}))
            for task_id in self.machine.tasks.open_in.get(scope, ()):
                state = self.machine.tasks.table[task_id].state
                counts[state] = counts.get(state, 0) + 1
        return counts

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        self.check_alive()
        self.free_ids(self.ids_of(refs))

    @sheltered
    def free_ids(self, wanted: tuple[int, ...]) -> None:
        """Frees objects by id (the dashboard's button)."""
        self.loop.tell(e.FreeAsked(_now(), wanted))

    @sheltered
    def kill(self, actor: int, no_restart: bool) -> None:
        self.check_alive()
        self.loop.tell(e.KillAsked(_now(), actor, no_restart))

    # -- where the driver's own code runs ------------------------------------------------------
    @property
    def driver(self) -> LocalEngine:
        return self

    @property
    def job_env(self) -> dict[str, Any]:
        return self.config.runtime_env or {}

    def native_env(self, value: dict[str, Any] | None) -> None:
        return None

    def context(self) -> Context:
        return Context(scope=current_scope(), namespace=self.config.namespace or "")

    def actor_here(self) -> ActorSpec | None:
        return None

    def own_handle(self, actor: int) -> NoReturn:
        raise TypeError("the driver's own code runs in no actor")

    def leave_actor(self) -> NoReturn:
        raise TypeError("the driver's own code runs in no actor")

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        self.deliver(Output(kind, 0, current_scope(), 0, self._pid, "", text=text, bundle=bundle))

    def nodes(self) -> list[dict[str, Any]]:
        return one_machine.nodes(self.nonce, self.cluster()[0])

    def node_id(self) -> str:
        return one_machine.node_id(self.nonce)

    # -- views ---------------------------------------------------------------------------------
    def check_invariants(self) -> None:
        with self.loop.lock:
            invariants.check(self.machine)


    def _settle_for_view(self, now: float) -> None:
        if not self.loop.health.broken:  # a failed runtime can be looked at, as it was when it failed
            self.loop.settle(now)

    def snapshot(self) -> Snapshot:
        return self.changes(-1)

    @sheltered
    def changes(self, since: int) -> Snapshot:
        now = _now()
        with self.loop.lock:
            self._settle_for_view(now)
            shot = snapshot.picture(self.machine, now, self.wall, since, self.store.limit)
        stats = self.store.stats()
        shot.store.pinned = stats.pinned
        shot.store.resident = self.ledger.resident()
        return shot

    @sheltered
    def rows(
        self, tasks: Sequence[int] = (), actors: Sequence[int] = (), objects: Sequence[int] = ()
    ) -> Snapshot:
        now = _now()
        with self.loop.lock:
            self._settle_for_view(now)
            return snapshot.rows(self.machine, now, self.wall, tasks, actors, objects)

    @sheltered
    def awaited(self, task: int) -> list[int]:
        with self.loop.lock:
            found: list[int] = snapshot.awaited(self.machine, task)
        return found

    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        shot = self.changes(1 << 60)
        return shot.total, {k: v for k, v in shot.available.items() if v > 0}

    @sheltered
    def story(self, identity: int) -> list[tuple[float, str]]:
        with self.loop.lock:
            story: list[tuple[float, str]] = self.machine.story(identity)
        return story

    # -- output --------------------------------------------------------------------------------
    def deliver(self, output: Output) -> None:
        """Hands a task's output on (called under the lock; listeners only queue it)."""
        self.logs_kept.add(output)
        for listener in self.on_output:
            try:
                listener(output)
            except Exception as error:
                trace.swallowed("a listener to the tasks' output raised", error)

    def warn(self, text: str, scope: int = 0) -> None:
        """Tells the user once, where they are looking."""
        if text not in self._warned:
            self._warned.add(text)
            self.deliver(Output("stderr", 0, scope, 0, self._pid, "raynb", 0, f"raynb: {printable(text)}\n"))

    def tell_of_failure(self, command: c.TellOfFailure) -> None:
        """Tells of a failure that nobody has asked about, in the cell that submitted the task."""
        if os.environ.get("RAY_IGNORE_UNHANDLED_ERRORS") != "1":
            text = f"raynb: {command.text}\n"
            self.deliver(Output("stderr", 0, command.scope, 0, self._pid, "raynb", 0, text))

    def logs(self, task: int | None = None, worker: int | None = None) -> list[Output]:
        return self.logs_kept.find(task, worker)


__all__ = ["LocalEngine", "machine_totals"]
