"""The type of a pickled value, told from its stream."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raynb.serde import pickling
from raynb.serde.kinds import kind_of


class Model:
    pass


class Loud:
    """Says so if any of its code runs."""

    def __reduce__(self) -> Any:
        return _never, ()


def _never() -> None:
    raise AssertionError("the value was unpickled")


@dataclasses.dataclass
class Point:
    x: int = 1


class Colour(enum.Enum):
    RED = 1


Pair = collections.namedtuple("Pair", "a b")

VALUES = [
    None, True, 1, 2.5, 1j, "x", b"x", [Model()], {1: 2}, (1, 2), (), {1}, frozenset([1]), range(3),
    collections.OrderedDict(a=1), collections.defaultdict(list), datetime.date(2020, 1, 1), pathlib.PurePosixPath("a"),
    Model(), Point(), Colour.RED, Pair(1, 2), np.zeros(3), np.zeros((300, 300)), np.array([1, None], object),
    [np.zeros(3) for _ in range(20)], pd.DataFrame({"a": [1, 2]}), pd.Series([1.5]), pd.Timestamp(0),
    list(range(100_000)), {i: i for i in range(50_000)}, "x" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_the_type_is_told(value: Any) -> None:
    assert kind_of(pickling.pack(value).data) == type(value).__name__


def test_what_cannot_be_told_is_left_open_and_nothing_runs() -> None:
    for value in (Loud(), functools.partial(Model), np.ma.array([1]), tuple(range(100_000))):
        assert kind_of(pickling.pack(value).data) in ("", type(value).__name__)
    assert kind_of(pickling.pack(Model).data) == "class"
    for damaged in (b"", b"\x80", b"\x80\x05\x8c\x04", b"."):
        assert kind_of(damaged) == ""
