"""`ClusterEngine`: the driver's side of a Ray cluster."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray

from raynb.base import ids
from raynb.base.config import Config
from raynb.base.rows import (
    DEAD,
    PENDING,
    SHARED,
    ObjectRow,
    Output,
    Snapshot,
    StoreRow,
)  # fmt: skip
from raynb.base.scope import current_scope
from raynb.engine.causal import Mark
from raynb.engine.cluster import bridge, connection, rays, refs
from raynb.engine.cluster.adapter import Adapter
from raynb.engine.cluster.cluster_view import ClusterView
from raynb.engine.cluster.control import ClusterControls
from raynb.engine.cluster.hub import Listener, guarded, make_hub
from raynb.engine.cluster.inspection.asking import ClusterInspection
from raynb.engine.cluster.on_worker import joining
from raynb.engine.cluster.rows.failures import UnheardFailures
from raynb.engine.cluster.rows.reports import Reports
from raynb.engine.cluster.rows.submitted import Rows
from raynb.engine.cluster.rows.sweeping import Sweeper
from raynb.engine.cluster.side import Shared
from raynb.engine.driver_code import DriverCode
from raynb.engine.named_later import NamedLater
from raynb.engine.output import TaskOutput

_now = time.monotonic
#: Seconds that a picture waits for reports: longer than a worker gathers them, and the hub.
SETTLE_SECONDS = 2.0


def _print(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)


class DriverSide:
    """The driver's `Side`. `ready` gives it its parts, which are made of objects that need a side themselves.

    Its parts are given by `ready`, as they are made of what takes a side.
    """

    rows: Rows
    failures: UnheardFailures
    controls: ClusterControls
    reports: Reports
    inspection: ClusterInspection
    listener: Listener

    def here(self) -> tuple[int, int]:
        """Returns (task, cell) of the calling code: no task, and the running cell."""
        return 0, current_scope()

    def reports_to(self) -> int:
        """Returns 0: to this driver."""
        return 0

    def so_far(self) -> None:
        """Returns None: the driver's own output needs no order to results."""

    def debuggable(self) -> bool:
        """Returns whether somebody answers prompts: the notebook listens."""
        return bool(self.inspection.on_pause)

    def native_handle(self, object_id: int) -> None:
        """Returns None: the driver's own code runs in no actor."""

    def ready(self, rows: Rows, failures: UnheardFailures, controls: ClusterControls, reports: Reports,
              inspection: ClusterInspection) -> None:  # fmt: skip
        """Sets the parts that get what happens."""
        self.rows, self.failures, self.controls, self.reports = rows, failures, controls, reports
        self.inspection = inspection
        self.defined, self.explained, self.submitted = controls.defined, controls.explained, rows.submitted
        self.stored, self.has_actor, self.got = rows.stored, rows.has_actor, rows.got
        self.asked, self.dropped = failures.asked, failures.dropped

    def killed(self, actor: int) -> None:
        """Marks the actor's row as dead."""
        with self.rows.lock:
            self.reports.actor_changed(actor, DEAD, 0, "it was killed by `ray.kill`")

    def seen(self, mark: Mark | None) -> None:
        """Waits until the reports before ``mark`` are applied, so that a task's output comes before its result."""
        self.listener.seen(mark)

    def when_seen(self, mark: Mark | None, then: Callable[[], None]) -> None:
        """Calls ``then`` when the reports before ``mark`` are applied."""
        self.listener.when_seen(mark, then)


