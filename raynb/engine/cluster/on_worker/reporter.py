"""Gathers a worker's reports to the driver, and pushes them to the hub in batches."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from raynb.base import limits
from raynb.base.process import trace
from raynb.base.rows import FINISHED
from raynb.engine.causal import AFTER, Mark
from raynb.engine.cluster import hub, rays
from raynb.engine.local.processes.memory_monitor import sample

#: Seconds in which output is gathered before it is pushed.
PAUSE_SECONDS = 0.05
#: Seconds for which a batch is offered to a hub that does not answer.
FLUSH_TIMEOUT_SECONDS = 20.0
#: Events that make the next push due at once, so that a batch does not grow without bounds.
FULL_EVENTS = 2000


#: Seconds between two looks at the machine.
MACHINE_SECONDS = 2.0


_here: weakref.WeakSet[Reporter] = weakref.WeakSet()


def flush_all() -> None:
    """Pushes at once what this process has to report, and waits: it is about to end."""
    for reporter in list(_here):
        reporter.flush(hub.OUTPUT_WAIT_SECONDS)


class _Machine:
    """Reads memory and CPU use of this process and its machine. Thread contract: one thread."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._before = (0, 0)
        self._own = (time.monotonic(), 0.0)

    def own(self) -> tuple[int, float]:
        """Returns (memory of this process in bytes without what it shares, share of a core that it used since)."""
        now = time.monotonic()
        rss, spent = sample(os.getpid())
        share = (spent - self._own[1]) / max(now - self._own[0], 0.001) if self._own[1] else 0.0
        self._own = (now, spent)
        return rss, share

    def read(self) -> tuple[str, float, int, int]:
        """Returns (node id, share of the cores that was busy since the last call, memory, memory used)."""
        share = 0.0
        try:
            with open("/proc/stat") as file:
                times = [int(field) for field in file.readline().split()[1:9]]
            idle, total = times[3] + times[4], sum(times)
            spent = total - self._before[1]
            if self._before[1] and spent > 0:
                share = 1.0 - (idle - self._before[0]) / spent
            self._before = (idle, total)
        except (OSError, ValueError, IndexError):
            share = 0.0  # no Linux: not known
        memory = limits.memory()
        return self._node_id, share, memory.total, memory.total - memory.available


def _all(events: deque[Any]) -> list[Any]:
    """Removes and returns everything in a deque that other threads append to."""
    return [events.popleft() for _ in range(len(events))]


def _is_failure(row: tuple[object, ...]) -> bool:
    """Returns whether the driver should read a row at once: a failure, or a change of an actor."""
    return row[0] == "actor" or (row[0] == "end" and row[2] != FINISHED)


def _pickled(before: int, events: list[Any], instead: list[object]) -> bytes:
    """Returns a batch as it travels: how many events came before, and the events.

    One that cannot be pickled leaves a trace and takes none of the others with it; ``instead`` is put in its place.

    Raises:
        MemoryError: there is too little of it now.
    """
    try:
        return pickle.dumps((before, events), 5)
    except MemoryError:
        raise
    except Exception:
        kept: list[object] = []
        for event in events:
            try:
                pickle.dumps(event, 5)
            except MemoryError:
                raise
            except Exception as error:
                trace.swallowed("pickling a report", error)
                kept += instead
            else:
                kept.append(event)
        return pickle.dumps((before, kept), 5)


