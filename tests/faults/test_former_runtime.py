"""F. Refs and handles of a former runtime, wherever they sit: they never become another object.

Ids are counted from one in every runtime, so an old ref has the number of some new object. Everything
below would be answered by that object if its runtime were not asked for.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raynb as ray
from raynb.api.everywhere import run_on_workers
from raynb.exceptions import RayTaskError, RuntimeGoneError
from raynb.util.placement_group import placement_group, placement_group_table, remove_placement_group
from raynb.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@ray.remote
def total(refs: Any) -> Any:
    return sum(ray.get(list(refs.values() if isinstance(refs, dict) else refs)))


@ray.remote
def ask(handles: dict[str, Any]) -> str:
    return ray.get(handles["h"].who.remote())  # type: ignore[no-any-return]


@ray.remote
def items() -> Any:
    yield from range(3)


@ray.remote
def read_file(path: str) -> Any:
    """Unpickles inside a worker what was written down elsewhere."""
    return ray.get(pickle.loads(Path(path).read_bytes())["ref"])


@ray.remote
class Account:
    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def who(self) -> Any:
        return self.owner

    def keep(self, held: Any) -> None:
        self.held = held

    def spend(self) -> Any:
        return ray.get(self.held)


class Old:
    """What is left of a runtime that is gone."""

    def __init__(self, folder: Path) -> None:
        self.parts = [ray.put(100), ray.put(200)]
        self.many = [ray.put(n) for n in range(40)]
        self.alice = Account.remote("alice")
        self.who = self.alice.who
        self.stream = items.options(num_returns="streaming").remote()
        self.first = next(self.stream)
        self.group = placement_group([{"CPU": 1}])
        assert self.group.wait(60)
        self.future = self.alice.who.remote().future()
        kept = self.parts

        @ray.remote
        def enclosed() -> Any:
            return ray.get(kept[1])

        class Wallet:
            money = kept[0]

            def look(self) -> Any:
                return ray.get(self.money)

        self.enclosed, self.wallet = enclosed, ray.remote(Wallet)
        assert ray.get(enclosed.remote()) == 200
        assert ray.get(total.remote(self.parts)) == 300
        assert ray.get(ask.remote({"h": self.alice})) == "alice"
        assert self.future.result(60) == "alice"
        self.file = folder / "kept.pickle"
        self.file.write_bytes(pickle.dumps({"ref": self.parts[0]}))
        self.handle = folder / "handle.pickle"
        self.handle.write_bytes(pickle.dumps(self.alice))


def attempts(old: Old) -> dict[str, Callable[[], Any]]:
    """Every place a ref can sit in, each used in the new runtime."""
    parts, bob = old.parts, Account.remote("bob")
    inside = PlacementGroupSchedulingStrategy(old.group)
    return {
        "an argument": lambda: ray.get(total.remote(old.parts[0])),
        "a keyword argument": lambda: ray.get(total.remote(refs=old.parts[0])),
        "refs in a list": lambda: ray.get(total.remote(old.parts)),
        "old and new refs in a list": lambda: ray.get(total.remote([ray.put(1), old.parts[0]])),
        "many refs": lambda: ray.get(total.remote(old.many)),
        "one old ref behind many new ones": lambda: ray.get(total.remote([ray.put(n) for n in range(40)] + old.many)),
        "refs as values of a dict": lambda: ray.get(total.remote({"a": old.parts[0]})),
        "a handle in a dict": lambda: ray.get(ask.remote({"h": old.alice})),
        "a bound method": lambda: ray.get(ask.remote({"h": old.who})),
        "a ref in a closure, defined before": lambda: ray.get(old.enclosed.remote()),
        "a ref in a closure": lambda: ray.get(ray.remote(lambda: ray.get(parts[1])).remote()),
        "a class attribute": lambda: ray.get(old.wallet.remote().look.remote()),
        "a ref in a put": lambda: ray.get(ray.get(ray.put([old.parts[0]]))[0]),
        "a constructor's argument": lambda: ray.get(Account.remote(old.parts[0]).who.remote()),
        "inside a constructor's argument": lambda: ray.get(Account.remote([old.parts[0]]).who.remote()),
        "a method's argument": lambda: ray.get(bob.keep.remote([old.parts[0]])),
        "a method of an old handle": lambda: ray.get(old.alice.who.remote()),
        "a method taken before": lambda: ray.get(old.who.remote()),
        "an item of a stream": lambda: ray.get(old.first),
        "the next item": lambda: next(old.stream),
        "whether the stream is over": lambda: old.stream.is_finished(),
        "a large argument": lambda: ray.get(total.remote([old.parts[0], bytes(1 << 20)])),
        "wait": lambda: ray.wait([ray.put(1), old.parts[0]], num_returns=2, timeout=5),
        "get with a new one": lambda: ray.get([ray.put(1), old.parts[0]]),
        "a future": lambda: old.parts[0].future().result(60),
        "cancel": lambda: ray.cancel(old.parts[0]),
        "free": lambda: ray.free([old.parts[0]]),
        "kill": lambda: ray.kill(old.alice),
        "a pickle on disk": lambda: ray.get(pickle.loads(old.file.read_bytes())["ref"]),
        "a pickled handle": lambda: ray.get(pickle.loads(old.handle.read_bytes()).who.remote()),
        "a pickle read by a task": lambda: ray.get(read_file.remote(str(old.file))),
        "a placement group": lambda: ray.get(total.options(scheduling_strategy=inside).remote([])),
        "a placement group's end": lambda: remove_placement_group(old.group),
        "a placement group's state": lambda: placement_group_table(old.group),
        "a placement group's wait": lambda: old.group.wait(1),
    }


@pytest.mark.parametrize("local_mode", [False, True], ids=["workers", "inline"])
def test_f56_an_old_ref_or_handle_is_refused_in_every_place_it_can_sit(local_mode: bool, tmp_path: Path) -> None:
    with ray.Runtime(num_cpus=2, local_mode=local_mode):
        old = Old(tmp_path)
    with ray.Runtime(num_cpus=2, local_mode=local_mode) as runtime:
        new = [ray.put(1), ray.put(2), *(ray.put(n) for n in range(60))]  # the old numbers, and more
        bob = Account.remote("bob")
        assert ray.get(bob.who.remote()) == "bob"
        taken = placement_group([{"CPU": 1}])
        said = {}
        for what, attempt in attempts(old).items():
            try:
                said[what] = repr(attempt())
            except RuntimeGoneError:
                continue
            except Exception as error:
                said[what] = repr(error)
        assert not said
        twin = next(ref for ref in new if ref._id == old.parts[0]._id)
        for both in ([twin, old.parts[0]], [old.parts[0], twin]):
            with pytest.raises(RuntimeGoneError):
                ray.wait(both, num_returns=2, timeout=5)
        remove_placement_group(taken)
        assert ray.get(total.remote(new[:2]), timeout=60) == 3  # nothing was broken by asking
        assert ray.get(ask.remote({"h": bob}), timeout=60) == "bob"
        assert runtime.engine.loop.health.failure is None if not local_mode else True


def test_f56_a_definition_takes_the_new_refs_of_its_globals() -> None:
    """Run the cell that makes the data again, and functions defined before it work."""
    space: dict[str, Any] = {"ray": ray}
    exec("data = None\n@ray.remote\ndef use():\n    return ray.get(data)\n", space)
    with ray.Runtime(num_cpus=1):
        space["data"] = ray.put("first")
        assert ray.get(space["use"].remote()) == "first"
    with ray.Runtime(num_cpus=1):
        with pytest.raises(RuntimeGoneError, match="Run the cells"):
            space["use"].remote()
        space["data"] = ray.put("second")
        assert ray.get(space["use"].remote()) == "second"


def test_f56_without_a_runtime_an_old_pickle_starts_none() -> None:
    with ray.Runtime(num_cpus=1, local_mode=True):
        kept = pickle.dumps(ray.put(1))
        many = pickle.dumps([ray.put(n) for n in range(20)])
    for data in (kept, many):
        with pytest.raises(RuntimeGoneError, match="Run the code that made it again|shut down"):
            pickle.loads(data)
    assert not ray.is_initialized()


def test_f56_a_ref_inside_a_value_belongs_to_its_runtime_in_any_thread() -> None:
    """A thread has no isolated runtime in place: reading a value there must neither start one nor fail."""
    with ray.Runtime(num_cpus=1) as one, ray.Runtime(num_cpus=1) as two:
        holder = ray.put([ray.put("mine")])
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(ray.get(ray.get(holder)[0])))
        thread.start()
        thread.join(60)
        assert found == ["mine"]
        assert not ray.api.session.global_slot().engine
        with pytest.raises(RuntimeGoneError, match="another raynb runtime"):
            one.engine.put(ray.serde.pickling.pack([holder]))
        assert two.engine.alive
        with pytest.raises(RayTaskError):
            ray.get(ray.remote(lambda: 1 / 0).remote())


def test_what_prepares_the_workers_of_a_runtime_that_has_ended_starts_no_other() -> None:
    engine = ray.init(num_cpus=1).engine
    function = ray.remote(lambda: 1)
    assert [one.result(60) for one in run_on_workers(function, engine=engine)]
    ray.shutdown()
    with pytest.raises(RuntimeGoneError):
        run_on_workers(function, engine=engine)
    assert not ray.is_initialized()
