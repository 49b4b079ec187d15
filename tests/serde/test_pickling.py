"""Values, arguments and errors on their way."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from raynb.exceptions import RayTaskError
from raynb.serde import errors, functions, pickling, values


def again(value: Any) -> Any:
    packed = pickling.pack(value)
    return pickling.unpack(packed.data, packed.buffers)


@pytest.mark.parametrize(
    "value",
    [None, 1, -(1 << 80), 2.5, "ü", b"x", True, 3j, [1, "a", None], (1, (2, 3)), {"a": [1]}, {1, 2}, range(5), ...],
    ids=repr,
)
def test_values_come_back(value: Any) -> None:
    assert again(value) == value


def test_large_arrays_travel_out_of_band_without_a_copy() -> None:
    array = np.arange(100_000.0)
    packed = pickling.pack(array)
    assert len(packed.buffers) == 1
    assert np.shares_memory(np.frombuffer(packed.buffers[0]), array)
    assert (pickling.unpack(packed.data, packed.buffers) == array).all()


def test_in_band_and_back() -> None:
    for value in (5, np.arange(1000), {"k": np.ones(500)}):
        stream, buffers = pickling.unpack_in_band(pickling.in_band(pickling.pack(value)))
        assert np.all(np.equal(pickling.unpack(stream, buffers)["k"] if isinstance(value, dict) else
                               pickling.unpack(stream, buffers), value["k"] if isinstance(value, dict) else value))


def test_functions_keep_the_file_in_which_their_source_stands() -> None:
    def outer() -> Any:
        return lambda: None

    came = again(outer)  # by value, as all that test modules define
    assert came is not outer
    assert came.__code__.co_filename == came().__code__.co_filename == __file__


def test_no_arguments_are_one_object() -> None:
    assert pickling.pack_args((), {}, "f") is pickling.NO_ARGS


def test_an_argument_that_cannot_travel_is_named() -> None:
    with pytest.raises(TypeError, match=r"argument 1\['deep'\]\[0\].*for f"):
        pickling.pack_args((1, {"deep": [threading.Lock()]}), {}, "f")
    with pytest.raises(TypeError, match="argument 'lock'"):
        pickling.pack_args((), {"lock": threading.Lock()}, "f")


def test_nesting_too_deep_is_a_clean_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TypeError, match="nested too deeply"):
        pickling.pack_args((deep,), {}, "f")


def test_equal_definitions_have_one_key() -> None:
    def make(n: int) -> Any:
        return lambda x: x + n

    assert functions.definition(make(1), "f")[0] == functions.definition(make(1), "f")[0]
    assert functions.definition(make(1), "f")[0] != functions.definition(make(2), "f")[0]
    assert functions.load(functions.definition(make(2), "f")[1].data)(40) == 42


def test_a_definition_that_cannot_travel_names_the_variable() -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError, match="variable 'lock'"):
        functions.definition(lambda: lock, "f")


class TwoArguments(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


class HoldsALock(Exception):
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


def travel(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        value, described, _ = errors.task_error(raised, "f", "")
    assert described[0] == type(error).__name__
    arrived = values.load(value, 0, lambda *a: (b"", ()))
    return arrived.error  # type: ignore[no-any-return]


RAISED = [
    ValueError("no"),
    KeyError("k"),
    TwoArguments(7, "bad"),
    HoldsALock(),
    OSError(2, "gone"),
    KeyboardInterrupt(),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_errors_are_both(error: BaseException) -> None:
    arrived = travel(error)
    assert isinstance(arrived, RayTaskError)
    assert isinstance(arrived, type(error))
    assert type(error).__name__ in str(arrived)


def test_attributes_of_an_error_are_kept() -> None:
    arrived: Any = travel(TwoArguments(7, "bad"))
    assert arrived.code == 7
    assert "test_pickling.py" in str(arrived)


def test_our_own_frames_are_left_out() -> None:
    assert "raynb/serde" not in str(travel(ValueError("no")))
