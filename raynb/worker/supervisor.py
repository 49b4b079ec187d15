"""The supervisor: a pristine, single-threaded process that forks the workers and buries them.

It leads a session of its own, so no signal meant for the kernel's process group reaches the
workers. It watches the kernel (end of file on its socket, and a pidfd, for a socket may be held
open by a fork of the kernel); when the kernel is gone, however it went, everything that descends
from here is killed, also what workers started in sessions of their own: the supervisor is the
subreaper of all of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from raynb.base.process import heap
from raynb.base.process.waits import time
from raynb.wire import messages as w
from raynb.wire.channel import Channel, Closed
from raynb.wire.codec import BadFrame
from raynb.worker import burial
from raynb.worker.prefork import QUIET_MS, SHARED_DESCRIPTORS, Prefork, wait_to_be_asked, warm_up

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
KILL_GRACE_SECONDS = 0.3  # seconds between TERM and KILL when the kernel is gone


def prctl(option: int, value: object) -> None:
    """Calls Linux's prctl; does nothing elsewhere."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
    except (OSError, AttributeError):
        pass


def volunteer() -> None:
    """Makes the system kill this worker before the kernel when memory runs out (``RAY_worker_oom_score_adjustment``).

    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


class Supervisor:
    """Forks workers on request, reports their ends, and ends with the kernel."""

    def __init__(self, sock: socket.socket, kernel: int, settings: dict[str, Any]) -> None:
        self.channel = Channel(sock, blocking=False)
        self.kernel = kernel
        self.settings = settings
        self.workers: dict[int, int] = {}  # pid → worker id
        self.prefork = Prefork()
        self.watcher = 0  # its pid; 0: there is none
        self.is_watched = False  # a watcher was started, or cannot be
        self.poll = select.poll()
        self.poll.register(self.channel.fd, select.POLLIN)
        self.pidfd = -1
        try:
            self.pidfd = os.pidfd_open(kernel)
            self.poll.register(self.pidfd, select.POLLIN)
        except (AttributeError, OSError):
            pass
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self.wake = read
        self.wake_write = write
        self.poll.register(read, select.POLLIN)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Serves until the kernel is gone, then kills what is left."""
        # Without a pidfd (macOS) a look at the parent replaces it.
        look = None if self.pidfd >= 0 else 500
        try:
            while True:
                ready = self.poll.poll(QUIET_MS if self.workers and self.prefork.missing() else look)
                if not ready and self.workers and self.prefork.missing():
                    self.prefork.add(self._become_spare)
                for fd, _ in ready:
                    if fd == self.pidfd:
                        return
                    if fd == self.wake:
                        self._drain_wake()
                    elif fd == self.channel.fd:
                        for message in self.channel.receive():
                            self.handle(message)
                if look is not None and os.getppid() != self.kernel:
                    return
                self.reap()
                self.channel.flush()
        except (Closed, BadFrame):
            return
        finally:
            self.bury()

    def _drain_wake(self) -> None:
        try:
            while os.read(self.wake, 512):
                pass
        except BlockingIOError:
            pass

    def handle(self, message: object) -> None:
        """Carries out a message of the driver."""
        if type(message) is w.Spawn:
            self.spawn(message)
        elif type(message) is w.Kill:
            for pid, worker in self.workers.items():
                if worker == message.worker:
                    os.kill(pid, message.signal)

    # -- forking -------------------------------------------------------------------------------
    def spawn(self, message: w.Spawn) -> None:
        """Forks a worker, or gives the work to one forked ahead; answers if forking fails."""
        fds = [self.channel.fds.popleft() for _ in range(SHARED_DESCRIPTORS)]  # data, control, ledger, board, unsent
        pid = self.prefork.give(pickle.dumps((message.worker, message.settings), 5), fds)
        try:
            pid = pid or os.fork()
        except OSError as error:
            for fd in fds:
                os.close(fd)
            reason = f"fork failed: {error} (see `ulimit -u`, and the container's limit of processes)"
            self.channel.send([w.SpawnFailed(message.worker, reason)])
            return
        if pid == 0:
            self._become_worker(lambda: (message.worker, message.settings, fds))
        for fd in fds:
            os.close(fd)
        self.workers[pid] = message.worker
        self.channel.send([w.Spawned(message.worker, pid)])
        if not self.is_watched:
            self.is_watched = True
            self.channel.flush()
            self.watcher = burial.start_watcher(
                self.kernel, self.settings["marker"], self.settings.get("spill_directory") or ""
            )

    def _become_spare(self, end: socket.socket) -> NoReturn:
        """Runs in the child that was forked ahead: prepares, then sleeps until it is needed."""

        def ask() -> tuple[int, bytes, list[int]]:
            warm_up()
            request, fds = wait_to_be_asked(end)
            worker, settings = pickle.loads(request)
            return worker, settings, fds

        self._become_worker(ask)

    def _become_worker(self, ask: Callable[[], tuple[int, bytes, list[int]]]) -> NoReturn:
        """Runs in the child: closes all that is the supervisor's, then works."""
        status = 1
        try:
            parent = self.settings["supervisor"]
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            volunteer()
            if os.getppid() != parent:
                os._exit(1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.close(self.wake)
            os.close(self.wake_write)
            if self.pidfd >= 0:
                os.close(self.pidfd)
            self.channel.close()
            self.prefork.let_go()
            prctl(PR_SET_NAME, b"raynb-worker")
            from raynb.worker.main import main as work

            worker, blob, fds = ask()
            settings = {**self.settings, **pickle.loads(blob)}
            data, control, ledger, board, unsent = fds
            status = work(worker, data, control, ledger, board, unsent, settings)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)

    # -- burying -------------------------------------------------------------------------------
    def reap(self) -> None:
        """Reports every worker that ended to the driver; kills what a dead worker left running."""
        died = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            worker = self.workers.pop(pid, None)
            self.prefork.gone(pid)
            if pid == self.watcher:
                self.watcher, self.is_watched = 0, False  # somebody ended it: the next worker brings another
            if worker is not None:
                died = True
                self.channel.send([w.Exited(worker, status)])
        if died:
            self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kills children that are no workers: a dead worker started them (as in Ray)."""
        known = {*self.workers, self.watcher}
        orphans = [
            pid for pid in burial.children_of(os.getpid()) if pid not in known and pid not in self.prefork
        ]
        if orphans:
            for pid in (*burial.descendants(*orphans), *orphans):
                burial.kill(pid)

    def bury(self) -> None:
        """Ends every process below this one: TERM, a moment, then KILL until none is left."""
        me = os.getpid()
        alone = (self.kernel, self.watcher)
        for pid in burial.descendants(me) or list(self.workers):
            if pid != self.watcher:
                burial.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + KILL_GRACE_SECONDS
        while self._wait_any() and time.monotonic() < deadline:
            time.sleep(burial.PAUSE_SECONDS)
        burial.end(me, self.settings["marker"], alone, and_root=False)
        for pid in self.workers:  # where there is no /proc
            burial.kill(pid)
        folder = self.settings.get("spill_directory")
        if folder and burial.is_abandoned(folder):  # else the kernel lives: it shuts down, or will start another
            burial.remove_folder(folder)
        if self.watcher:
            burial.kill(self.watcher)
            os.waitpid(self.watcher, 0)

    def _wait_any(self) -> bool:
        """Reaps; returns whether there are children still, beside the watcher."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            self.workers.pop(pid, None)
            if pid == 0:
                return not self.watcher or bool(self.workers) or burial.children_of(os.getpid()) != [self.watcher]
            if pid == self.watcher:
                self.watcher = 0


def main(fd: int, kernel: int) -> None:
    """Runs the supervisor process. The settings come as the first bytes on the socket."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_NAME, b"raynb-superv")
    sock = socket.socket(fileno=fd)
    try:  # while the kernel makes the settings
        import raynb.worker.main
    except ImportError:
        pass  # a dependency lies where only the kernel's path leads
    size = int.from_bytes(_exactly(sock, 4), "little")
    settings = pickle.loads(_exactly(sock, size))
    settings["supervisor"] = os.getpid()
    sys.path[:] = settings["sys_path"]
    sys.argv[:] = [""]  # ours are nobody's business; tasks see what an interpreter without a script has
    import raynb.worker.main  # noqa: F401

    heap.keep_pages()
    gc.collect()
    gc.freeze()  # so that collections in the workers don't touch the shared pages
    Supervisor(sock, kernel, settings).run()
    os._exit(0)


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            os._exit(0)  # the kernel went before it had said anything
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
