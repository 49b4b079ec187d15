"""What `wait` checks of its list, also in a loop over what is left."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import raynb


@pytest.fixture(autouse=True)
def _in_one_process() -> Iterator[None]:
    with raynb.Runtime(local_mode=True):
        yield


def test_a_loop_over_what_is_left_gives_each_ref_once() -> None:
    left: list[Any] = [raynb.put(n) for n in range(20)]
    wanted, got = list(left), []
    while left:
        ready, left = raynb.wait(left, num_returns=min(3, len(left)))
        got += ready
    assert got == wanted


def test_a_double_is_found_also_in_what_was_left() -> None:
    _, left = raynb.wait([raynb.put(n) for n in range(5)])
    left[1] = left[2]
    with pytest.raises(ValueError, match="unique"):
        raynb.wait(left)


@pytest.mark.parametrize("odd", [3, SimpleNamespace(_id=7), SimpleNamespace(_id=[])], ids=repr)
def test_what_is_no_ref_is_refused(odd: Any) -> None:
    with pytest.raises(TypeError, match="list containing"):
        raynb.wait([raynb.put(1), odd])
