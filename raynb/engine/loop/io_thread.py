"""The I/O thread: receives, sends and ticks while no thread of the user's does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from raynb.base import interrupts, unshown
from raynb.base.process import shelter, strikes
from raynb.base.process.waits import time
from raynb.core.vocabulary import events as e
from raynb.engine.loop.pace import MAX_REFS_PER_DRAIN
from raynb.engine.loop.polling import IN, Poller, Wake

if TYPE_CHECKING:
    from raynb.engine.loop.shared import SharedLoop

BUSY_SECONDS = 0.005  # it looks this often while a thread submits in a loop
BUSY_SUBMISSIONS = 8  # so many since its last look make it one
PARK_SECONDS = 0.005  # it stays out of the way this long after a waiting thread left
TICK_SECONDS = 0.05


class IoThread:
    """The engine's background thread. Thread contract: `asleep`, `wake` any thread; `start`, `stop` once each."""

    def __init__(self, loop: SharedLoop) -> None:
        self._loop = loop
        self.poll = Poller()
        self.wake = Wake()
        self.poll.register(self.wake.read, IN)
        #: Not 0: it waits for the sockets, for that many times now, and has seen nothing that is to be sent.
        self.asleep = 0
        self._sleeps = 0
        self.stopping = False
        #: Slow work for this thread alone, never run under a lock. Append, then `wake`.
        self.chores: deque[Callable[[], None]] = deque()
        self._serving = False
        self._pause = PARK_SECONDS
        self._seen = 0  # submissions at the last look
        self._next_look = 0.0
        self._thread = strikes.OwnThread(self._serve, "raynb-io")

    def start(self) -> None:
        """Starts the thread."""
        interrupts.share_collector()
        self._thread.start()
        if shelter.must_move():  # threads may be struck already, and callers are not to make any: see `aside`
            shelter.be_ready()

    def step_aside(self) -> None:
        """Leaves the sockets to a thread that waits in `get` and reads them from now on."""
        if self._serving:
            self.wake()

    def _serve(self) -> None:
        loop = self._loop
        shelter.enlist()
        try:
            while not (self.stopping or loop.health.broken):
                try:
                    self._turn()
                except MemoryError:  # in a change it has ended the runtime; elsewhere nothing is half done
                    time.sleep(TICK_SECONDS)
        except BaseException as error:
            loop.health.break_down(error, "serving the sockets")
        finally:
            if loop.health.broken:
                self._announce_failure()
            shelter.discharge()

    def _turn(self) -> None:
        loop = self._loop
        waiters = loop.waiters
        while self.chores:
            self.chores[0]()
            self.chores.popleft()  # only now: where there was no memory for it, it is done the next time
        now = time.monotonic()
        if waiters.leading or now - waiters.last_led < PARK_SECONDS:
            time.sleep(self._pause)
            self._pause = min(self._pause * 1.5, 4 * PARK_SECONDS) if waiters.leading else PARK_SECONDS
            if not waiters.leading or self._unsent():  # who leads may sleep while others submit
                loop.flush()
        elif loop.pace.submissions - self._seen > BUSY_SUBMISSIONS:
            # The submitting thread sends and reads by itself; only what it leaves is ours.
            self._seen = loop.pace.submissions
            time.sleep(BUSY_SECONDS)
            if loop.pace.submissions - self._seen <= BUSY_SUBMISSIONS:
                loop.flush()
        else:
            self._seen = loop.pace.submissions
            self._receive(now)
        self._tick(time.monotonic())

    def _announce_failure(self) -> None:
        """Wakes everybody who waits after the runtime has failed, also where it failed for lack of memory."""
        for announce in (self._loop.waiters.wake_all, self._loop.health.on_broken):
            while True:
                try:
                    announce()
                    break
                except MemoryError:
                    time.sleep(TICK_SECONDS)

    def _receive(self, now: float) -> None:
        loop = self._loop
        waiters = loop.waiters
        self._serving = True
        # `Pace` looks at `asleep` after it has queued; we look at the queues after setting it
        self._sleeps += 1
        self.asleep = self._sleeps
        events = [] if self._unsent() or waiters.leading else self.poll.wait(self._timeout(now))
        self.asleep = 0
        self._serving = False
        if events:
            loop.receive(events)
        if self._unsent() and not waiters.leading:
            # Somebody submits and will send it with others, or has left it to us.
            time.sleep(BUSY_SECONDS)
            if time.monotonic() - loop.last_flush > BUSY_SECONDS:
                loop.flush()

    def _unsent(self) -> bool:
        return bool(self._loop.dirty or self._loop.submission_queue)

    def _timeout(self, now: float) -> float | None:
        loop = self._loop
        with loop.lock:
            due = loop.machine.next_tick()
        if loop.ref_log or loop.view_log or loop.drop_log:
            return 0.005
        wait = TICK_SECONDS * 10 if due is None else max(0.001, due - now)
        return min(wait, TICK_SECONDS * 2 if loop.machine.objects.table else wait)

    def _tick(self, now: float) -> None:
        if now < self._next_look:
            return
        self._next_look = now + TICK_SECONDS
        self._loop.dispatch(e.Ticked(now), MAX_REFS_PER_DRAIN)
        self._loop.on_tick(now)
        self._loop.users.look()
        unshown.look(now)

    def stop(self) -> None:
        """Ends the thread and waits for its end, unless the thread itself calls it."""
        self.stopping = True
        self.wake()
        if self._thread.is_alive() and self._thread.ident != threading.get_ident():
            self._thread.join()

    def close(self) -> None:
        """Closes the thread's poller and pipe."""
        self.poll.close()
        self.wake.close()
