"""raynb inside a worker of Ray's: the engine that nested calls use, and the way back to the driver."""

from __future__ import annotations

import contextlib
import contextvars
import os
import pickle
import random
import signal
import sys
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import ray

from raynb.base import engine as slot
from raynb.base import ids
from raynb.base.config import RESOURCE_UNIT, Config
from raynb.base.engine import Context, Packed
from raynb.base.process import main_module, surroundings
from raynb.base.ref import ObjectRef
from raynb.base.rows import Snapshot
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.causal import Mark
from raynb.engine.cluster import bridge, rays, refs
from raynb.engine.cluster.adapter import Adapter
from raynb.engine.cluster.bridge import Value
from raynb.engine.cluster.inspection.answering import ClusterDesk
from raynb.engine.cluster.on_worker import ending
from raynb.engine.cluster.on_worker.insisting import Cancelled, insist
from raynb.engine.cluster.on_worker.reporter import Reporter, flush_all
from raynb.engine.cluster.side import Shared
from raynb.engine.cluster.submission import ClusterCall, Static
from raynb.run.surroundings import apply as apply_surroundings
from raynb.serde import functions, pickling
from raynb.worker import questions
from raynb.worker.engine import forks
from raynb.worker.output import WorkerStream

#: In the lines by which Ray's libraries move the bars that Ray draws in the driver: by its own way alone.
PROGRESS = "__ray_tqdm_magic_token__"
MAX_CHILDREN = 10_000  # tasks of a running one that end with it: one that coordinates may submit without end


class RunningCall:
    """The task that runs here, with its call and its actor."""

    __slots__ = ("actor", "call", "children", "heard", "left", "printed", "reporter")

    def __init__(self, call: ClusterCall, actor: ActorSpec | None, reporter: Reporter) -> None:
        self.call = call
        self.actor = actor
        self.reporter = reporter  # to the driver that called
        self.printed = False
        self.heard = 0  # `Reporter.heard` when it began
        self.left = False  # the person at its breakpoint's prompt wants it to end as cancelled
        self.children: deque[int] | None = None  # the latest tasks that it has submitted, but for calls of actors

    def settle(self) -> None:
        """Has what a stream printed shown before it ends: its end carries no mark, as a value does."""
        if self.reporter.so_far(self) is not None:
            self.reporter.settle()


#: Threads and coroutines that copy their context belong to the task that started them.
running: contextvars.ContextVar[RunningCall | None] = contextvars.ContextVar("raynb_cluster_running", default=None)
_latest: RunningCall | None = None  # for threads without a context of their own
_engines: dict[int, WorkerAdapter] = {}
_lock = threading.Lock()


def engine_of(call: ClusterCall) -> WorkerAdapter:
    """Returns this worker's engine for the driver that the call comes from, in place for what runs here."""
    engine = _engines.get(call.nonce) or engine_by_nonce(call.nonce)
    if slot.peek() is not engine:
        slot.set_current(engine)
    if call.setups > engine.shared.setups:
        engine.set_up(call.setups)
    if call.debuggable:
        engine.open_prompts()
    return engine


def engine_by_nonce(nonce: int) -> WorkerAdapter:
    """Returns this worker's engine for a driver. A value may name refs before any call of that driver was here, or
    in a worker that runs plain Ray's tasks only."""
    with _lock:
        engine = _engines.get(nonce)
        if engine is None:
            if not _engines:
                os.register_at_fork(after_in_child=_after_fork)
                ending.flush_before_exit(flush_all)
                _hear_interrupts()
            questions.refuse_questions()
            engine = _engines[nonce] = WorkerAdapter(nonce, rays.context().namespace)
            refs.register(engine)
    return engine


def _hear_interrupts() -> None:
    """Has Ray's cancels interrupt what runs here, also on a node that was started with SIGINT ignored.

    So are commands in the background of a shell script, and their children.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # not the main thread: calls of async actors are cancelled otherwise
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _after_fork() -> None:
    """Cuts a child that a task has forked off: the runtime, the reports and the result are the worker's."""
    global _lock
    _lock = threading.Lock()  # perhaps another thread had it
    _printed.is_forked = True
    for engine in _engines.values():
        engine.after_fork_in_child()
    slot.set_current(None)
    slot.set_starter(forks.refuse)


