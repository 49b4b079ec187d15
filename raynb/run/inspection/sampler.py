"""A sampling profiler of this process's threads, in a thread of its own.

The time between two samples is shared by both, so that late samples make nothing that ran meanwhile look
short. While it runs, Python switches threads after half a millisecond instead of five: else samples of code
that rarely lets go of the interpreter's lock would come late, and be taken where it does let go.
"""

from __future__ import annotations

import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any

from raynb.run.inspection.stacks import Place

SAMPLE_SECONDS = 0.009  # seconds between two samples
SWITCH_SECONDS = 0.0005
MAX_FRAMES = 128  # frames of a sample, the innermost ones

#: Innermost last.
_Key = tuple[int, tuple[tuple[CodeType, int], ...]]


class Sampler:
    """Thread contract: `start` and `stop` from one thread; only the threads in ``only`` are sampled, if given."""

    def __init__(self, only: frozenset[int] = frozenset()) -> None:
        self._only = only
        self._found: dict[_Key, list[float]] = {}  # thread, stack → [samples, seconds, seconds of CPU]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="raynb-profile", daemon=True)
        self._began = 0.0
        self._samples = 0
        self._names: dict[int, str] = {}
        self._last: dict[int, _Key] = {}  # thread → its last sample
        self._clocks: dict[int, Any] = {}
        self._cpu: dict[int, float] = {}

    def start(self) -> None:
        """Starts sampling."""
        self._switch = sys.getswitchinterval()
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Ends the profile; returns ``{"seconds", "samples", "stacks": [(thread, places, samples, wall, cpu)]}``."""
        self._stopped.set()
        self._thread.join()
        stacks = [
            (self._names.get(thread, f"thread {thread}"), tuple(_place(code, line) for code, line in stack), *figures)
            for (thread, stack), figures in self._found.items()
        ]  # fmt: skip
        return {"seconds": time.monotonic() - self._began, "samples": self._samples, "stacks": stacks}

    # -- the thread ----------------------------------------------------------------------------
    def _serve(self) -> None:
        own = threading.get_ident()
        sys.setswitchinterval(min(self._switch, SWITCH_SECONDS))
        try:
            last = due = time.monotonic()
            self._sample(own, 0.0)
            while not self._stopped.is_set():
                due = max(due + SAMPLE_SECONDS, time.monotonic() - SAMPLE_SECONDS)
                self._stopped.wait(max(0.001, due - time.monotonic()))
                now = time.monotonic()
                self._sample(own, now - last)
                last = now
        finally:
            sys.setswitchinterval(self._switch)

    def _sample(self, own: int, seconds: float) -> None:
        found = self._found
        for ident, frame in sys._current_frames().items():
            if ident == own or (self._only and ident not in self._only):
                continue
            if ident not in self._names:
                self._names[ident] = _name_of(ident)
            if self._names[ident] == "raynb-control":
                continue
            cpu = self._cpu_of(ident)
            if not seconds:
                continue
            key = (ident, _stack(frame))
            for part in (self._last.get(ident, key), key):
                figures = found.setdefault(part, [0, 0.0, 0.0])
                figures[1] += seconds / 2
                figures[2] += min(cpu, seconds) / 2
            found[key][0] += 1
            self._last[ident] = key
        if seconds:
            self._samples += 1

    def _cpu_of(self, ident: int) -> float:
        """Returns the seconds of CPU that a thread has used since the last call; 0 where that is not known."""
        try:
            clock = self._clocks.get(ident)
            if clock is None:
                clock = self._clocks[ident] = time.pthread_getcpuclockid(ident)
            now = time.clock_gettime(clock)
        except (AttributeError, OSError):  # not on this system; a thread that has just ended
            return 0.0
        before, self._cpu[ident] = self._cpu.get(ident, now), now
        return now - before


def _stack(frame: FrameType | None) -> tuple[tuple[CodeType, int], ...]:
    stack: list[tuple[CodeType, int]] = []
    while frame is not None and len(stack) < MAX_FRAMES:
        stack.append((frame.f_code, frame.f_lineno or 0))
        frame = frame.f_back
    stack.reverse()
    return tuple(stack)


def _name_of(ident: int) -> str:
    return next((thread.name for thread in threading.enumerate() if thread.ident == ident), f"thread {ident}")


def _place(code: CodeType, line: int) -> Place:
    return code.co_filename, line, code.co_name
