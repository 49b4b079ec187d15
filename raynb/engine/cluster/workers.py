"""raynb inside a worker of Ray's: the engine that nested calls use, and the way back to the driver."""

from __future__ import annotations

import contextlib
import contextvars
import os
import pickle
import random
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import ray

from raynb.base import engine as slot
from raynb.base import ids
from raynb.base.config import RESOURCE_UNIT
from raynb.base.engine import Context
from raynb.base.process import main_module, surroundings
from raynb.base.ref import ObjectRef
from raynb.base.rows import Snapshot
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.cluster import bridge, hub
from raynb.engine.cluster.adapter import Adapter, Call
from raynb.engine.cluster.bridge import Value
from raynb.run.surroundings import apply as apply_surroundings
from raynb.serde import functions, pickling
from raynb.worker.output import Stream

PAUSE = 0.05  # seconds in which what is said is gathered


class Running:
    """One task while it runs here."""

    __slots__ = ("actor", "call", "printed")

    def __init__(self, call: Call, actor: ActorSpec | None) -> None:
        self.call = call
        self.actor = actor
        self.printed = False


#: Threads and coroutines that copy their context belong to the task that started them.
running: contextvars.ContextVar[Running | None] = contextvars.ContextVar("raynb_cluster_running", default=None)
_latest: Running | None = None  # for threads without a context of their own
_engines: dict[int, WorkerAdapter] = {}
_lock = threading.Lock()


def engine_of(call: Call) -> WorkerAdapter:
    """Returns this worker's engine for the driver that the call comes from, in place for what runs here."""
    engine = _engines.get(call.nonce)
    if engine is None:
        with _lock:
            engine = _engines.get(call.nonce)
            if engine is None:
                engine = WorkerAdapter(call)
                _engines[call.nonce] = engine
    if slot.peek() is not engine:
        slot.set_current(engine)
    if call.setups > engine.setups:
        engine.set_up(call.setups)
    return engine


def _owner() -> Running | None:
    return running.get() or _latest


class Reporter:
    """Gathers what a worker has to say, and pushes it to the driver's hub.

    Thread contract: any thread adds; a thread of its own pushes.
    """

    is_forked = False  # as `worker.output.Capture` has it

    def __init__(self, nonce: int) -> None:
        self.name = f"{os.getpid()}-{random.randrange(1 << 32):08x}"
        self._nonce = nonce
        self._changed = threading.Condition(threading.RLock())  # a signal handler may print
        self._events: list[Any] = []
        self._number = 0
        self._urgent = False
        self._hub: Any = None
        threading.Thread(target=self._serve, name="raynb-reporter", daemon=True).start()

    def add(self, event: Any, text: str = "") -> None:
        """Says something; or, as `worker.output.Stream` calls it, (kind, text) of what was printed."""
        if isinstance(event, str):
            self._print(event, text)
            return
        with self._changed:
            self._events.append(event)
            self._changed.notify()

    def _print(self, kind: str, text: str) -> None:
        owner = _owner()
        if owner is None:
            stream = sys.__stdout__ if kind == "stdout" else sys.__stderr__
            if stream is not None:
                stream.write(text)
            return
        if not text:
            return
        owner.printed = True
        with self._changed:
            last = self._events[-1] if self._events else None
            if last is not None and last[0] == "out" and last[1] == kind and last[2] == owner.call.task:
                last[3].append(text)
            else:
                self._events.append(("out", kind, owner.call.task, [text], None, *self._who(owner)))
            self._changed.notify()

    def display(self, kind: str, bundle: dict[str, Any]) -> None:
        owner = _owner()
        if owner is None:
            return
        owner.printed = True
        self.add(("out", kind, owner.call.task, [], bundle, *self._who(owner)))

    @staticmethod
    def _who(owner: Running) -> tuple[Any, ...]:
        return owner.call.scope, owner.call.options.name, owner.call.actor, os.getpid()

    def mark(self, owner: Running) -> tuple[str, int] | None:
        """Returns what must be seen before a result of this task; None if it printed nothing."""
        if not owner.printed:
            return None
        with self._changed:
            self._urgent = True
            self._changed.notify()
            return self.name, self._number + bool(self._events)

    def flush(self) -> None:
        """Pushes at once and waits: this process is about to end."""
        done = self._push()
        if done is not None:
            ray.wait([done], timeout=2.0)

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._events:
                    self._changed.wait()
                if not self._urgent:
                    self._changed.wait(PAUSE)
            try:
                self._push()
            except Exception:  # the driver is gone, and its hub with it
                self._events.clear()

    def _push(self) -> Any:
        if self._hub is None:
            self._hub = ray.get_actor(hub.name_of(self._nonce), namespace=hub.NAMESPACE)
        with self._changed:
            if not self._events:
                return None
            events, self._events = self._events, []
            self._urgent = False
            self._number += 1
            # Under the lock: batches must leave in the order of their numbers.
            return self._hub.push.remote(self.name, self._number, events)


