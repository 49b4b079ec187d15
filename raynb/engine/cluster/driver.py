"""`ClusterEngine`: the driver's side of a Ray cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import pickle
import random
import secrets
import socket
import threading
import time
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
from raynb.engine.cluster import bridge
from raynb.engine.cluster.adapter import Adapter
from raynb.engine.cluster.hub import NAMESPACE, Hub, Listener, name_of
from raynb.engine.cluster.worker_reports import News
from raynb.engine.logs import Logs
from raynb.engine.row_store import RowStore
from raynb.exceptions import RaySystemError

_now = time.monotonic
SWEPT = 1000  # tasks that one look goes through
KNOCK = 10.0  # seconds that an address has to answer
QUIET = 2.0  # seconds without news after which a task's ref itself is asked
INLINE = 100 * 1024  # bytes up to which Ray keeps values in memory


def connect(config: Config) -> bool:
    """Connects this process to the cluster; returns False if it was connected already.

    Raises:
        ConnectionError: there is no cluster at that address.
        ValueError: settings of an embedded runtime were given as well.
    """
    if ray.is_initialized():
        return False
    sized = [n for n in ("num_cpus", "num_gpus", "object_store_memory", "memory") if getattr(config, n) is not None]
    if sized:
        raise ValueError(
            f"address={config.address!r} is a cluster that has its size: leave {', '.join(sized)} out."
        )
    _knock(config.address or "")
    given: dict[str, Any] = {"log_to_driver": config.log_to_driver, "logging_level": "WARNING"}
    if config.namespace:
        given["namespace"] = config.namespace
    if config.runtime_env:
        given["runtime_env"] = config.runtime_env
    logging.getLogger("ray._private.worker").addFilter(_of_interest)
    try:
        ray.init(config.address, **given)
    except ConnectionError as error:
        if config.address != "auto":
            raise
        raise ConnectionError(
            "address='auto' means the Ray cluster that this machine belongs to, and none is running here: start one "
            f"with `ray start --head`, or name an address (\"ray://host:10001\"). Ray says: {error}"
        ) from None
    return True


def _of_interest(record: logging.LogRecord) -> bool:
    """In a notebook the runtime starts on a thread of its own; that Ray sets no SIGTERM handler then is right."""
    return "SIGTERM handler" not in record.getMessage()


def _knock(address: str) -> None:
    """Sees whether somebody listens there: Ray itself takes minutes to find out."""
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK).close()
    except OSError as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from error


class ClusterEngine(News, Adapter):
    """Runs tasks and actors on a Ray cluster.

    The pictures of views are made from what the tasks say of themselves: rows exist for what this
    driver, and the tasks and actors it started, submitted.

    Thread contract: every public method from any thread.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._connected = connect(config)
        try:
            home = random.randrange(1, 1 << 40)
            ids.homes.add(home)
            super().__init__(secrets.randbits(32), home, ray.get_runtime_context().namespace)
            #: Where it is, for people: what "auto" has found.
            self.address = ray.get_runtime_context().gcs_address if config.address == "auto" else config.address
            self.on_output: list[Callable[[Output], None]] = []
            self.logs_kept = Logs()
            self.book = RowStore(config.finished_tasks_kept)
            self._pid = os.getpid()
            self._open: dict[int, list[Any]] = {}  # task → [native, heard of at]
            self._doomed: dict[int, float] = {}  # cancelled task → when patience with it ends
            self._blobs: dict[str, bytes] = {}
            self._workers: dict[str, WorkerRow] = {}
            self._rows_lock = threading.RLock()
            self._resources: tuple[float, Any] = (0.0, None)
            self._hub = self._start_hub()
            self._listener = Listener(self._hub, self._take, self._sweep, self._lost)
        except BaseException:
            if self._connected:
                ray.shutdown()
            raise

    def _start_hub(self) -> Any:
        """Starts the way back; the first thing that runs there, so what is missing there shows here."""
        actor = ray.remote(num_cpus=0, max_concurrency=1000)(Hub)
        made = actor.options(name=name_of(self.nonce), namespace=NAMESPACE).remote()
        try:
            ray.get(made.push.remote("", 0, []), timeout=self.config.worker_start_timeout)
        except theirs.GetTimeoutError:
            raise RaySystemError(
                f"the cluster started no worker within {self.config.worker_start_timeout} s; see `ray status`"
            ) from None
        except theirs.RayError as error:
            if "raynb" in str(error):
                raise RaySystemError(
                    "raynb cannot be imported on the cluster's workers: install it there in this version, or pass "
                    f"runtime_env={{'py_modules': [raynb]}} to raynb.init. Ray says: {error}") from error  # fmt: skip
            raise bridge.translate(error) from error
        return made

    # -- its life ------------------------------------------------------------------------------
    def shutdown(self, timeout: float) -> None:
        """Leaves the cluster; what this driver started there ends, but for detached actors."""
        if not self.alive or os.getpid() != self._pid:
            return
        self.alive = False
        try:
            self._listener.stop()
            ray.kill(self._hub)
        except Exception:
            pass  # the cluster is gone already
        self._natives.clear()
        self._open.clear()
        self._doomed.clear()
        self._streams.clear()
        self._remotes.clear()
        self._defined.clear()
        if self._connected:
            ray.shutdown()

    def after_fork_in_child(self) -> None:
        self.alive = False

    def _lost(self, error: BaseException) -> None:
        self.alive = False
        self.deliver(Output("stderr", 0, 0, 0, self._pid, "raynb", 0, f"raynb: the Ray cluster is gone: {error}\n"))

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
        with self._rows_lock:
            self._new_row(task, options.name, options.function_name, options.resources, current_scope(), 0, actor,
                          creates, _now())  # fmt: skip
            if native is not None:
                self._open[task] = [native, _now()]

    def seen(self, mark: Any) -> None:
        self._listener.seen(mark)

    def when_seen(self, mark: Any, then: Callable[[], None]) -> None:
        self._listener.when_seen(mark, then)

    def got(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """These values were read: their tasks have ended, whether or not their workers said so yet."""
        with self._rows_lock:
            for ref in refs:
                row: TaskRow | None = self.book.row("tasks", ids.task_of(ref._id))
                if row is not None and row.state not in TASK_ENDED and row.kind != ACTOR_CREATION_TASK:
                    row.ended = _now()
                    row.started = row.started or row.ended
                    self.book.move_task(row, FINISHED)
                    self._object_rows(row)

    def _object_rows(self, row: TaskRow) -> None:
        entry = self._natives.get(ids.object_id(row.id, 1))
        if entry is not None and row.kind != ACTOR_CREATION_TASK:
            where = SHARED if row.size > INLINE else MEMORY
            self.book.put("objects", ObjectRow(ids.object_id(row.id, 1), row.size, where, row.id, row.scope, entry[1],
                                               error=row.state != FINISHED))  # fmt: skip

    def put(self, packed: Packed) -> ObjectRef[Any]:
        ref = super().put(packed)
        size = len(packed.data) + sum(buffer.nbytes for buffer in packed.buffers)
        self.book.put("objects", ObjectRow(ref._id, size, SHARED if size > INLINE else MEMORY,
                                           ids.task_of(ref._id), current_scope(), 1))  # fmt: skip
        return ref

    def _sweep(self) -> None:
        """Looks at tasks that nothing was heard of for a while: cancelled in the queue, or their worker died."""
        self.settle()
        self._insist()
        before = _now() - QUIET
        with self._rows_lock:
            silent = [(task, entry[0]) for task, entry in self._open.items() if entry[1] < before][:SWEPT]
            for identity in [row.id for row in self.book.rows("objects")]:
                if identity not in self._natives:
                    self.book.drop("objects", identity)
        if not silent:
            return
        try:
            ready, _ = ray.wait([native for _, native in silent], num_returns=len(silent), timeout=0, fetch_local=False)
        except theirs.RayError:
            return
        there = set(ready)
        for task, native in silent:
            if native in there:
                self._settle_silent(task, native)

    def _settle_silent(self, task: int, native: Any) -> None:
        kind, text, state = "", "", FINISHED
        try:
            ray.get(native, timeout=1.0)
        except theirs.GetTimeoutError:
            return
        except BaseException as raised:
            error = bridge.translate(raised)
            kind, text = type(error).__name__, str(error)
            state = CANCELLED if kind == "TaskCancelledError" else FAILED
        with self._rows_lock:
            self._open.pop(task, None)
            row: TaskRow | None = self.book.row("tasks", task)
            if row is not None and row.state not in TASK_ENDED:
                row.ended, row.error_type, row.error = _now(), kind, text
                self.book.move_task(row, state)

    # -- actors --------------------------------------------------------------------------------
    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        ref, found = super().create_actor(spec, options, packed, get_if_exists)
        with self._rows_lock:
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

    # -- control -------------------------------------------------------------------------------
    def define(self, key: str, blob: bytes, refs: Sequence[ObjectRef[Any]] = ()) -> None:
        self._blobs[key] = blob
        super().define(key, blob, refs)

    def cancel_task(self, task: int, force: bool = False) -> None:
        """Cancels a task by id (the dashboard's button)."""
        self.check_alive()
        entry = self._open.get(task)
        if entry is None:
            raise ValueError("that task is over, or was submitted by another task: cancel that one")
        ray.cancel(self._streams.get(task) or entry[0], force=force, recursive=True)

    def _insist(self) -> None:
        """Ends the workers of tasks that were cancelled and go on: one that sleeps or is in native code
        does not notice. Ray leaves them alone, and their slots stay taken."""
        for task, until in list(self._doomed.items()):
            entry = self._open.get(task)
            if entry is not None and _now() < until:
                continue
            self._doomed.pop(task, None)
            row: TaskRow | None = self.book.row("tasks", task)
            if entry is not None and row is not None and not row.actor:
                with contextlib.suppress(ValueError, theirs.RayError):
                    ray.cancel(self._streams.get(task) or entry[0], force=True, recursive=True)

    def cancel_scope(self, scope: int) -> tuple[int, int]:
        self.check_alive()
        finished = sum(n for state, n in self.book.scope_counts(scope).items() if state in TASK_ENDED)
        mine = self.book.rows("tasks", lambda row: row.scope == scope and row.id in self._open)
        for row in mine:
            try:
                self.cancel_task(row.id)
                self._doomed[row.id] = _now() + self.config.cancel_grace
            except (ValueError, theirs.RayError):
                continue  # over in this moment
        return len(mine), finished

    def scope_counts(self, scope: int) -> dict[str, int]:
        return self.book.scope_counts(scope)

    def run_on_workers(
        self, options: TaskOptions, packed: Packed, later: bool, now: bool = True, only: int = 0
    ) -> list[concurrent.futures.Future[Any]]:
        """Has a function run first in each of Ray's workers, before its next task of ours.

        Ray doesn't let a driver choose workers, so there is nothing to wait for, and nothing that runs now.
        """
        self.check_alive()
        if packed.contained or packed.deps:
            raise ValueError("What runs on every worker takes values, no ObjectRefs inside its arguments.")
        if only:
            raise NotImplementedError("On a Ray cluster a function cannot be sent to one worker.")
        if later:
            told = (self._blobs[options.function], packed.data, [bytes(buffer) for buffer in packed.buffers])
            bridge.keep(f"setup:{self.nonce}:{self.setups + 1}", pickle.dumps(told))
            self.setups += 1
        return []

    # -- views ---------------------------------------------------------------------------------
    def snapshot(self) -> Snapshot:
        return self.changes(-1)

    def changes(self, since: int) -> Snapshot:
        self.check_alive()
        asked, found = self._resources
        if found is None or _now() - asked > 1.0:  # asking the cluster costs a round trip or two
            found = self.cluster()
            self._resources = (_now(), found)
        objects: list[ObjectRow] = self.book.rows("objects")
        used = sum(row.size for row in objects if row.where == SHARED)
        inline = sum(row.size for row in objects if row.where != PENDING) - used
        limit = int(found[0].get("object_store_memory", 0))
        store = StoreRow(limit=limit, used=used, inline=inline, objects=len(objects), resident=used)
        return self.book.changes(since, store, *found)

    def rows(
        self, tasks: Sequence[int] = (), actors: Sequence[int] = (), objects: Sequence[int] = ()
    ) -> Snapshot:
        return self.book.picture_of(tasks, actors, objects)

    def awaited(self, task: int) -> list[int]:
        """Returns none: Ray doesn't tell."""
        return []

    def story(self, identity: int) -> list[tuple[float, str]]:
        return self.book.story(identity)

    def logs(self, task: int | None = None, worker: int | None = None) -> list[Output]:
        return self.logs_kept.find(task, worker)


__all__ = ["ClusterEngine"]
