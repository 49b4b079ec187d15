"""Refs inside values: counted, and many of them as one table."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import raynb
from raynb.base.ref import ObjectRef, UncountedRef
from raynb.serde import pickling, refs


@pytest.fixture(autouse=True)
def _in_one_process() -> Iterator[None]:
    with raynb.Runtime(local_mode=True):
        yield


def ids(found: list[ObjectRef[Any]]) -> list[str]:
    return [ref.hex() for ref in found]


def again(packed: Any) -> Any:
    return pickling.unpack(*pickling.unpack_in_band(pickling.in_band(packed)))


FEW_REFS, MANY_REFS = refs.INLINE_MAX_REFS, refs.PAUSE_GC_FROM_REFS


@pytest.mark.parametrize("count", [1, FEW_REFS, FEW_REFS + 1, 100, MANY_REFS + FEW_REFS + 1])
def test_a_list_of_refs_comes_back_in_order(count: int) -> None:
    made = [raynb.put(n) for n in range(count)]
    packed = pickling.pack(made)
    assert ids(list(packed.contained)) == ids(made)
    assert len(packed.buffers) == (count > refs.INLINE_MAX_REFS)
    assert ids(again(packed)) == ids(made)
    assert raynb.get(again(packed)) == list(range(count))


def test_a_table_of_refs_is_shorter_than_the_refs() -> None:
    made = [raynb.put(n) for n in range(1000)]
    assert pickling.nbytes(pickling.pack(made)) < 40 * len(made)


def test_a_list_that_has_a_ref_twice_or_something_else_comes_back_as_it_is() -> None:
    made: list[Any] = [raynb.put(n) for n in range(20)]
    twice = again(pickling.pack([*made, made[3]]))
    assert twice[20] is twice[3]
    assert ids(twice[:20]) == ids(made)
    mixed = again(pickling.pack([*made, 7]))
    assert (ids(mixed[:20]), mixed[20]) == (ids(made), 7)
    named = again(pickling.pack([*made, UncountedRef(made[0]._id, made[0]._engine)]))
    assert ids(named) == ids([*made, made[0]])
    assert type(named[20]) is UncountedRef


def test_the_refs_of_a_list_that_is_pickled_out_of_band_are_in_its_stream() -> None:
    made = [raynb.put(n) for n in range(20)]
    assert raynb.get(pickle.loads(pickle.dumps(made))) == list(range(20))


def test_one_ref_in_many_places_stays_one() -> None:
    one = raynb.put(1)
    made = [raynb.put(n) for n in range(20)]
    found = again(pickling.pack({"a": [*made, one], "b": (one, made[15])}))
    assert found["a"][-1] is found["b"][0]
    assert found["a"][15] is found["b"][1]


def test_refs_between_arrays_and_other_values() -> None:
    import numpy

    value = [(raynb.put(n), numpy.arange(n + 1), str(n)) for n in range(30)]
    found = again(pickling.pack(value))
    for (ref, array, text), (ref_was, array_was, text_was) in zip(found, value, strict=True):
        assert (ref, text) == (ref_was, text_was)
        assert (array == array_was).all()


class Nested:
    """Pickles what it holds by itself, inside the pickling of something else."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> Any:
        return _unnest, (pickle.dumps(self.held),)


def _unnest(data: bytes) -> Nested:
    return Nested(pickle.loads(data))


def test_what_is_pickled_inside_a_pickle_has_its_refs_itself() -> None:
    made = [raynb.put(n) for n in range(40)]
    packed = pickling.pack([made[:20], Nested(made[20:])])
    assert len(packed.contained) == 40
    whole, nested = again(packed)
    assert ids(whole) == ids(made[:20])
    assert ids(nested.held) == ids(made[20:])
