"""put, get, wait, refs and what happens to values."""

from __future__ import annotations

import array
import copy
import dataclasses
import enum
import gc
import pickle
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, error, family, kind, says, sub, until


@program
def plain_values_survive(ray: Any) -> Any:
    values = [None, True, 1, 2**80, 1.5, "text", [1, [2]], {"a": {"b": 1}}]
    others = [b"bytes", (1, (2,)), {1, 2}, frozenset({3}), 1 + 2j, range(5)]
    back = ray.get([ray.put(value) for value in values])
    odd = ray.get([ray.put(value) for value in others])
    return [back, odd == others, [type(value).__name__ for value in odd]]


@program
@differs("Ray gives bytes for a bytearray", expected="bytearray")
def a_bytearray_stays_one(ray: Any) -> Any:
    return type(ray.get(ray.put(bytearray(b"more")))).__name__


@program
def get_of_a_list_keeps_order_and_repeats(ray: Any) -> Any:
    a, b = ray.put("a"), ray.put("b")
    return [ray.get([b, a, b]), ray.get([])]


@program
def get_of_what_is_no_ref(ray: Any) -> Any:
    caught = error(ray.get, 5)
    return [type(caught).__name__, says(caught, "ObjectRef"), kind(ray.get, [1]), kind(ray.get, "ref")]


@program
def get_of_a_tuple(ray: Any) -> Any:
    return kind(ray.get, (ray.put(1),))


@program
def put_of_a_ref_is_refused(ray: Any) -> Any:
    caught = error(ray.put, ray.put(1))
    return [type(caught).__name__, says(caught, "ObjectRef")]


@program
def put_of_a_ref_in_a_list_is_allowed(ray: Any) -> Any:
    outer = ray.put([ray.put(1), ray.put(2)])
    return ray.get(ray.get(outer))


