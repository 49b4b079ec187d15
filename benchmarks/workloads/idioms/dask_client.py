"""Dask: collections where it has them, else futures of `distributed.Client`."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads import problems as p


def _moved(region: Any, step: int) -> Any:
    from distributed import worker_client

    with worker_client() as client:
        halves = client.map(p.walked, p.halves(region), seed=step, pure=False)
        return np.concatenate(client.gather(halves))


class _Server:
    def __init__(self) -> None:
        self.weights = np.zeros(50)

    def apply(self, gradients: Any) -> Any:
        self.weights = self.weights - np.mean(gradients, axis=0)
        return self.weights


class Dask:
    """A `LocalCluster` with one thread in each worker process."""

    def start(self, workers: int) -> None:
        from distributed import Client, LocalCluster

        self.workers = workers
        self.cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50)
        self.client = Client(self.cluster)
        self.client.gather(self.client.map(abs, range(100)))

    def stop(self) -> None:
        self.client.close()
        self.cluster.close()

    def grid_search(self, d: p.Data) -> Any:
        import joblib
        from sklearn.model_selection import GridSearchCV
        from sklearn.svm import SVC

        with joblib.parallel_backend("dask"):
            search = GridSearchCV(SVC(), d.grid, cv=3, refit=False, n_jobs=-1)
            return search.fit(d.X, d.y).cv_results_["mean_test_score"]

    def frames(self, d: p.Data) -> Any:
        import dask.dataframe as dd

        frame = dd.from_pandas(d.frame, npartitions=4 * self.workers)
        meta = {"top": float, "median": float, "rows": float}
        groups = frame.groupby("key")[["x"]].apply(p.of_group, meta=meta).compute()
        return groups, frame.map_partitions(p.joined, d.table, meta={"total": float})["total"].sum().compute()

    def files(self, d: p.Data) -> Any:
        return self.client.gather(self.client.map(p.features, d.paths))

    def images(self, d: p.Data) -> Any:
        import dask.array as da

        stack = da.from_array(d.stack, chunks=(max(1, len(d.stack) // (4 * self.workers)), -1, -1))
        return stack.map_blocks(p.filtered, dtype=d.stack.dtype, meta=d.stack[:0]).compute()

    def small_tasks(self, d: p.Data) -> Any:
        return sum(self.client.gather(self.client.map(p.draw, range(d.tasks), batch_size=1000)))

    def chunks(self, d: p.Data) -> Any:
        import dask.bag as db

        return db.from_sequence(range(d.tasks)).map(p.draw).sum().compute()

    def shuffle(self, d: p.Data) -> Any:
        from dask import compute, delayed

        made = [delayed(p.mapped, nout=d.parts)(number, d.rows, d.parts) for number in range(d.parts)]
        return compute(*[delayed(p.reduced)(*pieces) for pieces in zip(*made)])

    def matrix(self, d: p.Data) -> Any:
        import dask.array as da

        a, b = (da.from_array(matrix, chunks=d.block) for matrix in (d.a, d.b))
        return (a @ b).compute()

    def parameters(self, d: p.Data) -> Any:
        server = self.client.submit(_Server, actor=True).result()
        shards, weights = [self.client.scatter(list(pair)) for pair in d.data], np.zeros(50)
        for _ in range(d.steps):
            gradients = [self.client.submit(p.gradient, weights, X, y) for X, y in shards]
            weights = server.apply(self.client.gather(gradients)).result()
        return weights

    def agents(self, d: p.Data) -> Any:
        world = self.client.scatter(p.regions(d))
        for step in range(d.steps):
            world = [self.client.submit(_moved, region, step) for region in world]
        return self.client.gather(world)

    def level(self, d: p.Data) -> Any:
        world = p.regions(d)
        for step in range(d.steps):
            halves = [half for region in world for half in p.halves(region)]
            parts = self.client.gather(self.client.map(p.walked, halves, seed=step, pure=False))
            world = [np.concatenate(parts[at : at + 2]) for at in range(0, len(parts), 2)]
        return world

    def calls(self, d: p.Data) -> Any:
        parts = [d.urls[at :: self.workers] for at in range(self.workers)]
        found = self.client.gather(self.client.map(p.fetch_all, parts, at_once=p.at_once(self.workers)))
        return [found[at % self.workers][at // self.workers] for at in range(len(d.urls))]
