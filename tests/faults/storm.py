"""A storm: exceptions at any moment in the user's thread. Usage: storm.py alarm|sigint|async|life SECONDS"""

from __future__ import annotations

import ctypes
import faulthandler
import random
import signal
import sys
import threading
import time
from typing import Any

import raynb as ray
from raynb.base import engine
from raynb.core import invariants

BIG = bytes(200_000)


class Struck(Exception):
    pass


class Storm:
    """Works in a loop while exceptions are sent to it."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.strikes = 0
        self.echo = ray.remote(lambda x: x)

        @ray.remote
        class Actor:
            def say(self, x: Any) -> Any:
                return x

        self.actor = Actor.remote()
        ray.get([self.echo.remote(0), self.actor.say.remote(0)])

    def work(self) -> None:
        refs = [self.echo.remote(i) for i in range(5)]
        assert ray.get(refs) == list(range(5))
        stored = ray.put(BIG)
        assert ray.get(stored) == BIG
        assert ray.get(self.actor.say.remote(7)) == 7
        assert ray.get(self.echo.remote(stored)) == BIG
        ray.wait(refs, num_returns=5)

    def until_struck(self, kind: type[BaseException]) -> None:
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
        while shooting.is_alive():  # the last ones may come late
            try:
                shooting.join()
                time.sleep(0.1)
            except KeyboardInterrupt:
                self.strikes += 1


class Asynchronous(Storm):
    def run(self) -> None:
        strike = ctypes.pythonapi.PyThreadState_SetAsyncExc
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
            strike(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Struck))
            self.strikes += 1
        going.clear()
        thread.join(60)
        assert not thread.is_alive()
        assert not wrong, wrong


def check(storm: Storm) -> None:
    """Everything works, the invariants hold, and nothing is counted that nobody has."""
    assert ray.get([storm.echo.remote(i) for i in range(100)], timeout=60) == list(range(100))
    runtime: Any = engine.current()
    with runtime.loop.lock:
        runtime.loop.settle(time.monotonic())
        invariants.check(runtime.machine)
    del storm.actor
    end = time.monotonic() + 30
    while True:
        ray.get(storm.echo.remote(1))
        left = [row for row in runtime.snapshot().objects if row.local_refs or row.views]
        if not left:
            return
        assert time.monotonic() < end, left
        time.sleep(0.05)


def life(seconds: float) -> int:
    """Alarms strike starts, shutdowns and what lies between; returns how many."""

    def handler(number: int, frame: Any) -> None:
        raise Struck

    signal.signal(signal.SIGALRM, handler)
    echo = ray.remote(lambda x: x)
    strikes = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or not strikes:
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 1.0))
                ray.init(num_cpus=1)
                assert ray.get(echo.remote(3)) == 3
                ray.shutdown()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Struck:
            strikes += 1
    ray.shutdown()
    ray.init(num_cpus=1)
    assert ray.get(echo.remote(4)) == 4
    ray.shutdown()
    return strikes


def main(kind: str, seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds + 100, exit=True)
    if kind == "life":
        print(life(seconds), "strikes survived")
        return
    ray.init(num_cpus=2)
    storm = {"alarm": Alarms, "sigint": Interrupts, "async": Asynchronous}[kind](seconds)
    storm.run()
    check(storm)
    ray.shutdown()
    print(storm.strikes, "strikes survived")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
