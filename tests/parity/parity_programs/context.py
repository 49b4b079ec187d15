"""What code can ask about where it runs, and what the machine has."""

from __future__ import annotations

import os
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import Gate, kind, sub, until


@program
def ids_in_the_driver(ray: Any) -> Any:
    context = ray.get_runtime_context()
    return [
        len(context.get_job_id()),
        len(context.get_node_id()),
        len(context.get_worker_id()),
        context.get_task_id(),
        context.get_actor_id(),
        context.namespace,
    ]


@program
def ids_in_a_task(ray: Any) -> Any:
    @ray.remote
    def look() -> list:
        context = ray.get_runtime_context()
        return [
            len(context.get_job_id()),
            len(context.get_task_id()),
            context.get_actor_id(),
            context.get_task_name(),
            context.get_task_function_name().rpartition(".")[2],
            context.namespace,
        ]

    return ray.get([look.remote(), look.options(name="renamed").remote()])


@program
def ids_in_an_actor(ray: Any) -> Any:
    @ray.remote
    class Actor:
        def look(self) -> list:
            context = ray.get_runtime_context()
            return [
                len(context.get_actor_id()),
                context.get_actor_name(),
                len(context.get_task_id()),
                context.was_current_actor_reconstructed,
            ]

        def own(self) -> str:
            return ray.get_runtime_context().get_actor_id()

    named, nameless = Actor.options(name="contextual").remote(), Actor.remote()
    same = ray.get(nameless.own.remote()) == nameless._actor_id.hex()
    return [ray.get([named.look.remote(), nameless.look.remote()]), same]


@program
def a_tasks_id_is_in_its_refs(ray: Any) -> Any:
    @ray.remote
    def own() -> str:
        return ray.get_runtime_context().get_task_id()

    ref = own.remote()
    return [ray.get(ref) == ref.task_id().hex(), ref.hex().startswith(ray.get(ref))]


@program
def assigned_resources(ray: Any) -> Any:
    @ray.remote(num_cpus=2, resources={"widget": 1})
    def look() -> Any:
        return ray.get_runtime_context().get_assigned_resources()

    @ray.remote
    def plain() -> Any:
        return ray.get_runtime_context().get_assigned_resources()

    return ray.get([look.remote(), plain.remote(), plain.options(num_cpus=0.5).remote()])


@program
def current_actor_outside_an_actor(ray: Any) -> Any:
    return kind(lambda: ray.get_runtime_context().current_actor)


@program
def context_as_a_dict(ray: Any) -> Any:
    return sorted(ray.get_runtime_context().get())


@program
def cluster_resources(ray: Any) -> Any:
    total = ray.cluster_resources()
    return [total["CPU"], total["widget"], total["memory"] > 0, total["object_store_memory"] > 0]


@program
def available_resources_shrink_and_come_back(ray: Any) -> Any:
    gate, started = Gate(), Gate()

    @ray.remote(num_cpus=0, resources={"widget": 2})
    def hold() -> bool:
        started.open()
        return gate.wait()

    until(lambda: ray.available_resources().get("widget") == 2)
    ref = hold.remote()
    started.wait()
    taken = until(lambda: "widget" not in ray.available_resources())
    gate.open()
    ray.get(ref)
    return [taken, until(lambda: ray.available_resources().get("widget") == 2)]


@program
def nodes(ray: Any) -> Any:
    [node] = ray.nodes()
    wanted = ["NodeID", "Alive", "NodeManagerHostname", "Resources", "Labels", "NodeName"]
    same = node["NodeID"] == ray.get_runtime_context().get_node_id()
    return [node["Alive"], [name for name in wanted if name in node], node["Resources"]["CPU"], same]


@program
def is_initialized(ray: Any) -> Any:
    return ray.is_initialized()


@program
@differs("a notebook runs its first cell again: the same init() does nothing", expected="no error")
def init_again_is_refused(ray: Any) -> Any:
    return kind(ray.init)


@program
def init_again_with_permission(ray: Any) -> Any:
    ray.init(ignore_reinit_error=True)
    return ray.is_initialized()


@program
def gpu_ids_without_gpus(ray: Any) -> Any:
    @ray.remote
    def look() -> list:
        return ray.get_gpu_ids()

    return [ray.get(look.remote()), ray.get_gpu_ids()]


@program
def workers_are_other_processes(ray: Any) -> Any:
    @ray.remote
    def pid() -> int:
        return os.getpid()

    return ray.get(pid.remote()) != os.getpid()


@program
def workers_see_the_drivers_directory(ray: Any) -> Any:
    @ray.remote
    def where() -> str:
        return os.getcwd()

    return ray.get(where.remote()) == os.getcwd()


