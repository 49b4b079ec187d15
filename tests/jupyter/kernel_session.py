"""A real kernel, and what a front end would see of it: every output under the cell it belongs to."""

from __future__ import annotations

import os
import queue
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client import KernelManager

ROOT = str(Path(__file__).resolve().parents[2])

#: Settings under which no test depends on how fast the machine is: a wait shows no bar unless a test asks for one,
#: and the end of a cell that nobody watches waits for what its tasks still have to show.
UNHURRIED = "c.Raynb.progress_delay = 600\nc.Raynb.drain_seconds = 60\n"


def write_settings(folder: Path) -> None:
    """Writes `UNHURRIED` into the profile of kernels whose ``IPYTHONDIR`` is ``folder``."""
    profile = folder / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text(UNHURRIED, encoding="utf-8")


@dataclass
class Run:
    """One run of a cell, as a front end would show it."""

    number: str
    outputs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reply: dict[str, Any] | None = None
    idle: bool = False

    @property
    def text(self) -> str:
        """Everything it printed, both streams."""
        return "".join(content["text"] for kind, content in self.outputs if kind == "stream")

    def printed(self, stream: str) -> str:
        return "".join(c["text"] for kind, c in self.outputs if kind == "stream" and c["name"] == stream)

    @property
    def shown(self) -> list[str]:
        """The plain text of its displays and of its result, updates taken into account."""
        found: dict[str, str] = {}
        for number, (kind, content) in enumerate(self.outputs):
            if kind in ("display_data", "execute_result", "update_display_data"):
                key = (content.get("transient") or {}).get("display_id") or str(number)
                found[key] = content["data"].get("text/plain", "")
        return list(found.values())

    @property
    def bars(self) -> list[str]:
        """The bars of its waits."""
        return [text for text in self.shown if text[:2] in ("[#", "[.")]

    @property
    def mimetypes(self) -> set[str]:
        return {mime for kind, c in self.outputs if kind in ("display_data", "execute_result") for mime in c["data"]}

    @property
    def error(self) -> str:
        """The tracebacks it shows, without colours."""
        import re

        lines = [line for kind, content in self.outputs if kind == "error" for line in content["traceback"]]
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))

    @property
    def status(self) -> str:
        return str((self.reply or {}).get("status"))


class KernelSession:
    """Talks to one kernel.

    Thread contract: one thread.
    """

    def __init__(self, folder: Path) -> None:
        environ = {
            **os.environ, "PYTHONPATH": ROOT, "IPYTHONDIR": str(folder / "ipython"), "TMPDIR": str(folder),
            "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"), "PYTHONWARNINGS": "default",
        }  # fmt: skip
        (folder / "jupyter").mkdir(exist_ok=True)
        write_settings(folder / "ipython")
        # By Unix sockets: the free ports that jupyter_client finds may be another kernel's when this one binds them.
        # Their names are limited to a hundred letters, and the folders of tests may have as many.
        self._sockets = tempfile.TemporaryDirectory(prefix="tests-kernel-", dir="/tmp")
        connection = Path(self._sockets.name) / "kernel.json"
        self.manager = KernelManager(connection_file=str(connection), transport="ipc")
        self.manager.start_kernel(env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)
        self.runs: dict[str, Run] = {}

    @classmethod
    def with_raynb(cls, folder: Path, modules: str) -> KernelSession:
        """Returns a session with a runtime of two CPUs; the notebook has imported ``modules``, and ``ray``."""
        session = cls(folder)
        session.run("%load_ext raynb\n%config Raynb.num_cpus = 2\n%raynb restart")
        session.run(f"import {modules}\nimport raynb as ray")
        return session

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        self.manager.cleanup_resources()
        self._sockets.cleanup()

    def send(self, code: str, *, watched: bool = True) -> Run:
        """Sends a cell; ``watched``: a person could answer questions, as in JupyterLab."""
        number = self.client.execute(code, allow_stdin=watched)
        run = self.runs[number] = Run(number)
        return run

    def run(self, code: str, timeout: float = 120, *, watched: bool = True, ok: bool = True) -> Run:
        """Runs a cell to its end; ``ok``: one that fails fails the test."""
        run = self.send(code, watched=watched)
        self.until(lambda: run.reply is not None and run.idle, timeout, f"the cell never ended: {code[:200]}")
        if run.status == "aborted":  # ipykernel before 7 refuses what comes right after a cell that failed
            return self.run(code, timeout, watched=watched, ok=ok)
        if ok:
            assert run.status == "ok", run.error or run.reply
        return run

    def completions(self, code: str) -> list[str]:
        """Returns what Tab offers at the end of a line."""
        return list(self._asked(self.client.complete(code, len(code)))["matches"])

    def help(self, code: str) -> str:
        """Returns what Shift-Tab shows at the end of a line, without colours."""
        import re

        content = self._asked(self.client.inspect(code, len(code)))
        return re.sub(r"\x1b\[[0-9;]*m", "", content["data"].get("text/plain", ""))

    def _asked(self, number: str) -> dict[str, Any]:
        run = self.runs[number] = Run(number)
        self.until(lambda: run.reply is not None)
        return run.reply or {}

    def until(self, condition: Callable[[], bool], timeout: float = 120, what: str = "") -> None:
        """Receives messages until the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, what or f"nothing more came; have {[run.outputs for run in self.runs.values()][-3:]}"
            self._receive(min(left, 0.2))

    def _receive(self, timeout: float) -> None:
        try:
            message = self.client.get_iopub_msg(timeout=timeout)
            self._take(message)
            while True:
                self._take(self.client.get_iopub_msg(timeout=0))
        except queue.Empty:
            pass
        try:
            while True:
                reply = self.client.get_shell_msg(timeout=0)
                run = self.runs.get(reply["parent_header"].get("msg_id"))
                if run is not None:
                    run.reply = reply["content"]
        except queue.Empty:
            pass

    def _take(self, message: dict[str, Any]) -> None:
        run = self.runs.get(message["parent_header"].get("msg_id", ""))
        if run is None:
            return
        kind, content = message["msg_type"], message["content"]
        if kind == "status":
            run.idle = run.idle or content["execution_state"] == "idle"
        elif kind in ("stream", "display_data", "execute_result", "update_display_data", "error", "clear_output"):
            run.outputs.append((kind, content))