class ClusterEngine(Adapter):
    """Runs tasks and actors on a Ray cluster.

    The pictures of views are made from what the tasks say of themselves: rows exist for what this
    driver, and the tasks and actors it started, submitted.

    Thread contract: every public method from any thread.
    """

    scaling = None
    capture = 0  # a driver's own code runs in no placement group

    def __init__(self, config: Config) -> None:
        self.config = config
        self._listener: Listener | None = None
        with connection.plain_ray_waits():
            self._nodes = connection.throw_away(config, _print) if config.cluster else None
            try:
                self._connected = connection.connect(config)
            except BaseException:
                self._end_nodes()
                raise
        try:
            home = random.randrange(1, 1 << 40)
            ids.homes.add(home)
            self._side = side = DriverSide()
            shared = Shared(self, side, secrets.randbits(32), home, rays.context().namespace)
            super().__init__(shared)
            #: Where it is, for people: what "auto" has found.
            self.address: str = (rays.context().gcs_address if config.address == "auto" else config.address) or ""
            self._make_parts(side, shared)
            self._session = rays.session()
            bridge.drivers[self.nonce] = self
            self._start()
        except BaseException:
            bridge.drivers.pop(self.__dict__.get("nonce", 0), None)
            failures: UnheardFailures | None = self.__dict__.get("_failures")
            if failures is not None:
                failures.stop_listening()  # else Ray's notices would go on coming here
            if self._connected:
                ray.shutdown()
            self._end_nodes()
            raise
        refs.register(self)
        self.refs.count_handles_at_once()
        self.new_ref = self.refs.new_ref
        # Later than Ray's own exit handler, so before it: while there is still a connection to leave in order.
        atexit.register(self.shutdown, 1.0)

    def _make_parts(self, side: DriverSide, shared: Shared) -> None:
        """Makes what only the driver has, and their methods the engine's own."""
        self.output = TaskOutput()
        self.on_output, self.logs, deliver = self.output.listeners, self.output.kept.find, self.output.deliver
        code = DriverCode(self.namespace, deliver)
        self.context, self.actor_here, self.own_handle = code.context, code.actor_here, code.own_handle
        self.leave_actor, self.emit = code.leave_actor, code.emit
        rows = self._rows = Rows(self.refs, self.submission.streams, self.config.finished_tasks_kept)
        self._cluster = self.cluster_info = ClusterView(self)
        self._failures = UnheardFailures(rows, self._cluster, deliver)
        self.is_unasked = self._failures.is_unasked
        later = self.submission.later = NamedLater()
        self.inspection = ClusterInspection(rows, later.number_of, lambda: side.listener.hub, self.check_alive)
        self._reports = Reports(rows, self._failures.task_failed, self._cluster, deliver, later, self.inspection)
        self.apply_actors, self.apply_nodes = self._reports.apply_actors, self._reports.apply_nodes
        grace, say = self.config.cancel_grace, self._failures.report
        controls = self._controls = ClusterControls(shared, self.submission, rows, self._cluster, grace, say)
        self.cancel, self.cancel_task, self.cancel_scope = controls.cancel, controls.cancel_task, controls.cancel_scope
        self.scope_counts, self.run_on_workers = controls.scope_counts, controls.run_on_workers
        self._sweeper = Sweeper(rows, self._failures.task_failed, later.over, controls.was_cancelled,
                                controls.is_cancelled)  # fmt: skip
        self._reports.is_cancelled = controls.is_cancelled
        side.ready(rows, self._failures, controls, self._reports, self.inspection)

    @property
    def driver(self) -> ClusterEngine:
        """Returns the engine itself: it is the driver's."""
        return self

    @property
    def job_env(self) -> dict[str, Any]:
        """Returns the ``runtime_env`` that tasks submitted here inherit."""
        return self.config.runtime_env or {}

    def check_invariants(self) -> None:
        """Does nothing: a cluster has no machine of raynb's."""

    # -- starting ------------------------------------------------------------------------------
    def _start(self) -> None:
        """Starts the hub, on nodes that can run raynb."""
        lacks = connection.ship(self.config, self._say)
        if lacks is not None and self._connected:
            # Once more, with raynb for all that this job runs: plain Ray's tasks of it read our values, too.
            ray.shutdown()
            connection.connect(self.config, lacks)
            self._session = rays.session()
        else:
            self.submission.shipped = lacks
        if self.config.cancel_grace != Config().cancel_grace:  # for tasks that submit others
            bridge.keep(f"grace:{self.nonce}", str(self.config.cancel_grace).encode())
        hub = make_hub(self.nonce, self.submission.shipped)
        ready = rays.call(hub, "push", ["", time.time(), False, False, b"", b""])
        connection.await_first(ready, self.config, self._say)
        self._listener = Listener(
            hub, self.nonce, self._hub_again, self._reports.take, self._reports.take_rows, self._sweep, self._lost
        )
        self._side.listener = self._listener
        joining.announce(self.nonce)

    def _hub_again(self) -> Any:
        hub = make_hub(self.nonce, self.submission.shipped)
        rays.get(rays.call(hub, "push", ["", time.time(), False, False, b"", b""]), timeout=30.0)
        return hub

    def _say(self, text: str) -> None:
        self.output.deliver(Output("stderr", 0, current_scope(), 0, self._pid, "raynb", 0, text))
        if not self.on_output:  # while it starts nobody listens yet
            _print(text)

    # -- its life ------------------------------------------------------------------------------
    def shutdown(self, timeout: float) -> None:
        """Leaves the cluster; what this driver started there ends, but for detached actors."""
        if os.getpid() != self._pid or not self._end():
            return
        atexit.unregister(self.shutdown)
        self._failures.stop_listening()
        if self._listener is not None:
            self._listener.stop()
        refs.withdraw(self)
        bridge.drivers.pop(self.nonce, None)
        if rays.is_connected() and rays.session() is self._session:
            with contextlib.suppress(Exception):  # the cluster is gone already
                if self._listener is not None:
                    rays.kill(self._listener.hub)
                joining.withdraw(self.nonce)
            self._forget()
            if self._connected:
                ray.shutdown()
        self._forget()
        self._end_nodes()

    def _end_nodes(self) -> None:
        if self._nodes is not None:
            self._nodes.close()

    def _end(self) -> bool:
        with self._rows.lock:
            alive, self.alive = self.alive, False
        return alive

    def _forget(self) -> None:
        self.refs.count_no_more()
        self.refs.natives.clear()
        self.refs.several.clear()
        self._rows.open.clear()
        self._controls.forget()
        self.submission.forget()

    def check_alive(self) -> None:
        """Raises `RuntimeGoneError` if the runtime was shut down, or Ray is not connected any more."""
        if self.alive and rays.is_session(self._session):
            return
        self.alive = False  # somebody called ray.shutdown(), or Ray itself ended
        super().check_alive()

    def _lost(self, over: bool, error: BaseException) -> None:
        if over:
            self.alive = False
            self._say(f"raynb: the connection to the Ray cluster is over: {bridge.short(error)}\n")
        else:
            self._say("raynb: the process that brings the output of tasks here was lost and is made again; what "
                      "tasks printed in that moment may be missing, their results are not.\n")  # fmt: skip

    def _sweep(self) -> None:
        """Looks after silent tasks and unasked failures, on the listener's thread."""
        steps = (self.refs.drain_log, self._failures.look, rays.hear_core, rays.show_held, self._reports.close_ended,
                 self._controls.insist, self._sweeper.look)  # fmt: skip
        for step in steps:  # an error of one must not keep the others from their turn
            guarded("looking after the cluster's tasks", step)

    # -- views ---------------------------------------------------------------------------------
    def snapshot(self, settled: bool = False) -> Snapshot:
        """Returns the rows of everything (`changes` since the beginning).

        Args:
            settled: first wait for what workers have still to tell of tasks that have ended. They gather it for a
                second while nobody looks; of who died in it nothing comes, so it takes two at the most.
        """
        if settled:
            self.check_alive()
            self._side.listener.looked_at = _now()
            end = _now() + SETTLE_SECONDS
            while self._rows.is_word_due() and _now() < end:
                time.sleep(0.02)
        return self.changes(-1)

    def changes(self, since: int) -> Snapshot:
        """Returns the rows that changed after version ``since``; all of them if that is too old."""
        self.check_alive()
        self._side.listener.looked_at = _now()
        found = self._cluster.resources()
        objects: list[ObjectRow] = self._rows.row_store.rows("objects")
        used = sum(row.size for row in objects if row.where == SHARED)
        inline = sum(row.size for row in objects if row.where != PENDING) - used
        limit = int(found[0].get("object_store_memory", 0))
        store = StoreRow(limit=limit, used=used, inline=inline, objects=len(objects), resident=used)
        shot = self._rows.row_store.changes(since, store, *found)
        shot.nodes = self._cluster.nodes(shot.workers)
        return shot

    def rows(
        self, tasks: Sequence[int] = (), actors: Sequence[int] = (), objects: Sequence[int] = ()
    ) -> Snapshot:
        """Returns the rows of these ids only."""
        return self._rows.row_store.picture_of(tasks, actors, objects)

    def kinds(self, objects: Sequence[int]) -> dict[int, str]:
        """Returns nothing: the values are in Ray's store."""
        return {}  # the values are in Ray's store

    def awaited(self, task: int) -> list[int]:
        """Returns nothing: Ray does not report it."""
        return []  # Ray doesn't tell

    def story(self, identity: int) -> list[tuple[float, str]]:
        """Returns (time, what happened) of an id, oldest first."""
        return self._rows.row_store.story(identity)


__all__ = ["ClusterEngine"]