@program
def get_with_a_timeout(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> bool:
        return gate.wait()

    ref = late.remote()
    caught = error(ray.get, ref, timeout=0.1)
    gate.open()
    return [type(caught).__name__, isinstance(caught, TimeoutError), ray.get(ref, timeout=60)]


@program
def get_with_timeout_zero(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> bool:
        return gate.wait()

    ref = late.remote()
    first = kind(ray.get, ref, timeout=0)
    gate.open()
    ray.wait([ref])
    return [first, ray.get(ref, timeout=0), ray.get(ray.put(3), timeout=0)]


@program
def get_with_a_negative_timeout(ray: Any) -> Any:
    return kind(ray.get, ray.put(1), timeout=-5)


@program
def wait_returns_ready_and_rest(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> bool:
        return gate.wait()

    slow, fast = late.remote(), ray.put(1)
    ready, rest = ray.wait([slow, fast])
    gate.open()
    both = ray.wait([slow, fast], num_returns=2)
    return [ready == [fast], rest == [slow], set(both[0]) == {slow, fast}, both[1]]


@program
def wait_with_a_timeout(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> bool:
        return gate.wait()

    refs = [late.remote() for _ in range(2)]
    ready, rest = ray.wait(refs, num_returns=2, timeout=0.1)
    zero = ray.wait(refs, timeout=0)
    gate.open()
    ray.get(refs)
    return [len(ready), rest == refs, len(zero[0])]


@program
def wait_gives_no_more_than_asked(ray: Any) -> Any:
    refs = [ray.put(i) for i in range(5)]
    ready, rest = ray.wait(refs, num_returns=2)
    return [len(ready), len(rest), set(ready) | set(rest) == set(refs)]


@program
def wait_on_bad_arguments(ray: Any) -> Any:
    ref = ray.put(1)
    calls = {
        "one ref": lambda: ray.wait(ref),
        "not refs": lambda: ray.wait([1, 2]),
        "duplicates": lambda: ray.wait([ref, ref]),
        "too many": lambda: ray.wait([ref], num_returns=2),
        "none": lambda: ray.wait([ref], num_returns=0),
        "empty": lambda: ray.wait([]),
        "negative": lambda: ray.wait([ref], timeout=-1),
    }
    return {name: kind(call) for name, call in calls.items()}


@program
def wait_counts_failed_tasks_as_ready(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def bad() -> None:
        raise ValueError("bad")

    ready, rest = ray.wait([bad.remote()], timeout=60)
    return [len(ready), len(rest), kind(ray.get, ready[0])]


@program
def wait_without_fetching(ray: Any) -> Any:
    @ray.remote
    def f() -> int:
        return 3

    ready, _ = ray.wait([f.remote()], fetch_local=False, timeout=60)
    return ray.get(ready)


@program
def refs_are_equal_by_identity_of_the_object(ray: Any) -> Any:
    a, b = ray.put(1), ray.put(1)
    again = copy.copy(a)
    return [a == again, a != b, hash(a) == hash(again), len({a, again, b}), a == 5]


@program
def a_ref_has_a_hex_and_binary_name(ray: Any) -> Any:
    ref = ray.put(1)
    name = ref.hex()
    return [len(name), ref.binary().hex() == name, repr(ref) == f"ObjectRef({name})", ref.is_nil()]


@program
def refs_are_not_iterable(ray: Any) -> Any:
    return kind(lambda: list(ray.put([1, 2])))


@program
def a_ref_as_a_future(ray: Any) -> Any:
    @ray.remote
    def f() -> int:
        return 4

    @ray.remote(max_retries=0)
    def g() -> int:
        raise KeyError("lost")

    failed = g.remote().future()
    caught = failed.exception(timeout=60)
    return [f.remote().future().result(timeout=60), isinstance(caught, KeyError)]


@program
def arrays_of_bytes_are_read_only(ray: Any) -> Any:
    class Holder:
        def __init__(self, data: Any) -> None:
            self.data = data

        def __reduce_ex__(self, protocol: int) -> Any:
            return Holder, (pickle.PickleBuffer(self.data),)

    back = ray.get(ray.put(Holder(bytearray(1_000_000))))
    view = memoryview(back.data)
    return [view.nbytes, view.readonly]


@program
def values_are_copies(ray: Any) -> Any:
    original = [1, 2]
    ref = ray.put(original)
    original.append(3)
    first = ray.get(ref)
    first.append(4)
    return ray.get(ref)


@program
def a_changed_argument_does_not_come_back(ray: Any) -> Any:
    @ray.remote
    def change(values: list) -> list:
        values.append(3)
        return values

    mine = [1, 2]
    return [ray.get(change.remote(mine)), mine]


@program
def large_values_go_both_ways(ray: Any) -> Any:
    @ray.remote
    def grow(data: bytes) -> bytes:
        return data + b"x" * 2_000_000

    data = ray.get(grow.remote(b"y" * 1_000_000))
    return [len(data), data[:2].decode(), data[-2:].decode()]


@program
def cyclic_data(ray: Any) -> Any:
    loop: list = [1]
    loop.append(loop)
    back = ray.get(ray.put(loop))
    return [back[0], back[1] is back]


@program
@differs("Ray packs lists of plain values with msgpack, which forgets identity", expected=True)
def shared_parts_stay_shared(ray: Any) -> Any:
    part = [1]
    back = ray.get(ray.put([part, part]))
    return back[0] is back[1]


@program
def classes_defined_here(ray: Any) -> Any:
    @dataclasses.dataclass
    class Point:
        x: int
        y: int

    class Colour(enum.Enum):
        RED = 1

    @ray.remote
    def swap(point: Any, colour: Any) -> Any:
        return Point(point.y, point.x), colour.name, colour is Colour.RED

    point, name, same = ray.get(swap.remote(Point(1, 2), Colour.RED))
    return [type(point).__name__, point.x, point.y, name, same, isinstance(point, Point)]


@program
def reduce_is_respected(ray: Any) -> Any:
    class Custom:
        def __init__(self, text: str) -> None:
            self.text = text

        def __reduce__(self) -> Any:
            return Custom, (self.text + "!",)

    return ray.get(ray.put(Custom("a"))).text


@program
def what_cannot_be_pickled(ray: Any) -> Any:
    import threading

    @ray.remote
    def f(x: Any) -> None: ...

    put, call = error(ray.put, threading.Lock()), error(f.remote, threading.Lock())
    return [[type(e).__name__, says(e, "lock")] for e in (put, call)]


@program
def a_result_that_cannot_be_pickled(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def f() -> Any:
        import threading

        return threading.Lock()

    caught = error(ray.get, f.remote())
    return [family(caught, ray.exceptions.RayTaskError, TypeError), says(caught, "lock")]


@program
def a_function_that_cannot_be_pickled(ray: Any) -> Any:
    import threading

    lock = threading.Lock()

    @ray.remote
    def f() -> Any:
        return lock

    caught = error(f.remote)
    return [type(caught).__name__, says(caught, "lock", "f")]


@program
def an_argument_whose_unpickling_fails(ray: Any) -> Any:
    def explode() -> None:
        raise ValueError("cannot be rebuilt")

    class Bad:
        def __reduce__(self) -> Any:
            return explode, ()

    @ray.remote(max_retries=0)
    def f(x: Any) -> None: ...

    caught = error(ray.get, f.remote(Bad()))
    return [family(caught, ray.exceptions.RayError), says(caught, "cannot be rebuilt")]


@program
def custom_serializers(ray: Any) -> Any:
    util = sub(ray, "util")

    class Socket:
        def __init__(self, port: int) -> None:
            import threading

            self.port, self.lock = port, threading.Lock()

    util.register_serializer(Socket, serializer=lambda s: s.port, deserializer=lambda p: Socket(p + 1))
    try:
        first = ray.get(ray.put(Socket(80))).port
    finally:
        util.deregister_serializer(Socket)
    return [first, kind(ray.put, Socket(80))]


@program
def refs_pickled_by_hand(ray: Any) -> Any:
    cloudpickle = ray.cloudpickle
    ref = ray.put("kept")
    return ray.get(cloudpickle.loads(cloudpickle.dumps(ref)))


@program
def a_borrowed_ref_outlives_its_task(ray: Any) -> Any:
    @ray.remote
    class Keeper:
        def keep(self, box: list) -> None:
            self.ref = box[0]

        def read(self) -> Any:
            return ray.get(self.ref)

    keeper = Keeper.remote()
    ray.get(keeper.keep.remote([ray.put("mine")]))
    gc.collect()
    return ray.get(keeper.read.remote())


@program
def a_ref_made_in_a_task_outlives_it(ray: Any) -> Any:
    @ray.remote
    def make() -> Any:
        return [ray.put(b"z" * 500_000)]

    [ref] = ray.get(make.remote())
    return len(ray.get(ref))


@program(on_ray=False)
@differs("Ray 2.60 has no way to free any more; raynb keeps one", expected=[True, "ObjectFreedError"])
def freed_objects_are_lost(ray: Any) -> Any:
    ref = ray.put(b"x" * 2_000_000)
    ray.free([ref])
    found: list = []

    def gone() -> bool:
        found[:] = [error(ray.get, ref, timeout=2)]
        return isinstance(found[0], ray.exceptions.ObjectLostError)

    return [until(gone), type(found[0]).__name__]


@program
def array_module(ray: Any) -> Any:
    back = ray.get(ray.put(array.array("d", [1.0, 2.0])))
    return [type(back).__name__, list(back)]


@program
def deep_data(ray: Any) -> Any:
    deep: list = []
    for _ in range(200):
        deep = [deep]
    back, depth = ray.get(ray.put(deep)), 0
    while back:
        back, depth = back[0], depth + 1
    return depth


@program
def a_list_of_many_refs_in_one_object(ray: Any) -> Any:
    @ray.remote
    def total(refs: list) -> int:
        return sum(ray.get(refs))

    return ray.get(total.remote([ray.put(i) for i in range(200)]))
