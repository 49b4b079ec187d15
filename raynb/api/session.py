"""The runtime of this process: started, looked up, shut down. The composition root.

::

    empty ──init──▶ starting ──▶ running ──shutdown──▶ stopping ──▶ empty

One slot, one lock. A thread that calls `init` while another starts waits for the same runtime. A
failure or a Ctrl-C while starting leaves the slot empty and everything that had started stopped.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from raynb.api.terminal import breakpoints
from raynb.api.terminal.console import Console
from raynb.base import engine as slot
from raynb.base import interrupts, unshown
from raynb.base.config import Config
from raynb.base.interfaces import DriverEngine, Engine
from raynb.base.process import module_path, shelter, trace
from raynb.base.process.waits import time
from raynb.base.rows import Output
from raynb.exceptions import RaySystemError, RuntimeGoneError

WHY_CHARS = 400  # of the error of a start, where it is told of again
EMPTY = "empty"
STARTING = "starting"
RUNNING = "running"
STOPPING = "stopping"
STATES = {
    EMPTY: frozenset((STARTING,)),
    STARTING: frozenset((RUNNING, EMPTY)),
    RUNNING: frozenset((STOPPING,)),
    STOPPING: frozenset((EMPTY,)),
}

_engines: weakref.WeakSet[DriverEngine] = weakref.WeakSet()
_ended: weakref.WeakSet[DriverEngine] = weakref.WeakSet()
_ending = threading.RLock()
_consoles: weakref.WeakKeyDictionary[DriverEngine, Console] = weakref.WeakKeyDictionary()
_over = False  # the process ends
_unwritten: list[Console] = []  # whose stream took nothing when their engine ended


def check_not_over() -> None:
    """Raises RuntimeGoneError at the end of the process: a runtime could be started still, and nobody would end it; and
    once the interpreter comes down, no thread of it would run any more: whoever asks it for something, a ``__del__``
    method, say, would wait for ever."""
    if _over or sys.is_finalizing():
        raise RuntimeGoneError("This process is at its end: no raynb runtime can be started any more.")


def make_engine(config: Config) -> DriverEngine:
    """Returns a started engine: the embedded one, the one without workers, or a Ray cluster's."""
    engine: DriverEngine
    check_not_over()
    path = module_path.now()
    start = slot.Start(time.time_ns(), dict(os.environ), path, module_path.contents(path), module_path.folder())
    if config.address or config.cluster:
        from raynb.engine import standard_streams

        standard_streams.fill()  # before Ray is imported
        standard_streams.open_missing()
        from raynb.engine.cluster import ClusterEngine

        with interrupts.Allowed():  # connecting takes seconds
            engine = ClusterEngine(config)
    elif config.local_mode:
        from raynb.engine.inline.engine import InlineEngine

        engine = InlineEngine(config)
    else:
        if sys.platform == "win32":
            raise RaySystemError(
                "raynb's embedded engine runs on Linux and macOS; on Windows, use it inside WSL, "
                "where everything works as on Linux."
            )
        from raynb.engine.local.processes.launch import launch

        local = launch(config)
        local.neighbours.on_stop = lambda who: _stop_for(local, who)
        start = dataclasses.replace(start, folder=local.supervision.folder)  # it may have been left meanwhile
        engine = local
    slot.starts[engine] = start
    breakpoints.attach(engine)
    if config.log_to_driver:
        _consoles[engine] = Console(engine)
    _engines.add(engine)
    return engine


def _stop_for(engine: DriverEngine, who: str) -> None:
    """Shuts the runtime down because another program of this user asks for it, and prints who asked."""

    def stop() -> None:
        place = global_slot()
        timeout = engine.config.shutdown_timeout
        if place.engine is engine:
            place.stop(timeout, only=engine)
        else:
            end_engine(engine, timeout)

    for receive in list(engine.on_output):
        receive(Output("stderr", 0, 0, 0, os.getpid(), "raynb", 0, f"raynb: the runtime was stopped from {who}.\n"))
    threading.Thread(target=stop, name="raynb-stop", daemon=True).start()


