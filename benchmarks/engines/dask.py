"""Dask distributed: a scheduler and workers as processes of this machine."""

from __future__ import annotations

from typing import Any

from benchmarks import work
from benchmarks.engines.base import Adapter


def _outer() -> bytes:
    """Waits for a task of its own, leaving the worker's thread pool meanwhile (Dask's idiom)."""
    from distributed import worker_client

    with worker_client() as client:
        value: bytes = client.submit(work.nothing, pure=False).result()
        return value


class Dask(Adapter):
    """`distributed.LocalCluster` with one thread a worker process."""

    label = "Dask"
    package = "distributed"
    note = "one thread a worker, dashboard off"

    def load(self) -> None:
        import distributed

        self.dask: Any = distributed

    def start(self, workers: int) -> None:
        self.cluster = self.dask.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        )
        self.client = self.dask.Client(self.cluster)

    def stop(self) -> None:
        self.client.close()
        self.cluster.close()

    def task(self) -> None:
        self.client.submit(work.nothing, pure=False).result()

    def tasks(self, count: int) -> None:
        submit = self.client.submit
        self.client.gather([submit(work.nothing, pure=False) for _ in range(count)])

    def nested(self, count: int) -> None:
        submit = self.client.submit
        self.client.gather([submit(_outer, pure=False) for _ in range(count)])

    def wait_each(self, count: int) -> None:
        submit = self.client.submit
        for _ in self.dask.as_completed([submit(work.nothing, pure=False) for _ in range(count)]):
            pass

    def wait_all(self, count: int) -> None:
        submit = self.client.submit
        self.dask.wait([submit(work.nothing, pure=False) for _ in range(count)])

    def make_actor(self) -> Any:
        actor = self.client.submit(work.Counter, actor=True, pure=False).result()
        actor.add().result()
        return actor

    def call(self, actor: Any) -> None:
        actor.add().result()

    def calls(self, actor: Any, count: int) -> None:
        for future in [actor.add() for _ in range(count)]:
            future.result()

    def put(self, value: Any) -> Any:
        return self.client.scatter(value, hash=False)

    def get(self, ref: Any) -> Any:
        return ref.result()

    def with_argument(self, ref: Any) -> None:
        self.client.submit(work.first_and_size, ref, pure=False).result()
