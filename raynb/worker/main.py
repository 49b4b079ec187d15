"""A worker process: reads tasks, runs them, sends results."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from collections import deque
from typing import Any

from raynb.base import engine as slot
from raynb.base import interrupts
from raynb.base.config import ENV_FAILED
from raynb.base.process import heap, main_module, trace
from raynb.base.process.waits import time
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.run import environment, surroundings
from raynb.serde import children, functions, pickling
from raynb.store import Board, GuestDiskTier, Ledger, Store, Unsent
from raynb.wire import messages as w
from raynb.wire.channel import Channel, Closed
from raynb.worker import questions, state
from raynb.worker.engine import forks
from raynb.worker.engine.borrowed_refs import BorrowedRefs
from raynb.worker.engine.engine import WorkerEngine
from raynb.worker.executor import TaskExecutor, end_threads_silently
from raynb.worker.inspection.desk import WorkerDesk
from raynb.worker.link import FLUSH_SECONDS, Link
from raynb.worker.output import Capture
from raynb.worker.signals import Signals

RELIEF_SECONDS = 0.002  # while calls of an actor wait for a thread, it is seen to this often
HEED_LOOK_SECONDS = 0.0005
HEED_MAX_SECONDS = 5.0  # seconds that the start of a task waits for an interrupt on its way


class WorkerProcess:
    """Everything one worker process has.

    Thread contract: `on_message` under the link's read lock, `on_control` in the control thread,
    `work` in the main thread.
    """

    def __init__(
        self, number: int, data: int, control: int, ledger: int, board: int, unsent: int, settings: dict[str, Any]
    ) -> None:
        import socket

        self.number = number
        self.settings = settings
        self.env = dict(settings.get("env", ()))
        self.row: int = settings["row"]  # in the ledger and on the board
        self.nonce = settings["nonce"]
        self.queue: deque[w.Run] = deque()
        self.cancelled_ahead: set[int] = set()
        self.options: dict[int, TaskOptions] = {}
        self.blobs: dict[str, bytes] = {}
        self.functions: dict[str, Any] = {}
        self.borrowed = BorrowedRefs()
        self.board = Board.attach(board)
        self.heeded = 0  # interrupts that were carried out
        self.store = Store(
            number, settings["store_limit"], Ledger.attach(ledger),
            GuestDiskTier(settings["spill_home"], number) if settings["spill_home"] else None,
            row=self.row,
        )  # fmt: skip
        self.link = Link(
            Channel(socket.socket(fileno=data), blocking=False),
            Channel(socket.socket(fileno=control), blocking=False),
            self,
            Unsent(unsent, self.row),
        )
        self.engine = WorkerEngine(self)
        self.capture = Capture(self)
        self.executor = TaskExecutor(self)
        self.inspection = WorkerDesk(self)
        self.actor: ActorSpec | None = None
        self.stopping = False
        self.forked = False  # this is a child that a task forked
        self.signals = Signals(self)
        self.main_ident = threading.get_ident()

    def after_fork_in_child(self) -> None:
        """Detaches a forked child: it has none of the threads, and owns nothing of its parent's."""
        if not self.forked:  # else it is a child of the child
            self.forked = self.signals.forked = True
            forks.sever(self)

    # -- messages ------------------------------------------------------------------------------
    def on_message(self, message: Any) -> None:
        """Handles a message of the data channel."""
        kind = type(message)
        if kind is w.Run:
            if message.lent:
                self.borrowed.lent(message.lent)
            if message.task in self.cancelled_ahead:
                self.cancelled_ahead.discard(message.task)
                self._post_withdrawn((message,))
                self.link.nudge()  # here, where the channel is read, nothing may wait until the driver reads
            else:
                self.executor.accept(message)
        elif kind is w.Reply or kind is w.Answer:
            self.engine.requests.replied(message)
        elif kind is w.Free:
            for value in message.values:
                self.store.free(value)
        elif kind is w.Options:
            self.options[message.key] = pickle.loads(message.blob)
        elif kind is w.Definition:
            self.blobs[message.key] = message.blob
        elif kind is w.Arena:
            self.store.attach(message.arena, self.link.data.fds.popleft())
        elif kind is w.Forget:
            self.store.detach(message.arena)
        elif kind is w.Actor:
            self.actor = pickle.loads(message.blob)
        elif kind is w.Stop:
            self.stopping = True

    def on_control(self, message: Any) -> None:
        """Handles a message of the control channel, on the control thread."""
        kind = type(message)
        if kind is w.Reply or kind is w.Answer:
            self.engine.requests.replied(message)
        elif kind is w.Interrupt:
            self.interrupt(message.task)
            self.heeded += 1
        elif kind is w.Withdraw:
            self.link.catch_up(message.frames)
            self.link.read_beside()
            if message.tasks:
                self.give_back(self._take(set(message.tasks)))
            else:
                self.link.answer()
        elif kind is w.Allow:
            self.executor.returns.allow(message.task, message.consumed)
        elif kind is w.Free:
            for value in message.values:
                self.store.free(value)
        elif kind is w.Arena:
            self.store.attach(message.arena, self.link.control.fds.popleft())
        elif kind is w.Forget:
            self.store.detach(message.arena)
        elif kind is w.Inspect:
            self.inspection.asked(message.request, message.what, message.blob)

    def _take(self, wanted: set[int] | None) -> tuple[w.Run, ...]:
        """Removes unstarted tasks from the line, so that the main thread cannot start them."""
        taken = []
        for run in list(self.queue):
            if wanted is None or run.task in wanted:
                try:
                    self.queue.remove(run)
                except ValueError:
                    continue  # the main thread was quicker: it has started
                taken.append(run)
        return tuple(taken)

    def give_back(self, runs: tuple[w.Run, ...]) -> None:
        """Hands tasks back to the driver, which will not be run here."""
        self._post_withdrawn(runs)
        self.link.flush()

    def _post_withdrawn(self, runs: tuple[w.Run, ...]) -> None:
        for run in runs:
            self.borrowed.returned(run.lent)
        self.link.post(w.Withdrawn(tuple(run.task for run in runs)))

    def hand_back_all(self) -> tuple[int, ...]:
        """Removes and returns the unstarted tasks of a worker that blocks, to be sent with its request."""
        if self.actor is not None or not self.queue:
            return ()
        runs = self._take(None)
        for run in runs:
            self.borrowed.returned(run.lent)
        return tuple(run.task for run in runs)

    # -- cancelling ----------------------------------------------------------------------------
    def interrupt(self, task: int) -> None:
        """Cancels a task here: drops it if it has not started, else interrupts it."""
        self.link.read_beside()
        taken = self._take({task})
        if taken:
            self.give_back(taken)
            return
        if self.executor.cancel_async(task):
            return
        current = state.main_running
        if current is not None and current.task == task:
            current.interrupted = True
            if self.actor is not None:
                return  # a running call of a sync actor runs on; it can ask is_canceled()
            if current.event is not None:
                current.event.set()  # it may wait for the reader of its stream
            self.signals.cancel(task)
        elif not self.executor.knows(task):
            self.cancelled_ahead.add(task)
            if len(self.cancelled_ahead) > 10_000:  # ended tasks whose cancel came late
                self.cancelled_ahead.clear()

    def heed(self, running: state.RunningTask) -> None:
        """Applies interrupts that the driver has sent by now, before a task begins."""
        sent = self.board.interrupts(self.row)
        if self.heeded < sent:
            # They are on their way. No lock: a destructor that waits in here must not stop the thread that hears them.
            patience = time.monotonic() + HEED_MAX_SECONDS
            while self.heeded < sent and time.monotonic() < patience:
                time.sleep(HEED_LOOK_SECONDS)
            if self.heeded < sent:
                self.heeded = sent  # one that never comes must not hold up every task
        if running.task in self.cancelled_ahead:
            self.cancelled_ahead.discard(running.task)
            running.interrupted = True

    # -- work ----------------------------------------------------------------------------------
    def has_unsent_releases(self) -> bool:
        """Returns whether released refs or output wait to be sent."""
        return bool(self.borrowed.log) or self.capture.pending()

    def tick(self) -> None:
        """Sends waiting output and counts; the control thread calls it now and then."""
        self.capture.forward()
        gone = self.borrowed.drain_log()
        if gone:
            self.link.post(w.Release(gone))

    def function(self, key: str) -> Any:
        """Returns the function or class of a definition, unpickled once."""
        found = self.functions.get(key)
        if found is None:
            found = self.functions[key] = functions.load(self.blobs[key])
        return found

    def is_over(self) -> bool:
        """Returns whether the worker was asked to stop, and nothing runs any more."""
        return self.stopping and not self.executor.busy()

    def send_rest(self) -> None:
        """Sends queued messages before the main thread sleeps."""
        if self.link.outbox or self.borrowed.log:
            self.tick()
            self.link.flush()

    def next_is_brief(self) -> bool:
        """Returns whether the next task in the line will end in a moment, so that results can wait for its."""
        try:
            return self.executor.is_brief(self.queue[0])
        except IndexError:
            return False

    def work(self) -> int:
        """Runs tasks until told to stop. Returns the exit status."""
        link = self.link
        queue = self.queue
        execute = self.executor.execute
        warm = False  # tasks have left free pages in the heap
        while True:
            while queue:
                try:
                    run = queue.popleft()
                except IndexError:
                    break
                execute(run)
                warm = True
                if link.outbox:
                    # A result that waits for company must not be lost when the next task ends the process: either
                    # it may be made again, or it is noted where the driver finds it.
                    if queue and time.monotonic() - link.sender.last_flush < FLUSH_SECONDS and self.next_is_brief() \
                            and (self.options[run.options].max_retries or link.record_unsent()):  # fmt: skip
                        link.nudge()
                    else:
                        link.flush()
            if self.is_over():
                link.flush()
                return self.executor.exit_status
            loop = self.executor.main_loop
            if loop is not None:
                loop.serve()
                continue
            self.send_rest()
            if self.executor.pressed():
                link.wait_data(RELIEF_SECONDS)
                link.read()
                self.executor.host.relieve()  # type: ignore[union-attr]
            else:
                woken = link.wait_data(0.05 if self.stopping else heap.REST_SECONDS if warm else None, eager=True)
                came = link.read()
                if warm and not woken and not came:  # nor has another thread of ours read the next task
                    warm = False
                    heap.give_back()


