"""A storm of lacking memory or of dying supervisors. Usage: storm_of_faults.py KIND SECONDS [SEED]

Kinds: memory (CPython's own injector: any allocation of any thread fails), limit (the address space is full),
supervisor (it is killed again and again). A runtime may end in one, with its story; then the next one must work.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import random
import resource
import signal
import sys
import threading
import time
from collections import Counter
from typing import Any

from storm_jobs import BIG, SMALL_STORE, check_runtime, jobs

import raynb as ray
from raynb.base import engine
from raynb.exceptions import (
    GetTimeoutError,
    ObjectLostError,
    RayActorError,
    RaySystemError,
    RuntimeGoneError,
    WorkerCrashedError,
)  # fmt: skip


class Jobs:
    """What is done in a storm, each time anew; whatever comes back is right."""

    def __init__(self) -> None:
        self.echo, self.actor, self.count = jobs(max_restarts=-1, max_task_retries=-1)
        self.kept: list[tuple[Any, int]] = []
        stored = ray.put(BIG)
        for _ in range(10):  # every worker's memory is mapped
            results = [self.echo.remote(stored), self.echo.remote(stored), self.actor.say.remote(stored)]
            assert ray.get(results, timeout=60) == [BIG] * 3

    def work(self) -> None:
        refs = [self.echo.remote(i) for i in range(5)]
        assert ray.get(refs, timeout=60) == list(range(5))
        stored = ray.put(BIG)
        assert ray.get(stored, timeout=60) == BIG
        assert ray.get(self.actor.say.remote(7), timeout=60) == 7
        assert ray.get(self.echo.remote(stored), timeout=60) == BIG
        assert len(ray.wait(refs, num_returns=5, timeout=60)[0]) == 5
        assert [ray.get(item, timeout=60) for item in self.count.remote(3)] == [0, 1, 2]
        number = random.randrange(256)
        self.kept.append((ray.put(bytes([number]) * 1_000_000), number))
        ref, number = random.choice(self.kept)
        assert ray.get(ref, timeout=60) == bytes([number]) * 1_000_000
        if len(self.kept) > 20:
            del self.kept[random.randrange(len(self.kept))]


class Storm:
    expected: tuple[type[BaseException], ...] = (MemoryError, RaySystemError)

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.came: Counter[str] = Counter()

    def start(self) -> Jobs:
        ray.init(num_cpus=2, object_store_memory=SMALL_STORE)
        return Jobs()

    def strike(self) -> None: ...
    def over(self) -> None: ...

    def is_over(self) -> bool:
        """Returns whether nothing strikes any more, and what has struck was found out."""
        return time.monotonic() >= self.end

    def run(self) -> None:
        jobs: Jobs | None = self.start()
        while not self.is_over():
            try:
                self.strike()
                try:
                    assert jobs is not None
                    jobs.work()
                finally:
                    self.over()
                self.came["nothing"] += 1
            except (AssertionError, GetTimeoutError):  # a wrong value; what hangs is no lack of anything
                raise
            except self.expected as error:
                self.came[type(error).__name__] += 1
                del error
            current: Any = engine.current()
            if current.failure:
                self.came["failed"] += 1
                print(current.failure.splitlines()[0][:200], file=sys.stderr)
                jobs = None
                ray.shutdown()
                jobs = self.start()
        self.over()
        assert jobs is not None
        assert ray.get([jobs.echo.remote(i) for i in range(100)], timeout=60) == list(range(100))
        check_runtime()
        del jobs
        gc.collect()
        ray.shutdown()
        ray.init(num_cpus=1)
        assert ray.get(ray.remote(lambda: 5).remote(), timeout=60) == 5
        ray.shutdown()


class NoMemory(Storm):
    expected = (Exception,)  # a lack of memory has many names: CPython's own code does not always keep the right one

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        import _testcapi

        self.set, self.remove = _testcapi.set_nomemory, _testcapi.remove_mem_hooks

    def strike(self) -> None:
        first = int(10 ** random.uniform(0.5, 4.3))
        self.set(first, first + random.choice((1, 1, 1, 3, 10)))

    def over(self) -> None:
        self.remove()


class Limit(Storm):
    """The address space is as good as full; now and then the user takes what is left."""

    expected = (MemoryError, RaySystemError, OSError)

    def strike(self) -> None:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        room = int(10 ** random.uniform(4, 7.5))
        resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
        self.ballast: list[bytes] = []
        try:
            while random.random() < 0.95:
                self.ballast.append(bytes(random.choice((500, 5000, 50_000, 500_000))))
        except MemoryError:
            pass

    def over(self) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.ballast = []


class Deaths(Storm):
    """The supervisor is killed every half second or so, for the length of the storm."""

    expected = (WorkerCrashedError, RayActorError, ObjectLostError, RaySystemError, RuntimeGoneError)

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.killer = threading.Thread(target=self.kill)

    def kill(self) -> None:
        while time.monotonic() < self.end:
            time.sleep(random.uniform(0.01, 1.5))
            current: Any = engine._current
            if current is None:
                continue
            try:
                victim = current.supervised.process
                number = random.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV))
                os.kill(victim.pid, number)
                if number != signal.SIGTERM:  # which a supervisor ignores, once it has begun
                    victim.wait()
                    self.came["killed"] += 1
            except (ProcessLookupError, AttributeError):
                pass

    def is_over(self) -> bool:
        """See `Storm.is_over`; the last one that was killed has been replaced, or its runtime."""
        current: Any = engine.current()
        return not self.killer.is_alive() and not current.failure and current.supervised.process.poll() is None

    def start(self) -> Jobs:
        while True:
            try:
                return super().start()
            except self.expected as error:  # it was killed meanwhile
                self.came[f"start: {type(error).__name__}"] += 1
                ray.shutdown()

    def run(self) -> None:
        self.killer.start()
        super().run()


def main(kind: str, seconds: float, seed: int) -> None:
    faulthandler.dump_traceback_later(seconds + 120, exit=True)
    random.seed(seed)
    storm = {"memory": NoMemory, "limit": Limit, "supervisor": Deaths}[kind](seconds)
    storm.run()
    print(dict(storm.came), "survived")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 7)
