"""What a cell takes with it, and how."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raynb.base.ref import ObjectRef, OwnRef
from raynb.base.scope import current_scope
from raynb.base.sizes import size_of
from raynb.jupyter.cells.inputs import Captured, gather
from raynb.jupyter.formatting import format_bytes
from raynb.jupyter.on_worker.runner import ModuleName, Nested, RefPlaceholder, filled
from raynb.jupyter.reports.serialisation_log import SerialisationLog
from raynb.jupyter.views import labels


class Engine:
    nonce = 1

    def __init__(self) -> None:
        self.ref_log: list[int] = []


@pytest.fixture
def refs() -> list[ObjectRef[Any]]:
    engine = Engine()
    return [OwnRef(number, engine) for number in (10, 11, 12)]  # type: ignore[arg-type]


def test_each_kind_of_name(refs: list[ObjectRef[Any]]) -> None:
    namespace = {
        "x": 3,
        "a": refs[0],
        "pair": (refs[1], [refs[0]]),
        "np": np,
        "get_ipython": print,
        "plain": [1, 2],
    }
    inputs = gather(["x", "a", "pair", "np", "get_ipython", "unknown", "plain"], namespace, 10**6)
    assert inputs.names["x"] == 3
    assert inputs.names["a"] == RefPlaceholder(0)
    assert inputs.names["np"] == ModuleName("numpy", 0.0)
    assert inputs.names["plain"] is namespace["plain"]
    assert set(inputs.names) == {"x", "a", "pair", "np", "plain"}
    assert inputs.refs == [refs[0], refs[1]], "one place for each ref"
    assert filled(inputs.names["pair"], ("A", "B")) == ("B", ["A"])
    assert [(c.name, c.how) for c in inputs.captured] == [
        ("x", "value"),
        ("a", "ref"),
        ("pair", "refs"),
        ("np", "module"),
        ("plain", "value"),
    ]


def test_large_values_are_stored_once_and_a_dry_run_stores_nothing(refs: list[ObjectRef[Any]]) -> None:
    stored: list[Any] = []

    def put(value: Any) -> ObjectRef[Any]:
        stored.append(value)
        return refs[2]

    big = np.zeros(200_000)
    inputs = gather(["big"], {"big": big}, 1_000_000, put)
    assert inputs.captured == [Captured("big", "shared", 1_600_000, "ndarray")]
    assert len(stored) == 1
    assert stored[0] is big
    assert inputs.names["big"] == RefPlaceholder(0)
    dry = gather(["big"], {"big": big}, 1_000_000)
    assert dry.names["big"] is big
    assert dry.captured == inputs.captured


def test_dicts_of_refs_and_refs_in_keys_of_dicts(refs: list[ObjectRef[Any]]) -> None:
    inputs = gather(["d"], {"d": {"k": {"deep": refs[0]}}}, 10**6)
    assert isinstance(inputs.names["d"], Nested)
    assert filled(inputs.names["d"], (5,)) == {"k": {"deep": 5}}


def test_modules_that_exist_only_in_the_kernel_travel_by_value() -> None:
    made = ModuleType("made_in_the_kernel")
    made.answer = 42  # type: ignore[attr-defined]
    assert gather(["made"], {"made": made}, 10**6).names["made"] is made


def test_a_module_of_the_users_own_carries_its_time_of_change() -> None:
    module = gather(["m"], {"m": sys.modules[__name__]}, 10**6).names["m"]
    assert module.name == __name__
    assert module.changed > 0


def test_loop_names_are_not_captured() -> None:
    assert gather(["x", "y"], {"x": 1, "y": 2}, 10**6, None, ["x"]).names == {"y": 2}


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (b"x" * 1000, 1000, 1000),
        ("x" * 1000, 1000, 1100),
        (np.zeros((100, 100)), 80_000, 80_000),
        (pd.DataFrame({"a": range(1000)}), 8000, 9000),
        (pd.Series(range(1000)), 8000, 9000),
        ([0.5] * 100_000, 3_000_000, 5_000_000),
        ([np.zeros(1000)] * 100, 800_000, 900_000),
        ({"a": np.zeros(1000)}, 8000, 9000),
        (7, 1, 100),
        (len, 1, 1000),
    ],
)
def test_sizes(value: Any, low: int, high: int) -> None:
    assert low <= size_of(value) <= high


class Untouchable:
    """As a lazy proxy: whatever is asked of it runs its code, which fails."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"touched: {name}")

    def __sizeof__(self) -> int:
        raise RuntimeError("touched: size")

    __len__ = __iter__ = __bool__ = __repr__ = __sizeof__  # type: ignore[assignment]


