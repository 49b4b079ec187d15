"""Actors: state, order, names, handles, options."""

from __future__ import annotations

from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, counter, error, kind, says


@program
def an_actor_keeps_its_state(ray: Any) -> Any:
    actor = counter(ray).remote(10)
    return ray.get([actor.add.remote(), actor.add.remote(5), actor.add.remote(by=2)])


@program
def calls_of_one_caller_run_in_order(ray: Any) -> Any:
    @ray.remote
    class Log:
        def __init__(self) -> None:
            self.seen: list = []

        def note(self, i: int) -> None:
            self.seen.append(i)

        def all(self) -> list:
            return self.seen

    log = Log.remote()
    for i in range(100):
        log.note.remote(i)
    return ray.get(log.all.remote()) == list(range(100))


@program
def an_earlier_call_that_waits_for_its_argument_goes_first(ray: Any) -> Any:
    gate = Gate()

    @ray.remote
    def late() -> str:
        gate.wait()
        return "late"

    @ray.remote
    class Log:
        def __init__(self) -> None:
            self.seen: list = []

        def note(self, x: str) -> None:
            self.seen.append(x)

        def all(self) -> list:
            return self.seen

    log = Log.remote()
    log.note.remote(late.remote())
    second = log.note.remote("second")
    early = len(ray.wait([second], timeout=0.5)[0])
    gate.open()
    return [early, ray.get(log.all.remote())]


@program
def an_actor_class_is_not_called_directly(ray: Any) -> Any:
    caught = error(counter(ray))
    return [type(caught).__name__, says(caught, "cannot be instantiated directly", ".remote()")]


@program
def a_method_is_not_called_directly(ray: Any) -> Any:
    actor = counter(ray).remote()
    caught = error(lambda: actor.add())
    return [type(caught).__name__, says(caught, "cannot be called directly", ".remote()")]


@program
def a_method_that_does_not_exist(ray: Any) -> Any:
    actor = counter(ray).remote()
    return [kind(lambda: actor.nothing), hasattr(actor, "add"), hasattr(actor, "nothing")]


@program
def attributes_of_the_instance_are_not_on_the_handle(ray: Any) -> Any:
    actor = counter(ray).remote(3)
    return kind(lambda: actor.n)


@program
def constructor_arguments_that_do_not_bind(ray: Any) -> Any:
    cls = counter(ray)
    return [kind(cls.remote, 1, 2), kind(cls.remote, stop=1)]


@program
def method_arguments_that_do_not_bind(ray: Any) -> Any:
    actor = counter(ray).remote()
    caught = error(actor.add.remote, 1, 2)
    return [type(caught).__name__, says(caught, "too many positional arguments")]


@program
def methods_with_several_returns(ray: Any) -> Any:
    @ray.remote
    class Pair:
        @ray.method(num_returns=2)
        def two(self) -> tuple:
            return 1, 2

        def three(self) -> tuple:
            return 1, 2, 3

    pair = Pair.remote()
    return [ray.get(pair.two.remote()), ray.get(pair.three.options(num_returns=3).remote())]


@program
def a_method_decorator_without_arguments(ray: Any) -> Any:
    return kind(lambda: ray.method())


@program
@differs("raynb raises where Ray asserts", expected=["ValueError", ["colour"]])
def an_unknown_method_option(ray: Any) -> Any:
    caught = error(lambda: ray.method(colour="red"))
    return [type(caught).__name__, says(caught, "colour")]


@program
def inheritance(ray: Any) -> Any:
    class Base:
        def __init__(self, x: int) -> None:
            self.x = x

        def value(self) -> int:
            return self.x

        def name(self) -> str:
            return "base"

    @ray.remote
    class Child(Base):
        def __init__(self, x: int) -> None:
            super().__init__(x + 1)

        def name(self) -> str:
            return "child of " + super().name()

    child = Child.remote(1)
    return ray.get([child.value.remote(), child.name.remote()])


@program
def inheriting_from_an_actor_class_is_refused(ray: Any) -> Any:
    cls = counter(ray)

    def inherit() -> None:
        class Child(cls):  # type: ignore[misc, valid-type]
            pass

    caught = error(inherit)
    return [type(caught).__name__, says(caught, "inherit")]


@program
def static_and_class_methods(ray: Any) -> Any:
    @ray.remote
    class Tools:
        scale = 3

        @staticmethod
        def double(x: int) -> int:
            return 2 * x

        @classmethod
        def scaled(cls, x: int) -> int:
            return cls.scale * x

    tools = Tools.remote()
    return ray.get([tools.double.remote(4), tools.scaled.remote(4)])


@program
def a_class_without_a_constructor(ray: Any) -> Any:
    @ray.remote
    class Plain:
        def hello(self) -> str:
            return "hello"

    return ray.get(Plain.remote().hello.remote())


@program
def actor_options_override(ray: Any) -> Any:
    @ray.remote(num_cpus=1)
    class Where:
        def resources(self) -> Any:
            return ray.get_runtime_context().get_assigned_resources()

    options = [{}, {"num_cpus": 0}, {"resources": {"widget": 1}}]
    actors = [Where.options(**one).remote() for one in options]
    return ray.get([actor.resources.remote() for actor in actors])