@program
def workers_have_the_drivers_path(ray: Any) -> Any:
    @ray.remote
    def find() -> bool:
        import parity_programs

        return parity_programs.DEFAULT_INIT["num_cpus"] == 4

    return ray.get(find.remote())


@program
def a_node_address(ray: Any) -> Any:
    return sub(ray, "util").get_node_ip_address().count(".") == 3


@program
def a_timeline(ray: Any) -> Any:
    @ray.remote
    def traced() -> None: ...

    ray.get(traced.remote())

    def seen() -> bool:
        return any("traced" in str(event.get("name")) for event in ray.timeline())

    found = until(seen)
    [event] = [e for e in ray.timeline() if "traced" in str(e.get("name"))][:1]
    return [found, event["ph"], sorted({"cat", "name", "pid", "tid", "ts", "dur", "ph"} - set(event))]


@program(init=None)
def before_init(ray: Any) -> Any:
    return [ray.is_initialized(), kind(ray.cluster_resources) in ("RaySystemError", "no error")]


@program(init=None, timeout=60)
def init_shutdown_init(ray: Any) -> Any:
    found = []
    for cpus in (1, 2):
        ray.init(num_cpus=cpus, log_to_driver=False)

        @ray.remote
        def f() -> int:
            return cpus

        found.append([ray.cluster_resources()["CPU"], ray.get(f.remote()), ray.is_initialized()])
        ray.shutdown()
        ray.shutdown()
        found.append(ray.is_initialized())
    return found


@program(init=None, timeout=60)
def init_as_a_context_manager(ray: Any) -> Any:
    with ray.init(num_cpus=1, log_to_driver=False) as context:
        inside = [ray.is_initialized(), hasattr(context, "address_info")]
    return [inside, ray.is_initialized()]


@program(init=None, timeout=60)
def first_use_starts_the_runtime(ray: Any) -> Any:
    @ray.remote
    def f() -> int:
        return 5

    return [ray.is_initialized(), ray.get(f.remote()), ray.is_initialized()]


@program(init=None)
def bad_init_arguments(ray: Any) -> Any:
    found = {
        "num_cpus": kind(ray.init, num_cpus=-1),
        "namespace": kind(ray.init, namespace=5),
        "address": kind(ray.init, address="nonsense"),
    }
    ray.shutdown()
    return found


@program(init=None)
@differs("raynb raises where Ray asserts", expected=["ValueError", "RuntimeError"])
def bad_init_keywords(ray: Any) -> Any:
    return [kind(ray.init, resources={"CPU": 4}), kind(ray.init, colour="red")]


@program(init={"num_cpus": 2, "num_gpus": 2}, timeout=60)
def gpus_are_handed_out_by_number(ray: Any) -> Any:
    first, second = Gate(), Gate()

    @ray.remote(num_gpus=1, num_cpus=0)
    def take(mine: Gate, other: Gate) -> list:
        mine.open()
        other.wait()
        return [ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")]

    taken = ray.get([take.remote(first, second), take.remote(second, first)])
    return sorted(taken, key=str)


@program(init={"num_cpus": 2, "num_gpus": 2}, timeout=60)
def fractions_of_a_gpu_share_it(ray: Any) -> Any:
    @ray.remote(num_gpus=0.5, num_cpus=0)
    class Half:
        def look(self) -> list:
            return ray.get_gpu_ids()

    halves = [Half.remote() for _ in range(4)]
    return sorted(ray.get([half.look.remote() for half in halves]))


@program(init={"num_cpus": 2, "num_gpus": 2})
def no_gpu_no_device(ray: Any) -> Any:
    @ray.remote
    def look() -> Any:
        return [ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")]

    return ray.get(look.remote())


@program(init={"num_cpus": 1}, timeout=60)
def nested_tasks_on_one_cpu(ray: Any) -> Any:
    @ray.remote
    def down(n: int) -> int:
        return n if n == 0 else 1 + ray.get(down.remote(n - 1))

    return ray.get(down.remote(5))


@program(init={"num_cpus": 1})
def waiting_gives_the_cpu_back(ray: Any) -> Any:
    @ray.remote
    def inner() -> int:
        return 1

    @ray.remote
    def outer() -> int:
        refs = [inner.remote() for _ in range(3)]
        ready, _ = ray.wait(refs, num_returns=3)
        return len(ready)

    return ray.get(outer.remote())


@program(init={"num_cpus": 0})
def a_default_actor_needs_a_cpu_to_be_placed(ray: Any) -> Any:
    @ray.remote
    class Actor:
        def hello(self) -> str:
            return "hello"

    waiting = Actor.remote()
    started = Actor.options(num_cpus=0).remote()
    hello = ray.get(started.hello.remote())
    return [hello, len(ray.wait([waiting.hello.remote()], timeout=0.5)[0])]
