"""What `wait` checks of its list, also in a loop over what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import raynb
from raynb.api import calls
from raynb.base.ids import task_of
from raynb.base.process import stale
from raynb.base.ref import OwnRef


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
    left.append(left[2])
    with pytest.raises(ValueError, match="unique"):
        raynb.wait(left)


@pytest.mark.parametrize("odd", [3, SimpleNamespace(_id=7), SimpleNamespace(_id=[])], ids=repr)
def test_what_is_no_ref_is_refused(odd: Any) -> None:
    with pytest.raises(TypeError, match="list containing"):
        raynb.wait([raynb.put(1), odd])


def test_a_loop_over_what_is_left_looks_through_the_list_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: Counter[str] = Counter()

    class Engine:
        nonce = 1
        ref_log: list[int] = []

        def wait(self, refs: Any, count: int, timeout: Any, local: bool) -> Any:
            return list(refs[:count]), list(refs[count:])

    def id_of(ref: Any) -> int:
        looked["ids"] += 1
        return int(ref._id)

    monkeypatch.setattr(calls, "_id_of", id_of)
    engine: Any = Engine()
    refs: list[Any] = [OwnRef(number, engine) for number in range(1, 101)]
    order = []
    while refs:
        ready, refs = calls.wait(refs, num_returns=1)
        order += [ref._id for ref in ready]
    assert order == list(range(1, 101))
    assert looked["ids"] == 100
    changed = calls.wait([OwnRef(number, engine) for number in range(1, 5)])[1]
    changed[0] = changed[1]  # in the middle of a long one it would go unseen: both are returned then
    with pytest.raises(ValueError, match="unique"):
        calls.wait(changed)


def test_waiting_for_the_next_of_many_looks_at_each_once_for_what_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: Counter[Any] = Counter()

    class Known(dict[tuple[int, int], str]):
        def get(self, key: Any, default: Any = None) -> Any:
            looked[key] += 1
            return super().get(key, default)

    count = 4 * stale.MAX_REFS_BEFORE_WAIT
    pending = {raynb.put(n) for n in range(count)}
    one = next(iter(pending))
    said: list[str] = []
    known = Known({(one._engine.nonce, task_of(one._id)): "`one` is stale.", (0, 0): "another is stale."})
    monkeypatch.setattr(stale, "known", known)
    monkeypatch.setattr(stale, "say", said.append)
    while len(pending) > stale.MAX_REFS_BEFORE_WAIT:
        _, left = raynb.wait(list(pending))
        pending = set(left)
    assert sum(looked.values()) == count - stale.MAX_REFS_BEFORE_WAIT
    raynb.get(list(pending))
    assert said == ["`one` is stale."]
    assert known == {(0, 0): "another is stale."}
