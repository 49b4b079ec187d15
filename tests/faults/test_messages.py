"""Messages that arrive spoilt: one peer is dropped, its work is done again, the runtime lives."""

from __future__ import annotations

import random
from typing import Any

import pytest

from raynb.exceptions import ActorDiedError, WorkerCrashedError
from raynb.testing.faults import BadLine, Counter, kill, worker_pids

#: A lost frame that nothing follows is found out when the driver next asks: every 0.2 s here.
pytestmark = pytest.mark.raynb(num_cpus=2, hang_warning=1.0)

#: Kinds after which a peer cannot be understood any more.
FATAL = ("garbage", "huge", "truncate", "drop", "duplicate", "reorder")


def spoil_own_lines(kind: str, seed: int, after: int = 0) -> None:
    """Called in a task: a later frame of those that this worker sends is spoilt."""
    import gc

    from raynb.wire.channel import Channel

    for thing in gc.get_objects():
        if type(thing) is Channel:
            thing.tap = BadLine(kind, seed, after)


def spoil_lines_to_workers(ray: Any, kind: str, seed: int, after: int = 0) -> None:
    engine = ray.runtime().engine
    with engine.loop.lock:
        for peer in engine.effects.peers.values():
            peer.data.channel.tap = BadLine(kind, seed, after)


def replace_workers() -> None:
    """What is still to come of the faults must not hit what runs after them."""
    kill(*worker_pids())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FATAL)
def test_a_worker_that_sends_nonsense_is_dropped(ray: Any, kind: str, seed: int) -> None:
    @ray.remote(max_retries=0)
    def spoil() -> int:
        spoil_own_lines(kind, seed)
        return 1

    @ray.remote
    def good(n: int) -> int:
        return n

    before = [good.remote(n) for n in range(5)]
    bad = spoil.remote()
    after = [good.remote(n) for n in range(5, 10)]
    if kind == "duplicate":  # its first copy is whole, and may be read before the second comes
        try:
            assert ray.get(bad, timeout=60) == 1
        except WorkerCrashedError:
            pass
    else:
        with pytest.raises(WorkerCrashedError):
            ray.get(bad, timeout=60)
    assert ray.get(before + after, timeout=60) == list(range(10))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FATAL)
def test_a_worker_that_hears_nonsense_leaves_and_its_task_is_done_elsewhere(
    ray: Any, kind: str, seed: int
) -> None:
    @ray.remote(max_retries=-1)
    def double(n: int) -> int:
        return 2 * n

    assert ray.get(double.remote(1), timeout=60) == 2
    spoil_lines_to_workers(ray, kind, seed)
    assert ray.get([double.remote(n) for n in range(20)], timeout=60) == [2 * n for n in range(20)]
    replace_workers()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", FATAL)
@pytest.mark.parametrize("whose", ["driver", "worker"])
def test_every_task_ends_well_or_says_that_its_worker_crashed(
    ray: Any, counter: Counter, kind: str, seed: int, whose: str
) -> None:
    """Tasks, nested ones, and an actor's calls, while frames are spoilt at some place by seed."""
    chance = random.Random(seed)

    @ray.remote
    def square(n: int, spoil: int) -> int:
        if spoil >= 0 and counter.add() <= 2:  # not when it is done again
            spoil_own_lines(kind, seed, spoil)
        return n * n

    @ray.remote
    def add(n: int) -> int:
        return sum(ray.get([square.remote(i, -1) for i in range(n)]))

    @ray.remote(max_retries=0)
    def once(n: int) -> bytes:
        return bytes([n]) * 20_000

    class Keeper:
        def keep(self, n: int) -> int:
            return n + 1

    keeper = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0)(Keeper).remote()
    assert ray.get(keeper.keep.remote(0), timeout=60) == 1
    if whose == "driver":
        spoil_lines_to_workers(ray, kind, seed, chance.randrange(6))
    expected: list[Any] = []
    refs = []
    for n in range(30):
        spoil = chance.randrange(4) if whose == "worker" and n in (3, 17) else -1
        refs += [square.remote(n, spoil), add.remote(n % 5), once.remote(n), keeper.keep.remote(n)]
        expected += [n * n, sum(i * i for i in range(n % 5)), bytes([n]) * 20_000, n + 1]
    for ref, value in zip(refs, expected, strict=True):
        try:
            got = ray.get(ref, timeout=60)
        except WorkerCrashedError:
            continue
        assert got == value
    assert ray.get(square.remote(7, -1), timeout=60) == 49
    replace_workers()


@pytest.mark.parametrize("seed", range(2))
def test_delay_changes_nothing_but_time(ray: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raynb.core.scheduling.pool.IDLE_SECONDS", 600.0)  # no worker is one too many

    @ray.remote(max_retries=0)
    def square(n: int) -> int:
        return n * n

    @ray.remote(max_retries=0)
    def add(n: int) -> int:
        spoil_own_lines("delay", seed)
        return sum(ray.get([square.remote(i) for i in range(n)]))

    assert ray.get(square.remote(2), timeout=60) == 4
    before = {row.pid for row in ray.runtime().engine.snapshot().workers if row.pid}
    spoil_lines_to_workers(ray, "delay", seed)
    assert ray.get([add.remote(n) for n in range(8)], timeout=60) == [
        sum(i * i for i in range(n)) for n in range(8)
    ]
    gone = [row.pid for row in ray.runtime().engine.snapshot().workers if row.pid in before and row.exit]
    assert not gone


def test_the_reason_of_a_worker_that_left_is_told(ray: Any) -> None:
    class One:
        def one(self) -> int:
            return 1

    actor = ray.remote(num_cpus=0)(One).remote()
    assert ray.get(actor.one.remote(), timeout=60) == 1
    spoil_lines_to_workers(ray, "drop", 0)
    with pytest.raises(ActorDiedError, match="could not understand the driver"):
        ray.get([actor.one.remote() for _ in range(2)], timeout=60)
    replace_workers()


@pytest.mark.parametrize("kind", ["bytes", "Options", "Output", "Put", "Arena", "Spawn", "Done"])
def test_a_worker_that_talks_nonsense_is_dropped_and_nobody_else(ray: Any, kind: str) -> None:
    @ray.remote
    def echo(x: int) -> int:
        return x

    @ray.remote(max_retries=0)
    def talk(kind: str) -> None:
        import os
        import time

        from raynb.base.engine import current as engine
        from raynb.wire import messages as w

        link: Any = engine().worker.link  # type: ignore[attr-defined]
        said: dict[str, Any] = {
            "Options": w.Options(1, b"?"), "Output": w.Output("display", 0, 0, "", 0, "", b"?"),
            "Put": w.Put("?", 1, 2, (), 4), "Arena": w.Arena(99), "Spawn": w.Spawn(1, b""),  # type: ignore[arg-type]
            "Done": w.Done(1, 5, 0, ("", ""), 0.0, 0.0, 0.0),  # type: ignore[arg-type]
        }  # fmt: skip
        if kind == "bytes":
            os.write(link.data.fd, b"\xff" * 40)
        else:
            link.post(said[kind])
            link.flush()
        while True:
            time.sleep(0.01)  # until it is dropped

    with pytest.raises(WorkerCrashedError):
        ray.get(talk.remote(kind), timeout=60)
    assert ray.get([echo.remote(x) for x in range(20)], timeout=60) == list(range(20))
