"""The cases of `benchmarks.store`: values of all sizes on all their ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import work
from benchmarks.cases import Case, rates, void
from benchmarks.engines.base import Adapter

SIZES = {"1KB": 1_000, "100KB": 100_000, "1MB": 10**6, "10MB": 10**7, "100MB": 10**8, "1GB": 10**9}
FRAME_ROWS = 1_000_000
ARRAYS = 1_000
TASKS = 8

Run = Callable[[Adapter, float], list[float]]


def frame() -> Any:
    """Returns a pandas frame of a million rows: ints, floats, times, a category and strings."""
    import numpy
    import pandas

    random = numpy.random.default_rng(7)
    return pandas.DataFrame({
        "id": numpy.arange(FRAME_ROWS),
        "price": random.random(FRAME_ROWS),
        "when": pandas.date_range("2020-01-01", periods=FRAME_ROWS, freq="s"),
        "kind": pandas.Categorical.from_codes(random.integers(0, 5, FRAME_ROWS), list("abcde")),
        "name": random.integers(0, 10**6, FRAME_ROWS).astype(str),
    })  # fmt: skip


def arrays() -> list[Any]:
    """Returns a list of a thousand arrays of 10 KB."""
    import numpy

    return [numpy.full(1_250, float(i)) for i in range(ARRAYS)]


def _put(make: Callable[[], Any], scale: float = 1.0) -> Run:
    def run(adapter: Adapter, seconds: float) -> list[float]:
        value = make()
        return [sample * scale for sample in rates(lambda: void(adapter.put(value)), 1, seconds, warm=3)]

    return run


def _get(make: Callable[[], Any]) -> Run:
    def run(adapter: Adapter, seconds: float) -> list[float]:
        value = make()
        ref = adapter.put(value)
        got = adapter.get(ref)
        if len(got) != len(value):
            raise AssertionError("the value that came back is another one")
        del got
        return rates(lambda: void(adapter.get(ref)), 1, seconds)

    return run


def _argument(make: Callable[[], Any]) -> Run:
    def run(adapter: Adapter, seconds: float) -> list[float]:
        ref = adapter.argument(make())
        return rates(lambda: adapter.map_length([ref]), 1, seconds, warm=2)

    return run


def _result(size: int) -> Run:
    def run(adapter: Adapter, seconds: float) -> list[float]:
        if len(adapter.result_of(size)) != max(1, size // 8):
            raise AssertionError("the result that came back is another one")
        return rates(lambda: void(adapter.result_of(size)), 1, seconds, warm=3)

    return run


def _share(make: Callable[[], Any]) -> Run:
    def run(adapter: Adapter, seconds: float) -> list[float]:
        ref = adapter.argument(make())
        return rates(lambda: adapter.map_length([ref] * TASKS), TASKS, seconds, warm=2)

    return run


def _of(size: int) -> Callable[[], Any]:
    return lambda: work.array_of(size)


def _cases() -> tuple[Case, ...]:
    made = []
    for label, size in SIZES.items():
        made += [
            Case(f"put_{label}", f"put {label}", "GB/s", run=_put(_of(size), size / 1e9)),
            Case(f"get_{label}", f"get {label}", "/s", run=_get(_of(size))),
            Case(f"argument_{label}", f"task on {label} by ref", "/s", run=_argument(_of(size))),
            Case(f"result_{label}", f"result of {label}", "/s", run=_result(size)),
            Case(f"share_{label}", f"{label} shared by {TASKS} tasks", "tasks/s", run=_share(_of(size))),
        ]
    for name, title, make in (
        ("frame", "pandas frame, 1e6 mixed rows", frame),
        ("arrays", "list of 1,000 arrays of 10 KB", arrays),
    ):
        made += [
            Case(f"put_{name}", f"put {title}", "/s", run=_put(make)),
            Case(f"get_{name}", f"get {title}", "/s", run=_get(make)),
            Case(f"argument_{name}", f"task on {title} by ref", "/s", run=_argument(make)),
            Case(f"share_{name}", f"{title} shared by {TASKS} tasks", "tasks/s", run=_share(make)),
        ]
    return tuple(made)


CASES = _cases()
BY_NAME = {case.name: case for case in CASES}
