"""What is measured: each case runs on one adapter and returns samples in its unit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.engines.base import Adapter

MEGABYTE = 1_000_000
LARGE = 100 * MEGABYTE


@dataclass(frozen=True)
class Case:
    """One row of the table.

    ``run(adapter, seconds)`` measures for about so many seconds and returns the samples.
    ``more`` says whether a larger figure is the better one. Cases without ``run`` are measured
    from outside the process (`benchmarks.compare`).
    """

    name: str
    title: str
    unit: str
    more: bool = True
    run: Callable[[Adapter, float], list[float]] | None = None


def rates(
    action: Callable[[], None], per_call: int, seconds: float, warm: int = 1, patient: bool = True
) -> list[float]:
    """Returns calls per second × ``per_call``, one sample a block.

    Fast actions are gathered into blocks of at least a tenth of the time, so that the clock
    costs nothing; slow ones are a block each. The calls that warm up don't count, unless
    ``patient`` is off and one alone took longer than all the time there is: then it is the sample.
    """
    clock = time.perf_counter
    for _ in range(warm + 1):
        begin = clock()
        action()
        once = clock() - begin
        if once > seconds and not patient:
            return [per_call / once]
    block = max(1, int(seconds / 10 / max(once, 1e-9)))
    samples: list[float] = []
    end = clock() + seconds
    while not samples or clock() < end:
        begin = clock()
        for _ in range(block):
            action()
        samples.append(block * per_call / (clock() - begin))
    return samples


def _array() -> Any:
    import numpy

    return numpy.ones(LARGE // 8, dtype=numpy.float64)


def _task(adapter: Adapter, seconds: float) -> list[float]:
    return rates(adapter.task, 1, seconds, warm=20)


def _tasks(count: int) -> Callable[[Adapter, float], list[float]]:
    def run(adapter: Adapter, seconds: float) -> list[float]:
        return rates(lambda: adapter.tasks(count), count, seconds, patient=False)

    return run


def _call(adapter: Adapter, seconds: float) -> list[float]:
    actor = adapter.make_actor()
    return rates(lambda: adapter.call(actor), 1, seconds, warm=20)


def _calls(adapter: Adapter, seconds: float) -> list[float]:
    actor = adapter.make_actor()
    return rates(lambda: adapter.calls(actor, 1000), 1000, seconds, patient=False)


def _nested_first(adapter: Adapter, seconds: float) -> list[float]:
    # Blocked workers make room for new ones, which have to start the first time.
    begin = time.perf_counter()
    adapter.nested(100)
    return [100 / (time.perf_counter() - begin)]


def _nested(adapter: Adapter, seconds: float) -> list[float]:
    return rates(lambda: adapter.nested(100), 100, seconds, patient=False)


def _wait_each(adapter: Adapter, seconds: float) -> list[float]:
    return rates(lambda: adapter.wait_each(1000), 1000, seconds, patient=False)


def _wait_all(adapter: Adapter, seconds: float) -> list[float]:
    return rates(lambda: adapter.wait_all(1000), 1000, seconds, patient=False)


def _put_small(adapter: Adapter, seconds: float) -> list[float]:
    return rates(lambda: void(adapter.put(0)), 1, seconds, warm=20)


def _get_small(adapter: Adapter, seconds: float) -> list[float]:
    ref = adapter.put(0)
    return rates(lambda: void(adapter.get(ref)), 1, seconds, warm=20)


def _put_large(adapter: Adapter, seconds: float) -> list[float]:
    array = _array()
    return rates(lambda: void(adapter.put(array)), 1, seconds, warm=4)


def _in_gigabytes(run: Callable[[Adapter, float], list[float]]) -> Callable[[Adapter, float], list[float]]:
    def scaled(adapter: Adapter, seconds: float) -> list[float]:
        return [sample * LARGE / 1e9 for sample in run(adapter, seconds)]

    return scaled


def _get_large(adapter: Adapter, seconds: float) -> list[float]:
    array = _array()
    ref = adapter.put(array)
    value = adapter.get(ref)
    if value.nbytes != LARGE or value[-1] != 1.0:
        raise AssertionError("the array that came back is another one")
    del value
    return rates(lambda: void(adapter.get(ref)), 1, seconds)


def _argument(adapter: Adapter, seconds: float) -> list[float]:
    ref = adapter.argument(_array())
    return rates(lambda: adapter.with_argument(ref), 1, seconds, warm=2)


def void(_: object) -> None:
    """Drops its argument: a ref or value must not live into the next call."""


#: In the order of the table.
CASES: tuple[Case, ...] = (
    Case("import", "import alone", "s", more=False),
    Case("start", "new interpreter to first result", "s", more=False),
    Case("idle_memory", "idle: memory beyond the interpreter", "MB", more=False),
    Case("idle_cpu", "idle: share of a core", "%", more=False),
    Case("task", "one task at a time", "/s", run=_task),
    Case("tasks_1k", "1,000 tasks", "/s", run=_tasks(1_000)),
    Case("tasks_10k", "10,000 tasks", "/s", run=_tasks(10_000)),
    Case("call", "actor call, one at a time", "/s", run=_call),
    Case("calls_1k", "1,000 actor calls", "/s", run=_calls),
    Case("nested_first", "100 tasks that each get a task, the first time", "/s", run=_nested_first),
    Case("nested", "100 tasks that each get a task, again", "/s", run=_nested),
    Case("wait_each", "1,000 tasks, waited for one by one", "/s", run=_wait_each),
    Case("wait_all", "1,000 tasks, waited for at once", "/s", run=_wait_all),
    Case("put_small", "put of an int", "/s", run=_put_small),
    Case("get_small", "get of an int", "/s", run=_get_small),
    Case("put_large", "put of 100 MB, warm", "GB/s", run=_in_gigabytes(_put_large)),
    Case("get_large", "get of 100 MB", "/s", run=_get_large),
    Case("argument", "task on 100 MB by ref", "/s", run=_argument),
)
BY_NAME = {case.name: case for case in CASES}
