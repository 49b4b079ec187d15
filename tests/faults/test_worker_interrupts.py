"""Cancels, raising signal handlers and errors at any moment: a worker's bookkeeping is never left half done."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from raynb.exceptions import RayTaskError, TaskCancelledError
from raynb.testing.faults import fail_unread

SEED = int(os.environ.get("RAYNB_STORM_SEED", "7"))
ROUNDS = int(os.environ.get("RAYNB_STORM_ROUNDS", "5"))  # the storm's length; about 0.4 s each


def definitions(ray: Any) -> dict[str, Any]:
    @ray.remote
    def echo(x: Any) -> Any:
        return x

    @ray.remote
    def nested(x: int) -> list[int]:
        return ray.get([echo.remote(x), echo.remote(x + 1)])

    @ray.remote
    def submits(x: int) -> Any:
        return [echo.remote(x), echo.remote(x + 1)]

    @ray.remote(num_returns="streaming")
    def stream(x: int) -> Any:
        yield from (x, x + 1)

    class Sync:
        def run(self, x: int) -> list[int]:
            return ray.get([echo.remote(x), echo.remote(x + 1)])

    class Async:
        async def run(self, x: int) -> list[int]:
            return [await echo.remote(x), x + 1]

    found = {"nested": nested.remote, "submits": submits.remote, "stream": stream.remote}
    for name, handle in {
        "sync": ray.remote(num_cpus=0)(Sync).remote(),
        "threads": ray.remote(num_cpus=0, max_concurrency=3)(Sync).remote(),
        "async": ray.remote(num_cpus=0)(Async).remote(),
    }.items():
        found[name] = handle.run.remote
    return found


def values(ray: Any, kind: str, ref: Any) -> Any:
    if kind == "stream":
        return [ray.get(item, timeout=60) for item in ref]
    value = ray.get(ref, timeout=60)
    return ray.get(value, timeout=60) if kind == "submits" else value


@pytest.mark.raynb(num_cpus=2, validate=True)
def test_a_storm_of_cancels_ends_every_task_as_it_should(ray: Any) -> None:
    """A5."""
    dice = random.Random(SEED)
    calls = definitions(ray)
    for _ in range(ROUNDS):
        jobs = [(kind, x, calls[kind](x)) for x in range(60) for kind in [dice.choice(sorted(calls))]]
        victims = [ref for _, _, ref in jobs if dice.random() < 0.4]
        dice.shuffle(victims)

        def cancel() -> None:
            for ref in victims:
                ray.cancel(ref)
                time.sleep(dice.random() * 0.001)  # spreads them over what the tasks do

        canceller = threading.Thread(target=cancel)
        canceller.start()
        for kind, x, ref in jobs:
            try:
                assert values(ray, kind, ref) == [x, x + 1]
            except TaskCancelledError:
                pass  # the only other way
        canceller.join()


@pytest.mark.parametrize("where", ["its pickling", "its text", "its source"])
@pytest.mark.raynb(num_cpus=1, cancel_grace=60.0)
def test_a_cancel_while_a_failure_is_read_cancels_the_task(ray: Any, tmp_path: Path, where: str) -> None:
    """A5: what a cancel raises there is none of the failure's."""

    fail = ray.remote(max_retries=0)(fail_unread)
    ref = fail.remote(str(tmp_path / "began"), where)
    while not (tmp_path / "began").exists():
        time.sleep(0)
    ray.cancel(ref)
    try:
        ray.get(ref, timeout=60)
    except Exception as error:
        came = type(error)  # it must not be shown: its text waits
    assert came is TaskCancelledError


@pytest.mark.raynb(cancel_grace=60.0)  # a busy machine needs its time for the end
def test_a_loop_of_submissions_is_cancelled_without_killing_its_worker(ray: Any, tmp_path: Path) -> None:
    @ray.remote
    def nothing() -> None: ...

    @ray.remote(max_retries=0)
    def loop(path: str) -> None:
        try:
            while True:
                nothing.remote()
                with open(path, "w") as file:
                    file.write("began")
        finally:
            with open(path, "w") as file:
                file.write("ended")

    path = tmp_path / "said"
    ref = loop.remote(str(path))
    while not (path.exists() and path.read_text() == "began"):
        time.sleep(0)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)
    assert path.read_text() == "ended"


