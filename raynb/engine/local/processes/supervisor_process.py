"""Starts and stops the supervisor, and asks it for workers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import subprocess
import sys
from typing import Any

from raynb.base.process import package
from raynb.base.process.limits import remedy
from raynb.base.process.waits import time
from raynb.engine.loop.connections import with_fds
from raynb.exceptions import RaySystemError
from raynb.wire import messages as w
from raynb.wire.channel import NO_SIGNAL, Channel, pair
from raynb.worker import burial

MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.0005, 0.05  # between two looks whether it has ended

_BOOT = (
    "import sys; sys.path[0] = sys.argv[3]; "  # and not the current folder, whatever modules lie there
    "from raynb.worker.supervisor import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


def _scratch() -> int:
    """Returns a descriptor of a nameless file, for the stderr of the supervisor."""
    try:
        return os.memfd_create("raynb-stderr")
    except (AttributeError, OSError):
        import tempfile

        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def _not_debugged() -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which debugpy, if JupyterLab's debugger or an editor has attached it, leaves new
    processes alone. It would run them under itself, with the same port for all, and they would never answer."""
    debugger = sys.modules.get("_pydev_bundle.pydev_monkey")
    skip = getattr(debugger, "skip_subprocess_arg_patch", None)  # of its own; older ones lack it
    made: contextlib.AbstractContextManager[Any] = contextlib.nullcontext() if skip is None else skip()
    return made


class Supervised:
    """The supervisor process as the driver sees it. Its interpreter starts at once; `configure` follows.

    Thread contract: under the engine's lock.
    """

    def __init__(self, marker: str) -> None:
        mine, theirs = pair()
        theirs_fd = self.stderr = -1
        self.marker = marker
        environment = {**os.environ, burial.MARKER: marker}
        environment.setdefault("PYTHONUNBUFFERED", "1")
        try:
            # Above the standard streams, which the child replaces: in a daemon these numbers may be free.
            theirs_fd = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
            self.stderr = _scratch()
            with _not_debugged():
                self.process = subprocess.Popen(
                    [sys.executable, "-c", _BOOT, str(theirs_fd), str(os.getpid()), package.PARENT],
                    pass_fds=[theirs_fd],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self.stderr,
                    start_new_session=True,
                    env=environment,
                )
        except OSError as error:
            mine.close()
            if self.stderr >= 0:
                os.close(self.stderr)
            raise RaySystemError(f"cannot start the supervisor process: {remedy(error)}") from error
        finally:
            theirs.close()
            if theirs_fd >= 0:
                os.close(theirs_fd)
        self._socket = mine
        self.channel = Channel(mine, blocking=True)

    def configure(self, settings: dict[str, Any]) -> None:
        """Sends the settings of workers to the supervisor, before any other message."""
        blob = pickle.dumps(settings, 5)
        self._socket.sendall(len(blob).to_bytes(4, "little") + blob, NO_SIGNAL)
        self._socket.setblocking(False)

    def spawn(self, worker: int, settings: dict[str, Any], shared: tuple[int, ...]) -> tuple[Channel, Channel, Any]:
        """Makes a worker's channels; returns (data, control, the request for the supervisor's outbox).

        ``shared`` are the descriptors that every worker gets.
        """
        made: list[Any] = []
        fds: list[int] = []
        try:
            for _ in range(2):
                mine, theirs = pair()
                made.append(mine)
                fds.append(theirs.detach())
            fds.extend(os.dup(fd) for fd in shared)
        except OSError as error:
            for end in made:
                end.close()
            for fd in fds:
                os.close(fd)
            raise RaySystemError(
                f"cannot start a worker: {error} (each worker takes 2 descriptors here; see `ulimit -n`)"
            ) from error
        request = with_fds(w.Spawn(worker, pickle.dumps(settings, 5)), *fds)
        return Channel(made[0], blocking=False), Channel(made[1], blocking=False), request

    def last_words(self) -> str:
        """Returns the last lines of the supervisor's stderr."""
        try:
            size = os.lseek(self.stderr, 0, os.SEEK_END)
            os.lseek(self.stderr, max(0, size - 4000), os.SEEK_SET)
            return os.read(self.stderr, 4000).decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def stop(self, timeout: float) -> None:
        """Closes the lifeline, so that the supervisor kills every worker and ends; kills what is left after the timeout
        (s).
        """
        if self.stderr < 0:
            return
        self.channel.close()
        end, pause = time.monotonic() + timeout, MIN_PAUSE_SECONDS  # `Popen.wait` asks the user's `time`
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        if self.process.returncode != 0:  # it was killed, is stopped or has no processor: nobody else buries
            burial.end(self.process.pid, self.marker, and_root=self.process.returncode is None)
            self.process.wait()
        with contextlib.suppress(OSError):  # somebody else has closed it
            os.close(self.stderr)
        self.stderr = -1

    def abandon(self) -> None:
        """Releases the supervisor in a forked child, without a message."""
        if self.stderr < 0:  # stopped before the fork; the number may be another file's by now
            return
        self.channel.close()
        os.close(self.stderr)
        self.stderr = -1
        self.process.returncode = 0  # not ours: nobody here may wait for it or warn of it
