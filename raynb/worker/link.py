"""The worker's two channels: work on one, interruptions on the other.

The main thread reads the data channel itself, between tasks and while it waits in `get`. The
control thread reads the control channel, so that cancelling, giving back unstarted tasks and
freeing memory work while a task runs; it also sends what would otherwise lie unsent while a long
task runs, and picks up what C code and subprocesses write to descriptors 1 and 2.
"""

from __future__ import annotations

import gc
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from raynb.base.interrupts import RESUME_SECONDS, Critical
from raynb.base.process import strikes
from raynb.base.process.waits import time
from raynb.run.inspection import dumps
from raynb.wire import messages as w
from raynb.wire.channel import Channel, Closed
from raynb.wire.codec import BadFrame, encode_one
from raynb.worker import state, user_code
from raynb.worker.signals import HELD_MS

if TYPE_CHECKING:
    from raynb.store import Unsent
    from raynb.worker.main import WorkerProcess

ACTIVE_MS = 20  # how often the control thread looks while something goes on
UNSENT_MS = 3  # and while there is something to send
COOLING_MS = 1000  # how often it looks while the store keeps pages that nobody uses
SPIN_SECONDS = 0.0001 if (os.cpu_count() or 1) > 1 else 0.0
FLUSH_SECONDS = 0.0005  # results of short tasks wait this long for company
MAX_WAIT_MS = 86_400_000.0  # poll takes no more than 24 days

#: Messages of the control channel that are handled as they are received, in their order.
_IN_ORDER = (w.Allow, w.Arena, w.Forget, w.Free)


class Sender:
    """Sends what is queued for the data channel.

    Thread contract: any thread. No thread waits inside the section: while the driver reads nothing, others may enter,
    and the garbage collector goes on.
    """

    def __init__(self, data: Channel, unsent: Unsent | None, leave: Callable[[str], NoReturn]) -> None:
        self.data = data
        self.outbox: deque[Any] = deque()
        self.last_flush = 0.0
        self._leave = leave
        self._unsent = unsent
        self._send = Critical()
        self._sending = False  # what is queued is on its way
        self._framed = 0  # so many of the first in the outbox are in a frame whose rest has no room yet
        #: The first in the outbox, as they are written down for the driver, and as they will be sent.
        self._recorded: list[bytes] = []

    def flush(self) -> None:
        """Sends everything queued, in order; waits while the driver doesn't read."""
        while True:
            with self._send:
                if self._send_queued():
                    return
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        """Returns when the driver has read something, or after a moment."""
        room = select.poll()  # one of its own: poll objects refuse two threads at once
        room.register(self.data.fd, select.POLLOUT)
        room.poll(RESUME_SECONDS * 1000)

    def _send_queued(self) -> bool:
        """Sends what is queued as one frame, after the rest of the frame before; returns whether all is out."""
        if self.data.unsent and not self._send_frame([]):
            return False
        batch = list(self.outbox)
        out = self._send_frame(batch) if batch else True
        self.last_flush = time.monotonic()
        return out

    def _send_frame(self, batch: list[object]) -> bool:
        """Sends a frame, or (no messages) the rest of one; returns whether it is out, to its last byte."""
        # What is not sent yet stays in the outbox, so that the main thread, which looks there whether
        # its last result is out, does not go on while another thread is still about to send it.
        data = self.data
        if self._sending:
            self._leave("an exception stopped it while it was sending")
        self._sending = True
        try:
            if batch:
                if self._recorded:  # coded once, for both
                    data.send_coded([*self._recorded, *map(encode_one, batch[len(self._recorded) :])])
                else:
                    data.send(batch)
                self._framed = len(batch)
            else:
                data.flush()
        except (RecursionError, MemoryError, ValueError):
            self._sending = bool(data.unsent)  # else it was raised before anything was sent
            raise
        out = not data.unsent
        if out:
            for _ in range(self._framed):
                self.outbox.popleft()
            self._framed = 0
            if self._recorded and self._unsent is not None:
                self._recorded = []
                self._unsent.clear_sent()
        self._sending = False
        return out

    def record_unsent(self) -> bool:
        """Writes queued messages to shared memory, for the driver to read if this process dies.

        False: send them now.
        """
        if self._unsent is None:
            return False
        outbox = self.outbox
        with self._send:
            if self.data.unsent:  # what comes after has another number
                return False
            recorded = self._recorded
            while len(recorded) < len(outbox):
                coded = encode_one(outbox[len(recorded)])
                if not self._unsent.record(self.data.made, coded):
                    return False
                recorded.append(coded)
        return True

    def send_fd(self, message: Any, fd: int) -> None:
        """Sends a message with a descriptor, which is taken over, after everything queued."""
        taken = False
        try:
            while not taken:
                with self._send:
                    if self._send_queued():
                        taken = True  # the channel closes it from now on, sent or not
                        self.data.send([message], [fd])
                if not taken:
                    self._wait_for_room()
        finally:
            if not taken:
                os.close(fd)
        self.flush()

    def after_fork_in_child(self) -> None:
        """Forgets what is queued, in a forked child: it is the parent's."""
        self.outbox = deque()
        self.data.unsent.clear()
        self._send = Critical()
        self._recorded = []
        self._unsent = None