class UntouchableModule(ModuleType):
    """As a lazy module: an attribute loads it."""

    def __getattribute__(self, name: str) -> Any:
        raise ImportError(f"loaded for {name}")


class ProudArray(np.ndarray[Any, Any]):
    nbytes = property(lambda self: 1 / 0)  # type: ignore[assignment]


class OwnList(list[Any]):
    __len__ = __iter__ = __getitem__ = __sizeof__ = lambda *_: 1 / 0  # type: ignore[assignment]


class OwnDict(dict[Any, Any]):
    values = items = __len__ = __iter__ = __sizeof__ = lambda *_: 1 / 0  # type: ignore[assignment]


class Computing:
    """A user's class with the names that libraries have for sizes."""

    nbytes = memory_usage = estimated_size = property(lambda self: 1 / 0)

    def __init__(self) -> None:
        self.data = bytes(1000)


def test_sizes_run_nobodys_code() -> None:
    array = np.zeros(1000).view(ProudArray)
    for value, least in [
        (Untouchable(), 1), (UntouchableModule("m"), 1), (array, 8000), (OwnList([bytes(1000)] * 5), 5000),
        (OwnDict(a=bytes(1000)), 1000), (Computing(), 1000), ({"deep": [Untouchable(), Computing()]}, 1000),
    ]:  # fmt: skip
        assert least <= size_of(value) <= 20_000


def test_a_module_s_contents_are_none_of_a_size_s_business() -> None:
    module = ModuleType("full")
    module.data = bytes(10**6)  # type: ignore[attr-defined]
    assert size_of(module) < 1000


def test_what_a_cell_takes_with_it_is_found_without_running_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = UntouchableModule("lazy_one")
    ModuleType.__dict__["__dict__"].__get__(lazy)["__spec__"] = object()
    monkeypatch.setitem(sys.modules, "lazy_one", lazy)
    inputs = gather(["m", "x"], {"m": lazy, "x": Untouchable()}, 10**6)
    assert inputs.names["m"].name == "lazy_one"
    assert type(inputs.names["x"]) is Untouchable
    assert [(c.name, c.how) for c in inputs.captured] == [("m", "module"), ("x", "value")]


def test_serialising_is_noted_and_names_found_without_running_code() -> None:
    log = SerialisationLog({"x": Untouchable(), "m": UntouchableModule("m")})
    log.record((log._namespace["x"],), 0.0, 1.0)
    log.record((lambda: UntouchableModule,), 0.0, 1.0)
    assert [note.name for note in log.of(current_scope())] == ["x", "<lambda>"]


def test_names_are_looked_for_past_values_that_must_not_be_touched() -> None:
    found: dict[Any, Any] = {}
    labels._collect("x", Untouchable(), found)
    labels._collect("y", [Untouchable()], found)
    assert not found


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (120_000_000, "120 MB"), (3 * 10**12, "3.0 TB")],
)
def test_words(size: int, words: str) -> None:
    assert format_bytes(size) == words


def test_generators_and_other_builtins_of_variable_length_are_small() -> None:
    async def coroutine() -> None: ...

    waiting = coroutine()
    for value in ((n for n in range(3)), waiting, iter([1]), 10**4000, slice(3), range(10)):
        assert 0 < size_of(value) < 10_000, value
    waiting.close()


def test_a_value_that_cannot_say_its_size_leaves_a_trace() -> None:
    from raynb.base.process import trace

    class Half:
        __module__ = "numpy.of_another_version"

        @property
        def nbytes(self) -> int:
            raise ValueError("half-made")

    assert size_of(Half()) >= 0
    assert "asking a Half for its size" in [survived.where for survived in list(trace.ring)]
