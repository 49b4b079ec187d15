"""A sampling profiler of this process's threads, in a thread of its own.

The time between two samples is shared by both, so that late samples make nothing that ran meanwhile look
short. While it runs, Python switches threads after half a millisecond instead of five: else samples of code
that rarely lets go of the interpreter's lock would come late, and be taken where it does let go.
"""

from __future__ import annotations

import os
import sys
import threading
from types import CodeType, FrameType
from typing import Any

from raynb.base.process.waits import time
from raynb.run.inspection.stacks import Place

SAMPLE_SECONDS = 0.009  # seconds between two samples
SWITCH_SECONDS = 0.0005
MAX_FRAMES = 128  # frames of a sample, the innermost ones

#: Threads that run no code of the user's: nothing of them is shown, so neither stacks nor clocks are read.
OURS = ("raynb-control", "raynb-reporter", "raynb-ear", "raynb-profile")


class _Haste:
    """Python's switch interval while profiles are taken, of which several may overlap. Thread contract: any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._profiles = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._profiles:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, SWITCH_SECONDS))
            self._profiles += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._profiles -= 1
            if not self._profiles:
                sys.setswitchinterval(self._before)


_haste = _Haste()


class _Stack:
    """A stack that was sampled, and how often: seconds by the clock, and of CPU. It keeps its code, so that no other
    code gets the same `id`."""

    __slots__ = ("codes", "cpu", "lines", "samples", "thread", "wall")

    def __init__(self, thread: int, codes: list[CodeType], lines: list[int]) -> None:
        self.thread = thread
        self.codes = codes  # innermost first
        self.lines = lines
        self.samples = 0
        self.wall = 0.0
        self.cpu = 0.0


class _Thread:
    """A thread that is sampled. The system gives its identity to another one when it has ended."""

    __slots__ = ("_clock", "_ours", "_spent", "last", "name", "number")

    def __init__(self, ident: int, number: int) -> None:
        found = next((thread for thread in threading.enumerate() if thread.ident == ident), None)
        self.name = found.name if found is not None else f"thread {ident}"
        self.number = number
        self.last: _Stack | None = None  # its last sample
        self._ours = found if self.name in OURS else None
        self._clock = _clock_of(ident, found)
        self._spent = self._read() or 0.0

    @property
    def is_ours(self) -> bool:
        """Whether it is a thread of raynb's that runs no code of the user's, and has not ended."""
        return self._ours is not None and self._ours.is_alive()

    def _read(self) -> float | None:
        try:
            return time.clock_gettime(self._clock) if self._clock is not None else 0.0
        except OSError:
            return None

    def used(self) -> float | None:
        """Returns the seconds of CPU since the last call (0 where that is not known); None: it has ended."""
        now = self._read()
        if now is None:
            return None
        before, self._spent = self._spent, now
        return now - before


def _clock_of(ident: int, thread: threading.Thread | None) -> int | None:
    """Returns the clock of a thread's CPU time; None where there is none.

    `time.pthread_getcpuclockid` reads the thread's memory, which may be gone: it is for threads that Python does not
    know by their number in the system.
    """
    native = os.getpid() if thread is threading.main_thread() else getattr(thread, "native_id", None)
    if native is not None and sys.platform == "linux":
        return (~native << 3) | 6  # what the C library makes of it: of a thread, by the scheduler
    try:
        return time.pthread_getcpuclockid(ident)
    except (AttributeError, OSError):  # not on this system; it has just ended
        return None


class Sampler:
    """Thread contract: `start` and `stop` from one thread.

    Args:
        below: a frame that stays until `stop`: of it, and of those that it was called from, nothing is wanted.
    """

    def __init__(self, below: FrameType | None = None) -> None:
        self._below = below
        # By thread, ids of code, lines: plain numbers, for Python hashes code by all that is in it.
        self._found: dict[tuple[int, ...], _Stack] = {}
        self._running = threading.Lock()  # held until `stop`
        self._running.acquire()
        self._thread = threading.Thread(target=self._serve, name="raynb-profile", daemon=True)
        self._began = 0.0
        self._samples = 0
        self._threads: dict[int, _Thread] = {}  # by their identity
        self._names: list[str] = []  # by their number

    def start(self) -> None:
        """Starts sampling."""
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Ends the profile; returns ``{"seconds", "samples", "stacks": [(thread, places, samples, wall, cpu)]}``."""
        self._running.release()
        self._thread.join()
        self._below = None
        places: dict[tuple[int, int], Place] = {}  # each travels once

        def place(code: CodeType, line: int) -> Place:
            return places.setdefault((id(code), line), (code.co_filename, line, code.co_name))

        stacks = [
            (self._names[one.thread], tuple(map(place, reversed(one.codes), reversed(one.lines))), one.samples,
             one.wall, one.cpu)
            for one in self._found.values()
        ]  # fmt: skip
        return {"seconds": time.monotonic() - self._began, "samples": self._samples, "stacks": stacks}

    # -- the thread ----------------------------------------------------------------------------
    def _serve(self) -> None:
        own = threading.get_ident()
        with _haste:
            last = due = time.monotonic()
            self._sample(own, 0.0)
            over = False
            while not over:
                due = max(due + SAMPLE_SECONDS, time.monotonic() - SAMPLE_SECONDS)
                over = self._running.acquire(timeout=max(0.001, due - time.monotonic()))
                now = time.monotonic()
                self._sample(own, now - last)
                last = now

    def _sample(self, own: int, seconds: float) -> None:
        threads = self._threads
        for ident, frame in sys._current_frames().items():
            if ident == own or (ident in threads and threads[ident].is_ours):
                continue
            thread, cpu = self._look_at(ident)
            if not seconds or thread.is_ours:
                continue
            stack = self._stack(thread.number, frame)
            for part in (thread.last or stack, stack):
                part.wall += seconds / 2
                part.cpu += min(cpu, seconds) / 2
            stack.samples += 1
            thread.last = stack
        if seconds:
            self._samples += 1

    def _stack(self, thread: int, frame: FrameType | None) -> _Stack:
        """Returns the record of the stack that a thread has now."""
        codes: list[CodeType] = []
        lines: list[int] = []
        below = self._below
        while frame is not None and frame is not below and len(codes) < MAX_FRAMES:
            codes.append(frame.f_code)
            lines.append(frame.f_lineno or 0)
            frame = frame.f_back
        key = (thread, *map(id, codes), *lines)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = _Stack(thread, codes, lines)
        return found

    def _look_at(self, ident: int) -> tuple[_Thread, float]:
        """Returns a thread, and the seconds of CPU that it has used since the last sample."""
        thread = self._threads.get(ident)
        cpu = thread.used() if thread is not None else None
        if thread is None or cpu is None:
            thread, cpu = _Thread(ident, len(self._names)), 0.0
            self._threads[ident] = thread
            self._names.append(thread.name)
        return thread, cpu
