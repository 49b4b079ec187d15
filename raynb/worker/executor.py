"""Runs tasks: arguments in, function called, results out, whatever it raises."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base import ends, ids
from raynb.base import engine as slot
from raynb.base.process import main_module
from raynb.base.process.waits import time
from raynb.exceptions import AsyncioActorExit
from raynb.run import environment, failures, returns, surroundings
from raynb.serde import errors, pickling, values
from raynb.wire import messages as w
from raynb.worker import state, user_code
from raynb.worker.actor_host import ActorHost
from raynb.worker.concurrency import MainLoop
from raynb.worker.engine import forks
from raynb.worker.returns import NONE_RESULT, Returns
from raynb.worker.state import RunningTask

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess

_now = time.monotonic
call = user_code.call
REPR_MAX_CHARACTERS = 120  # characters of an actor's repr in an error
BRIEF_SECONDS = 0.001  # a task that took less is over in a moment
_NO_ERROR = ("", "")
_new: Callable[[type[w.Done], tuple[object, ...]], w.Done] = tuple.__new__  # by its class, `Done` takes 0.14 µs longer


class LeaveWorker(SystemExit):
    """`exit_actor` or ``__ray_terminate__``. A `SystemExit`, as Ray's: a thread that raises it ends silently."""

    def __init__(self) -> None:
        super().__init__(0)


def end_threads_silently() -> None:
    """Makes threads of the user's that call `exit_actor` end silently, as `SystemExit` does."""
    show = threading.excepthook

    def hook(args: Any) -> None:
        if not (args.exc_type is not None and issubclass(args.exc_type, LeaveWorker)):
            show(args)

    threading.excepthook = hook


def being_made(raised: BaseException) -> Any:
    """Returns the instance whose constructor raised, as far as it was made; None: it is not known."""
    step = raised.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_name == "__init__" and code.co_argcount:
            return step.tb_frame.f_locals.get(code.co_varnames[0])
        step = step.tb_next
    return None


def leaving(worker: WorkerProcess, running: RunningTask, raised: BaseException) -> tuple[Any, int, tuple[str, str]]:
    """Reports why the process ends after ``exit_actor`` or ``sys.exit``."""
    if running.actor and not failures.is_crash(raised):
        flags = w.FAILED | w.EXITS
        why = failures.why_left(raised)
        actor, spec = ids.to_hex(running.actor, worker.nonce, ids.ACTOR_HEX), worker.actor
        named = (spec.class_name, spec.name) if spec is not None else (running.name, "")
        value = ends.actor_died(actor, *named, os.getpid(), why)
        return ((value, 0, ()),), flags, ("ActorDiedError", why)
    if isinstance(raised, SystemExit) and not running.actor:
        error, described = failures.left(running.name, raised)
        worker.stopping = True
        return ((error, 0, ()),), w.FAILED | w.EXITS, described
    code = raised.code if isinstance(raised, SystemExit) else 0
    worker.link.post(w.Leaving(f"the task called sys.exit({code!r})"))
    worker.capture.end_of_task(running)
    worker.link.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