def main(
    number: int, data: int, control: int, ledger: int, board: int, unsent: int, settings: dict[str, Any]
) -> int:
    """Runs a worker in a freshly forked process; returns its exit status."""
    interrupts.after_fork_in_child()
    interrupts.stand_aside()
    interrupts.share_collector()
    environment.enter(settings)
    surroundings.start(settings["sys_path"])
    main_module.find_class = functions.notebook_class
    main_module.enter({"__name__": "__main__"})
    worker = WorkerProcess(number, data, control, ledger, board, unsent, settings)
    worker.signals.install()
    os.register_at_fork(after_in_child=worker.after_fork_in_child)
    slot.set_current(worker.engine)
    slot.name_task = worker.engine.name_task
    worker.capture.install()
    questions.install(worker.inspection)
    end_threads_silently()
    children.install()
    try:
        environment.set_up(settings)
    except Exception as error:
        worker.link.post(w.Leaving(f"{ENV_FAILED}{error}"))
        worker.link.flush()
        return 1
    try:
        worker.link.start()
    except RuntimeError as error:  # no thread is to be had
        worker.link.post(w.Leaving(f"{error} (see `ulimit -u`, and the container's limit of processes)"))
        worker.link.flush()
        return 1
    worker.link.post(w.Ready(os.getpid()))
    worker.link.flush()
    try:
        status = worker.work()
    except Closed:
        return 0
    except BaseException as error:
        worker.link.broken(error)
    leave(worker)
    return status


def leave(worker: WorkerProcess) -> None:
    """Ends the process in Ray's order: ``__ray_shutdown__``, atexit handlers, ``__del__``; then sends the output."""
    import atexit

    try:
        worker.executor.close()
        state.main_running = worker.executor.creation  # what is printed now is the actor's
        worker.executor.shut_down_actor()
        atexit._run_exitfuncs()
        worker.executor.drop_actor()
        worker.capture.forward(final=True)
        worker.tick()
        worker.link.flush()
    except Exception as error:
        trace.swallowed("the end of a worker", error, logging.DEBUG)
    worker.link.closing = True
    sys.stdout = sys.__stdout__
    sys.stderr = sys.__stderr__


__all__ = ["WorkerProcess", "leave", "main", "pickling"]
