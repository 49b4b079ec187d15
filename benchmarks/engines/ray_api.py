"""raynb and Ray: one class, because the one is written to be the other's drop-in."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks import work
from benchmarks.engines.base import Adapter


class RayApi(Adapter):
    """Drives any module with Ray's names."""

    module = ""
    spill_option = "object_spilling_directory"

    def load(self) -> None:
        self.ray: Any = importlib.import_module(self.module)

    def options(self, workers: int) -> dict[str, Any]:
        found: dict[str, Any] = {"num_cpus": workers}
        if self.store_memory:
            found["object_store_memory"] = self.store_memory
        if self.spill_folder:
            found[self.spill_option] = self.spill_folder
        return found

    def start(self, workers: int) -> None:
        self.ray.init(**self.options(workers))
        ray = self.ray
        self._nothing = ray.remote(work.nothing)
        self._touch = ray.remote(work.first_and_size)
        self._counter = ray.remote(num_cpus=0)(work.Counter)
        self._length = ray.remote(work.length_of)
        self._array = ray.remote(work.array_of)
        inner = self._nothing

        def outer() -> bytes:
            value: bytes = ray.get(inner.remote())
            return value

        self._outer = ray.remote(outer)

    def stop(self) -> None:
        self.ray.shutdown()

    def task(self) -> None:
        self.ray.get(self._nothing.remote())

    def tasks(self, count: int) -> None:
        remote = self._nothing.remote
        self.ray.get([remote() for _ in range(count)])

    def nested(self, count: int) -> None:
        remote = self._outer.remote
        self.ray.get([remote() for _ in range(count)])

    def wait_each(self, count: int) -> None:
        remote, wait = self._nothing.remote, self.ray.wait
        left = [remote() for _ in range(count)]
        while left:
            _, left = wait(left)

    def wait_all(self, count: int) -> None:
        remote = self._nothing.remote
        self.ray.wait([remote() for _ in range(count)], num_returns=count)

    def make_actor(self) -> Any:
        actor = self._counter.remote()
        self.ray.get(actor.add.remote())
        return actor

    def call(self, actor: Any) -> None:
        self.ray.get(actor.add.remote())

    def calls(self, actor: Any, count: int) -> None:
        self.ray.get([actor.add.remote() for _ in range(count)])

    def put(self, value: Any) -> Any:
        return self.ray.put(value)

    def get(self, ref: Any) -> Any:
        return self.ray.get(ref)

    def with_argument(self, ref: Any) -> None:
        self.ray.get(self._touch.remote(ref))

    def map_length(self, refs: list[Any]) -> None:
        self.ray.get([self._length.remote(ref) for ref in refs])

    def result_of(self, size: int) -> Any:
        return self.ray.get(self._array.remote(size))


class Raynb(RayApi):
    """The embedded engine."""

    label = "raynb"
    package = module = "raynb"
    spill_option = "spill_directory"

    def version(self) -> str:
        return str(getattr(self.ray, "__version__", "") or super().version())


class Ray(RayApi):
    """Ray on one machine, with the dashboard off, which makes it start faster and weigh less."""

    label = "Ray"
    package = module = "ray"
    note = "dashboard off"

    def options(self, workers: int) -> dict[str, Any]:
        return {
            **super().options(workers),
            "address": "local",  # never another run's cluster
            "include_dashboard": False,
            "logging_level": 40,  # ERROR; the logging module is not imported before the clock starts
            "log_to_driver": False,
        }
