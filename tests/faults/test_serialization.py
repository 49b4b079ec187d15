"""B. Things that can't be pickled, or do damage while they are."""

from __future__ import annotations

import enum
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from raynb.exceptions import RaySystemError, RayTaskError, WorkerCrashedError
from raynb.testing import faults, leaks
from raynb.testing.faults import Bomb

pytestmark = pytest.mark.raynb(num_cpus=1)


class Locked(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class TwoArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


def test_b15_an_argument_that_cannot_be_pickled_is_named_at_the_call(ray: Any) -> None:
    @ray.remote
    def f(x: Any) -> None:
        pass

    with pytest.raises(TypeError, match=r"argument 0\['inner'\]\[1\].*lock"):
        f.remote({"inner": [1, threading.Lock()]})
    with pytest.raises(TypeError, match="lock"):
        ray.put(threading.Lock())


def test_b15_a_function_that_holds_what_cannot_be_pickled(ray: Any) -> None:
    lock = threading.Lock()

    @ray.remote
    def uses_lock() -> bool:
        return lock.locked()

    with pytest.raises(TypeError, match="(?s)uses_lock.*lock|lock.*uses_lock"):
        uses_lock.remote()


def test_b16_arguments_that_raise_when_read(ray: Any) -> None:
    @ray.remote
    def f(x: Any) -> None:
        pass

    with pytest.raises(RayTaskError) as caught:
        ray.get(f.remote(Bomb("unpickle", "raise")), timeout=60)
    assert isinstance(caught.value.cause, faults.Boom)


@pytest.mark.parametrize("action", ["os._exit(0)", "segfault"])
def test_b17_arguments_that_crash_when_read(ray: Any, action: str) -> None:
    @ray.remote(max_retries=0)
    def f(x: Any) -> None:
        pass

    with pytest.raises(WorkerCrashedError):
        ray.get(f.remote(Bomb("unpickle", action)), timeout=60)


@pytest.mark.parametrize(
    ("action", "error"),
    [("raise", RayTaskError), ("sys.exit(3)", WorkerCrashedError), ("os._exit(0)", WorkerCrashedError)],
)
def test_b18_results_that_do_damage_when_written(ray: Any, action: str, error: type[Exception]) -> None:
    @ray.remote(max_retries=0)
    def f() -> Any:
        return Bomb("pickle", action)

    with pytest.raises(error) as caught:
        ray.get(f.remote(), timeout=60)
    if action == "raise":
        assert isinstance(caught.value.cause, faults.Boom)


def test_b18_a_result_that_cannot_be_pickled_is_named(ray: Any) -> None:
    @ray.remote
    def f() -> Any:
        return {"here": threading.Lock()}

    with pytest.raises(RayTaskError, match="lock") as caught:
        ray.get(f.remote(), timeout=60)
    assert isinstance(caught.value.cause, TypeError)


@pytest.mark.parametrize("ballast", [0, 1_000_000])
def test_b19_a_result_that_raises_when_the_driver_reads_it(ray: Any, ballast: int) -> None:
    import os

    @ray.remote
    def f() -> Any:
        return bytes(ballast), Bomb("unpickle", "raise", spare=os.getpid())

    @ray.remote
    def reads(value: Any) -> int:
        return len(value[0])

    ref = f.remote()
    for _ in range(2):  # it stays as it is, and so does its error
        with pytest.raises(RaySystemError, match=f"{ref.hex()} cannot be unpickled here: Boom: a bomb") as caught:
            ray.get(ref, timeout=60)
        assert isinstance(caught.value.__cause__, faults.Boom)
        caught.value.__cause__ = caught.value.__traceback__ = None
    assert ray.get(reads.remote(ref), timeout=60) == ballast  # where it can be read it is whole
    engine = ray.runtime().engine
    del ref, caught
    gc.collect()
    assert leaks.until(lambda: engine.snapshot().store.used == 0)


def test_b20_exceptions_keep_their_attributes_and_class(ray: Any) -> None:
    @ray.remote
    def f() -> None:
        raise TwoArguments(404, "nobody home")

    with pytest.raises(TwoArguments) as caught:
        ray.get(f.remote(), timeout=60)
    assert isinstance(caught.value, RayTaskError)
    assert (caught.value.code, caught.value.reason) == (404, "nobody home")


def test_b21_an_exception_that_cannot_be_pickled_is_caught_by_its_class(ray: Any) -> None:
    @ray.remote
    def f() -> None:
        raise Locked("shut")

    with pytest.raises(Locked, match="shut"):
        ray.get(f.remote(), timeout=60)


def all_kinds(ray: Any, fail: Callable[[], None], **options: Any) -> tuple[Any, list[Any]]:
    """Returns an actor that counts its calls, and the refs of a task, a call and an async actor's call that fail."""

    class Actor:
        def __init__(self) -> None:
            self.calls = 0

        def call(self, fails: bool) -> int:
            self.calls += 1
            if fails:
                fail()
            return self.calls

    class Async:
        async def call(self) -> None:
            fail()

    actor = ray.remote(num_cpus=0)(Actor).remote()
    task = ray.remote(max_retries=0, **options)(fail)
    return actor, [task.remote(), actor.call.remote(True), ray.remote(num_cpus=0)(Async).remote().call.remote()]


@pytest.mark.parametrize("where", ["__reduce__", "__str__", "__repr__"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_b21_an_exception_whose_own_methods_leave_costs_no_worker(
    ray: Any, where: str, raised: type[BaseException]
) -> None:
    def fail() -> None:
        def leave(self: Any) -> Any:
            raise raised

        raise type("Odd", (Exception,), {where: leave})("odd")

    actor, refs = all_kinds(ray, fail)
    for ref in refs:
        with pytest.raises(RayTaskError, match="Odd"):
            ray.get(ref, timeout=60)
    assert ray.get(actor.call.remote(False), timeout=60) == 2


@pytest.mark.parametrize("where", ["__class__", "__getattribute__"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, ValueError])
def test_b21_an_exception_that_cannot_be_asked_for_its_class_costs_no_worker(
    ray: Any, where: str, raised: type[BaseException]
) -> None:
    def fail() -> None:
        def leave(self: Any, name: str = "") -> Any:
            raise raised

        raise type("Odd", (Exception,), {where: property(leave) if where == "__class__" else leave})

    actor, refs = all_kinds(ray, fail)
    for ref in refs:
        with pytest.raises(RayTaskError, match=f"Odd, of which nothing else can be told.*{raised.__name__}"):
            ray.get(ref, timeout=60)
    assert ray.get(actor.call.remote(False), timeout=60) == 2


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, ValueError])
def test_b21_classes_to_retry_that_cannot_be_asked_cost_no_worker(ray: Any, raised: type[BaseException]) -> None:
    class Asked(type):
        def __instancecheck__(cls, instance: object) -> bool:
            raise raised

    class Odd(Exception, metaclass=Asked):
        pass

    def fail() -> None:
        raise LookupError("lost")

    actor, refs = all_kinds(ray, fail, retry_exceptions=[Odd])
    for ref in refs:
        with pytest.raises(LookupError, match="lost"):
            ray.get(ref, timeout=60)
    assert ray.get(actor.call.remote(False), timeout=60) == 2


def test_options_of_the_users_own_classes_reach_neither_the_locks_nor_the_workers(ray: Any) -> None:
    """An enum's member as a name ended the workers, which do not know the class; its methods ran under the lock."""

    class Word(str):
        def __hash__(self) -> int:
            ray.put(1)  # refused under the lock
            return str.__hash__(self)

        def __eq__(self, other: object) -> bool:
            ray.put(1)
            return str.__eq__(self, other)

    class Stage(str, enum.Enum):
        FIRST = "first"

    class Count(enum.IntEnum):
        ONE = 1

    def named() -> int:
        return 1

    class Actor:
        def call(self) -> int:
            return 1

    task, cls = ray.remote(named), ray.remote(num_cpus=0)(Actor)
    named.__name__ = Word("renamed")
    refs = [
        task.options(name=Stage.FIRST, num_cpus=Count.ONE, max_retries=Count.ONE).remote(),
        task.options(name=Word("second"), runtime_env={"env_vars": {Word("A"): Stage.FIRST}}).remote(),
        ray.remote(named).remote(),
    ]
    actor = cls.options(name=Word("me"), namespace=Stage.FIRST, concurrency_groups={Word("io"): Count.ONE}).remote()
    refs += [actor.call.remote(), getattr(actor, Word("call")).options(concurrency_group=Word("io")).remote()]
    assert ray.get(refs, timeout=60) == [1] * 5
    assert ray.get_actor(Word("me"), Stage.FIRST) == actor


def test_a_task_may_wait_with_numbers_of_the_users_classes(ray: Any) -> None:
    """They do not travel to the driver, and ended the worker there."""

    class Count(enum.IntEnum):
        ONE = 1

    @ray.remote
    def one() -> int:
        return 1

    @ray.remote(max_retries=0)
    def waits() -> tuple[int, int]:
        ready, left = ray.wait([one.remote(), one.remote()], num_returns=Count.ONE, timeout=60)
        ray.cancel(left[0], force=Count.ONE, recursive=Count.ONE)
        return len(ready), len(left)

    assert ray.get(waits.remote(), timeout=60) == (1, 1)


def test_an_actor_may_call_itself_by_a_string_of_its_own_kind(ray: Any) -> None:
    """What it prints is under that name, and the name ended the process."""

    class Name(str):
        pass

    class Actor:
        def __repr__(self) -> str:
            return Name("me")

        def prints(self) -> int:
            print("a line")
            return 1

    assert ray.get(ray.remote(num_cpus=0)(Actor).remote().prints.remote(), timeout=60) == 1


def test_what_a_method_is_marked_with_travels_without_the_users_classes(ray: Any) -> None:
    """A class of the notebook in ``retry_exceptions`` ended every actor's process as it was made."""

    class Passing(Exception):
        pass

    class Actor:
        def __init__(self) -> None:
            self.calls = 0

        @ray.method(retry_exceptions=[Passing], max_task_retries=2)  # type: ignore[untyped-decorator, unused-ignore]
        def call(self) -> int:
            self.calls += 1
            if self.calls < 3:
                raise Passing
            return self.calls

    actor = ray.remote(num_cpus=0)(Actor).remote()

    @ray.remote
    def ask(handle: Any) -> Any:
        return ray.get(handle.call.remote())

    assert ray.get(actor.call.remote(), timeout=60) == 3
    assert ray.get(ask.remote(actor), timeout=60) == 4


def test_b22_recursion(ray: Any) -> None:
    @ray.remote
    def f(x: Any = None) -> None:
        faults.strike("recursion")

    with pytest.raises(RecursionError) as caught:
        ray.get(f.remote(), timeout=60)
    assert isinstance(caught.value, RayTaskError)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises((RecursionError, TypeError), match="(?i)recursion|deep"):
        f.remote(deep)
    while deep:  # take it apart by hand: the interpreter's own way may recurse too deep
        deep = deep[0]


@pytest.mark.parametrize(
    ("action", "kind"), [("interrupt", KeyboardInterrupt), ("generator-exit", GeneratorExit)]
)
def test_b23_exceptions_that_are_no_exceptions(ray: Any, action: str, kind: type[BaseException]) -> None:
    import os

    @ray.remote(max_retries=0)
    def f(strike: bool) -> int:
        if strike:
            faults.strike(action)
        return os.getpid()

    worker = ray.get(f.remote(False), timeout=60)
    for _ in range(2):
        with pytest.raises(RayTaskError, match=rf"ray::f\(\)[\s\S]*{kind.__name__}") as caught:
            ray.get(f.remote(True), timeout=60)
        assert type(caught.value.cause) is kind
        assert isinstance(caught.value, kind)  # caught by its class, as all of a task's
        assert ray.get(f.remote(False), timeout=60) == worker
    assert faults.worker_pids().count(worker) == 1


@pytest.mark.parametrize("made", [1, 3])
def test_b24_the_wrong_number_of_returns(ray: Any, made: int) -> None:
    @ray.remote(num_returns=2)
    def f() -> Any:
        return tuple(range(made))

    for ref in f.remote():
        with pytest.raises(RayTaskError) as caught:
            ray.get(ref, timeout=60)
        assert isinstance(caught.value.cause, ValueError)


@pytest.mark.raynb(num_cpus=2)
def test_items_of_a_dynamic_generator_live_until_their_list_is_sent(ray: Any) -> None:
    class Source:
        async def items(self, count: int) -> Any:
            for number in range(count):
                yield number

    @ray.remote(num_returns="dynamic")
    def items(count: int) -> Any:
        yield from range(count)

    source: Any = ray.remote(num_cpus=0)(Source).remote()
    for _ in range(50):
        for ref in (items.remote(4), source.items.options(num_returns="dynamic").remote(4)):
            assert [ray.get(item, timeout=60) for item in ray.get(ref, timeout=60)] == [0, 1, 2, 3]
