"""ipyparallel: a controller and engines, with a load-balanced view."""

from __future__ import annotations

from itertools import product
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np

from benchmarks.workloads import problems as p


def _calls(urls: list[str], at_once: int) -> list[int]:
    with ThreadPool(at_once) as threads:  # an event loop runs in the engine already
        return threads.map(p.fetch, urls, chunksize=1)


def _local_gradient(weights: Any, names: list[str]) -> list[Any]:
    import builtins

    return [p.gradient(weights, *builtins.shards[name]) for name in names]  # type: ignore[attr-defined]


def _keep_shards(shards: dict[str, Any]) -> None:
    import builtins

    builtins.shards = shards  # type: ignore[attr-defined]


class Ipyparallel:
    """`ipyparallel.Cluster`."""

    def start(self, workers: int) -> None:
        import ipyparallel

        self.workers = workers
        self.cluster = ipyparallel.Cluster(n=workers, log_level=50)
        self.cluster.start_cluster_sync()
        self.client = self.cluster.connect_client_sync()
        self.client.wait_for_engines(workers, interactive=False, timeout=60)
        self.view = self.client.load_balanced_view()
        self.view.map_sync(abs, range(100))

    def stop(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()

    def grid_search(self, d: p.Data) -> Any:
        candidates = list(product(d.grid["C"], d.grid["gamma"]))
        count, (cs, gammas) = len(candidates), zip(*candidates)
        return self.view.map_sync(p.fit, [d.X] * count, [d.y] * count, cs, gammas)

    def frames(self, d: p.Data) -> Any:
        import pandas as pd

        pieces = [piece for _, piece in d.frame.groupby(d.frame["key"] % (4 * self.workers))]
        groups = self.view.map_sync(p.grouped, pieces)
        totals = self.view.map_sync(p.joined, pieces, [d.table] * len(pieces))
        return pd.concat(groups), pd.concat(totals)["total"].sum()

    def files(self, d: p.Data) -> Any:
        return self.view.map_sync(p.features, d.paths)

    def images(self, d: p.Data) -> Any:
        parts = np.array_split(d.stack, min(4 * self.workers, len(d.stack)))
        return np.concatenate(list(self.view.map_sync(p.filtered, parts)))

    def small_tasks(self, d: p.Data) -> Any:
        return sum(self.view.map_sync(p.draw, range(d.tasks)))

    def chunks(self, d: p.Data) -> Any:
        return sum(self.view.map_sync(p.draw, range(d.tasks), chunksize=1000))

    def shuffle(self, d: p.Data) -> Any:
        parts = range(d.parts)
        made = self.view.map_sync(p.mapped, parts, [d.rows] * d.parts, [d.parts] * d.parts)
        return self.view.map_sync(p.reduced, *made)

    def matrix(self, d: p.Data) -> Any:
        starts = range(0, d.side, d.block)
        pairs = [(d.a[at : at + d.block], d.b[:, by : by + d.block]) for at in starts for by in starts]
        blocks = list(self.view.map_sync(p.product, *zip(*pairs)))
        return np.block([blocks[at : at + len(starts)] for at in range(0, len(blocks), len(starts))])

    def parameters(self, d: p.Data) -> Any:
        engines, weights = list(self.client), np.zeros(50)
        names = [[str(at) for at in range(d.shards)][at :: len(engines)] for at in range(len(engines))]
        for one, mine in zip(engines, names):
            one.apply_sync(_keep_shards, {name: d.data[int(name)] for name in mine})
        for _ in range(d.steps):
            sent = [one.apply_async(_local_gradient, weights, mine) for one, mine in zip(engines, names)]
            weights = weights - np.mean([part for result in sent for part in result.get()], axis=0)
        return weights

    def level(self, d: p.Data) -> Any:
        world = p.regions(d)
        for step in range(d.steps):
            halves = [half for region in world for half in p.halves(region)]
            parts = list(self.view.map_sync(p.walked, halves, [step] * len(halves)))
            world = [np.concatenate(parts[at : at + 2]) for at in range(0, len(parts), 2)]
        return world

    def calls(self, d: p.Data) -> Any:
        parts = [d.urls[at :: self.workers] for at in range(self.workers)]
        found = list(self.view.map_sync(_calls, parts, [p.at_once(self.workers)] * self.workers))
        return [found[at % self.workers][at // self.workers] for at in range(len(d.urls))]
