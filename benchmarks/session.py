"""Runs one `benchmarks.host` process and talks to it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import IO, Any

from benchmarks import procs

ROOT = Path(__file__).resolve().parent.parent


#: What an engine's processes get to end after its shutdown, before they count as left behind.
LEAVE_SECONDS = 20.0


class HostError(Exception):
    """The measuring process died, hung, or answered with an error."""


def environment(mark: str) -> dict[str, str]:
    """Returns the environment of a measured process: ours, the repository on the path, a mark."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        procs.MARK: mark,
        "PYTHONPATH": path,
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # only keeps Ray from printing a warning
        "RAY_USAGE_STATS_ENABLED": "0",
    }


class Answers:
    """The answers of a measured process: a line of JSON each, read from a descriptor, which is closed at the end.

    Thread contract: one thread.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""  # what came behind the last line

    def read(self, timeout: float) -> dict[str, Any]:
        """Returns the next answer.

        Raises:
            HostError: none came within ``timeout`` seconds, or the process has ended.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise HostError(f"no answer in {timeout:.0f} s")
            data = os.read(self._descriptor, 1 << 16)
            if not data:
                raise HostError("its process ended (see the log)")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._descriptor)


class Session:
    """One engine in one fresh process.

    ``interpreter`` runs it; ``log`` takes what it prints. Thread contract: one thread.
    """

    def __init__(self, engine: str, interpreter: str, log: IO[bytes]) -> None:
        self.engine = engine
        self.mark = uuid.uuid4().hex
        mine, theirs = os.pipe()
        spawned = time.perf_counter()
        self._process = subprocess.Popen(
            [interpreter, "-m", "benchmarks.host", engine, str(theirs)],
            stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[theirs],
            env=environment(self.mark), cwd=ROOT, text=True,
        )  # fmt: skip
        os.close(theirs)
        self._answers = Answers(mine)
        self._read(60)
        self._born = time.perf_counter() - spawned
        self.bare_memory = procs.pss([self._process.pid])

    def start(
        self, workers: int, store_memory: int = 0, spill_folder: str = "", timeout: float = 180
    ) -> float:
        """Starts the engine; returns the seconds from a new interpreter to the first result.

        ``store_memory`` (bytes) and ``spill_folder`` are the engine's own choice when left out. The
        look at the bare interpreter's memory in between is not counted.
        """
        begin = time.perf_counter()
        self._send(f"start {workers} {store_memory} {spill_folder}" if store_memory else f"start {workers}")
        self._read(timeout)
        return self._born + time.perf_counter() - begin

    def about(self) -> dict[str, str]:
        """Returns the engine's label, version and note."""
        self._send("version")
        return self._read(60)

    def case(
        self, name: str, seconds: float, module: str = "benchmarks.cases", timeout: float = 300
    ) -> list[float]:
        """Measures one case of a module for about so many seconds.

        The list of samples is empty where the engine has no such thing.

        Raises:
            HostError: the case failed, or the process died or was silent for ``timeout`` seconds.
        """
        self._send(f"case {module}:{name} {seconds}")
        answer = self._read(timeout)
        if "error" in answer:
            raise HostError(f"{self.engine}, {name}: {answer['error']}")
        samples: list[float] = answer["samples"]
        return samples

    def idle(self, seconds: float) -> tuple[float, float]:
        """Returns (memory in MB beyond the bare interpreter, share of a core in %) while idle."""
        time.sleep(1.0)  # what the start left to do is not idleness
        share = procs.idle_share(self.mark, seconds)
        return (procs.pss(procs.marked(self.mark)) - self.bare_memory) / 1e6, share

    def stop(self, timeout: float = 60) -> int:
        """Ends the engine; returns how many of its processes had to be killed afterwards."""
        try:
            self._send("stop")
            self._read(timeout)
            self._process.wait(timeout)
        except (HostError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._answers.close()
        deadline = time.perf_counter() + LEAVE_SECONDS
        while procs.marked(self.mark) and time.perf_counter() < deadline:
            time.sleep(0.1)
        return len(procs.end_marked(self.mark))

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self, timeout: float) -> dict[str, Any]:
        try:
            return self._answers.read(timeout)
        except HostError as error:
            raise HostError(f"{self.engine}: {error}") from None


def import_seconds(interpreter: str, package: str) -> float:
    """Returns the seconds that ``import package`` takes in a fresh interpreter."""
    code = f"import time; t = time.perf_counter(); import {package}; print(time.perf_counter() - t)"
    output = subprocess.run(
        [interpreter, "-c", code], env=environment("import"), cwd=ROOT, text=True,
        capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    return float(output.split()[-1])


def has(interpreter: str, engine: str) -> bool:
    """Returns whether an interpreter has the engine's package."""
    if interpreter == sys.executable:
        from benchmarks.engines import installed

        return installed(engine)
    code = f"import sys; from benchmarks.engines import installed; sys.exit(not installed({engine!r}))"
    return subprocess.run(
        [interpreter, "-c", code], env=environment("probe"), cwd=ROOT, capture_output=True, timeout=60
    ).returncode == 0  # fmt: skip