def test_a_raising_alarm_gets_out_of_every_call_and_breaks_nothing(ray: Any) -> None:
    """A2, in a worker."""

    @ray.remote
    def echo(x: int) -> int:
        return x

    @ray.remote(max_retries=0)
    def alarms(rounds: int) -> tuple[int, int, bool]:
        def expire(number: int, frame: Any) -> None:
            raise TimeoutError

        before = signal.signal(signal.SIGALRM, expire)
        assert signal.getsignal(signal.SIGALRM) is expire
        seen = 0
        for _ in range(rounds):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.003)  # inside: on a busy machine it may ring at once
                while True:
                    assert ray.get(echo.remote(3)) == 3
                    assert ray.get(ray.put(bytes(50_000))) == bytes(50_000)
            except TimeoutError:
                seen += 1
        back = signal.signal(signal.SIGALRM, before)
        return seen, ray.get(echo.remote(5)), back is expire

    assert ray.get(alarms.remote(100), timeout=120) == (100, 5, True)


def test_a_timeout_ends_a_get_that_waits(ray: Any, gate: Any) -> None:
    @ray.remote
    def wait(gate: Any) -> None:
        gate.pass_through("held")

    @ray.remote(max_retries=0)
    def limited(refs: list[Any]) -> str:
        def expire(number: int, frame: Any) -> None:
            raise TimeoutError("too long")

        signal.signal(signal.SIGALRM, expire)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            ray.get(refs)
        except TimeoutError as error:
            return str(error)
        return "no timeout"

    assert ray.get(limited.remote([wait.remote(gate)]), timeout=60) == "too long"
    gate.open("held")


def test_recursion_to_the_limit_through_every_call(ray: Any) -> None:
    """A1, in a worker."""

    @ray.remote
    def echo(x: int) -> int:
        return x

    @ray.remote(max_retries=0)
    def dive() -> tuple[int, list[int]]:
        def submits(n: int) -> Any:
            return [echo.remote(n), submits(n + 1)]

        def gets(n: int) -> Any:
            return [ray.get(echo.remote(n)), gets(n + 1)]

        def puts(n: int) -> Any:
            return [ray.put(bytes(50_000)), puts(n + 1)]

        caught = 0
        for call in (submits, gets, puts) * 3:
            try:
                call(0)
            except RecursionError:
                caught += 1
        return caught, ray.get([echo.remote(x) for x in range(100)])

    assert ray.get(dive.remote(), timeout=120) == (9, list(range(100)))


@pytest.mark.raynb(num_cpus=1)
def test_an_import_that_was_cancelled_spoils_no_later_task(ray: Any, tmp_path: Path) -> None:
    """B10: a module whose body may run once a process, and is left half way."""
    (tmp_path / "once.py").write_text(
        "import sys, time, builtins\n"
        "if hasattr(builtins, 'once'):\n"
        "    raise ImportError('cannot load module more than once per process')\n"
        "builtins.once = True\n"
        "open(PATH, 'w').close()\n"
        "while WAIT:\n"
        "    time.sleep(0.01)\n"
        "value = 3\n".replace("PATH", repr(str(tmp_path / "began"))).replace("WAIT", "'waits' in sys.argv")
    )

    @ray.remote(max_retries=0)
    def use(folder: str, waits: bool) -> int:
        import sys

        sys.path.insert(0, folder)
        sys.argv[:] = ["waits"] if waits else [""]
        import once  # type: ignore[import-not-found]

        return int(once.value)

    ref = use.remote(str(tmp_path), True)
    while not (tmp_path / "began").exists():
        time.sleep(0)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)
    assert ray.get(use.remote(str(tmp_path), False), timeout=60) == 3