def end_child() -> None:
    """Ends this process if it is a child that the task has forked, and has come to the end of the task's function."""
    if _printed.is_forked:
        forks.leave()


def _owner() -> RunningCall | None:
    return running.get() or _latest


def _is_cancelled(now: RunningCall, raised: BaseException) -> bool:
    """Returns whether the task that runs here was cancelled, after its code has ended by ``raised``."""
    asked = ending.is_asked()
    return ending.is_cancelled(raised, now.left) if asked is None else asked


class Printed:
    """What code in this worker prints: it goes to the driver that called it, and to Ray's own log if none did."""

    is_forked = False  # as `worker.output.Capture` has it: what a child of the task prints goes to the descriptors

    def add(self, kind: str, text: str) -> None:
        """Takes text of one of the streams, as `worker.output.WorkerStream` calls it."""
        now = _owner()
        if now is not None and not str.__contains__(text, PROGRESS):
            now.reporter.print(now, kind, text)
            return
        stream = sys.__stdout__ if kind == "stdout" else sys.__stderr__
        if stream is not None:
            stream.write(text)


_printed = Printed()
#: Other drivers that are told of what they call in an actor, at the most: the one not heard of for longest is let go.
MAX_OTHERS = 16


class TaskSide:
    """The `Side` of code in a worker."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.prompts = False  # somebody answers the prompt of a breakpoint

    def here(self) -> tuple[int, int]:
        """Returns (task, cell) of the calling code."""
        now = _owner()
        return (now.call.task, now.call.scope) if now is not None else (0, 0)

    def reports_to(self) -> int:
        """Returns the nonce of the driver that called, if that is another one than made this function or actor."""
        now = _owner()
        return 0 if now is None else now.call.to

    def _here(self) -> Reporter:
        now = _owner()
        return self._reporter if now is None else now.reporter

    def so_far(self) -> Any:
        """Returns the mark of all that the running task has reported so far."""
        now = _owner()
        return None if now is None else now.reporter.so_far(now)

    def debuggable(self) -> bool:
        """Returns whether somebody can answer at a breakpoint of a task that is submitted here."""
        return self.prompts

    def native_handle(self, object_id: int) -> Any:
        """Returns Ray's handle of the actor that runs here if the object stands for it, else None."""
        now = _owner()
        if now is not None and now.actor is not None and object_id == ids.object_id(now.actor.actor_id, 1):
            return rays.context().current_actor
        return None

    def defined(self, key: str, blob: bytes) -> None:
        """Does nothing: only the driver counts definitions."""

    def submitted(self, task: int, native: object, options: TaskOptions, actor: int, creates: bool) -> None:
        """Reports a submission of a nested task to the driver."""
        parent, scope = self.here()
        now = _owner()
        if now is not None and not actor:
            if now.children is None:
                now.children = deque(maxlen=MAX_CHILDREN)
            now.children.append(task)
        told = (options.name, options.function_name, options.resources)
        self._here().add(("submit", task, told, scope, parent, actor, creates, time.time()))

    def stored(self, identity: int, packed: Packed) -> None:
        """Does nothing: the driver shows no objects of tasks."""

    def has_actor(self, spec: ActorSpec, handle: object) -> None:
        """Does nothing: the driver's rows come from reports."""

    def killed(self, actor: int) -> None:
        """Does nothing: the driver reads it in Ray's table of actors."""

    def seen(self, mark: Mark | None) -> None:
        """Has later reports of this worker ordered after ``mark``."""
        self._here().after(mark)

    def when_seen(self, mark: Mark | None, then: Callable[[], None]) -> None:
        """Has later reports ordered after ``mark``, and calls ``then`` at once."""
        self._here().after(mark)
        then()

    def got(self, refs: Sequence[ObjectRef[object]]) -> None:
        """Does nothing: only the driver keeps what was read."""

    def explained(self, error: BaseException, refs: Sequence[ObjectRef[object]]) -> BaseException:
        """Returns the error as it is."""
        return error

    def asked(self, refs: Sequence[ObjectRef[object]], error: BaseException | None = None) -> None:
        """Does nothing: only the driver reports failures that nobody asks about."""

    def dropped(self, identities: Sequence[int]) -> None:
        """Does nothing: only the driver keeps rows of objects."""


