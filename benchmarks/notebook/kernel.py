"""A real Jupyter kernel, driven as a front end drives it; it knows which message is of which cell."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import procs
from benchmarks.session import environment


@dataclass
class Cell:
    """One execution: how it ended, and everything that came for it, also later."""

    message: str
    seconds: float = 0.0
    status: str = "running"
    error: str = ""
    traceback: list[str] = field(default_factory=list)


class Kernel:
    """A kernel in a fresh process with folders of its own for everything it writes.

    Thread contract: one thread; a thread of its own collects what the kernel publishes.
    """

    def __init__(self, interpreter: str) -> None:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import KernelManager

        self.mark = uuid.uuid4().hex
        # Short, for the sockets that some engines put into the temporary folder.
        self.folder = Path(tempfile.mkdtemp(prefix="rnb"))
        self.temporary = self.folder / "t"
        self.temporary.mkdir()
        spec = self.folder / "kernels" / "benchmark"
        spec.mkdir(parents=True)
        argv = [interpreter, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (spec / "kernel.json").write_text(
            json.dumps({"argv": argv, "display_name": "benchmark", "language": "python"})
        )
        env = environment(self.mark)
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # people's kernels load compiled modules
        env.update(TMPDIR=str(self.temporary), IPYTHONDIR=str(self.folder / "ipython"))
        #: Names in /dev/shm that were there before this kernel.
        self.shared_before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
        self._log = open(self.folder / "kernel.log", "wb")  # noqa: SIM115  (closed by `close`)
        self._manager: Any = KernelManager(
            kernel_name="benchmark",
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(self.folder / "kernels")]),
            connection_file=str(self.folder / "connection.json"),
        )
        self._manager.start_kernel(env=env, cwd=str(self.folder), stdout=self._log, stderr=self._log)
        self._client: Any = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)
        self.published: list[tuple[str, str, dict[str, Any]]] = []  # (parent, type, content)
        self._ended = threading.Event()
        self._collector = threading.Thread(target=self._collect, name="iopub")
        self._collector.start()
        self._replies: dict[str, dict[str, Any]] = {}  # of requests that nobody has asked about yet
        self._subshell = ""

    def _collect(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(queue.Empty):
                message = self._client.get_iopub_msg(timeout=0.1)
                parent = message["parent_header"].get("msg_id", "")
                self.published.append((parent, message["msg_type"], message["content"]))

    @property
    def pid(self) -> int:
        """The kernel's process."""
        return int(self._manager.provisioner.pid)

    def begin(self, code: str) -> Cell:
        """Sends a cell and returns at once."""
        cell = Cell(self._client.execute(code))
        cell.seconds = time.perf_counter()
        return cell

    def end(self, cell: Cell, timeout: float = 30) -> Cell:
        """Waits for the cell's end (seconds); it says ``hangs`` if that doesn't come."""
        content = self._reply(cell.message, timeout)
        cell.status = content.get("status", "hangs")
        cell.error = content.get("ename", "")
        cell.traceback = list(content.get("traceback", []))
        cell.seconds = time.perf_counter() - cell.seconds
        return cell

    def _reply(self, message: str, timeout: float) -> dict[str, Any]:
        """Returns the answer to a request, empty if none came in time (seconds)."""
        deadline = time.perf_counter() + timeout
        while message not in self._replies:
            try:
                reply = self._client.get_shell_msg(timeout=max(0.01, deadline - time.perf_counter()))
            except queue.Empty:
                return {}
            self._replies[reply["parent_header"].get("msg_id", "")] = reply["content"]
        return self._replies.pop(message)

    def trivial(self, beside: bool = False) -> float:
        """Runs ``pass`` as a silent cell; returns the seconds until its answer.

        ``beside``: on a subshell, as a front end does while the main shell is busy.

        Raises:
            TimeoutError: no answer came within 60 seconds.
        """
        if beside and not self._subshell:
            asked = self._client.session.msg("create_subshell_request", {})
            self._client.control_channel.send(asked)
            self._subshell = self._client.get_control_msg(timeout=30)["content"]["subshell_id"]
        content = {
            "code": "pass", "silent": True, "store_history": False, "user_expressions": {},
            "allow_stdin": True, "stop_on_error": False,
        }  # fmt: skip
        request = self._client.session.msg("execute_request", content)
        if beside:
            request["header"]["subshell_id"] = self._subshell
        begin = time.perf_counter()
        self._client.shell_channel.send(request)
        if not self._reply(request["header"]["msg_id"], 60):
            raise TimeoutError("the kernel gave no answer to a trivial cell for 60 s")
        return time.perf_counter() - begin

    def run(self, code: str, timeout: float = 30) -> Cell:
        """Runs a cell to its end."""
        return self.end(self.begin(code), timeout)

    def value(self, expression: str) -> str:
        """Returns the repr of an expression, or the error."""
        cell = self.run(f"print('=>', repr({expression}))")
        end = time.perf_counter() + 2  # what it printed may come after its answer
        while cell.status == "ok" and "=> " not in self.text(cell) and time.perf_counter() < end:
            time.sleep(0.01)
        found = [line for line in self.text(cell).splitlines() if line.startswith("=> ")]
        return found[-1][3:] if found else f"{cell.status} {cell.error}"

    def text(self, cell: Cell | None) -> str:
        """Returns what was printed or displayed for a cell so far; None: for cells that aren't known."""
        parts = []
        for parent, kind, content in list(self.published):
            if cell is not None and parent != cell.message:
                continue
            if kind == "stream":
                parts.append(content["text"])
            elif kind in ("display_data", "update_display_data", "execute_result"):
                parts.append(str(content["data"].get("text/plain", "")))
        return "".join(parts)

    def interrupt(self) -> None:
        """Does what the front end's stop button does."""
        self._manager.interrupt_kernel()

    def kill(self) -> None:
        """Kills the kernel's process alone, as the system does when memory runs out."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends everything that carries the kernel's mark."""
        self._ended.set()
        self._collector.join()
        self._client.stop_channels()
        procs.end_marked(self.mark)
        with contextlib.suppress(Exception):  # it may be dead already, and then has nothing to say
            self._manager.shutdown_kernel(now=True)
        procs.end_marked(self.mark)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