class TaskExecutor:
    """Thread contract: `execute` in the main thread (sync tasks and actors) or in the threads and
    loops of the actor host; the rest from any thread."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.host: ActorHost | None = None
        self.creation: RunningTask | None = None  # the call of the constructor
        self.exit_status = 0
        self.calls: dict[str, int] = {}  # function → calls, for max_calls
        self.took: dict[int, float] = {}  # options → seconds that the last task of these ran
        self.returns = Returns(worker)
        self.gpus: tuple[int, ...] = ()
        self._options: Any = None  # of the last task
        self._function: Any = None  # that was run last

    # -- intake --------------------------------------------------------------------------------
    def accept(self, run: w.Run) -> None:
        """Enqueues a received task for the main thread, or starts it in the actor's threads or loops."""
        host = self.host
        if host is not None and host.concurrent:
            host.dispatch(run)
        else:
            self.worker.queue.append(run)

    @property
    def main_loop(self) -> MainLoop | None:
        """The event loop that the main thread runs for an asyncio actor, or None."""
        return self.host.main_loop if self.host is not None else None

    def knows(self, task: int) -> bool:
        """Returns whether the actor here runs the call."""
        return self.host is not None and self.host.knows(task)

    def busy(self) -> bool:
        """Returns whether a concurrent call runs."""
        return self.host is not None and self.host.busy()

    def cancel_async(self, task: int) -> bool:
        """Cancels a concurrent call; returns whether it runs here."""
        return self.host is not None and self.host.cancel(task)

    def is_brief(self, run: w.Run) -> bool:
        """Returns whether a task will end in a moment, as the last one of its kind here did."""
        return self.took.get(run.options, BRIEF_SECONDS) < BRIEF_SECONDS

    def pressed(self) -> bool:
        """Returns whether calls of an actor wait for a thread."""
        return self.host is not None and self.host.pressed()

    def close(self) -> None:
        """Ends the actor's threads and loops."""
        if self.host is not None:
            self.host.close()

    def shut_down_actor(self) -> None:
        """Calls the actor's ``__ray_shutdown__``, on the main thread; an error of it is printed."""
        if self.host is not None:
            self.host.shut_down()

    def drop_actor(self) -> None:
        """Releases the actor's instance, so that its ``__del__`` runs."""
        if self.host is not None:
            self.host.instance = None
            self.worker.inspection.let_go()  # the frames of failed calls hold the instance, too
            gc.collect()

    def display_name(self, running: RunningTask) -> str:
        """Returns the name that output of the task is shown under."""
        if running.actor and running.actor == running.task and self.worker.actor is not None:
            return self.worker.actor.class_name  # of the constructor, and of what the process does at its end
        host = self.host
        return host.display_name() if host is not None and running.actor else running.name

    # -- one task, in the main thread ----------------------------------------------------------
    def execute(self, run: w.Run) -> None:
        """Runs a task or a sync call: reads its arguments, calls it, sends its result."""
        worker = self.worker
        options = worker.options[run.options]
        running = RunningTask(run, options)
        started = fetched = _now()
        token = state.running.set(running)
        state.main_running = running
        worker.board.begin(worker.row, run.task)
        worker.heed(running)
        if options is not self._options or run.gpus:
            self._prepare(options, run)
        flags = 0
        error = _NO_ERROR
        try:
            if running.interrupted:
                raise KeyboardInterrupt
            if run.actor:
                function = self._method(run, options)
            else:
                function = worker.functions.get(options.function) or worker.function(options.function)
                if function is not self._function:
                    self._enter_main(function)
            if run.args == pickling.EMPTY_IN_BAND:
                fetched = started
                result = call(function)
            else:
                args, kwargs = self.arguments(run)
                fetched = _now()
                result = call(function, args, kwargs)
                del args, kwargs
            ran = _now()
            if worker.forked:
                forks.leave()
            if running.interrupted and run.actor:
                raise KeyboardInterrupt  # the call ran on, but its ref raises
            if result is None and options.num_returns == 1:
                packed: Any = NONE_RESULT
            else:
                packed = self.returns.of(running, result)
                running.holds = (result, running.holds)
            result = None
        except BaseException as raised:
            ran = _now()
            if worker.forked:
                forks.leave()
            packed, flags, error = self.failure(running, raised)
            self._cut(raised)
        try:
            if slot.at_end_of_task and not run.actor:
                for function in slot.at_end_of_task:
                    function()
            self.finish(run, running, packed, flags, error, started, fetched, ran)
        finally:
            state.main_running = None
            worker.signals.task_over(plain=not run.actor)
            state.running.reset(token)

    def _prepare(self, options: Any, run: w.Run) -> None:
        """Makes the process as a task of these options is to find it."""
        signals = self.worker.signals
        signals.kept_off = True  # what was applied in part, the next task would find in force
        try:
            if options is not self._options:
                self._surround(options, run)
            else:
                self._show_gpus(run.gpus)
        finally:
            signals.kept_off = False

    def _surround(self, options: Any, run: w.Run) -> None:
        """Sets the threads of C libraries and the GPUs for a task of these options."""
        self._options = options
        if run.actor and run.actor != run.task:
            return
        if options.surroundings:
            worker = self.worker
            surroundings.apply(options.surroundings, worker.blobs[options.surroundings], worker.env)
        if not (self.worker.settings["omp_by_user"] or surroundings.sets("OMP_NUM_THREADS")):
            environment.set_threads(options.resources)
        if run.gpus or self.gpus:
            self._show_gpus(run.gpus)

    def _enter_main(self, made: Any) -> None:
        """Makes the notebook's namespace that a function or class uses that of ``__main__``."""
        self._function = made
        namespace = main_module.namespace_of(made)
        if namespace is not None:
            main_module.enter(namespace)

    def _show_gpus(self, gpus: tuple[int, ...]) -> None:
        self.gpus = gpus
        environment.set_gpus(gpus)

    @staticmethod
    def _cut(raised: BaseException) -> None:
        """Clears the error's frames, which hold the arguments."""
        BaseException.with_traceback(raised, None)  # not set by name: a frozen dataclass refuses that

    def finish(self, run: w.Run, running: RunningTask, packed: Any, flags: int, error: tuple[str, str],
               started: float, fetched: float, ran: float) -> None:  # fmt: skip
        """Posts the task's output, then its result, then the refs that it released."""
        worker = self.worker
        if worker.forked:
            forks.leave()
        options = running.options
        self.took[run.options] = ran - started
        if running.leaves and not flags & w.EXITS:
            packed, flags, error = leaving(worker, running, LeaveWorker())
        if options.max_calls and not run.actor:
            count = self.calls[options.function] = self.calls.get(options.function, 0) + 1
            if count >= options.max_calls:
                flags |= w.EXITS
        if worker.signals.spoilt and not run.actor:
            flags |= w.EXITS  # a module that was left half way cannot be imported again in this process
        worker.capture.end_of_task(running)
        worker.link.post(_new(w.Done, (run.task, packed, flags, error, started, fetched, ran)))
        running.holds = None
        borrowed = worker.borrowed
        if run.lent:
            borrowed.returned(run.lent)
        if running.late:
            borrowed.returned(running.late)
        if borrowed.log:
            gone = borrowed.drain_log()
            if gone:
                worker.link.post(w.Release(gone))
        if flags & w.EXITS and not (self.host is not None and self.host.concurrent):
            worker.stopping = True
            if run.actor:
                worker.queue.clear()  # the driver fails what waits behind

    # -- arguments -----------------------------------------------------------------------------
    def arguments(self, run: w.Run) -> tuple[Any, dict[str, Any]]:
        """Loads the arguments; the error of an argument is the task's own."""
        engine = self.worker.engine
        given, deps = run.values, run.deps
        if run.args == w.ARGS_IN_STORE:
            stream, buffers = engine.read(given[-1], deps[-1])
            given = given[:-1]
        else:
            stream, buffers = pickling.unpack_in_band(run.args)
        loaded = []
        for value, dep in zip(given, deps, strict=False):
            item = values.load(value, dep, engine.read)
            if type(item) is values.Failed:
                raise item.error
            loaded.append(item)
        return pickling.unpack_args(stream, buffers, loaded)

    def _method(self, run: w.Run, options: Any) -> Any:
        if run.actor == run.task:
            return self.create_actor
        assert self.host is not None
        return self.host.method(options.function)

    def create_actor(self, *args: Any, **kwargs: Any) -> None:
        """Runs the constructor; from now on this process is the actor's."""
        worker = self.worker
        spec = worker.actor
        assert spec is not None
        running = state.main_running
        cls = worker.function(spec.class_key)
        self._enter_main(cls)
        host = ActorHost(self, spec, cls, running.attempt if running else 0)
        worker.engine.restarted = bool(running and running.attempt)
        host.create(args, kwargs)
        self.host = host
        self.creation = running

    # -- failures ------------------------------------------------------------------------------
    def failure(self, running: RunningTask, raised: BaseException) -> tuple[Any, int, tuple[str, str]]:
        """Returns (results, flags, (type, text)) of a task that raised, or that was cancelled while that was read."""
        signals = self.worker.signals
        before = signals.raised
        found = None
        try:
            try:
                found = self._failure(running, raised)
            except BaseException as broken:  # even a look at the class of what it raised runs the user's code
                if signals.raised == before:
                    found = self._failure(running, failures.untold(raised, broken))
        except BaseException:
            if signals.raised == before:
                raise
        if found is None or signals.raised != before:  # some of it may have been caught, as `traceback` does
            return self._cancelled(running)
        return found

    def _cancelled(self, running: RunningTask) -> tuple[object, int, tuple[str, str]]:
        running.holds = None
        cancelled, described = failures.cancelled(ids.to_hex(running.task, self.worker.nonce, ids.TASK_HEX))
        return ((cancelled, 0, ()),), w.FAILED | w.CANCELLED, described

    def _failure(self, running: RunningTask, raised: BaseException) -> tuple[object, int, tuple[str, str]]:
        worker = self.worker
        flags = w.FAILED
        if isinstance(raised, (SystemExit, LeaveWorker, AsyncioActorExit)):
            return leaving(worker, running, raised)
        if running.interrupted and failures.is_interrupt(raised):
            return self._cancelled(running)
        value, described, contained = errors.task_error(
            raised, running.name, ids.to_hex(running.task, worker.nonce, ids.TASK_HEX), self._whose(running, raised)
        )
        if slot.failures_kept and raised.__traceback__ is not None:
            worker.inspection.keep(running.task, running.scope, raised, slot.failures_kept)
        running.holds = contained
        if returns.retryable(running.options.retry_exceptions, raised):
            flags |= w.RETRYABLE
        return ((value, 0, tuple(ref._id for ref in contained)),), flags, described

    def _whose(self, running: RunningTask, raised: BaseException) -> str:
        """Returns the name that distinguishes the actor of a failed call from others of its class."""
        if not running.actor:
            return ""
        instance = self.host.instance if self.host is not None else being_made(raised)
        try:
            shown = repr(instance).partition("\n")[0]
        except BaseException as error:  # the failure that is to be told is another one
            shown = f"<{type(error).__name__} in its __repr__>"
        shown = shown if len(shown) <= REPR_MAX_CHARACTERS else f"{shown[: REPR_MAX_CHARACTERS - 1]}…"
        return f"actor_id={ids.to_hex(running.actor, self.worker.nonce, ids.ACTOR_HEX)}, repr={shown}"