def end_engine(engine: DriverEngine, timeout: float) -> None:
    """Shuts an engine down and shows the last of what its tasks printed; the second time, nothing happens, but for
    waiting until the first, in another thread, is through."""
    with _ending:
        if engine in _ended:
            return
        _ended.add(engine)
        try:
            engine.shutdown(timeout)
        finally:
            breakpoints.detach(engine)
            console = _consoles.pop(engine, None)
            if console is not None:
                _unwritten.append(console)
                if console.close():
                    _unwritten.remove(console)


def end_isolated(engine: DriverEngine, timeout: float) -> None:
    """Shuts the engine of an isolated runtime down."""
    try:
        run_before_stop()
    finally:
        end_engine(engine, timeout)


def run_before_stop() -> None:
    """Takes the steps that come before a runtime's end: all of them; the first one's error is raised then."""
    first: Exception | None = None
    for step in list(slot.before_stop):
        try:
            step()
        except Exception as error:
            if first is None:
                first = error
            else:
                trace.swallowed("another step before the runtime's end failed, too", error)
    if first is not None:
        raise first


class RuntimeSlot:
    """The global runtime's place.

    Thread contract: any thread.
    """

    def __init__(self) -> None:
        self.state = EMPTY
        self.engine: DriverEngine | None = None
        self.starter = 0  # the thread that starts it
        self.changed = threading.Condition()
        #: (which, error) of a cluster that the last start named and could not reach.
        self.failed: tuple[str, BaseException] | None = None
        #: The thread that is about to start it: a notebook says so, before the thread has come that far.
        self.expected: threading.Thread | None = None

    def _move(self, state: str) -> None:
        assert state in STATES[self.state], f"runtime: {self.state} -> {state} is in no table"
        self.state = state
        self.changed.notify_all()

    def start(self, config: Config, made: Callable[[DriverEngine], Any] = lambda engine: engine) -> Any:
        """Returns ``made(engine)``, of a new one, or of the one that another thread starts or has started."""
        check_not_over()
        if config.address or config.cluster or config.local_mode:  # there user code runs, and Ray sets signal handlers
            return self._start_here(config, made)
        return shelter.run(self._start_here, config, made)

    def _start_here(self, config: Config, made: Callable[[DriverEngine], Any]) -> Any:
        begun = False
        try:
            with interrupts.Deferred():  # a Ctrl-C gets through where something is waited for
                with self.changed:
                    self._wait_until_settled()
                    if self.state == RUNNING and self.engine is not None:
                        return made(self.engine)
                    self._move(STARTING)
                    self.starter = threading.get_ident()
                    begun = True
                return made(self._start(config))
        except KeyboardInterrupt:
            if begun:
                self._stop_here(config.shutdown_timeout)  # it came when all was up already
            raise

    def _start(self, config: Config) -> DriverEngine:
        engine = None
        interrupts.given_up.clear()
        try:
            engine = make_engine(config)
            self.failed = None
        except BaseException as error:
            which = f"at {config.address!r}" if config.address else f"of cluster={config.cluster!r}"
            self.failed = (which, error) if config.address or config.cluster else None
            raise
        finally:
            with self.changed:
                self.starter = 0
                self.engine = engine
                self._move(RUNNING if engine is not None else EMPTY)
                slot.set_current(engine)
        return engine

    def _wait_until_settled(self) -> None:
        """Waits until nobody starts or stops the runtime. Call under `changed`."""
        while self.state in (STARTING, STOPPING):
            if self.starter == threading.get_ident():
                raise RaySystemError("raynb.init() was called from inside its own start")
            self._wait_for_change()

    def _wait_for_change(self) -> None:
        self.changed.wait(0.1)  # a Ctrl-C in there may come out as a RuntimeError of its lock
        with interrupts.Allowed():
            pass

    def stop(self, timeout: float, only: DriverEngine | None = None) -> None:
        """Shuts the runtime down; returns at once when there is none, or when it is another than ``only``."""
        try:
            if self.engine is not None and (only is None or only is self.engine):
                run_before_stop()
        finally:  # also where Ctrl-C ended the wait for them
            shelter.run(self._stop_here, timeout, only)
            interrupts.restore()

    def _stop_here(self, timeout: float, only: DriverEngine | None = None) -> None:
        with interrupts.Deferred():  # half a shutdown would leave processes
            with self.changed:
                self._wait_until_settled()
                self.failed = None
                if self.state == EMPTY or (only is not None and only is not self.engine):
                    return
                self._move(STOPPING)
                engine = self.engine
                slot.set_current(None)
            try:
                if engine is not None:
                    end_engine(engine, timeout)
            finally:
                with self.changed:
                    self.engine = None
                    self._move(EMPTY)

    def is_coming(self) -> bool:
        """Returns whether a start is under way, other than by the calling thread."""
        expected = self.expected
        if expected is not None and expected.is_alive() and expected is not threading.current_thread():
            return True
        return self.state == STARTING and self.starter != threading.get_ident()

    def wait_started(self) -> DriverEngine | None:
        """Returns the engine, waiting for a start that is under way; None if there is none."""
        with interrupts.Deferred(), self.changed:
            while self.state == STARTING and self.starter != threading.get_ident():
                self._wait_for_change()
            return self.engine if self.state == RUNNING else None


