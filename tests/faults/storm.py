"""A storm: exceptions at any moment in the user's thread. Usage: storm.py KIND SECONDS [SEED]

Kinds: alarm, sigint and async strike submissions, gets, puts, actors and streams; alarm-spill, sigint-spill and
async-spill a store that is too small; life, life-sigint and life-async starts and shutdowns.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import random
import signal
import sys
import threading
import time
from typing import Any

from storm_jobs import BIG, SMALL_STORE, check_runtime, jobs

import raynb as ray

FAIL = "has failed and was stopped"


class Struck(Exception):
    pass


class Storm:
    """Works in a loop while exceptions are sent to it."""

    def __init__(self, seconds: float, spill: bool) -> None:
        self.end = time.monotonic() + seconds
        self.strikes = 0
        self.spill = spill
        self.kept: list[tuple[Any, int]] = []
        self.echo, self.actor, self.count = jobs()
        ray.get([self.echo.remote(0), self.actor.say.remote(0)])

    def work(self) -> None:
        if self.spill:
            self.spilling()
        refs = [self.echo.remote(i) for i in range(5)]
        assert ray.get(refs) == list(range(5))
        stored = ray.put(BIG)
        assert ray.get(stored) == BIG
        assert ray.get(self.actor.say.remote(7)) == 7
        assert ray.get(self.echo.remote(stored)) == BIG
        ray.wait(refs, num_returns=5)
        assert [ray.get(item) for item in self.count.remote(3)] == [0, 1, 2]

    def spilling(self) -> None:
        """Keeps three times what the store takes; every byte is right."""
        number = random.randrange(256)
        self.kept.append((ray.put(bytes([number]) * 1_000_000), number))
        ref, number = random.choice(self.kept)
        assert ray.get(ref) == bytes([number]) * 1_000_000
        if len(self.kept) > 3 * SMALL_STORE // 1_000_000:
            del self.kept[random.randrange(len(self.kept))]

    def until_struck(self, kind: type[BaseException]) -> None:
        try:
            self._until_struck(kind)
        except kind:  # one that was late fell between the two lines of a loop
            self.strikes += 1
            self.until_struck(kind)

    def _until_struck(self, kind: type[BaseException]) -> None:
        while True:
            try:
                while time.monotonic() < self.end:  # inside: one that was on its way may strike here
                    try:
                        self.arm()
                        self.work()
                    finally:
                        self.disarm()
                return
            except kind:
                self.strikes += 1

    def arm(self) -> None: ...
    def disarm(self) -> None: ...


class Alarms(Storm):
    def arm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0003, 0.02))

    def disarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def run(self) -> None:
        def handler(number: int, frame: Any) -> None:
            raise Struck

        signal.signal(signal.SIGALRM, handler)
        self.until_struck(Struck)


class Interrupts(Storm):
    armed = False

    def arm(self) -> None:
        self.armed = True

    def disarm(self) -> None:
        self.armed = False

    def run(self) -> None:
        main = threading.main_thread().ident
        assert main is not None

        def shoot() -> None:
            while time.monotonic() < self.end:
                time.sleep(random.uniform(0.0005, 0.02))
                if self.armed:
                    signal.pthread_kill(main, signal.SIGINT)

        shooting = threading.Thread(target=shoot)
        shooting.start()
        self.until_struck(KeyboardInterrupt)
        quiet = False
        while not quiet:  # the last ones may come late, also between two lines
            try:
                shooting.join()
                time.sleep(0.1)
                quiet = True
            except KeyboardInterrupt:
                self.strikes += 1


def strike(thread: threading.Thread) -> None:
    """Raises in another thread. The function is looked up each time, as most code does."""
    vars(ctypes.pythonapi).pop("PyThreadState_SetAsyncExc", None)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Struck))


class Asynchronous(Storm):
    def run(self) -> None:
        going, wrong = [True], []

        def victim() -> None:
            while going:
                try:
                    while going:
                        self.work()
                except Struck:
                    pass
                except BaseException as error:
                    wrong.append(error)
                    return

        thread = threading.Thread(target=victim)
        thread.start()
        while time.monotonic() < self.end and thread.is_alive():
            time.sleep(random.uniform(0.0003, 0.02))
            strike(thread)
            self.strikes += 1
        going.clear()
        thread.join(60)
        assert not thread.is_alive()
        assert not wrong, wrong


def check(storm: Storm) -> None:
    """Everything works, the invariants hold, and nothing is counted that nobody has."""
    assert ray.get([storm.echo.remote(i) for i in range(100)], timeout=60) == list(range(100))
    for ref, number in storm.kept:
        assert ray.get(ref, timeout=60) == bytes([number]) * 1_000_000
        del ref
    runtime = check_runtime()
    del storm.actor
    storm.kept.clear()
    end = time.monotonic() + 60
    while True:
        ray.get(storm.echo.remote(1))
        left = [row for row in runtime.snapshot().objects if row.local_refs or row.views]
        if not left:
            return
        assert time.monotonic() < end, left
        time.sleep(0.05)


def one_life() -> None:
    ray.init(num_cpus=1)
    echo = ray.remote(lambda x: x)
    assert ray.get(echo.remote(3)) == 3
    assert ray.get(ray.put(BIG)) == BIG
    ray.shutdown()


def life(seconds: float, kind: str) -> int:
    """Starts, shutdowns and what lies between are struck; returns how often."""

    def handler(number: int, frame: Any) -> None:
        raise Struck

    number = signal.SIGINT if kind == "life-sigint" else signal.SIGALRM
    if number == signal.SIGALRM:
        signal.signal(signal.SIGALRM, handler)
    main = threading.main_thread().ident or 0
    strikes = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or not strikes:
        pause = random.uniform(0.001, 1.0)
        shot = threading.Timer(pause, signal.pthread_kill, (main, number))
        try:
            try:
                shot.start()
                one_life()
            finally:
                shot.cancel()
                shot.join()
        except (Struck, KeyboardInterrupt):
            strikes += 1
            shot.cancel()
            shot.join()
    return strikes


def life_async(seconds: float) -> int:
    strikes, wrong = 0, []

    def victim() -> None:
        try:
            one_life()
        except Struck:
            pass
        except BaseException as error:
            wrong.append(error)

    end = time.monotonic() + seconds
    while time.monotonic() < end and not wrong:
        thread = threading.Thread(target=victim)
        thread.start()
        time.sleep(random.uniform(0.001, 1.0))
        if thread.is_alive():
            strike(thread)
            strikes += 1
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong, wrong
    return strikes


async def awaits(storm: Storm) -> None:
    assert await storm.echo.remote(5) == 5
    assert [await item async for item in storm.count.remote(3)] == [0, 1, 2]


def main(kind: str, seconds: float, seed: int) -> None:
    faulthandler.dump_traceback_later(seconds + 100, exit=True)
    random.seed(seed)
    if kind.startswith("life"):
        strikes = life_async(seconds) if kind == "life-async" else life(seconds, kind)
        ray.shutdown()
        one_life()
        print(strikes, "strikes survived")
        return
    name, _, spill = kind.partition("-")
    ray.init(num_cpus=2, object_store_memory=SMALL_STORE if spill else None)
    storm = {"alarm": Alarms, "sigint": Interrupts, "async": Asynchronous}[name](seconds, bool(spill))
    storm.run()
    check(storm)
    asyncio.run(awaits(storm))
    ray.shutdown()
    print(storm.strikes, "strikes survived")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 7)
