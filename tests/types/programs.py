"""A user's program: right calls with their types, and wrong ones, each marked with the error expected on its line.

Read by type checkers, never run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from typing_extensions import assert_type

import raynb as ray
from raynb import ActorHandle, ObjectRef, ObjectRefGenerator
from raynb.actor import ActorProxy
from raynb.util import Executor


@ray.remote
def square(x: int) -> float:
    """Returns the square."""
    return x * x


@ray.remote(num_cpus=2, max_retries=5)
def label(x: int, name: str = "", *, upper: bool = False) -> str:
    return name


@ray.remote
def items(n: int) -> Iterator[bytes]:
    yield b""


@ray.remote(num_returns=2)
def pair(x: int) -> tuple[int, str]:
    return x, ""


class _Counter:
    def __init__(self, start: int, step: int = 1) -> None: ...

    def add(self, n: int) -> int:
        return n


Counter = ray.remote(_Counter)


class _Typed(ray.TypedActor):
    def __init__(self, start: int) -> None: ...

    @ray.method
    def add(self, n: int, *, note: str = "") -> int:
        return n

    @ray.method(max_task_retries=1)
    def twice(self, n: int) -> int:
        return self.add(n) + self.add(n, note="again")

    @ray.method
    async def later(self, n: int) -> str:
        return ""

    @ray.method
    def items(self, n: int) -> Iterator[bytes]:
        yield b""

    @ray.method
    async def flow(self, n: int) -> AsyncIterator[bytes]:
        yield b""

    @ray.method(num_returns=2)
    def both(self) -> tuple[int, str]:
        return 1, ""

    def unmarked(self) -> None: ...


Typed = ray.remote(_Typed)


def total(typed: ActorProxy[_Typed]) -> int:
    return ray.get(typed.add.remote(1))


# -- right ------------------------------------------------------------------------------------
number = ray.put(3)
assert_type(number, ObjectRef[int])
assert_type(square.remote(3), ObjectRef[float])
assert_type(square.remote(number), ObjectRef[float])
assert_type(square.remote(x=3), ObjectRef[float])
assert_type(label.remote(3, "a", upper=True), ObjectRef[str])
assert_type(label.remote(number, ray.put("a")), ObjectRef[str])
assert_type(label.options(num_gpus=1, timeout=3).remote(number), ObjectRef[str])
assert_type(items.remote(3), ObjectRefGenerator[bytes])
assert_type([ray.get(ref) for ref in items.remote(number)], list[bytes])
assert_type(ray.get(square.remote(3)), float)
assert_type(ray.get([square.remote(n) for n in range(3)]), list[float])
assert_type(ray.wait([square.remote(3)], timeout=1)[0], list[ObjectRef[float]])
assert_type(list(ray.as_completed([square.remote(3)])), list[float])
assert_type(Counter.remote(1), ActorHandle[_Counter])
assert_type(Counter.options(name="c", max_restarts=2).remote(start=number.future().result()), ActorHandle[_Counter])
assert_type(ray.remote(len).remote([1]), ObjectRef[int])
first, second = pair.remote(1)
counter = Counter.remote(1)
counter.add.remote(1)  # no marks: anything goes, nothing is known
typed = Typed.options(name="t").remote(ray.put(1))
assert_type(typed.add.remote(1, note="x"), ObjectRef[int])
assert_type(typed.add.remote(number), ObjectRef[int])
assert_type(typed.twice.options(timeout=3).remote(1), ObjectRef[int])
assert_type(typed.later.remote(1), ObjectRef[str])
assert_type(typed.items.remote(1), ObjectRefGenerator[bytes])
assert_type(typed.flow.remote(1), ObjectRefGenerator[bytes])
one, two = typed.both.remote()
assert_type(total(typed) + total(ray.get_actor("t")), int)
ray.kill(typed)
ray.kill(counter)


async def main() -> None:
    assert_type(await square.remote(3), float)


with ray.Runtime(num_cpus=2) as runtime:
    assert_type(runtime, ray.Runtime)
with Executor(max_workers=2) as pool:
    assert_type(pool.submit(len, [1]).result(), int)
    assert_type(list(pool.map(str, [1])), list[str])
assert_type(list(ray.util.as_completed([square.remote(3)])), list[float])
assert_type(list(ray.util.map_unordered(square, [1, 2])), list[float])
assert_type(list(ray.util.map_unordered(square, [1, 2], yield_obj_refs=True)), list[ObjectRef[float]])
assert_type(ray.util.state.list_tasks()[0].name, str)

# -- wrong: one error on each of these lines --------------------------------------------------
square.remote("3")  # E: argument
square.remote()  # E: argument
square.remote(3, 4)  # E: argument
square.remote(ray.put("text"))  # E: a ref of another type
label.remote(3, upper="yes")  # E: argument
label.remote(3, nonsense=1)  # E: argument
label.options(num_cpu=2)  # E: option
label.options(max_retries="3")  # E: option
Counter.remote("1")  # E: argument
Counter.options(max_restart=1)  # E: option
ray.init(num_cpu=2)  # E: argument
ray.get(3)  # E: no ref
wrong: int = ray.get(label.remote(3))  # E: result
square(3)  # E: not callable
pair.remote("x")  # E: argument
Typed.remote("1")  # E: argument of the constructor
typed.add.remote("x")  # E: argument
typed.add.remote(1, note=2)  # E: argument
typed.add.remote(ray.put("x"))  # E: a ref of another type
typed.later.remote()  # E: argument
typed.both.remote(1)  # E: argument
typed.add.options(timeot=3)  # E: option
typed.nothing.remote(1)  # E: no such method
typed.unmarked.remote()  # E: no mark
text: str = ray.get(typed.add.remote(1))  # E: result
total(counter)  # E: a handle of another class
pool.submit(3)  # E: no function
number_of: str = pool.submit(len, [1]).result()  # E: result
ray.util.map_unordered(square, ["x"])  # E: items of another type
ray.util.Executer()  # E: no such name