_slot = RuntimeSlot()
_forked = False  # this process was forked while it had a runtime


def _auto_init() -> Engine:
    """Starts a runtime at the first use, as Ray does; raises in a forked child, which must call `init` itself."""
    if _forked:
        raise RuntimeGoneError(slot.FORKED)
    if os.environ.get("RAY_ENABLE_AUTO_CONNECT") == "0":
        raise RuntimeGoneError("Ray has not been started yet. You can start Ray by calling 'raynb.init()'.")
    started = _slot.wait_started()
    if started is None and _slot.failed is not None:
        which, error = _slot.failed
        why = str(error)
        why = why if len(why) <= WHY_CHARS else f"{why[:WHY_CHARS]}…"
        raise RuntimeGoneError(
            f"No raynb runtime is running: the Ray cluster {which} could not be reached ({why}). Call "
            "raynb.init(address=...) again for the cluster, or raynb.init() to work on this machine."
        )
    engine: Engine | None = started if started is not None else _joined()
    return engine if engine is not None else _slot.start(Config())


def _joined() -> Engine | None:
    """Returns an engine of the cluster whose program runs this code by plain Ray, on a worker; None anywhere else.

    A runtime of its own in each of Ray's workers would use the machine beside the cluster, and say nothing.
    """
    worker = sys.modules.get("ray._private.worker")
    if worker is None or getattr(worker.global_worker, "mode", None) != worker.WORKER_MODE:
        return None
    from raynb.engine.cluster.on_worker import joining

    return joining.engine_here()


def _after_fork() -> None:
    global _slot, _forked, _ending
    _ending = threading.RLock()
    _consoles.clear()
    _unwritten.clear()
    unshown.after_fork_in_child()
    interrupts.after_fork_in_child()
    shelter.after_fork_in_child()
    _forked = _forked or _slot.state != EMPTY or any(engine.alive for engine in list(_engines))
    for engine in list(_engines):
        engine.after_fork_in_child()
    _slot = RuntimeSlot()
    slot._lock = threading.Lock()
    slot.forget_isolated()
    slot.set_current(None)


def _at_exit() -> None:
    global _over
    _over = True
    try:
        _slot.stop(1.0)
    except Exception as error:
        trace.swallowed("the shutdown at the end of the process", error, logging.DEBUG)
    for engine in list(_engines):
        if engine.alive:
            try:
                end_engine(engine, 1.0)
            except Exception as error:
                trace.swallowed("the shutdown of an isolated runtime at the end of the process", error, logging.DEBUG)
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for console in _unwritten:
        with contextlib.suppress(KeyboardInterrupt):
            console.finish(interrupted)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def install_starter() -> None:
    """Lets the first use of the API start a runtime (not inside workers)."""
    slot.set_starter(_auto_init)


def global_slot() -> RuntimeSlot:
    """Returns the slot of the global runtime."""
    return _slot