class WorkerAdapter(Adapter):
    """The engine of one driver's tasks in this worker."""

    driver = None  # that is another process

    def __init__(self, nonce: int, namespace: str) -> None:
        self.reporter = Reporter(nonce)
        self._others: OrderedDict[int, Reporter] = OrderedDict()  # nonce of another driver → what reports to it
        self._side = side = TaskSide(self.reporter)
        super().__init__(Shared(self, side, nonce, random.randrange(1, 1 << 40), namespace))
        #: The actor that this process is, also for code that no call of it runs: a thread, a callback.
        self.hosted: ActorSpec | None = None
        self.desk = ClusterDesk(nonce, self.reporter, _owner, self._is_busy)
        self.reporter.on_long = self.desk.listen
        self.cancel = self._cancel
        self._restarted: bool | None = None
        self._functions: dict[str, Any] = {}
        for kind, fd in (("stdout", 1), ("stderr", 2)):
            setattr(sys, kind, WorkerStream(_printed, kind, fd))  # type: ignore[arg-type]

    def _is_busy(self) -> bool:
        return self.hosted is not None or _latest is not None

    def open_prompts(self) -> None:
        """Breakpoints of what runs here stop: somebody answers their prompts."""
        if not self._side.prompts:
            self._side.prompts = True
            questions.install(self.desk)

    def reporter_for(self, to: int) -> Reporter:
        """Returns what reports to a driver (0: the engine's own), which may be another one than made this actor."""
        if not to or to == self.nonce:
            return self.reporter
        with _lock:
            found = self._others.pop(to, None) or Reporter(to)
            self._others[to] = found
            if len(self._others) > MAX_OTHERS:
                self._others.popitem(last=False)[1].close()
        return found

    # -- running -------------------------------------------------------------------------------
    def begin(self, now: RunningCall, at: float) -> None:
        """Prepares the process for a task (begun ``at``): the notebook's surroundings, and the task as the latest one.

        """
        global _latest
        _latest = now
        options = now.call.options
        if options.surroundings and surroundings.mark.key != options.surroundings:
            blob = bridge.kept(f"around:{self.nonce}:{options.surroundings}")
            if blob is not None:
                apply_surroundings(options.surroundings, blob, dict(options.runtime_env))
        reporter = now.reporter
        if now.call.said is not None:
            reporter.after(now.call.said)
        now.heard = reporter.heard
        while bridge.marks:  # of its arguments: the tasks that made them have printed something
            reporter.after(bridge.marks.popitem()[1])
        reporter.began(now.call.task, at)

    def end(self, now: RunningCall, raised: BaseException | None) -> None:
        """Releases refs after a task; ``raised`` is what has ended its code."""
        global _latest
        if raised is not None and now.children and _is_cancelled(now, raised):
            self._insist(now, list(now.children))  # a copy: a thread of the task may go on submitting
        if self.ref_log:
            self.drain_log()
        if _latest is now:
            _latest = None

    def _cancel(self, ref: ObjectRef[object], force: bool, recursive: bool) -> None:
        """Cancels a task; one that does not notice ends with its worker."""
        self.submission.cancel(ref, force, recursive)
        if not force:
            self._insist(_owner(), [ids.task_of(ref._id)])

    def _insist(self, now: RunningCall | None, tasks: Iterable[int]) -> None:
        """Ends those of these cancelled tasks that go on, as far as this process names them."""
        reporter = self.reporter if now is None else now.reporter
        named: Cancelled = {}
        for task in tasks:
            entry = self.refs.natives.get(ids.object_id(task, 1))
            if entry is not None:
                named[task] = entry[0], self.submission.streams.get(task) or entry[0]
        if named:
            told = bridge.kept(f"grace:{self.nonce}")
            seconds = Config().cancel_grace if told is None else float(told)
            insist(named, seconds, lambda task: reporter.add(("cancelled", task)))

    def function(self, static: Static, definition: list[Any] | None) -> Any:
        """Returns a function or class, loaded once."""
        found = self._functions.get(static.key)
        if found is None:
            if definition is None:
                found = functions.load(static.blob)
            else:
                value: Value = definition[0].future().result()  # Ray's `get` would warn in an actor that is async
                with self.holding(value.natives):
                    found = functions.load(bytes(value.data))
            self._functions[static.key] = found
        namespace = main_module.namespace_of(found)
        if namespace is not None:
            main_module.enter(namespace)
        return found

    def arguments(self, args: Value | None, deps: Sequence[object]) -> tuple[Any, dict[str, Any]]:
        """Returns (args, kwargs) of a call, with the values of its deps in place."""
        values = [self.unpack(dep) for dep in deps]
        if args is None:
            return (), {}
        with self.holding(args.natives):
            return pickling.unpack_args(args.data, args.buffers, values)

    def set_up(self, wanted: int) -> None:
        """Runs the setups that every worker runs before its first task."""
        shared = self.shared
        while shared.setups < wanted:
            shared.setups += 1
            told = bridge.kept(f"setup:{self.nonce}:{shared.setups}")
            if told is None:
                continue
            blob, data, buffers = pickle.loads(told)
            given, named = pickling.unpack_args(data, buffers, ())
            functions.load(blob)(*given, **named)

    # -- where the calling code runs -----------------------------------------------------------
    def leave_actor(self) -> NoReturn:
        """Ends the actor after this call (`exit_actor`), by Ray's own way."""
        ray.actor.exit_actor()
        raise AssertionError("Ray's exit_actor returned")

    @property
    def job_env(self) -> dict[str, Any]:
        """Returns the ``runtime_env`` that `get_runtime_context` shows; Ray itself passes it to children."""
        return dict(rays.context().runtime_env or {})

    def actor_here(self) -> ActorSpec | None:
        """Returns the spec of the actor that the calling code runs in; None outside of actors."""
        now = _owner()
        return now.actor if now is not None else self.hosted

    def own_handle(self, actor: int) -> ObjectRef[object]:
        """Returns the ref behind an actor's handle of itself; it doesn't keep the actor alive."""
        return self.refs.hold_handle(actor, rays.context().current_actor, weak=True)

    def _was_restarted(self) -> bool:
        if self._restarted is None:
            with warnings.catch_warnings():  # Ray deprecates an id that its own property reads
                warnings.simplefilter("ignore")
                self._restarted = bool(rays.context().was_current_actor_reconstructed)
        return self._restarted

    @property
    def capture(self) -> int:
        """Returns the placement group that submissions of the calling code run in too; 0: none."""
        now = _owner()
        if now is None:
            return 0
        return now.actor.capture if now.actor is not None else now.call.options.capture

    def context(self) -> Context:
        """Returns ids, name and resources of the running task."""
        now = _owner()
        if now is None:
            if self.hosted is None:
                return Context(namespace=self.namespace)
            return Context(worker=os.getpid(), actor=self.hosted.actor_id, restarted=self._was_restarted(),
                           namespace=self.namespace)  # fmt: skip
        call, actor = now.call, now.actor
        amounts = actor.held if actor is not None else call.options.resources
        about = rays.context()
        cancelled = False
        with contextlib.suppress(AttributeError, RuntimeError):  # an older Ray; an async actor
            cancelled = bool(about.is_canceled())
        return Context(
            worker=os.getpid(), task=call.task, task_hex=str(about.get_task_id() or ""),
            actor=actor.actor_id if actor is not None else 0, scope=call.scope,
            name=call.options.name, resources={k: v / RESOURCE_UNIT for k, v in amounts},
            gpu_ids=tuple(rays.gpu_ids()), function_name=call.options.function_name or call.options.name,
            restarted=actor is not None and self._was_restarted(),
            cancelled=cancelled,
            namespace=self.namespace,  # as Ray: the job's, in an actor of another namespace too
        )  # fmt: skip

    def snapshot(self, settled: bool = False) -> Snapshot:
        """Returns the rows of everything (`changes` since the beginning)."""
        return self.changes(-1)

    def changes(self, since: int) -> Snapshot:
        """Returns the cluster's resources; the rows are the driver's, and it alone has them."""
        total, available = self.cluster()
        now = time.monotonic()
        return Snapshot(0, now, time.time() - now, total=total, available=available)

    def emit(self, kind: str, text: str = "", bundle: dict[str, Any] | None = None) -> None:
        """Sends a display (or text) to the cell that submitted the running task."""
        now = _owner()
        if bundle is None:
            _printed.add(kind, text)
        elif now is not None:
            now.reporter.display(now, kind, bundle)


__all__ = ["RunningCall", "WorkerAdapter", "engine_of", "running"]
