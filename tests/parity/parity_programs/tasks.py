"""Remote functions: arguments, results, options, nesting."""

from __future__ import annotations

import os
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, Tally, error, kind, says, until


@program
def a_task_returns_its_value(ray: Any) -> Any:
    @ray.remote
    def add(a: int, b: int) -> int:
        return a + b

    return ray.get(add.remote(2, 3))


@program
def keywords_and_defaults(ray: Any) -> Any:
    @ray.remote
    def show(a, b=2, *rest, c=3, **more):  # type: ignore[no-untyped-def]
        return [a, b, list(rest), c, more]

    return ray.get([show.remote(1), show.remote(1, 5, 6, 7, c=8, d=9), show.remote(b=1, a=0)])


@program
def refs_at_top_level_arrive_as_values(ray: Any) -> Any:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    return ray.get(double.remote(double.remote(double.remote(ray.put(1)))))


@program
def refs_in_keywords_arrive_as_values(ray: Any) -> Any:
    @ray.remote
    def join(*, left: str, right: str) -> str:
        return left + right

    return ray.get(join.remote(left=ray.put("a"), right=ray.put("b")))


@program
def nested_refs_arrive_as_refs(ray: Any) -> Any:
    @ray.remote
    def look(box: dict) -> list:
        return [isinstance(box["ref"], ray.ObjectRef), ray.get(box["ref"])]

    return ray.get(look.remote({"ref": ray.put(7)}))


@program
def the_same_ref_twice(ray: Any) -> Any:
    @ray.remote
    def same(a: list, b: list) -> list:
        return [a == b, len(a)]

    ref = ray.put([1, 2, 3])
    return ray.get(same.remote(ref, ref))


@program
def calling_directly_is_a_type_error(ray: Any) -> Any:
    @ray.remote
    def f() -> int:
        return 1

    caught = error(f)
    return [type(caught).__name__, says(caught, "cannot be called directly", ".remote()")]


@program
def arguments_that_do_not_bind(ray: Any) -> Any:
    @ray.remote
    def f(a: int, b: int) -> int:
        return a + b

    return [
        [type(e).__name__, says(e, "missing a required argument", "'b'")]
        for e in [error(f.remote, 1)]
    ] + [kind(f.remote, 1, 2, 3), kind(f.remote, 1, 2, c=4)]


@program
def several_returns(ray: Any) -> Any:
    @ray.remote(num_returns=3)
    def three() -> tuple:
        return 1, "two", [3]

    refs = three.remote()
    return [len(refs), ray.get(refs)]


@program
def no_returns(ray: Any) -> Any:
    @ray.remote(num_returns=0)
    def nothing() -> None:
        return None

    return nothing.remote()


@program
def several_returns_from_a_list(ray: Any) -> Any:
    @ray.remote(num_returns=2)
    def two() -> list:
        return ["a", "b"]

    return ray.get(two.remote())


@program
def too_few_returns(ray: Any) -> Any:
    @ray.remote(num_returns=3, max_retries=0)
    def two() -> tuple:
        return 1, 2

    caught = error(ray.get, two.remote()[0])
    return [type(caught).__name__, isinstance(caught, ValueError), says(caught, "num_returns")]


@program
def options_change_one_call_only(ray: Any) -> Any:
    @ray.remote
    def pair() -> tuple:
        return 1, 2

    first, second = pair.options(num_returns=2).remote()
    return [ray.get(first), ray.get(second), list(ray.get(pair.remote()))]


@program
def remote_as_a_plain_call(ray: Any) -> Any:
    def f(x: int) -> int:
        return x + 1

    g = ray.remote(f)
    h = ray.remote(num_cpus=0.5)(f)
    return [ray.get(g.remote(1)), ray.get(h.remote(2)), f(3)]


@program
def options_that_do_not_exist(ray: Any) -> Any:
    def f() -> None: ...

    first = error(lambda: ray.remote(colour="red")(f))
    second = error(lambda: ray.remote(f).options(colour="red"))
    return [[type(e).__name__, says(e, "colour")] for e in (first, second)]


@program
@differs("raynb raises where Ray asserts", expected=["TypeError", "TypeError"])
def positional_options_are_refused(ray: Any) -> Any:
    return [kind(lambda: ray.remote(1)), kind(lambda: ray.remote("f"))]


@program
def bad_option_values(ray: Any) -> Any:
    def f() -> None: ...

    found = {}
    for option, value in [
        ("num_cpus", -1),
        ("num_returns", -5),
        ("max_retries", -2),
        ("max_calls", -1),
        ("resources", {"CPU": 1}),
        ("resources", {"widget": 1.5}),
        ("num_cpus", "many"),
        ("name", 5),
        ("retry_exceptions", 3),
    ]:
        caught = error(lambda option=option, value=value: ray.remote(**{option: value})(f))
        found[f"{option}={value}"] = [type(caught).__name__, says(caught, option)]
    return found


@program
def actor_options_on_a_function(ray: Any) -> Any:
    def f() -> None: ...

    return [
        kind(lambda: ray.remote(max_restarts=1)(f)),
        kind(lambda: ray.remote(max_concurrency=2)(f)),
        kind(lambda: ray.remote(max_task_retries=2)(f)),
    ]


@program
def async_functions_are_refused(ray: Any) -> Any:
    async def f() -> None: ...

    def declare() -> None:
        ray.get(ray.remote(f).remote())

    caught = error(declare)
    return [type(caught).__name__, says(caught, "async")]


@program
def nested_tasks(ray: Any) -> Any:
    @ray.remote
    def fib(n: int) -> int:
        if n < 2:
            return n
        return sum(ray.get([fib.remote(n - 1), fib.remote(n - 2)]))

    return ray.get(fib.remote(5))