@program
def bad_actor_options(ray: Any) -> Any:
    class A:
        pass

    return {
        "colour": kind(lambda: ray.remote(colour=1)(A)),
        "max_restarts": kind(lambda: ray.remote(max_restarts=-2)(A)),
        "num_returns": kind(lambda: ray.remote(num_returns=2)(A)),
        "max_retries": kind(lambda: ray.remote(max_retries=2)(A)),
        "lifetime": kind(lambda: ray.remote(A).options(lifetime="eternal").remote()),
        "name": kind(lambda: ray.remote(A).options(name="").remote()),
        "name type": kind(lambda: ray.remote(A).options(name=5).remote()),
        "max_task_retries": kind(lambda: ray.remote(max_task_retries=-2)(A)),
    }


@program
@differs("raynb refuses what could never run", expected="ValueError")
def no_concurrency_at_all(ray: Any) -> Any:
    class A:
        pass

    return kind(lambda: ray.remote(max_concurrency=0)(A))


@program
def handles_travel_into_tasks_and_actors(ray: Any) -> Any:
    actor = counter(ray).remote()

    @ray.remote
    def use(handle: Any, by: int) -> int:
        return ray.get(handle.add.remote(by))

    @ray.remote
    class Friend:
        def __init__(self, handle: Any) -> None:
            self.handle = handle

        def use(self) -> int:
            return ray.get(self.handle.add.remote(10))

    first = ray.get(use.remote(actor, 1))
    second = ray.get(Friend.remote(actor).use.remote())
    third = ray.get(use.remote(ray.put(actor), 100))
    return [first, second, third]


@program
def a_handle_from_a_task(ray: Any) -> Any:
    cls = counter(ray)

    @ray.remote
    def make() -> Any:
        return cls.remote(41)

    return ray.get(ray.get(make.remote()).add.remote())


@program
def an_actor_hands_out_itself(ray: Any) -> Any:
    @ray.remote
    class Self:
        def me(self) -> Any:
            return ray.get_runtime_context().current_actor

        def answer(self) -> int:
            return 42

    actor = Self.remote()
    return ray.get(ray.get(actor.me.remote()).answer.remote())


@program
def two_callers(ray: Any) -> Any:
    actor = counter(ray).remote()

    @ray.remote
    def burst(handle: Any) -> None:
        ray.get([handle.add.remote() for _ in range(50)])

    ray.get([burst.remote(actor), burst.remote(actor)])
    return ray.get(actor.add.remote(0))


@program
def max_pending_calls(ray: Any) -> Any:
    gate = Gate()

    @ray.remote(max_pending_calls=5)
    class Busy:
        def hold(self) -> bool:
            return gate.wait()

    busy = Busy.remote()
    refs: list = []

    def flood() -> None:
        for _ in range(50):
            refs.append(busy.hold.remote())  # noqa: PERF401 - the calls before the error count

    caught = error(flood)
    gate.open()
    ray.get(refs)
    return type(caught).__name__


@program
def special_methods_as_remote_calls(ray: Any) -> Any:
    @ray.remote
    class Box:
        def __call__(self, x: int) -> int:
            return x + 1

        def __len__(self) -> int:
            return 7

    box = Box.remote()
    return ray.get([box.__call__.remote(1), box.__len__.remote()])


@program
def a_private_method(ray: Any) -> Any:
    @ray.remote
    class Shy:
        def _quiet(self) -> str:
            return "heard"

    return ray.get(Shy.remote()._quiet.remote())


@program
def a_handle_has_a_readable_repr(ray: Any) -> Any:
    text = repr(counter(ray).remote())
    return [text.startswith("Actor("), "Counter" in text]


@program
def actors_wait_for_cpus(ray: Any) -> Any:
    cls = counter(ray).options(num_cpus=0, resources={"widget": 2})
    first = cls.remote()
    ray.get(first.add.remote())
    second = cls.remote()
    waiting = second.add.remote()
    before = len(ray.wait([waiting], timeout=0.5)[0])
    ray.kill(first)
    return [before, ray.get(waiting)]


@program
def a_default_actor_holds_no_cpu(ray: Any) -> Any:
    cls = counter(ray)
    actors = [cls.remote() for _ in range(6)]  # more than the CPUs
    return ray.get([actor.add.remote() for actor in actors])


@program
def refs_in_constructor_arguments(ray: Any) -> Any:
    return ray.get(counter(ray).remote(ray.put(3)).add.remote())


@program
def a_property(ray: Any) -> Any:
    @ray.remote
    class Thing:
        @property
        def size(self) -> int:
            return 3

        def get_size(self) -> int:
            return self.size

    thing = Thing.remote()
    return [ray.get(thing.get_size.remote()), kind(lambda: thing.size.remote())]


@program
def the_class_of_a_handle_by_name_has_its_methods(ray: Any) -> Any:
    actor = counter(ray).options(name="typed").remote()
    ray.get(actor.add.remote())
    found = ray.get_actor("typed")
    return [hasattr(found, "add"), hasattr(found, "missing")]
