"""Real kernels for the tests: started, talked to, ended in every way, and searched for leftovers."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client import BlockingKernelClient, KernelManager

from raynb.testing import leaks

#: Seconds that may pass between a kernel's death and the end of everything that it started: two on a machine that does
#: nothing else, which no test assumes.
GRACE = 60.0

#: What a kernel does before it is ended: a finished task, an actor, 20 MB in shared memory, and a
#: task that runs on with a child in a session of its own; both ignore polite signals.
BUSY_RUNTIME = """
import os, signal, subprocess, sys, time
import raynb as ray
ray.init(num_cpus=2)

@ray.remote
def square(x):
    return x * x

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return self.n

@ray.remote(num_cpus=0)
class Stubborn:
    def pids(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            try:
                signal.signal(number, signal.SIG_IGN)
            except ValueError:  # not in the main thread
                pass
        code = "import signal\\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\\n" \\
               "print('up', flush=True)\\nwhile True: signal.pause()"
        self.child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.child.stdout.readline() == b"up\\n"
        return os.getpid(), self.child.pid
    def spin(self):
        while True:
            sum(range(10_000))

big = ray.put(bytearray(20_000_000))
counter = Counter.remote()
stubborn = Stubborn.remote()
assert ray.get(square.remote(7)) == 49
assert ray.get(counter.add.remote()) == 1
pids = ray.get(stubborn.pids.remote())
spinning = stubborn.spin.remote()
print("pids", *pids)
"""


class Kernel:
    """A kernel process of its own, with a marked environment and a temporary folder of its own."""

    def __init__(self, folder: Path, **extra: str) -> None:
        self.environ = {**os.environ, **extra, "TMPDIR": str(folder),
                        "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
                        "IPYTHONDIR": str(folder / "ipython"), "PYTHONWARNINGS": "default"}  # fmt: skip
        self.folder = folder
        self.mark = leaks.mark(self.environ)
        (folder / "jupyter").mkdir()
        self._sockets = sockets()
        self.manager = KernelManager(connection_file=f"{self._sockets.name}/kernel.json", transport="ipc")
        # A test run under nohup would hand on that the signal is ignored.
        hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            self.manager.start_kernel(env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        finally:
            signal.signal(signal.SIGHUP, hangup)
        self.client = self.connect()

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.process.pid)

    def connect(self) -> BlockingKernelClient:
        client = self.manager.blocking_client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        return client

    def send(self, code: str) -> str:
        """Sends a cell and does not wait for it."""
        return str(self.client.execute(code))

    def run(self, code: str, timeout: float = 60) -> list[dict[str, Any]]:
        """Runs a cell; returns its outputs. A cell that fails fails the test."""
        reply, outputs = converse(self.client, code, timeout)
        while reply["status"] == "aborted":  # it came right behind a cell that failed: the kernel did not run it
            reply, outputs = converse(self.client, code, timeout)
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", [str(reply)]))
        return outputs

    def text(self, code: str, timeout: float = 60) -> str:
        """Runs a cell; returns what it printed."""
        return "".join(one["text"] for one in self.run(code, timeout) if "text" in one)

    def others(self) -> dict[int, leaks.Process]:
        """The marked processes that are not the kernel itself."""
        found = leaks.marked(self.mark)
        found.pop(self.pid, None)
        return found

    def wait_dead(self, pid: int, timeout: float = 60) -> None:
        """Waits for the death of a kernel. It is our child: is_alive reaps it."""
        assert leaks.until(lambda: not self.manager.is_alive() or self.pid != pid, timeout), (
            f"kernel {pid} lives on"
        )

    def check_nothing_left(self, grace: float = GRACE) -> float:
        """To be called when the kernel is dead. Returns how many seconds its last process lived on."""
        seconds = leaks.check_gone(self.mark, grace)
        self.check_files()
        return seconds

    def check_files(self) -> None:
        """No name of ours is left: temporary files, shared memory, sockets."""
        left = [name for name in leaks.files_under(self.folder) if not self._jupyters(Path(name))]
        assert not left, f"files left: {left}"
        assert not leaks.shared_names()
        assert not {name for name in leaks.socket_names() if str(self.folder) in name}

    def _jupyters(self, path: Path) -> bool:
        """Whether a path is Jupyter's own: its connection file, IPython's profile."""
        first = path.relative_to(self.folder).parts[0]
        return first in ("jupyter", "ipython") or first.startswith("ipykernel_")

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        self.manager.context.destroy(linger=0)
        leaks.kill_all(leaks.marked(self.mark).values())
        self._sockets.cleanup()


def sockets() -> tempfile.TemporaryDirectory[str]:
    """Makes a folder for a kernel's sockets, outside the folders that are searched for leftovers.

    The free ports that jupyter_client finds may be another kernel's when this one binds them, so kernels listen at
    Unix sockets. Their names are limited to a hundred letters, and the folders of tests may have as many.
    """
    return tempfile.TemporaryDirectory(prefix="tests-kernel-", dir="/tmp")


def converse(
    client: BlockingKernelClient, code: str, timeout: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs a cell; returns the reply's content and the contents of its outputs."""
    outputs: list[dict[str, Any]] = []
    interesting = ("stream", "display_data", "execute_result", "update_display_data", "error")
    reply = client.execute_interactive(
        code,
        timeout=timeout,
        output_hook=lambda message: (
            outputs.append(message["content"]) if message["msg_type"] in interesting else None
        ),
    )
    return reply["content"], outputs


@contextmanager
def kernel(folder: Path, **extra: str) -> Iterator[Kernel]:
    one = Kernel(folder, **extra)
    try:
        yield one
    finally:
        one.close()


#: A program that starts a kernel as a Jupyter server does, says where it is, and waits to be killed.
SERVER = """
import json, os, signal, sys
from jupyter_client import KernelManager
manager = KernelManager(connection_file=sys.argv[1], transport="ipc")
manager.start_kernel()
print(json.dumps(manager.provisioner.process.pid), flush=True)
while True: signal.pause()
"""


@contextmanager
def served_kernel(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, BlockingKernelClient, str]]:
    """A kernel whose parent is another process: yields (server, kernel's pid, client, mark)."""
    environ = {**os.environ, "TMPDIR": str(folder), "IPYTHONDIR": str(folder / "ipython")}
    value = leaks.mark(environ)
    place = sockets()
    connection = Path(place.name) / "kernel.json"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(connection)],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    client = BlockingKernelClient(connection_file=str(connection))
    try:
        assert server.stdout is not None
        pid = json.loads(server.stdout.readline())
        client.load_connection_file()
        client.start_channels()
        _wait_for_ready(client, 60)
        yield server, pid, client, value
    finally:
        client.stop_channels()
        client.context.destroy(linger=0)
        server.kill()
        server.wait()
        server.stdout.close()  # type: ignore[union-attr]
        leaks.kill_all(leaks.marked(value).values())
        place.cleanup()


def _wait_for_ready(client: BlockingKernelClient, timeout: float) -> None:
    """Waits for a kernel that has no manager: jupyter_client takes one that starts slowly for dead and raises."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            client.wait_for_ready(timeout=max(1.0, deadline - time.monotonic()))
            return
        except RuntimeError:
            if time.monotonic() > deadline:
                raise


def wait_until_busy(one: Kernel, timeout: float = 60) -> None:
    """Waits for the kernel's word that it is at work on a cell."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            message = one.client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["msg_type"] == "stream" and "waiting" in message["content"]["text"]:
            return
    raise AssertionError("the cell never said that it waits")


def send_signal(pid: int, number: signal.Signals, group: bool = False) -> None:
    if group:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)