class Reporter:
    """Gathers what a worker has to say, and pushes it to the driver's hub.

    One push is on its way at a time: what is added meanwhile is the next batch. A task that ends within one batch
    is one event in it.

    Thread contract: any thread adds; a thread of its own pushes.

    Args:
        nonce: of the driver.
    """

    def __init__(self, nonce: int) -> None:
        self.name = hub.reporter_name(nonce, f"{os.getpid()}-{random.randrange(1 << 32):08x}")
        self._nonce = nonce
        self._changed = threading.Condition(threading.RLock())  # a signal handler may print
        self._events: deque[Any] = deque()  # what was printed, and what comes before it
        #: What became of tasks. The driver reads it when somebody looks, so it is a pickle of its own.
        self._rows: deque[Any] = deque([("hello", os.getpid(), rays.context().get_node_id())])
        self._fresh: dict[int, float] = {}  # task that began and was not reported → when
        self._events_sent = 0  # events that left the deque
        self._events_delivered = 0  # and that the hub has, or nobody
        self._rows_sent = 0  # rows that did
        self._failed = False  # one of them should be read at once, whatever it is
        self._known: dict[str, int] = {}  # other reporter → how much of it comes before what is printed here next
        #: How often something was learnt of another reporter; `Running.heard` has what it was when a task began.
        self.heard = 0
        #: Called when a task runs for longer than a report is gathered.
        self.on_long: Callable[[], None] = lambda: None
        self._urgent = False
        self._printed = False
        self._asleep = True
        self._pause = hub.LIVELY_SECONDS
        self._machine = _Machine(rays.context().get_node_id())
        self._machine_due = 0.0
        self._over = False
        self._hub: Any = None
        self._alone = False  # no hub answered for as long as one may be away: its driver has ended
        _here.add(self)
        threading.Thread(target=self._serve, name="raynb-reporter", daemon=True).start()

    # -- what is reported ----------------------------------------------------------------------
    def add(self, event: Any) -> None:
        """Adds an event to what became of tasks."""
        self._rows.append(event)
        self._wake()

    def add_urgent(self, event: tuple[object, ...]) -> None:
        """Adds an event that somebody waits for."""
        with self._changed:
            self._rows.append(event)
            self._failed = self._urgent = True
            self._asleep = False
            self._changed.notify()

    def began(self, task: int, at: float) -> None:
        """A task begins; reported on its own only if it runs for longer than a batch is gathered."""
        self._fresh[task] = at
        if self._asleep:
            self._wake()

    def ended(self, event: tuple[Any, ...]) -> None:
        """Queues the end of a task, and wakes the sender."""
        self._fresh.pop(event[1], None)
        self._rows.append(event)
        if self._asleep or len(self._rows) >= FULL_EVENTS:
            self._wake()

    def _wake(self) -> None:
        if self._asleep or len(self._rows) >= FULL_EVENTS:
            with self._changed:
                self._asleep = False
                self._changed.notify()

    def print(self, owner: Any, kind: str, text: str) -> None:
        """Queues what a task printed."""
        if not text:
            return
        if type(text) is not str:
            text = str.__str__(text)  # the driver may lack its class
        owner.printed = True
        with self._changed:
            last = self._events[-1] if self._events else None
            if last is not None and last[0] == "out" and last[1] == kind and last[2] == owner.call.task:
                last[3].append(text)
            else:
                self._events.append(("out", kind, owner.call.task, [text], None, *self._who(owner)))
            self._printed = True
            self._asleep = False
            self._changed.notify()

    def display(self, owner: Any, kind: str, bundle: dict[str, Any]) -> None:
        """Queues a display of a task, after the output before it.

        It is pickled here, so that what cannot be is the error of the code that displays it, and the driver gets it as
        it is now.
        """
        blob = pickle.dumps(bundle, 5)
        owner.printed = True
        with self._changed:
            self._events.append(("out", kind, owner.call.task, [], blob, *self._who(owner)))
            self._printed = True
            self._asleep = False
            self._changed.notify()

    @staticmethod
    def _who(owner: Any) -> tuple[Any, ...]:
        return owner.call.scope, owner.call.options.name, owner.call.actor, os.getpid()

    def after(self, mark: Mark | None) -> None:
        """Orders all later reports of this worker after another reporter's mark."""
        if mark is None or mark[0] == self.name or self._known.get(mark[0], 0) >= mark[1]:
            return
        if not hub.is_for(mark, self._nonce):
            return
        with self._changed:
            self._known[mark[0]] = mark[1]
            self._events.append((AFTER, *mark))
            self.heard += 1
        self._wake()

    def mark(self, owner: Any) -> Mark | None:
        """Returns the mark to apply before a result of this task; None if neither it nor what it read printed."""
        if not owner.printed and owner.heard == self.heard:
            return None
        with self._changed:
            self._urgent = True
            self._changed.notify()
            return self.name, self._events_sent + len(self._events)

    def so_far(self, owner: Any) -> Mark | None:
        """Returns the mark of output that precedes a nested call's; None if this task printed nothing."""
        if not owner.printed and owner.heard == self.heard:
            return None
        with self._changed:
            return self.name, self._events_sent + len(self._events)

    # -- the way -------------------------------------------------------------------------------
    def flush(self, seconds: float = 2.0) -> None:
        """Pushes at once and waits (seconds at the most): this process is about to end."""
        with self._changed:
            self._urgent = True
            self._asleep = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._asleep, 0.0 if self._alone else seconds)

    def settle(self) -> None:
        """Returns once the driver has shown all that was printed here so far.

        After `hub.OUTPUT_WAIT_SECONDS` it returns in any case: for so long a driver that hangs, or is stopped, delays
        the end of a stream that has printed.
        """
        end = time.monotonic() + hub.OUTPUT_WAIT_SECONDS
        with self._changed:
            self._urgent = True
            self._asleep = False
            upto = self._events_sent + len(self._events)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._events_delivered >= upto, hub.OUTPUT_WAIT_SECONDS)
            asked = None if self._alone else self._hub
        left = end - time.monotonic()
        with contextlib.suppress(Exception):  # lost, or its driver is gone: nobody reads it
            if asked is not None and left > 0:
                rays.call(asked, "applied", [left]).future().result(left)

    def close(self) -> None:
        """Pushes what there is, then ends the thread."""
        with self._changed:
            self._over = self._urgent = True
            self._asleep = False
            self._changed.notify_all()

    def _serve(self) -> None:
        while not (self._over and not self._events and not self._rows):
            try:
                self._await_reports()
                batch = self._batch()
            except Exception as error:  # short memory: what there is to report is still there
                trace.swallowed("gathering reports", error)
                time.sleep(PAUSE_SECONDS)
                continue
            if batch is not None:
                self._deliver(*batch)
                with self._changed:
                    self._events_delivered = self._events_sent
                    self._changed.notify_all()

    def _await_reports(self) -> None:
        """Waits until there is something to push, and no longer to be gathered for."""
        with self._changed:
            slept = False
            while True:
                self._asleep = True  # before the look: who adds looks at it afterwards
                if self._events or self._rows or self._fresh or self._over:
                    break
                self._changed.notify_all()
                # While a view is open, the machine's figures go there also when no task ends here.
                if not self._changed.wait(MACHINE_SECONDS if self._pause == hub.LIVELY_SECONDS else None):
                    break
                slept = True
            self._asleep = False
            # The first after a silence goes soon; who is busy all the time reports in larger batches.
            due = time.monotonic() + (PAUSE_SECONDS if slept else self._pause)
            while not self._urgent and len(self._rows) < FULL_EVENTS and not self._is_idle():
                left = min(due - time.monotonic(), PAUSE_SECONDS)
                if left <= 0:
                    break
                printed = self._printed
                self._changed.wait(left)
                if printed:
                    break

    def _is_idle(self) -> bool:
        """Returns whether the last task ended a while ago and none has begun: nothing comes to gather for.

        What is kept longer is lost with a worker that dies.
        """
        if self._fresh:
            return False
        last = self._rows[-1] if self._rows else None  # this thread alone takes them out
        return last is not None and last[0] == "end" and time.time() - last[3][3] >= PAUSE_SECONDS

    def _batch(self) -> list[Any] | None:
        """Returns what `Hub.push` takes, and what was printed; None if there is nothing."""
        with self._changed:
            for task in list(self._fresh):
                began = self._fresh.pop(task, None)
                if began is not None:
                    self._rows.append(("start", task, began))
                    hub.guarded("listening for questions about a task", self.on_long)
            if time.monotonic() >= self._machine_due:
                self._machine_due = time.monotonic() + MACHINE_SECONDS
                hub.guarded("measuring the machine", self._measure)
            events, rows = _all(self._events), _all(self._rows)
            urgent, self._urgent, self._printed = self._urgent or self._printed, False, False
            failed, self._failed = self._failed, False
            if not events and not rows:
                return None
            try:
                failed = failed or any(map(_is_failure, rows))
                output = _pickled(self._events_sent, events, [(AFTER, "", 0)]) if events else b""
                ends = _pickled(self._rows_sent, rows, []) if rows else b""
            except BaseException:
                self._events.extendleft(reversed(events))
                self._rows.extendleft(reversed(rows))
                self._urgent, self._failed = urgent, failed
                raise
            self._events_sent += len(events)
            self._rows_sent += len(rows)
            return [urgent, failed, output, ends, events]

    def _measure(self) -> None:
        self._rows.append(("machine", *self._machine.read(), *self._machine.own()))

    def _deliver(self, urgent: bool, failed: bool, output: bytes, ends: bytes, events: list[Any]) -> None:
        """Pushes until the hub has answered: it may be lost, and be made again elsewhere.

        Once none has answered for `FLUSH_TIMEOUT_SECONDS`, a batch asks once, and nothing is sent unasked any more.
        """
        end = time.monotonic() + (0.0 if self._alone else FLUSH_TIMEOUT_SECONDS)
        while True:
            try:
                if self._hub is None:
                    self._hub = rays.get_actor(hub.name_of(self._nonce), namespace=hub.NAMESPACE)
                pushed = rays.call(self._hub, "push", [self.name, time.time(), urgent, failed, output, ends])
                # `get` would warn in an actor that is async.
                self._pause = pushed.future().result(FLUSH_TIMEOUT_SECONDS)
                self._alone = False
                return
            except Exception:  # lost with its node, or the driver is gone with it
                self._hub = None
                if not rays.is_connected() or time.monotonic() >= end:
                    break
                time.sleep(0.25)
        self._alone = True
        self._pause = hub.CALM_SECONDS  # with the other one, the machine's figures would ask for the hub for ever
        for event in events:  # nobody is there to read it: Ray's own log has it then
            if event[0] == "out" and event[3]:
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    (sys.__stdout__ if event[1] == "stdout" else sys.__stderr__).write("".join(event[3]))  # type: ignore[union-attr]


__all__ = ["Reporter"]
