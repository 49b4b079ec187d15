"""What a cell takes with it, and how."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raynb.base.ref import ObjectRef
from raynb.jupyter.cells.inputs import Captured, gather, in_words, size_of
from raynb.jupyter.on_worker.runner import ModuleName, Nested, Slot, filled


class Engine:
    nonce = 1

    def __init__(self) -> None:
        self.ref_log: list[int] = []


@pytest.fixture
def refs() -> list[ObjectRef[Any]]:
    engine = Engine()
    return [ObjectRef(number, engine) for number in (10, 11, 12)]  # type: ignore[arg-type]


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
    assert inputs.names["a"] == Slot(0)
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
    assert inputs.names["big"] == Slot(0)
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


def test_a_size_that_cannot_be_asked_for_is_no_error() -> None:
    class Odd:
        nbytes = "many"

        def __sizeof__(self) -> int:
            raise RuntimeError

    assert size_of(Odd()) < 1000


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (120_000_000, "120 MB"), (3 * 10**12, "3.0 TB")],
)
def test_words(size: int, words: str) -> None:
    assert in_words(size) == words
