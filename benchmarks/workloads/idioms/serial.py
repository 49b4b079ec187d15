"""One process, no engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads import problems as p


class Serial:
    """Plain Python."""

    def start(self, workers: int) -> None: ...

    def stop(self) -> None: ...

    def grid_search(self, d: p.Data) -> Any:
        from sklearn.model_selection import GridSearchCV
        from sklearn.svm import SVC

        search = GridSearchCV(SVC(), d.grid, cv=3, refit=False)
        return search.fit(d.X, d.y).cv_results_["mean_test_score"]

    def frames(self, d: p.Data) -> Any:
        return p.grouped(d.frame), p.joined(d.frame, d.table)["total"].sum()

    def files(self, d: p.Data) -> Any:
        return [p.features(path) for path in d.paths]

    def images(self, d: p.Data) -> Any:
        return p.filtered(d.stack)

    def small_tasks(self, d: p.Data) -> Any:
        return sum(p.draw(seed) for seed in range(d.tasks))

    def chunks(self, d: p.Data) -> Any:
        return sum(p.draw(seed) for seed in range(d.tasks))

    def shuffle(self, d: p.Data) -> Any:
        made = [p.mapped(number, d.rows, d.parts) for number in range(d.parts)]
        return [p.reduced(*pieces) for pieces in zip(*made)]

    def matrix(self, d: p.Data) -> Any:
        return d.a @ d.b

    def parameters(self, d: p.Data) -> Any:
        weights = np.zeros(50)
        for _ in range(d.steps):
            weights -= np.mean([p.gradient(weights, X, y) for X, y in d.data], axis=0)
        return weights

    def agents(self, d: p.Data) -> Any:
        world = p.regions(d)
        for step in range(d.steps):
            world = [np.concatenate([p.walked(half, step) for half in p.halves(region)]) for region in world]
        return world

    def level(self, d: p.Data) -> Any:
        world = p.regions(d)
        for step in range(d.steps):
            world = [np.concatenate([p.walked(half, step) for half in p.halves(region)]) for region in world]
        return world

    def calls(self, d: p.Data) -> Any:
        return [p.fetch(url) for url in d.urls]