def test_callbacks_in_a_worker_may_call_block_and_raise(ray: Any, tmp_path: Path) -> None:
    """A4."""
    gate = str(tmp_path / "open")

    @ray.remote
    def echo(x: int) -> int:
        return x

    @ray.remote
    def echo_when_open(x: int) -> int:
        while not os.path.exists(gate):
            time.sleep(0.01)
        return x

    @ray.remote(max_retries=0)
    def task() -> tuple[bool, list[int]]:
        got: list[int] = []
        done = threading.Event()

        def leave(future: Any) -> None:
            raise SystemExit(3)

        def outer(future: Any) -> None:
            got.append(future.result())
            got.append(ray.get(echo.remote(2)))
            inner = echo.remote(3).future()
            inner.add_done_callback(lambda found: got.append(found.result()))
            assert inner.result(60) == 3  # its own callback runs while this one waits
            done.set()

        # They end after their callbacks are there: a future that has ended calls at once, in the thread that adds.
        echo_when_open.remote(0).future().add_done_callback(leave)
        echo_when_open.remote(1).future().add_done_callback(outer)
        open(gate, "w").close()
        return done.wait(60), sorted(got)

    found, got = ray.get(task.remote(), timeout=120)
    assert found
    assert got[:2] == [1, 2]


def test_only_the_parent_of_a_fork_answers(ray: Any, tmp_path: Path) -> None:
    """B15, in a worker."""

    @ray.remote(max_retries=0)
    def forks(path: str) -> str:
        pid = os.fork()
        if not pid:
            print("x" * 400_000)  # more than is kept back: it must not go out on the parent's channel
            return "child"
        os.waitpid(pid, 0)
        with open(path, "w"):
            pass
        return "parent"

    @ray.remote(max_retries=0)
    def raises() -> None:
        pid = os.fork()
        if not pid:
            raise ValueError("in the child")
        _, status = os.waitpid(pid, 0)
        raise KeyError(os.waitstatus_to_exitcode(status))

    assert ray.get(forks.remote(str(tmp_path / "there")), timeout=60) == "parent"
    with pytest.raises(RayTaskError, match="1"):
        ray.get(raises.remote(), timeout=60)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc")
def test_a_worker_holds_one_descriptor_of_its_arena(ray: Any) -> None:
    """B16."""

    def arenas() -> int:
        """Returns how many descriptors of anonymous files this process holds, of whatever size they are."""
        found = 0
        for name in os.listdir("/proc/self/fd"):
            try:
                found += os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:raynb")
            except OSError:
                pass  # the folder's own
        return found

    @ray.remote
    def grown() -> int:
        before = arenas()
        ref = ray.put(bytes(1_000_000))
        after = arenas()
        del ref
        return after - before

    assert ray.get(grown.remote(), timeout=60) == 1


@pytest.mark.parametrize("call", ["put", "remote", "get", "callback"])
def test_destructors_that_the_collector_calls_anywhere_in_a_task_may_call_anything(ray: Any, call: str) -> None:
    echo = ray.remote(num_cpus=0)(lambda x: x)

    @ray.remote
    def collects() -> int:
        import gc

        kept: list[Any] = []
        inside: list[None] = []
        ended = [0]

        class Node:
            def __del__(self) -> None:
                if inside:
                    return
                inside.append(None)
                ended[0] += 1
                if call == "put":
                    kept.append(ray.put(1))
                elif call == "remote":
                    kept.append(echo.remote(1))
                elif call == "get":
                    assert ray.get(echo.remote(5)) == 5
                else:
                    ray.put(1).future().add_done_callback(lambda done: kept.append(done.result()))
                del kept[:-3], inside[:]

        def cycle() -> None:
            node: Any = Node()
            node.itself = node

        gc.set_threshold(1, 1, 1)
        try:
            for number in range(3):
                cycle()
                refs = [ray.put(number), echo.remote(number)]
                cycle()
                assert ray.get(refs) == [number, number]
                cycle()
                inner = ray.put(refs)
                del refs
                cycle()
                assert len(ray.get(inner)) == 2
                cycle()
                assert len(inner.future().result()) == 2
        finally:
            gc.set_threshold(700, 10, 10)
        return ended[0]

    assert ray.get(collects.remote(), timeout=60)
