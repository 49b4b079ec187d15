"""`ClusterEngine`: the driver's side of a Ray cluster."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import secrets
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray import exceptions as theirs

from raynb.base import ids
from raynb.base.config import RESOURCE_UNIT, Config
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef
from raynb.base.rows import (
    ACTOR_CREATION_TASK,
    ACTOR_TASK,
    CANCELLED,
    DEAD,
    FAILED,
    FINISHED,
    MEMORY,
    NORMAL_TASK,
    PENDING,
    PENDING_ARGS_AVAIL,
    SHARED,
    TASK_ENDED,
    ActorRow,
    ObjectRow,
    Output,
    Snapshot,
    StoreRow,
    TaskRow,
    WorkerRow,
)  # fmt: skip
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.cluster import bridge, connection, rays, refs
from raynb.engine.cluster.adapter import Adapter
from raynb.engine.cluster.cluster_view import ClusterView
from raynb.engine.cluster.control import Control
from raynb.engine.cluster.hub import Listener, make_hub
from raynb.engine.cluster.worker_reports import MAX_RETURNS, News
from raynb.engine.driver_code import DriverCode
from raynb.engine.logs import Logs
from raynb.engine.named_later import NamedLater
from raynb.engine.row_store import RowStore

_now = time.monotonic
MAX_UNREAD = 10_000  # entries that wait to be read, at the most
SWEEP_MAX_TASKS = 1000  # tasks that one look goes through
QUIET_SECONDS = 2.0  # seconds without news after which a task's ref itself is asked
INLINE_MAX_BYTES = 100 * 1024  # bytes up to which Ray keeps values in memory


class ClusterEngine(News, Control, Adapter):
    """Runs tasks and actors on a Ray cluster.

    The pictures of views are made from what the tasks say of themselves: rows exist for what this
    driver, and the tasks and actors it started, submitted.

    Thread contract: every public method from any thread.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._listener: Listener | None = None
        self._nodes = connection.throw_away(config) if config.cluster else None
        try:
            self._connected = connection.connect(config)
        except BaseException:
            self._end_nodes()
            raise
        try:
            home = random.randrange(1, 1 << 40)
            ids.homes.add(home)
            super().__init__(secrets.randbits(32), home, rays.context().namespace)
            #: Where it is, for people: what "auto" has found.
            self.address: str = (rays.context().gcs_address if config.address == "auto" else config.address) or ""
            self.later = NamedLater()
            self.on_output: list[Callable[[Output], None]] = []
            self.logs_kept = Logs()
            code = self.code = DriverCode(self.namespace, self.deliver)
            self.actor_here, self.own_handle, self.leave_actor = code.actor_here, code.own_handle, code.leave_actor
            self.emit = code.emit
            self._book = RowStore(config.finished_tasks_kept)
            self._unread: deque[tuple[Any, ...]] = deque()
            self._told: dict[str, int] = {}
            self._reading = False
            self._pid = os.getpid()
            self._open: dict[int, list[Any]] = {}  # task → [native, heard of at]
            self._cancel_deadlines: dict[int, float] = {}  # cancelled task → when its worker is killed
            self._blobs: dict[str, bytes] = {}
            self._workers: dict[str, WorkerRow] = {}
            self._early: OrderedDict[int, list[Any]] = OrderedDict()
            self._actor_keys: dict[str, int] = {}  # Ray's id of an actor → ours
            self._rows_lock = threading.RLock()
            self.listen_for_failures()
            self._session = rays.session()
            self._cluster = self.cluster_info = ClusterView(self)
            bridge.drivers[self.nonce] = self
            self._start()
        except BaseException:
            bridge.drivers.pop(self.__dict__.get("nonce", 0), None)
            if self._connected:
                ray.shutdown()
            self._end_nodes()
            raise
        refs.admit(self)
        # Later than Ray's own exit handler, so before it: while there is still a connection to leave in order.
        atexit.register(self.shutdown, 1.0)

    # -- where the driver's own code runs ------------------------------------------------------
    names_later = True
    inspection = None
    scaling = None

    @property
    def driver(self) -> ClusterEngine:
        return self

    @property
    def job_env(self) -> dict[str, Any]:
        return self.config.runtime_env or {}

    def check_invariants(self) -> None:
        """There is no machine of ours, whose state could be impossible."""

    # -- starting ------------------------------------------------------------------------------
    def _start(self) -> None:
        """Starts the way back, on nodes that can run raynb."""
        lacks = connection.ship(self.config)
        if lacks is not None and self._connected:
            # Once more, with raynb for all that this job runs: plain Ray's tasks of it read our values, too.
            ray.shutdown()
            connection.connect(self.config, lacks)
            self._session = rays.session()
        else:
            self.shipped = lacks
        hub = make_hub(self.nonce, self.shipped)
        ready = rays.call(hub, "push", ["", time.time(), False, False, b"", b""])
        connection.await_first(ready, self.config, self._say)
        self._listener = Listener(hub, self._hub_again, self._take, self._was_told, self._sweep, self._lost)

    def _hub_again(self) -> Any:
        hub = make_hub(self.nonce, self.shipped)
        rays.get(rays.call(hub, "push", ["", time.time(), False, False, b"", b""]), timeout=30.0)
        return hub

    def _say(self, text: str) -> None:
        self.deliver(Output("stderr", 0, current_scope(), 0, self._pid, "raynb", 0, text))
        if not self.on_output:  # while it starts nobody listens yet
            sys.stderr.write(text)

    # -- its life ------------------------------------------------------------------------------
    def shutdown(self, timeout: float) -> None:
        """Leaves the cluster; what this driver started there ends, but for detached actors."""
        if os.getpid() != self._pid or not self._end():
            return
        atexit.unregister(self.shutdown)
        self.stop_listening()
        if self._listener is not None:
            self._listener.stop()
        refs.withdraw(self)
        bridge.drivers.pop(self.nonce, None)
        if rays.is_connected() and rays.session() is self._session:
            with contextlib.suppress(Exception):  # the cluster is gone already
                if self._listener is not None:
                    rays.kill(self._listener.hub)
            self._forget()
            if self._connected:
                ray.shutdown()
        self._forget()
        self._end_nodes()

    def _end_nodes(self) -> None:
        if self._nodes is not None:
            self._nodes.close()

    def _end(self) -> bool:
        with self._rows_lock:
            alive, self.alive = self.alive, False
        return alive

    def _forget(self) -> None:
        for table in (self._natives, self._open, self._cancel_deadlines, self._streams, self._remotes, self._defined,
                      self._options, self._methods):  # fmt: skip
            table.clear()

    def check_alive(self) -> None:
        if self.alive and not (rays.is_connected() and rays.session() is self._session):
            self.alive = False  # somebody called ray.shutdown(), or Ray itself ended
        super().check_alive()

    def after_fork_in_child(self) -> None:
        self.alive = False

    def _lost(self, over: bool, error: BaseException) -> None:
        if over:
            self.alive = False
            self._say(f"raynb: the connection to the Ray cluster is over: {bridge.short(error)}\n")
        else:
            self._say("raynb: the process that brings the output of tasks here was lost and is made again; what "
                      "tasks printed in that moment may be missing, their results are not.\n")  # fmt: skip

    # -- rows ----------------------------------------------------------------------------------
    def here(self) -> tuple[int, int]:
        return 0, current_scope()

    def _new_row(self, task: int, name: str, function: str, amounts: Any, scope: int, parent: int, actor: int,
                 creates: bool, at: float) -> None:  # fmt: skip
        kind = ACTOR_CREATION_TASK if creates else ACTOR_TASK if actor else NORMAL_TASK
        resources = {key: amount / RESOURCE_UNIT for key, amount in amounts}
        self.book.new_task(TaskRow(task, name, kind, PENDING_ARGS_AVAIL, scope=scope, parent=parent, actor=actor,
                                   submitted=at, resources=resources, function_name=function or name))  # fmt: skip

    def submitted(self, task: int, native: Any, options: TaskOptions, actor: int, creates: bool) -> None:
        now = _now()
        if native is not None:
            self._open[task] = [native, now]
        self._unread.append((self._was_submitted, task, options, current_scope(), actor, creates, now))

    def _was_submitted(self, task: int, options: TaskOptions, scope: int, actor: int, creates: bool, at: float) -> None:
        self._new_row(task, options.name, options.function_name, options.resources, scope, 0, actor, creates, at)
        self._replay(task)

    @property
    def listener(self) -> Listener:
        assert self._listener is not None, "it is there from the start to the end"
        return self._listener

    def seen(self, mark: Any) -> None:
        self.listener.seen(mark)

    def when_seen(self, mark: Any, then: Callable[[], None]) -> None:
        self.listener.when_seen(mark, then)

    def got(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """These values were read: their tasks have ended, whether or not their workers said so yet."""
        tasks = [ids.task_of(ref._id) for ref in refs]
        for task in tasks:
            if task not in self._streams:  # an item of a stream is not its end
                self._open.pop(task, None)
        self._unread.append((self._were_read, tasks, _now()))

    def _were_read(self, tasks: list[int], at: float) -> None:
        for task in tasks:
            row: TaskRow | None = self._book.row("tasks", task)
            if row is None or row.state in TASK_ENDED or row.kind == ACTOR_CREATION_TASK or task in self._open:
                continue
            row.ended, row.started = at, row.started or at
            self._book.move_task(row, FINISHED)
            self._object_rows(row)

    def _object_rows(self, row: TaskRow) -> None:
        if row.kind == ACTOR_CREATION_TASK:
            return
        found = []
        for index in range(1, MAX_RETURNS):
            entry = self._natives.get(ids.object_id(row.id, index))
            if entry is not None:
                found.append((ids.object_id(row.id, index), entry[1]))
            elif index > 2:  # of a stream, return 1 is its end
                break
        for identity, count in found:
            size = row.size // len(found)
            where = SHARED if size > INLINE_MAX_BYTES else MEMORY
            self.book.put("objects", ObjectRow(identity, size, where, row.id, row.scope,
                                               count, error=row.state != FINISHED))  # fmt: skip

    def put(self, packed: Packed) -> ObjectRef[Any]:
        ref = super().put(packed)
        size = len(packed.data) + sum(buffer.nbytes for buffer in packed.buffers)
        self._unread.append((self._was_put, ref._id, size, current_scope()))
        return ref

    def _was_put(self, identity: int, size: int, scope: int) -> None:
        self._book.put("objects", ObjectRow(identity, size, SHARED if size > INLINE_MAX_BYTES else MEMORY,
                                            ids.task_of(identity), scope, 1))  # fmt: skip

    def _sweep(self) -> None:
        """Looks at tasks that nothing was heard of for a while: cancelled in the queue, or their worker died."""
        self.settle()
        self.unasked.look()
        self._insist()
        before = _now() - QUIET_SECONDS
        if len(self._unread) < MAX_UNREAD and not self._has_silent(before):
            return
        with self._rows_lock:
            self.read_all()
            silent = [(task, entry[0]) for task, entry in self._open.copy().items() if entry[1] < before]
            del silent[SWEEP_MAX_TASKS:]
        if not silent:
            return
        try:
            asked = [native for _, native in silent]
            ready, _ = rays.wait(asked, num_returns=len(asked), timeout=0, fetch_local=False)
        except theirs.RayError:
            return
        there = set(ready)
        for task, native in silent:
            if native in there:
                self._settle_silent(task, native)

    def _has_silent(self, before: float) -> bool:
        """Returns whether the task that is open for the longest time was not heard of since."""
        try:
            oldest = next(iter(self._open.values()), None)
        except RuntimeError:  # another thread submits in this moment
            return False
        return oldest is not None and oldest[1] < before

    def _settle_silent(self, task: int, native: Any) -> None:
        kind, text, state = "", "", FINISHED
        try:
            rays.get(native, timeout=1.0)
        except theirs.GetTimeoutError:
            return
        except BaseException as raised:
            error = bridge.translate(raised)
            kind, text = type(error).__name__, str(error)
            state = CANCELLED if kind == "TaskCancelledError" else FAILED
        with self._rows_lock:
            self._open.pop(task, None)
            self.later.over(rays.number_of(native))
            row: TaskRow | None = self.book.row("tasks", task)
            if row is not None and row.state not in TASK_ENDED:
                row.ended, row.error_type, row.error = _now(), kind, text
                self.book.move_task(row, state)
                self.task_failed(row)

    # -- actors --------------------------------------------------------------------------------
    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        ref, found = super().create_actor(spec, options, packed, get_if_exists)
        with self._rows_lock:
            self._actor_keys[bridge.actor_key(self.native_by_id(ref._id))] = found.actor_id
            if self.book.row("actors", found.actor_id) is None:
                self.book.put("actors", ActorRow(
                    found.actor_id, found.class_name, found.name, found.namespace, max_restarts=found.max_restarts,
                    scope=current_scope(), detached=found.lifetime == "detached"))  # fmt: skip
        return ref, found

    def kill(self, actor: int, no_restart: bool) -> None:
        super().kill(actor, no_restart)
        if no_restart:
            with self._rows_lock:
                self._actor_changed(actor, DEAD, 0, "it was killed by `ray.kill`")

    def define(self, key: str, blob: bytes, refs: Sequence[ObjectRef[Any]] = ()) -> None:
        self._blobs[key] = blob
        super().define(key, blob, refs)

    # -- views ---------------------------------------------------------------------------------
    def snapshot(self) -> Snapshot:
        return self.changes(-1)

    def changes(self, since: int) -> Snapshot:
        self.check_alive()
        self.listener.looked_at = _now()
        found = self._cluster.resources()
        objects: list[ObjectRow] = self.book.rows("objects")
        used = sum(row.size for row in objects if row.where == SHARED)
        inline = sum(row.size for row in objects if row.where != PENDING) - used
        limit = int(found[0].get("object_store_memory", 0))
        store = StoreRow(limit=limit, used=used, inline=inline, objects=len(objects), resident=used)
        shot = self.book.changes(since, store, *found)
        shot.nodes = self._cluster.nodes(shot.workers)
        return shot

    def rows(
        self, tasks: Sequence[int] = (), actors: Sequence[int] = (), objects: Sequence[int] = ()
    ) -> Snapshot:
        return self.book.picture_of(tasks, actors, objects)

    def kinds(self, objects: Sequence[int]) -> dict[int, str]:
        return {}  # the values are in Ray's store

    def awaited(self, task: int) -> list[int]:
        return []  # Ray doesn't tell

    def story(self, identity: int) -> list[tuple[float, str]]:
        return self.book.story(identity)

    def logs(self, task: int | None = None, worker: int | None = None) -> list[Output]:
        return self.logs_kept.find(task, worker)


__all__ = ["ClusterEngine"]
