"""Habits of programs written for Ray: its older names, generators with fixed returns, classes used as values."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import warnings
from typing import Any

from parity_programs import differs, program
from parity_programs._tools import error, family, first_error, kind, says, sub, until


@program
def an_actor_class_shows_its_attributes(ray: Any) -> Any:
    class Base:
        LIMIT = 6

    @ray.remote
    class Shelf(Base):
        SIZE = 3

        @staticmethod
        def area(width: int) -> int:
            return 2 * width

        @classmethod
        def size(cls) -> int:
            return cls.SIZE

        def sizes(self) -> list:
            return [Shelf.SIZE, Shelf.LIMIT, Shelf.area(2), Shelf.size()]

    outside = [Shelf.SIZE, Shelf.LIMIT, Shelf.area(2), Shelf.size(), hasattr(Shelf, "colour")]
    return [outside, ray.get(Shelf.remote().sizes.remote())]


@program
def an_attribute_does_not_hide_a_method(ray: Any) -> Any:
    @ray.remote
    class Door:
        def __init__(self) -> None:
            self.is_open = True  # type: ignore[method-assign,assignment]
            self.colour = lambda: "changed"  # type: ignore[method-assign]

        def is_open(self) -> Any:
            return self.is_open

        def colour(self) -> str:
            return "as defined"

    door = Door.remote()
    return ray.get([door.is_open.remote(), door.colour.remote()])


@program
def one_return_of_a_generator(ray: Any) -> Any:
    def items(count: int) -> Any:
        yield from list(range(count))

    class Source:
        def items(self, count: int) -> Any:
            yield from list(range(count))

    source = ray.remote(Source).remote()
    found = []
    for call in (ray.remote(max_retries=0)(items), source.items):
        one = call.options(num_returns=1)
        found.append([ray.get(one.remote(1)), kind(ray.get, one.remote(0))])
    return found


@program
def yields_before_an_error_are_kept(ray: Any) -> Any:
    @ray.remote(num_returns=3, max_retries=0)
    def breaks() -> Any:
        yield "first"
        raise KeyError("second")

    first, *rest = breaks.remote()
    return [ray.get(first), [family(error(ray.get, ref), ray.exceptions.RayTaskError, KeyError) for ref in rest]]


@program
@differs("Ray does not retry a generator with a fixed number of returns that fails after a yield", [2, 2])
def fixed_yields_are_retried_together(ray: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Tries:
        def __init__(self) -> None:
            self.count = 0

        def add(self) -> int:
            self.count += 1
            return self.count

    @ray.remote(num_returns=2, max_retries=1, retry_exceptions=[KeyError])
    def breaks_once(tries: Any) -> Any:
        now = ray.get(tries.add.remote())
        yield now
        if now == 1:
            raise KeyError("once")
        yield now

    return ray.get(breaks_once.remote(Tries.remote()))


@program
def what_depends_on_a_crash(ray: Any) -> Any:
    @ray.remote
    class Mortal:
        def leave(self) -> None:
            os._exit(1)

    @ray.remote(max_retries=0)
    def crash() -> None:
        os._exit(1)

    @ray.remote
    class Sink:
        def take(self, value: Any) -> None:
            pass

    @ray.remote
    def use(value: Any) -> None:
        pass

    lost, crashed, sink = Mortal.remote().leave.remote(), crash.remote(), Sink.remote()
    x = ray.exceptions
    kinds = (x.RayTaskError, x.RayActorError, x.WorkerCrashedError)
    refs = [lost, crashed, use.remote(lost), use.remote(crashed), sink.take.remote(lost), use.remote(use.remote(lost))]
    caught = [error(ray.get, ref) for ref in refs]
    return [[family(one, *kinds) for one in caught], says(caught[3], "use()", "input arguments for this task")]


@program
def a_killed_actor_says_so(ray: Any) -> Any:
    @ray.remote
    class Mortal:
        def ping(self) -> None:
            pass

    mortal = Mortal.remote()
    ray.get(mortal.ping.remote())
    ray.kill(mortal)
    caught = first_error(lambda: ray.get(mortal.ping.remote()))
    return [family(caught, ray.exceptions.ActorDiedError), says(caught, "killed by `ray.kill`")]


@program
def futures_of_refs(ray: Any) -> Any:
    @ray.remote(max_retries=0)
    def divide(by: int) -> float:
        return 1 / by

    async def main() -> list:
        future = divide.remote(2).as_future()
        try:
            await divide.remote(0).as_future()
        except ZeroDivisionError as caught:
            return [isinstance(future, asyncio.Future), await future, family(caught, ray.exceptions.RayTaskError)]
        return []

    seen: list = []
    ref = divide.remote(4)
    ref._on_completed(seen.append)
    return [asyncio.run(main()), until(lambda: seen), seen]


@program
def ids_as_objects(ray: Any) -> Any:
    def same() -> list:
        context = ray.get_runtime_context()
        found = context.get()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old = [context.job_id.hex() == context.get_job_id(), context.node_id.hex() == context.get_node_id()]
        return [
            *old,
            found["job_id"].hex() == context.get_job_id() == ray.put(1).job_id().hex(),
            found["node_id"].hex() == context.get_node_id(),
            "task_id" in found and found["task_id"].hex() == context.get_task_id(),
        ]

    def advised() -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ray.get_runtime_context().job_id  # reading it warns
        return any("Use get_job_id() instead" in str(one.message) for one in caught)

    return [same(), ray.get(ray.remote(same).remote()), advised()]


@program(init=None, timeout=60)
def devices_that_were_named_before(ray: Any) -> Any:
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = "7,GPU-b"
    try:
        with ray.init(num_cpus=1, num_gpus=2, log_to_driver=False):

            def look() -> Any:
                ids = ray.get_runtime_context().get_accelerator_ids()
                return [ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"], ids["GPU"], ids["neuron_cores"]]

            one = ray.get(ray.remote(num_gpus=1)(look).remote())
            both = ray.get(ray.remote(num_gpus=2)(look).remote())
            return [one, sorted(both[0])]
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@program(init=None, timeout=60)
def memory_in_whole_bytes(ray: Any) -> Any:
    with ray.init(num_cpus=1, _memory=2.2, log_to_driver=False):

        @ray.remote
        def small() -> str:
            return "ran"

        total = ray.cluster_resources()["memory"]
        fits = ray.get(small.options(memory=2.9).remote())
        waits = kind(lambda: ray.get(small.options(memory=3.1).remote(), timeout=0.5))
        return [total, fits, waits]


@program
def shares_of_devices(ray: Any) -> Any:
    def submit(**amounts: float) -> str:
        return kind(lambda: ray.remote(resources=amounts)(lambda: None).remote())

    return [submit(TPU=2.5), submit(neuron_cores=1.5), submit(HPU=2.0)]


@program
def what_in_a_class_does_not_pickle(ray: Any) -> Any:
    lock = threading.Lock()

    class Holder:
        def take(self) -> Any:
            return lock

    good, found = sub(ray, "util.check_serialize").inspect_serializability(Holder, print_file=io.StringIO())
    return [good, [one.obj is lock for one in found]]


@program
def generators_that_are_none(ray: Any) -> Any:
    return [kind(lambda count=count: ray.remote(num_returns=count)(lambda: [1])) for count in ("dynamic", "streaming")]
