"""What completion and help of a Python prompt see of the public functions."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

import raynb as ray


@ray.remote
def scale(values: list[float], factor: float = 2.0) -> list[float]:
    """Multiplies values."""
    return [value * factor for value in values]


def through(self: int, /, *rest: int, kind: str = "a", **more: int) -> list[Any]:
    """Takes everything."""
    return [self, rest, kind, more]


@ray.remote
class Counter:
    """Counts."""

    def __init__(self, start: int, step: int = 1) -> None:
        self.n = start

    def add(self, n: int, *, twice: bool = False) -> int:
        """Adds n."""
        return self.n + n

    @staticmethod
    def double(n: int) -> int:
        return 2 * n

    @ray.method(num_returns="streaming")
    def items(self, n: int) -> Iterator[int]:
        """Yields."""
        yield from range(n)


def test_keywords_are_named_where_options_are_given() -> None:
    assert {"num_cpus", "namespace", "address", "object_store_memory"} <= set(inspect.signature(ray.init).parameters)
    assert {"num_cpus", "num_returns", "max_restarts"} <= set(inspect.signature(ray.remote).parameters)
    assert {"num_cpus", "num_returns"} <= set(inspect.signature(scale.options).parameters)
    assert "max_restarts" not in inspect.signature(scale.options).parameters
    assert "max_restarts" in inspect.signature(Counter.options).parameters
    assert "num_returns" in inspect.signature(ray.method).parameters


def spelled(callee: Any) -> str:
    return str(inspect.signature(callee)).replace("'", "")


SCALE = "(values: list[float], factor: float = 2.0) -> list[float]"


@pytest.mark.parametrize("whose", [scale, scale.remote, scale.options(num_cpus=2).remote])
def test_a_remote_function_and_its_remote_look_like_the_function(whose: Any) -> None:
    assert spelled(whose) == SCALE
    assert inspect.getdoc(whose) == "Multiplies values."
    assert (whose.__name__, whose.__module__, whose.__wrapped__) == ("scale", __name__, scale._function)
    assert inspect.unwrap(whose) is scale._function


def test_any_callable_can_be_shown() -> None:
    everything = ray.remote(through).remote
    assert spelled(everything) == "(self: int, /, *rest: int, kind: str = a, **more: int) -> list[Any]"
    assert spelled(ray.remote(lambda x, y=1: x).remote) == "(x, y=1)"
    assert ray.remote(max).remote.__name__ == "max"  # a builtin that has no signature
    assert inspect.getdoc(type(scale).remote).startswith("Submits a call;")


def test_an_actor_class_its_methods_and_their_remote_look_like_the_users(raynb_runtime: Any) -> None:
    constructor = "(start: int, step: int = 1) -> None"
    for whose in (Counter, Counter.remote, Counter.options(num_cpus=0).remote):
        assert (spelled(whose), inspect.getdoc(whose), whose.__name__) == (constructor, "Counts.", "Counter")
    counter = Counter.remote(1)
    for whose in (counter.add, counter.add.remote, counter.add.options(name="x").remote):
        assert (spelled(whose), inspect.getdoc(whose), whose.__name__) == (
            "(n: int, *, twice: bool = False) -> int", "Adds n.", "add",
        )  # fmt: skip
    assert spelled(counter.double.remote) == "(n: int) -> int"
    assert inspect.getdoc(counter.items.remote) == "Yields."
    assert {"add", "double", "items"} <= set(dir(counter))
    # Where a handle was sent, names and kinds are known.
    there = ray.remote(lambda handle: [str(inspect.signature(handle.add)), handle.add.remote.__name__])
    assert ray.get(there.remote(counter)) == ["(n, *, twice=None)", "add"]
    assert ray.get([counter.add.remote(2), counter.double.remote(4)]) == [3, 8]


def test_a_remote_travels_and_keeps_what_it_needs(raynb_runtime: Any) -> None:
    submit = ray.remote(lambda x: x + 1).remote  # nobody holds the function itself
    assert ray.get(submit(1)) == 2
    assert ray.get(ray.remote(lambda: ray.get(submit(3))).remote()) == 4
    counter = Counter.remote(5)
    add = counter.add.remote
    assert ray.get(ray.get(ray.remote(lambda: [add(1)]).remote())) == [6]
    make = Counter.options(num_cpus=0).remote
    assert ray.get(ray.remote(lambda: ray.get(make(7).add.remote(1))).remote()) == 8
    again = cloudpickle.loads(cloudpickle.dumps(ray.remote(through).remote))
    assert ray.get(again(1, kind="b")) == [1, (), "b", {}]
    assert spelled(cloudpickle.loads(cloudpickle.dumps(scale)).remote) == SCALE


def test_a_function_that_names_its_own_remote(raynb_runtime: Any) -> None:
    space: dict[str, Any] = {"ray": ray}
    exec("@ray.remote\ndef down(n):\n    return n and 1 + ray.get(submit(n - 1))\nsubmit = down.remote", space)
    assert ray.get(space["down"].remote(2)) == 2
    assert ray.get(ray.remote(lambda f: ray.get(f.remote(1))).remote(space["down"])) == 1


def test_showing_keeps_nothing_alive(raynb_runtime: Any) -> None:
    function = ray.remote(lambda: 1)
    made = Counter.remote(1)
    cls = ray.remote(type("Plain", (), {"m": lambda self: 1}))
    shown = [function.remote, function.options(name="a").remote, made.add.remote, cls.remote]
    watched = [weakref.ref(function), weakref.ref(made), weakref.ref(cls)]
    gc.disable()
    try:
        del function, made, cls
        assert [one() for one in watched] == [None] * 3
    finally:
        gc.enable()
    assert len(shown) == 4
