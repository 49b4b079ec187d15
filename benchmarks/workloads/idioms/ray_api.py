"""raynb and Ray: one API, so one idiom; they differ where raynb has a helper of its own."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

import numpy as np

from benchmarks.workloads import problems as p


class Raynb:
    """raynb's embedded engine."""

    pool: Any = None

    def start(self, workers: int) -> None:
        import raynb as ray
        import raynb.util.joblib as backend

        self.ray: Any = ray
        self.workers = workers
        ray.init(num_cpus=workers, log_to_driver=False)
        self._warm(backend)

    def _warm(self, backend: Any) -> None:
        backend.register_ray()
        nap = self.ray.remote(_nap)
        self.ray.get([nap.remote() for _ in range(self.workers)])

    def stop(self) -> None:
        self.ray.shutdown()

    def _pool(self) -> Any:
        """Returns the pool that the warm-up has started, as `multiprocessing`'s is when the clock starts."""
        if self.pool is None:
            self.pool = importlib.import_module(f"{self.ray.__name__}.util.multiprocessing").Pool(self.workers)
        return self.pool

    def grid_search(self, d: p.Data) -> Any:
        import joblib
        from sklearn.model_selection import GridSearchCV
        from sklearn.svm import SVC

        with joblib.parallel_backend("ray", n_jobs=self.workers):
            search = GridSearchCV(SVC(), d.grid, cv=3, refit=False)
            return search.fit(d.X, d.y).cv_results_["mean_test_score"]

    def frames(self, d: p.Data) -> Any:
        from raynb.util import frames

        groups = frames.groupby(d.frame, "key").apply(p.of_group)
        return groups, frames.map_batches(d.frame, p.joined, fn_args=(d.table,))["total"].sum()

    def files(self, d: p.Data) -> Any:
        features = self.ray.remote(p.features)
        return self.ray.get([features.remote(path) for path in d.paths])

    def images(self, d: p.Data) -> Any:
        filtered = self.ray.remote(p.filtered)
        parts = np.array_split(d.stack, min(4 * self.workers, len(d.stack)))
        return np.concatenate(self.ray.get([filtered.remote(part) for part in parts]))

    def small_tasks(self, d: p.Data) -> Any:
        draw = self.ray.remote(p.draw)
        return sum(self.ray.get([draw.remote(seed) for seed in range(d.tasks)]))

    def chunks(self, d: p.Data) -> Any:
        return sum(self._pool().map(p.draw, range(d.tasks)))

    def shuffle(self, d: p.Data) -> Any:
        mapped = self.ray.remote(p.mapped).options(num_returns=d.parts)
        reduced = self.ray.remote(p.reduced)
        made = [mapped.remote(number, d.rows, d.parts) for number in range(d.parts)]
        return self.ray.get([reduced.remote(*pieces) for pieces in zip(*made)])

    def matrix(self, d: p.Data) -> Any:
        product, starts = self.ray.remote(p.product), range(0, d.side, d.block)
        rows = [self.ray.put(d.a[at : at + d.block]) for at in starts]
        columns = [self.ray.put(d.b[:, at : at + d.block]) for at in starts]
        blocks = [[product.remote(row, column) for column in columns] for row in rows]
        return np.block([self.ray.get(row) for row in blocks])

    def parameters(self, d: p.Data) -> Any:
        ray = self.ray

        @ray.remote
        class Server:
            def __init__(self) -> None:
                self.weights = np.zeros(50)

            def apply(self, *gradients: Any) -> Any:
                self.weights = self.weights - np.mean(gradients, axis=0)
                return self.weights

        server, gradient = Server.remote(), ray.remote(p.gradient)
        shards = [(ray.put(X), ray.put(y)) for X, y in d.data]
        weights = ray.put(np.zeros(50))
        for _ in range(d.steps):
            weights = server.apply.remote(*[gradient.remote(weights, X, y) for X, y in shards])
        return ray.get(weights)

    def agents(self, d: p.Data) -> Any:
        ray = self.ray
        walked = ray.remote(p.walked)

        @ray.remote
        def moved(region: Any, step: int) -> Any:
            return np.concatenate(ray.get([walked.remote(half, step) for half in p.halves(region)]))

        world = [ray.put(region) for region in p.regions(d)]
        for step in range(d.steps):
            world = [moved.remote(region, step) for region in world]
        return ray.get(world)

    def level(self, d: p.Data) -> Any:
        walked, world = self.ray.remote(p.walked), p.regions(d)
        for step in range(d.steps):
            parts = self.ray.get([walked.remote(half, step) for region in world for half in p.halves(region)])
            world = [np.concatenate(parts[at : at + 2]) for at in range(0, len(parts), 2)]
        return world

    def calls(self, d: p.Data) -> Any:
        ray = self.ray

        @ray.remote
        class Caller:
            async def fetch(self, url: str) -> int:
                return await p.fetch_async(url)

        caller = Caller.options(max_concurrency=p.AT_ONCE).remote()
        return ray.get([caller.fetch.remote(url) for url in d.urls])


class Ray(Raynb):
    """Ray itself, without its dashboard."""

    def start(self, workers: int) -> None:
        os.environ["RAY_AUTH_MODE"] = "disabled"
        import ray
        import ray.util.joblib as backend

        self.ray = ray
        self.workers = workers
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, object_store_memory=6 << 30)
        self._warm(backend)

    def frames(self, d: p.Data) -> Any:
        grouped, joined = self.ray.remote(p.grouped), self.ray.remote(p.joined)
        table, parts = self.ray.put(d.table), 4 * self.workers
        pieces = [self.ray.put(piece) for _, piece in d.frame.groupby(d.frame["key"] % parts)]
        groups = self.ray.get([grouped.remote(piece) for piece in pieces])
        totals = self.ray.get([joined.remote(piece, table) for piece in pieces])
        import pandas as pd

        return pd.concat(groups), pd.concat(totals)["total"].sum()


def _nap() -> None:
    time.sleep(0.3)  # so that every worker starts and gets one