class WorkerAdapter(Adapter):
    """The engine of one driver's tasks in this worker."""

    def __init__(self, call: Call) -> None:
        super().__init__(call.nonce, random.randrange(1, 1 << 40), call.namespace)
        self.reporter = Reporter(call.nonce)
        self._functions: dict[str, Any] = {}
        for kind, fd in (("stdout", 1), ("stderr", 2)):
            setattr(sys, kind, Stream(self.reporter, kind, fd))  # type: ignore[arg-type]

    # -- running -------------------------------------------------------------------------------
    def begin(self, now: Running) -> None:
        global _latest
        _latest = now
        options = now.call.options
        if options.surroundings and surroundings.mark.key != options.surroundings:
            value: Value = ray.get(now.call.definition[-1])
            apply_surroundings(options.surroundings, bytes(value.data), dict(options.runtime_env))
        self.reporter.add(("start", now.call.task, os.getpid(), self.reporter.name, time.time()))

    def end(self, now: Running) -> None:
        global _latest
        self.settle()
        if _latest is now:
            _latest = None

    def function(self, key: str, definition: list[Any]) -> Any:
        """Returns a function or class, fetched once."""
        found = self._functions.get(key)
        if found is None:
            value: Value = ray.get(definition[0])
            with self.holding(value.natives):
                found = self._functions[key] = functions.load(bytes(value.data))
        namespace = main_module.namespace_of(found)
        if namespace is not None:
            main_module.enter(namespace)
        return found

    def arguments(self, args: Value | None, deps: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
        values = [self.unpack(dep) for dep in deps]
        if args is None:
            return (), {}
        with self.holding(args.natives):
            return pickling.unpack_args(args.data, args.buffers, values)

    def set_up(self, wanted: int) -> None:
        """Runs what has to run in every worker first."""
        while self.setups < wanted:
            self.setups += 1
            told = bridge.kept(f"setup:{self.nonce}:{self.setups}")
            if told is None:
                continue
            blob, data, buffers = pickle.loads(told)
            given, named = pickling.unpack_args(data, buffers, ())
            functions.load(blob)(*given, **named)

    # -- what differs from the driver ------------------------------------------------------------
    def here(self) -> tuple[int, int]:
        now = _owner()
        return (now.call.task, now.call.scope) if now is not None else (0, 0)

    def submitted(self, task: int, native: Any, options: TaskOptions, actor: int, creates: bool) -> None:
        parent, scope = self.here()
        told = (options.name, options.function_name, options.resources)
        self.reporter.add(("submit", task, told, scope, parent, actor, creates, time.time()))

    def adopt(self, object_id: int, nonce: int) -> ObjectRef[Any]:
        now = _owner()
        if now is not None and now.actor is not None and object_id == ids.object_id(now.actor.actor_id, 1):
            with self.holding([(object_id, ray.get_runtime_context().current_actor)]):
                return super().adopt(object_id, nonce)
        return super().adopt(object_id, nonce)

    def leave_actor(self) -> None:
        """`exit_actor`, as Ray does it."""
        ray.actor.exit_actor()

    @property
    def config(self) -> Any:
        """What `get_runtime_context` reads; children inherit it by Ray's own doing."""
        return SimpleNamespace(runtime_env=dict(ray.get_runtime_context().runtime_env or {}))

    @property
    def worker(self) -> Any:
        now = _owner()
        return SimpleNamespace(actor=now.actor if now is not None else None)

    @property
    def capture(self) -> int:  # type: ignore[override]
        now = _owner()
        if now is None:
            return 0
        number = now.actor.capture if now.actor is not None else now.call.options.capture
        if number and number not in self._groups:  # made in another process: here it is the one we are in
            from ray.util.placement_group import get_current_placement_group

            self._groups[number] = get_current_placement_group()
        return number

    def context(self) -> Context:
        now = _owner()
        if now is None:
            return Context(namespace=self.namespace)
        call, actor = now.call, now.actor
        amounts = actor.held if actor is not None else call.options.resources
        about = ray.get_runtime_context()
        cancelled = False
        with contextlib.suppress(AttributeError, RuntimeError):  # an older Ray; an async actor
            cancelled = bool(about.is_canceled())
        return Context(
            worker=os.getpid(), task=call.task, actor=actor.actor_id if actor is not None else 0, scope=call.scope,
            name=call.options.name, resources={k: v / RESOURCE_UNIT for k, v in amounts},
            gpu_ids=tuple(ray.get_gpu_ids()), function_name=call.options.function_name or call.options.name,
            restarted=actor is not None and bool(about.was_current_actor_reconstructed),
            cancelled=cancelled,
            namespace=self.namespace,  # as Ray: the job's, in an actor of another namespace too
        )  # fmt: skip

    def snapshot(self) -> Snapshot:
        return self.changes(-1)

    def changes(self, since: int) -> Snapshot:
        """Returns the cluster's resources; the rows are the driver's, and it alone has them."""
        total, available = self.cluster()
        now = time.monotonic()
        return Snapshot(0, now, time.time() - now, total=total, available=available)

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        """Sends a display (or text) to the cell that submitted the running task."""
        if bundle is None:
            self.reporter.add(kind, text)
        else:
            self.reporter.display(kind, bundle)


__all__ = ["Reporter", "Running", "WorkerAdapter", "engine_of", "running"]
