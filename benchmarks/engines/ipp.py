"""ipyparallel: a controller and engines as processes of this machine.

It has no object store; a value "put" is pushed into the namespace of one engine and "got" by
pulling it back. An actor is an object in the namespace of one engine.
"""

from __future__ import annotations

from typing import Any

from benchmarks import work
from benchmarks.engines.base import Adapter


def _make_counter() -> None:
    global _counter
    _counter = work.Counter()


def _add() -> int:
    return _counter.add()


_counter: work.Counter = work.Counter()


class Ipyparallel(Adapter):
    """`ipyparallel.Cluster` with its load-balanced view."""

    label = "ipyparallel"
    package = "ipyparallel"
    note = "put and get: push to and pull from one engine; actor: an object on one engine"

    def load(self) -> None:
        import ipyparallel

        self.ipp: Any = ipyparallel

    def start(self, workers: int) -> None:
        self.cluster = self.ipp.Cluster(n=workers, log_level=50)
        self.cluster.start_cluster_sync()
        self.client = self.cluster.connect_client_sync()
        self.client.wait_for_engines(workers, interactive=False, timeout=60)
        self.balanced = self.client.load_balanced_view()
        self.one = self.client[self.client.ids[0]]
        self._names = 0

    def stop(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()

    def task(self) -> None:
        self.balanced.apply_sync(work.nothing)

    def tasks(self, count: int) -> None:
        apply = self.balanced.apply_async
        for result in [apply(work.nothing) for _ in range(count)]:
            result.get()
        self._forget()

    def wait_each(self, count: int) -> None:
        apply = self.balanced.apply_async
        import concurrent.futures

        for _ in concurrent.futures.as_completed([apply(work.nothing) for _ in range(count)]):
            pass
        self._forget()

    def wait_all(self, count: int) -> None:
        apply = self.balanced.apply_async
        self.client.wait([apply(work.nothing) for _ in range(count)])
        self._forget()

    def _forget(self) -> None:
        # The client keeps every result for ever otherwise, and slows down.
        self.client.purge_local_results("all")

    def make_actor(self) -> Any:
        self.one.apply_sync(_make_counter)
        return self.one

    def call(self, actor: Any) -> None:
        actor.apply_sync(_add)

    def calls(self, actor: Any, count: int) -> None:
        for result in [actor.apply_async(_add) for _ in range(count)]:
            result.get()
        self._forget()

    def put(self, value: Any) -> Any:
        # One name again and again, so that the engine drops the value before.
        self.one.push({"benchmark_value": value}, block=True)
        return "benchmark_value"

    def get(self, ref: Any) -> Any:
        return self.one.pull(ref, block=True)

    def with_argument(self, ref: Any) -> None:
        self.one.apply_sync(work.first_and_size, self.ipp.Reference(ref))