@program(timeout=60)
def nesting_deeper_than_the_cpus(ray: Any) -> Any:
    @ray.remote
    def down(n: int) -> int:
        return n if n == 0 else 1 + ray.get(down.remote(n - 1))

    return ray.get(down.remote(8))


@program
def mutual_recursion(ray: Any) -> Any:
    @ray.remote
    def even(n: int) -> bool:
        return True if n == 0 else ray.get(odd.remote(n - 1))

    @ray.remote
    def odd(n: int) -> bool:
        return False if n == 0 else ray.get(even.remote(n - 1))

    return ray.get([even.remote(3), odd.remote(3)])


@program
def a_task_may_return_a_ref(ray: Any) -> Any:
    @ray.remote
    def inner() -> int:
        return 5

    @ray.remote
    def outer() -> Any:
        return inner.remote()

    ref = ray.get(outer.remote())
    return [isinstance(ref, ray.ObjectRef), ray.get(ref)]


@program
def closures_over_refs_and_values(ray: Any) -> Any:
    ref, number = ray.put([1, 2]), 10

    @ray.remote
    def use() -> int:
        return sum(ray.get(ref)) + number

    return ray.get(use.remote())


@program
def a_name_defined_after_the_decorator(ray: Any) -> Any:
    @ray.remote
    def use() -> str:
        return later()

    def later() -> str:
        return "seen"

    return ray.get(use.remote())


@program
def globals_changed_between_definitions(ray: Any) -> Any:
    results = []
    for factor in (2, 3):

        @ray.remote
        def scale(x: int) -> int:
            return x * factor

        results.append(ray.get(scale.remote(10)))
    return results


@program
def a_function_as_an_argument(ray: Any) -> Any:
    @ray.remote
    def apply(f: Any, x: int) -> int:
        return f(x)

    return ray.get(apply.remote(lambda x: x * x, 7))


@program
def a_remote_function_as_an_argument(ray: Any) -> Any:
    @ray.remote
    def square(x: int) -> int:
        return x * x

    @ray.remote
    def spread(f: Any, xs: list) -> list:
        return ray.get([f.remote(x) for x in xs])

    return ray.get(spread.remote(square, [1, 2, 3]))


@program
def tasks_run_side_by_side(ray: Any) -> Any:
    first, second = Gate(), Gate()

    @ray.remote
    def meet(mine: Gate, other: Gate) -> bool:
        mine.open()
        return other.wait()

    return ray.get([meet.remote(first, second), meet.remote(second, first)])


@program
def custom_resources_limit_how_many_run(ray: Any) -> Any:
    gate, started = Gate(), Tally()

    @ray.remote(num_cpus=0, resources={"widget": 1})
    def hold() -> bool:
        started.add()
        return gate.wait()

    refs = [hold.remote() for _ in range(3)]
    until(lambda: started.count() >= 2)
    ready, _ = ray.wait(refs, num_returns=3, timeout=0.3)
    seen = started.count()
    gate.open()
    return [seen, len(ready), ray.get(refs)]


@program
def fractions_of_a_resource(ray: Any) -> Any:
    gate, started = Gate(), Tally()

    @ray.remote(num_cpus=0, resources={"widget": 0.5})
    def hold() -> bool:
        started.add()
        return gate.wait()

    refs = [hold.remote() for _ in range(4)]
    together = until(lambda: started.count() == 4)
    gate.open()
    return [together, ray.get(refs)]


@program
def an_infeasible_task_waits(ray: Any) -> Any:
    @ray.remote(resources={"unobtainium": 1})
    def never() -> None: ...

    ref = never.remote()
    ready, rest = ray.wait([ref], timeout=0.5)
    ray.cancel(ref)
    return [len(ready), len(rest), kind(ray.get, ref, timeout=60)]


@program
def max_calls_ends_the_worker(ray: Any) -> Any:
    @ray.remote(max_calls=1)
    def pid() -> int:
        return os.getpid()

    pids = [ray.get(pid.remote()) for _ in range(3)]
    return len(set(pids))


@program
def threads_of_numeric_libraries(ray: Any) -> Any:
    @ray.remote
    def threads() -> Any:
        return os.environ.get("OMP_NUM_THREADS")

    return ray.get([threads.remote(), threads.options(num_cpus=2).remote()])


@program
def many_small_tasks(ray: Any) -> Any:
    @ray.remote
    def one(i: int) -> int:
        return i

    return sum(ray.get([one.remote(i) for i in range(500)]))


@program
def many_ref_arguments(ray: Any) -> Any:
    @ray.remote
    def total(*parts: int) -> int:
        return sum(parts)

    return ray.get(total.remote(*[ray.put(i) for i in range(300)]))


@program
def a_hundred_returns(ray: Any) -> Any:
    @ray.remote(num_returns=100)
    def many() -> list:
        return list(range(100))

    return sum(ray.get(many.remote()))


@program
def scheduling_strategies_are_accepted(ray: Any) -> Any:
    @ray.remote
    def f() -> str:
        return "ran"

    good = ray.get([f.options(scheduling_strategy=name).remote() for name in ("DEFAULT", "SPREAD")])
    return [good, kind(lambda: f.options(scheduling_strategy="SIDEWAYS").remote())]


@program
def a_decorated_function_can_be_wrapped_again(ray: Any) -> Any:
    @ray.remote
    def f() -> int:
        return 1

    slow = f.options(name="slow", num_cpus=2)
    return [ray.get(slow.remote()), ray.get(slow.remote())]


@program
@differs("raynb runs builtin functions, and raises where Ray asserts", expected=["no error", "TypeError"])
def a_plain_function_of_a_builtin_type(ray: Any) -> Any:
    return [kind(lambda: ray.remote(len)), kind(lambda: ray.remote(5))]