class Link:
    """Thread contract: `post` and `flush` from any thread; `read` as said at each."""

    def __init__(self, data: Channel, control: Channel, worker: WorkerProcess, unsent: Unsent | None = None) -> None:
        self.data = data
        self.control = control
        self.worker = worker
        self.sender = sender = Sender(data, unsent, self._leave)
        self.flush, self.record_unsent, self.send_fd = sender.flush, sender.record_unsent, sender.send_fd
        self.outbox = sender.outbox
        self._read, self._control = Critical(), Critical()
        self._told: deque[Any] = deque()  # messages of the control channel that are not handled yet
        self._control_ident = 0
        self._poll_data = select.poll()
        self._poll_data.register(data.fd, select.POLLIN)
        self._main_read, self._main_write = os.pipe()
        self._poll_data.register(self._main_read, select.POLLIN)
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._main_read, self._main_write, self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        self._poll = select.poll()
        self._poll.register(control.fd, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._pipes: dict[int, Callable[[], None]] = {}
        self._waits = 0
        self._spin_credit = 2  # more than none: looking for a moment has been worth it lately
        self.asleep = False
        self.closing = False

    # -- sending -------------------------------------------------------------------------------
    def post(self, message: Any) -> None:
        """Queues a message; it goes with the next flush."""
        self.outbox.append(message)

    def maybe_flush(self, seconds: float) -> None:
        """Sends now if the last frame is that long ago; else soon, with others. A signal that is held is
        delivered: a loop of submissions is hardly ever outside of our code."""
        if time.monotonic() - self.sender.last_flush > seconds:
            self.flush()
        else:
            self.nudge()
        signals = self.worker.signals
        if signals.target or signals.held:
            signals.checkpoint()

    def nudge(self) -> None:
        """Wakes the control thread soon: messages are queued."""
        if self.asleep:
            self.asleep = False
            try:
                os.write(self._wake_write, b"x")
            except BlockingIOError:
                pass

    def answer(self) -> None:
        """Answers the hang watch in the control thread: the worker is there, and has sent so many frames."""
        self.flush()
        with self._control:
            self.control.send([w.Withdrawn((), self.data.out)])

    # -- the data channel ----------------------------------------------------------------------
    def spin(self) -> list[tuple[int, int]]:
        """Looks for something to read for a moment before going to sleep; returns what came.

        Worth it while a caller asks for one thing after the other; where it did not help of late,
        the core belongs to others.
        """
        self._waits += 1
        if self._spin_credit <= 0 and self._waits & 15:
            return []
        end = time.monotonic() + SPIN_SECONDS
        poll = self._poll_data.poll
        while True:
            found = poll(0)
            if found:
                self._spin_credit = min(self._spin_credit + 2, 8)
                return found
            if time.monotonic() > end:
                self._spin_credit = max(self._spin_credit - 1, 0)
                return []

    @user_code.waits_idle
    def wait_data(self, timeout: float | None, eager: bool = False) -> bool:
        """Waits for something to read (seconds, a day at most), if ``eager`` for a moment without sleeping; returns
        False when the time is up. Interruptible."""
        found = self.spin() if eager else []
        wait = None if timeout is None else min(max(0.0, timeout * 1000), MAX_WAIT_MS)
        ready = found or self._poll_data.poll(wait)
        for fd, _ in ready:
            if fd == self._main_read:  # left unread, it would end every wait from now on
                self.heard()
        return bool(ready)

    @property
    def main_fds(self) -> tuple[int, int]:
        """What ends the main thread's wait: the data channel, and `wake_main`."""
        return self.data.fd, self._main_read

    def heard(self) -> None:
        """Resets `wake_main`: the main thread has seen it."""
        try:
            os.read(self._main_read, 4096)
        except BlockingIOError:
            pass

    def read(self) -> bool:
        """Receives and handles what has come on the data channel; returns whether there was anything. Never waits."""
        with self._read:
            return bool(self._receive())

    def _receive(self) -> int:
        """Receives, and handles what has come; returns how many messages that were.

        An exception that stopped this half way would go to the user's code, which may be what waits here,
        and messages would be lost: the process ends instead, and its tasks run elsewhere.
        """
        try:
            messages = self.data.receive()
            for message in messages:
                self.worker.on_message(message)
            return len(messages)
        except Closed:
            raise
        except BadFrame as error:
            self._leave(f"it could not understand the driver: {error}")
        except BaseException as error:
            self.broken(error)

    def broken(self, error: BaseException, what: str = "its own bookkeeping was stopped half way") -> NoReturn:
        """Ends the process with a message: an exception interrupted raynb's own bookkeeping."""
        at = error.__traceback__
        while at is not None and at.tb_next is not None:
            at = at.tb_next
        place = f" in {os.path.basename(at.tb_frame.f_code.co_filename)}:{at.tb_lineno}" if at is not None else ""
        self._leave(f"{what} by {type(error).__name__}: {error}{place}")

    def _leave(self, why: str) -> NoReturn:
        try:
            self.post(w.Leaving(why))
            self.flush()
        finally:
            os._exit(1)

    def catch_up(self, frames: int) -> None:
        """Reads until so many frames have come on the data channel. Never waits: they were sent before the caller got
        their number. If they are not there, the process ends."""
        came = 0
        with self._read:
            while self.data.came < frames:
                if not self.data.readable():
                    self._leave(
                        f"it could not understand the driver: {self.data.came} of {frames} frames have come"
                    )
                came += self._receive()
        if came:
            self.wake_main()

    def read_beside(self) -> None:
        """`read` from another thread than the main one, which may be about to wait for just that."""
        if self.read():
            self.wake_main()

    def wake_main(self) -> None:
        """Ends the main thread's wait for data."""
        try:
            os.write(self._main_write, b"x")
        except BlockingIOError:
            pass

    def after_fork_in_child(self) -> None:
        """Closes the channels in a forked child: they belong to its parent."""
        self.sender.after_fork_in_child()
        self.outbox = self.sender.outbox
        self._read, self._control = Critical(), Critical()
        self._control_ident = 0
        self.closing = True
        for channel in (self.data, self.control):
            channel.sock.close()

    # -- the control thread --------------------------------------------------------------------
    def watch(self, fd: int, reader: Callable[[], None]) -> None:
        """Has the control thread call ``reader`` when ``fd`` is readable."""
        self._pipes[fd] = reader
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Stops watching a descriptor."""
        del self._pipes[fd]
        self._poll.unregister(fd)

    def start(self) -> None:
        """Starts the control thread."""
        thread = strikes.OwnThread(self._serve, "raynb-control")
        thread.start()
        dumps.offer(thread.native_id or 0)  # here: the first task may hold Python's lock before that thread has run

    def _collect(self) -> None:
        """An idle worker that still holds objects looks for cycles, once: a caught exception and the
        frame that caught it would hold a task's arguments for ever, because no more garbage comes."""
        worker = self.worker
        if worker.borrowed.held and state.main_running is None and not worker.executor.busy():
            gc.collect()

    def attend_here(self, seconds: float | None) -> bool:
        """In the control thread, where the collector has called a destructor that waits, does the thread's work for a
        moment: what is awaited comes on its channel, or lies in the outbox. Elsewhere returns False."""
        if threading.get_ident() != self._control_ident:
            return False
        self._guarded(lambda: self._attend_inside(seconds))
        return True

    def _attend_inside(self, seconds: float | None) -> None:
        if not self._told:  # else what it waits for may have been received already
            poll = select.poll()
            poll.register(self.control.fd, select.POLLIN)
            poll.poll(ACTIVE_MS if seconds is None else min(seconds * 1000, ACTIVE_MS))
        self._listen()
        self.worker.tick()
        self.flush()

    def _listen(self) -> None:
        """Receives and handles what has come on the control channel; also inside of itself, in the control thread."""
        with self._control:  # no destructor may receive in the middle of it
            for message in self.control.receive():
                if type(message) in _IN_ORDER:
                    self.worker.on_control(message)
                else:
                    self._told.append(message)
        while True:
            try:
                message = self._told.popleft()
            except IndexError:
                return
            self.worker.on_control(message)

    def _serve(self) -> None:
        self._control_ident = threading.get_ident()
        self._guarded(self._attend)

    def _guarded(self, attend: Callable[[], None]) -> None:
        """Ends the process if the driver is gone, or if this fails: a destructor would lose the exception."""
        try:
            attend()
        except (Closed, OSError):
            # The driver is gone. The supervisor will kill us; don't wait for it.
            os._exit(0)
        except BadFrame as error:
            self._leave(f"it could not understand the driver: {error}")
        except BaseException as error:  # a message that makes no sense, or no memory
            self.broken(error)

    def _attend(self) -> None:
        quiet, collected = 0, False
        while not self.closing:
            # asleep is set before the last look at the outbox, and `nudge` looks at it after
            # queueing, so nothing can lie there unseen
            self.asleep = quiet > 25
            pending = bool(self.outbox) or self.worker.has_unsent_releases()
            if pending:
                self.asleep = collected = False
                quiet = 0
            if self.asleep and not collected:
                collected = True
                self._collect()
                continue
            wait: int | None = UNSENT_MS if self.outbox else ACTIVE_MS
            if self.worker.signals.pending:
                self.asleep = False
                wait = HELD_MS
            if self.asleep:
                wait = COOLING_MS if self.worker.store.cool_down(time.monotonic()) else None
            ready = self._poll.poll(wait)
            self.asleep = False
            quiet += 1
            for fd, _ in ready:
                if fd == self.control.fd:
                    self._listen()
                elif fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    quiet, collected = 0, False
                else:
                    reader = self._pipes.get(fd)
                    if reader is not None:  # else another thread has just closed it
                        reader()
                    quiet = 0
            self.worker.tick()
            if self.worker.signals.pending:
                self.worker.signals.again()
            if self.outbox and time.monotonic() - self.sender.last_flush > FLUSH_SECONDS:
                self.flush()
