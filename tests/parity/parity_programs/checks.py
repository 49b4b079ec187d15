"""What is refused, and when: options, names, labels."""

from __future__ import annotations

from typing import Any

from parity_programs import differs, program
from parity_programs._tools import error, kind, says


class _Async:
    async def one(self) -> int:
        return 1


class _Plain:
    def one(self) -> int:
        return 1


@program
def order_that_cannot_be_kept(ray: Any) -> Any:
    asked = {"allow_out_of_order_execution": False}
    async_ = ray.remote(_Async).options(**asked)
    threaded = ray.remote(_Plain).options(max_concurrency=2, **asked)
    sync = ray.remote(_Plain).options(**asked)
    return [
        kind(async_.remote), says(error(async_.remote), "async actors", "allow_out_of_order_execution=True"),
        kind(threaded.remote), says(error(threaded.remote), "multi-threaded actors"),
        ray.get(sync.remote().one.remote()),
        ray.get(ray.remote(_Async).options(allow_out_of_order_execution=True).remote().one.remote()),
        ray.get(ray.remote(_Async).remote().one.remote()),
    ]  # fmt: skip


@program
def streams_of_methods_that_do_not_yield(ray: Any) -> Any:
    def define(count: str) -> None:
        class Plain:
            @ray.method(num_returns=count)
            def one(self) -> int:
                return 1

    def call() -> None:
        ray.remote(_Plain).remote().one.options(num_returns="streaming").remote()

    return [kind(define, "streaming"), says(error(define, "streaming"), "generator function"), kind(define, "dynamic"),
            kind(call)]  # fmt: skip


@program
@differs("the mistake is named where the function is decorated; Ray's task fails with a TypeError of its own",
         expected=["ValueError", "ValueError"])  # fmt: skip
def an_async_generator_as_a_task(ray: Any) -> Any:
    async def numbers() -> Any:
        yield 1

    async def one() -> int:
        return 1

    def run(function: Any) -> Any:
        return [ray.get(ref) for ref in ray.remote(function).remote()]

    return [kind(run, numbers), kind(ray.remote, one)]


@program
def names_to_look_for(ray: Any) -> Any:
    return [kind(ray.get_actor, name) for name in (None, "", 3)] + [
        kind(ray.get_actor, "nobody", namespace) for namespace in (3, "", "elsewhere")
    ]


@program(init=None, timeout=60.0)
def namespaces_to_begin_with(ray: Any) -> Any:
    return [kind(ray.init, num_cpus=1, namespace=namespace) for namespace in ("", 3)]


#: Good and bad; what is wrong with the bad ones is one thing each.
_SELECTORS: list[Any] = [
    None, {}, {"a": "b"}, {"a": "!b"}, {"a": "in(b,c)"}, {"a": "in(b, c)"}, {"a": "!in(b)"}, {"ray.io/x": "b"},
    {"a": ""}, {"a": None}, {"a.b/c-d": "x_y.z"}, {"a": "x" * 63},
    "a", {"a": 1}, {1: "a"}, {"a": ["b"]}, {"a": "in(b"}, {"a": "b c"}, {"a b": "c"}, {"": "c"}, {"-a": "b"},
    {"a": "x" * 64}, {"x" * 64: "b"}, {"a": "in()"}, {"a": "!"}, {"a": "_b"}, {"a/b/c": "d"}, {"a": "!in(b)c"},
    {"a": "!!b"}, {"a": "(b)"},
]  # fmt: skip


@program
def label_selectors(ray: Any) -> Any:
    def task(value: Any) -> None:
        ray.remote(label_selector=value)(_Plain.one)

    def options(value: Any) -> None:
        ray.remote(_Plain.one).options(label_selector=value)

    def actor(value: Any) -> None:
        ray.remote(label_selector=value)(_Plain)

    return [[kind(make, value) for make in (task, options, actor)] for value in _SELECTORS]


_FALLBACKS: list[Any] = [
    None, [], [{"label_selector": {"a": "b"}}], [{"label_selector": {}}], [{"label_selector": None}],
    "a", {}, ({"label_selector": {"a": "b"}},), [1], [{}], [{"label_selector": "x"}], [{"label_selector": {"a": 1}}],
    [{"x": 1}], [{"label_selector": {"a": "b"}}, {"memory": 1}], [{"label_selector": {"a": "in("}}],
]  # fmt: skip


@program
def fallback_strategies(ray: Any) -> Any:
    def task(value: Any) -> None:
        ray.remote(fallback_strategy=value)(_Plain.one)

    def actor(value: Any) -> None:
        ray.remote(_Plain).options(fallback_strategy=value)

    return [[kind(make, value) for make in (task, actor)] for value in _FALLBACKS]
