"""`multiprocessing.Pool`."""

from __future__ import annotations

import multiprocessing
from itertools import product
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np

from benchmarks.workloads import problems as p


class Multiprocessing:
    """A pool of forked processes."""

    def start(self, workers: int) -> None:
        self.workers = workers
        self.pool = multiprocessing.get_context("fork").Pool(workers)
        self.pool.map(abs, range(100))

    def stop(self) -> None:
        self.pool.close()
        self.pool.join()

    def grid_search(self, d: p.Data) -> Any:
        candidates = product(d.grid["C"], d.grid["gamma"])
        return self.pool.starmap(p.fit, [(d.X, d.y, C, gamma) for C, gamma in candidates], chunksize=1)

    def frames(self, d: p.Data) -> Any:
        import pandas as pd

        pieces = [piece for _, piece in d.frame.groupby(d.frame["key"] % (4 * self.workers))]
        groups = self.pool.map(p.grouped, pieces, chunksize=1)
        totals = self.pool.starmap(p.joined, [(piece, d.table) for piece in pieces], chunksize=1)
        return pd.concat(groups), pd.concat(totals)["total"].sum()

    def files(self, d: p.Data) -> Any:
        return self.pool.map(p.features, d.paths, chunksize=1)

    def images(self, d: p.Data) -> Any:
        parts = np.array_split(d.stack, min(4 * self.workers, len(d.stack)))
        return np.concatenate(self.pool.map(p.filtered, parts, chunksize=1))

    def small_tasks(self, d: p.Data) -> Any:
        return sum(self.pool.map(p.draw, range(d.tasks), chunksize=1))

    def chunks(self, d: p.Data) -> Any:
        return sum(self.pool.map(p.draw, range(d.tasks)))

    def shuffle(self, d: p.Data) -> Any:
        made = self.pool.starmap(p.mapped, [(number, d.rows, d.parts) for number in range(d.parts)], chunksize=1)
        return self.pool.starmap(p.reduced, list(zip(*made)), chunksize=1)

    def matrix(self, d: p.Data) -> Any:
        starts = range(0, d.side, d.block)
        pairs = [(d.a[at : at + d.block], d.b[:, by : by + d.block]) for at in starts for by in starts]
        blocks = self.pool.starmap(p.product, pairs, chunksize=1)
        return np.block([blocks[at : at + len(starts)] for at in range(0, len(blocks), len(starts))])

    def parameters(self, d: p.Data) -> Any:
        weights = np.zeros(50)
        for _ in range(d.steps):
            weights -= np.mean(self.pool.starmap(p.gradient, [(weights, X, y) for X, y in d.data]), axis=0)
        return weights

    def level(self, d: p.Data) -> Any:
        world = p.regions(d)
        for step in range(d.steps):
            parts = self.pool.starmap(p.walked, [(half, step) for region in world for half in p.halves(region)])
            world = [np.concatenate(parts[at : at + 2]) for at in range(0, len(parts), 2)]
        return world

    def calls(self, d: p.Data) -> Any:
        with ThreadPool(p.AT_ONCE) as threads:
            return threads.map(p.fetch, d.urls, chunksize=1)
