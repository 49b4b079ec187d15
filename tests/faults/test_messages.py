"""Messages that arrive spoilt: one peer is dropped, its work is done again, the runtime lives."""

from __future__ import annotations

from typing import Any

import pytest

from raynb.exceptions import WorkerCrashedError
from raynb.testing.faults import BadLine

pytestmark = pytest.mark.raynb(num_cpus=2)

#: Kinds after which a peer cannot be understood any more.
FATAL = ("garbage", "huge")


def spoil_own_line(kind: str, seed: int) -> None:
    """Called in a task: the next frame that this worker sends is spoilt."""
    import gc

    from raynb.wire.channel import Channel

    for thing in gc.get_objects():
        if type(thing) is Channel:
            thing.tap = BadLine(kind, seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FATAL)
def test_a_worker_that_sends_nonsense_is_dropped(ray: Any, kind: str, seed: int) -> None:
    @ray.remote(max_retries=0)
    def spoil() -> int:
        spoil_own_line(kind, seed)
        return 1

    @ray.remote
    def good(n: int) -> int:
        return n

    before = [good.remote(n) for n in range(5)]
    bad = spoil.remote()
    after = [good.remote(n) for n in range(5, 10)]
    with pytest.raises(WorkerCrashedError):
        ray.get(bad, timeout=20)
    assert ray.get(before + after, timeout=20) == list(range(10))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FATAL)
def test_a_worker_that_hears_nonsense_leaves_and_its_task_is_done_elsewhere(
    ray: Any, kind: str, seed: int
) -> None:
    @ray.remote(max_retries=-1)
    def double(n: int) -> int:
        return 2 * n

    assert ray.get(double.remote(1), timeout=20) == 2
    engine = ray.runtime().engine
    with engine.loop.lock:
        for peer in engine.effects.peers.values():
            peer.data.channel.tap = BadLine(kind, seed)
    assert ray.get([double.remote(n) for n in range(20)], timeout=30) == [2 * n for n in range(20)]
