"""CPU, memory, store and throughput for the life of a runtime, at falling resolution.

A point is taken every second while tasks run, every five seconds while nothing does. Ten points of one
level make one of the next, so a day costs a few thousand points and the last minutes are exact.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from raynb.base import engine as engines
from raynb.base import limits
from raynb.base.interfaces import DriverEngine
from raynb.base.rows import FAILED, FINISHED, TASK_ENDED, Snapshot
from raynb.exceptions import RuntimeGoneError

#: Seconds between two points while tasks run, and while nothing does.
BUSY_SECONDS, IDLE_SECONDS = 1.0, 5.0

#: Points that each level keeps; each has a tenth of the resolution of the one before.
LEVEL_POINTS = (300, 360, 400, 1000)
POINTS_MERGED = 10


class Point(NamedTuple):
    """One look. ``cpu`` and ``workers_cpu`` are shares of the machine's cores, 0..1."""

    time: float
    cpu: float
    workers_cpu: float
    memory: int
    workers_memory: int
    store: int
    spilled: int
    busy: float
    rate: float


def merged(points: Sequence[Point]) -> Point:
    """Returns one point for several: means of rates, the largest of sizes, the time of the last."""

    count = len(points)
    return Point(
        time=points[-1].time,
        cpu=sum(point.cpu for point in points) / count,
        workers_cpu=sum(point.workers_cpu for point in points) / count,
        memory=max(point.memory for point in points),
        workers_memory=max(point.workers_memory for point in points),
        store=max(point.store for point in points),
        spilled=max(point.spilled for point in points),
        busy=sum(point.busy for point in points) / count,
        rate=sum(point.rate for point in points) / count,
    )


class Series:
    """The points, pure.

    Thread contract: guarded by the caller.
    """

    def __init__(self, sizes: Sequence[int] = LEVEL_POINTS) -> None:
        self._levels: list[deque[Point]] = [deque(maxlen=size) for size in sizes]
        self._unmerged: list[list[Point]] = [[] for _ in sizes]

    def add(self, point: Point) -> None:
        """Adds a point, and merges full groups of points into coarser ones."""
        for level, kept in enumerate(self._levels):
            kept.append(point)
            waiting = self._unmerged[level]
            waiting.append(point)
            if len(waiting) < POINTS_MERGED:
                return
            point = merged(waiting)
            waiting.clear()

    def points(self) -> list[Point]:
        """Returns all points, oldest first: each stretch of time from the finest level that has it."""
        out: list[Point] = []
        for kept in self._levels:
            before = out[0].time if out else float("inf")
            out = [point for point in kept if point.time < before] + out
        return out


def machine_cpu() -> tuple[float, float]:
    """Returns (busy, all) CPU seconds of the machine so far; zeros where the system doesn't say."""
    try:
        with open("/proc/stat") as file:
            fields = [float(value) for value in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    whole = sum(fields)
    return whole - fields[3] - fields[4], whole


class Recorder:
    """Takes the points of one runtime after the other.

    Args:
        peek: returns the engine that runs, or None.
        clock: monotonic seconds.

    Thread contract: any thread; one thread of ours takes the points, while a runtime runs.
    """

    def __init__(
        self,
        peek: Callable[[], DriverEngine | None] = engines.driver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._peek = peek
        self._clock = clock
        self._changed = threading.Condition()  # guards the series
        self._series = Series()
        self._nonce: int | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._cpu = (0.0, 0.0)
        self._done = (0.0, 0)

    def install(self) -> None:
        """Starts recording the runtimes."""
        engines.on_change.append(self._engine_changed)
        self._engine_changed(self._peek())

    def uninstall(self) -> None:
        """Stops recording."""
        if self._engine_changed in engines.on_change:
            engines.on_change.remove(self._engine_changed)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(2.0)

    def points(self) -> list[Point]:
        """Returns the points of the current runtime, oldest first."""
        with self._changed:
            return self._series.points()

    def _engine_changed(self, engine: DriverEngine | None) -> None:
        with self._changed:
            if engine is not None and self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="raynb-history", daemon=True)
                thread.start()
                self._thread = thread  # only now: where no thread can be made, the next one tries again
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            engine = self._peek()
            rest = BUSY_SECONDS
            try:
                if engine is not None and engine.alive:
                    rest = self.take(engine)
                    gone = False
                else:
                    gone = True
            except RuntimeGoneError:
                gone = True
            with self._changed:
                if gone or self._closed:
                    self._thread = None
                    return
                self._changed.wait_for(lambda: self._closed or self._peek() is None, rest)

    def take(self, engine: DriverEngine) -> float:
        """Takes a point; returns the seconds until the next one."""
        picture: Snapshot = engine.changes(1 << 60)
        now = picture.now
        if engine.nonce != self._nonce:
            with self._changed:
                self._series = Series()
            self._nonce = engine.nonce
            self._cpu = machine_cpu()
            self._done = (now, _done(picture))
            return BUSY_SECONDS
        busy, whole = machine_cpu()
        seconds = max(whole - self._cpu[1], 1e-9)
        cpu = (busy - self._cpu[0]) / seconds if whole else 0.0
        self._cpu = (busy, whole)
        cores = os.cpu_count() or 1
        workers = [row for row in picture.workers if not row.exit]
        memory = limits.memory()
        done, (before, counted) = _done(picture), self._done
        rate = max(0, done - counted) / max(now - before, 1e-3)
        self._done = (now, done)
        slots = picture.total.get("CPU", 0.0) - picture.available.get("CPU", 0.0)
        point = Point(
            now, round(min(1.0, cpu), 4), round(sum(row.cpu for row in workers) / cores, 4), memory.used,
            sum(row.rss for row in workers), picture.store.used, picture.store.spilled, slots, round(rate, 2),
        )  # fmt: skip
        with self._changed:
            self._series.add(point)
        unfinished = any(
            count for states in picture.groups.values() for state, count in states.items() if state not in TASK_ENDED
        )
        return BUSY_SECONDS if unfinished else IDLE_SECONDS

    def reply(self, wall: float) -> dict[str, Any]:
        """Returns what a `messages.HistoryReply` has beyond the reply."""
        points = self.points()
        fields = {name: [getattr(point, name) for point in points] for name in Point._fields if name != "time"}
        return {
            "wall": wall, "memory_limit": limits.memory_total(),
            "times": [round(point.time, 2) for point in points], **fields,
        }  # fmt: skip


def _done(picture: Snapshot) -> int:
    return sum(states.get(FINISHED, 0) + states.get(FAILED, 0) for states in picture.groups.values())


_shared: Recorder | None = None


def shared() -> Recorder | None:
    """Returns the recorder of this process; None while the extension isn't loaded."""
    return _shared


def record() -> Callable[[], None]:
    """Starts recording; returns what ends it."""
    global _shared
    recorder = _shared = Recorder()
    recorder.install()

    def undo() -> None:
        global _shared
        recorder.uninstall()
        _shared = None

    return undo
