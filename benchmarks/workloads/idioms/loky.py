"""joblib with its default backend, loky."""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import Parallel, delayed

from benchmarks.workloads import problems as p


class Joblib:
    """``Parallel(n_jobs=…)``."""

    def start(self, workers: int) -> None:
        self.workers = workers
        Parallel(n_jobs=workers)(delayed(abs)(number) for number in range(100))

    def stop(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    def grid_search(self, d: p.Data) -> Any:
        from sklearn.model_selection import GridSearchCV
        from sklearn.svm import SVC

        search = GridSearchCV(SVC(), d.grid, cv=3, refit=False, n_jobs=self.workers)
        return search.fit(d.X, d.y).cv_results_["mean_test_score"]

    def frames(self, d: p.Data) -> Any:
        import pandas as pd

        pieces = [piece for _, piece in d.frame.groupby(d.frame["key"] % (4 * self.workers))]
        with Parallel(n_jobs=self.workers) as parallel:
            groups = parallel(delayed(p.grouped)(piece) for piece in pieces)
            totals = parallel(delayed(p.joined)(piece, d.table) for piece in pieces)
        return pd.concat(groups), pd.concat(totals)["total"].sum()

    def files(self, d: p.Data) -> Any:
        return Parallel(n_jobs=self.workers)(delayed(p.features)(path) for path in d.paths)

    def images(self, d: p.Data) -> Any:
        parts = np.array_split(d.stack, min(4 * self.workers, len(d.stack)))
        return np.concatenate(Parallel(n_jobs=self.workers)(delayed(p.filtered)(part) for part in parts))

    def small_tasks(self, d: p.Data) -> Any:
        return sum(Parallel(n_jobs=self.workers, batch_size=1)(delayed(p.draw)(seed) for seed in range(d.tasks)))

    def chunks(self, d: p.Data) -> Any:
        return sum(Parallel(n_jobs=self.workers)(delayed(p.draw)(seed) for seed in range(d.tasks)))

    def shuffle(self, d: p.Data) -> Any:
        with Parallel(n_jobs=self.workers) as parallel:
            made = parallel(delayed(p.mapped)(number, d.rows, d.parts) for number in range(d.parts))
            return parallel(delayed(p.reduced)(*pieces) for pieces in zip(*made))

    def matrix(self, d: p.Data) -> Any:
        starts = range(0, d.side, d.block)
        with Parallel(n_jobs=self.workers) as parallel:
            blocks = parallel(
                delayed(p.product)(d.a[at : at + d.block], d.b[:, by : by + d.block]) for at in starts for by in starts
            )
        return np.block([blocks[at : at + len(starts)] for at in range(0, len(blocks), len(starts))])

    def parameters(self, d: p.Data) -> Any:
        weights = np.zeros(50)
        with Parallel(n_jobs=self.workers) as parallel:
            for _ in range(d.steps):
                weights -= np.mean(parallel(delayed(p.gradient)(weights, X, y) for X, y in d.data), axis=0)
        return weights

    def level(self, d: p.Data) -> Any:
        world = p.regions(d)
        with Parallel(n_jobs=self.workers) as parallel:
            for step in range(d.steps):
                parts = parallel(delayed(p.walked)(half, step) for region in world for half in p.halves(region))
                world = [np.concatenate(parts[at : at + 2]) for at in range(0, len(parts), 2)]
        return world

    def calls(self, d: p.Data) -> Any:
        return Parallel(n_jobs=p.AT_ONCE, prefer="threads")(delayed(p.fetch)(url) for url in d.urls)
