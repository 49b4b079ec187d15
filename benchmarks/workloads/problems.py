"""The data of the workloads, the plain functions that all engines run, and what their results are compared by."""

from __future__ import annotations

import asyncio
import random
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as Data
from typing import Any

import numpy as np

#: Workload → its numbers, at the size that the documentation shows, and below it a tenth of that.
FULL: dict[str, dict[str, int]] = {
    "grid search": {"rows": 1500, "values": 5},
    "groupby and join": {"rows": 10_000_000, "keys": 5_000},
    "CSV to features": {"files": 48, "rows": 100_000},
    "image filters": {"images": 48, "side": 1024},
    "100,000 small tasks": {"tasks": 100_000},
    "100,000 in chunks": {"tasks": 100_000},
    "shuffle of 2 GB": {"parts": 16, "rows": 16_000_000},
    "matrix product": {"side": 4096, "block": 1024},
    "parameter server": {"shards": 4, "rows": 100_000, "steps": 60},
    "nested agents": {"regions": 8, "steps": 10, "agents": 200_000},
    "agents in one level": {"regions": 8, "steps": 10, "agents": 200_000},
    "I/O-bound calls": {"calls": 300},
}
QUICK: dict[str, dict[str, int]] = {
    "grid search": {"rows": 500, "values": 5},
    "groupby and join": {"rows": 1_000_000, "keys": 500},
    "CSV to features": {"files": 8, "rows": 50_000},
    "image filters": {"images": 8, "side": 512},
    "100,000 small tasks": {"tasks": 10_000},
    "100,000 in chunks": {"tasks": 10_000},
    "shuffle of 2 GB": {"parts": 8, "rows": 1_000_000},
    "matrix product": {"side": 2048, "block": 512},
    "parameter server": {"shards": 4, "rows": 20_000, "steps": 20},
    "nested agents": {"regions": 8, "steps": 4, "agents": 50_000},
    "agents in one level": {"regions": 8, "steps": 4, "agents": 50_000},
    "I/O-bound calls": {"calls": 64},
}
#: For tests, and to warm an engine up.
TINY: dict[str, dict[str, int]] = {
    "grid search": {"rows": 80, "values": 2},
    "groupby and join": {"rows": 5_000, "keys": 40},
    "CSV to features": {"files": 4, "rows": 200},
    "image filters": {"images": 4, "side": 32},
    "100,000 small tasks": {"tasks": 200},
    "100,000 in chunks": {"tasks": 200},
    "shuffle of 2 GB": {"parts": 4, "rows": 1_000},
    "matrix product": {"side": 64, "block": 32},
    "parameter server": {"shards": 2, "rows": 100, "steps": 3},
    "nested agents": {"regions": 2, "steps": 2, "agents": 50},
    "agents in one level": {"regions": 2, "steps": 2, "agents": 50},
    "I/O-bound calls": {"calls": 8},
}
SCALES = {"tiny": TINY, "quick": QUICK, "full": FULL}
NAMES = tuple(FULL)
#: How tables name workloads whose own name says too little.
LABELS = {
    "100,000 small tasks": "100,000 tasks of 15 µs, each by itself",
    "100,000 in chunks": "100,000 of them, mapped in chunks",
    "groupby and join": "groupby and join, 10 M rows",
    "CSV to features": "48 CSV files to features",
    "matrix product": "matrix product, 4096²",
    "nested agents": "agents, nested tasks",
    "agents in one level": "agents, tasks of one level",
    "I/O-bound calls": "300 calls of 50 ms, 32 at once",
}
#: How many calls are under way at once, in the I/O-bound workload: in all processes of an engine together.
AT_ONCE = 32


def at_once(workers: int) -> int:
    """Returns how many of the calls each of several processes has under way at once."""
    return max(1, AT_ONCE // workers)


def make(workload: str, scale: str, folder: Path) -> Data:
    """Returns the data of a workload; files are written into the folder."""
    numbers = Data(**SCALES[scale][workload])
    rng = np.random.default_rng(0)
    if workload == "grid search":
        numbers.X = rng.normal(size=(numbers.rows, 20))
        numbers.y = (numbers.X[:, :5].sum(axis=1) + rng.normal(size=numbers.rows) > 0).astype(int)
        numbers.grid = {"C": list(np.logspace(-1, 2, numbers.values)), "gamma": [0.01, 0.05, 0.2]}
    elif workload == "groupby and join":
        import pandas as pd

        numbers.frame = pd.DataFrame(
            {"key": rng.integers(0, numbers.keys, numbers.rows), "x": rng.normal(size=numbers.rows)}
        )
        numbers.table = pd.DataFrame({"key": np.arange(numbers.keys), "weight": rng.random(numbers.keys)})
    elif workload == "CSV to features":
        import pandas as pd

        numbers.paths = [str(folder / f"{number}.csv") for number in range(numbers.files)]
        for path in numbers.paths:
            pd.DataFrame(rng.normal(size=(numbers.rows, 5)).round(4), columns=list("abcde")).to_csv(path, index=False)
    elif workload == "image filters":
        numbers.stack = rng.random((numbers.images, numbers.side, numbers.side), dtype=np.float32)
    elif workload == "matrix product":
        numbers.a, numbers.b = rng.random((2, numbers.side, numbers.side))
    elif workload == "parameter server":
        numbers.data = [shard(number, numbers.rows) for number in range(numbers.shards)]
    return numbers


# -- the functions -----------------------------------------------------------------------------


def fit(X: Any, y: Any, C: float, gamma: float) -> float:
    """Returns the mean score of one candidate, as a grid search does it."""
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import SVC

    return float(cross_val_score(SVC(C=C, gamma=gamma), X, y, cv=3).mean())


def of_group(group: Any) -> Any:
    """Returns a few statistics of the rows of one key."""
    import pandas as pd

    smooth = group["x"].rolling(20, min_periods=1).mean()
    return pd.Series({"top": smooth.max(), "median": group["x"].median(), "rows": float(len(group))})


def grouped(frame: Any) -> Any:
    """Applies `of_group` to every group of a frame."""
    return frame.groupby("key")[["x"]].apply(of_group)


def joined(frame: Any, table: Any) -> Any:
    """Joins rows with the table; returns a frame of one row, so that parts can be added."""
    import pandas as pd

    both = frame.merge(table, on="key")
    return pd.DataFrame({"total": [float((both["x"] * both["weight"]).sum())]})


def features(path: str) -> dict[str, float]:
    """Returns the features of one file."""
    import pandas as pd

    frame = pd.read_csv(path)
    found = {f"{name}_{at}": frame[name].quantile(at) for name in frame for at in (0.1, 0.5, 0.9)}
    return {**found, "trend": float(np.polyfit(np.arange(len(frame)), frame["a"], 1)[0])}


def filtered(images: Any) -> Any:
    """Smooths each image and finds its edges."""
    from scipy import ndimage

    return np.stack([ndimage.sobel(ndimage.gaussian_filter(image, 3)) for image in images])


def draw(seed: int) -> int:
    """Returns how many of forty random points lie in the circle: about 10 µs."""
    rng = random.Random(seed)
    return sum(rng.random() ** 2 + rng.random() ** 2 < 1 for _ in range(40))


def mapped(number: int, rows: int, parts: int) -> list[Any]:
    """Makes one part of the data and splits it by key."""
    keys = np.random.default_rng(number).integers(0, 1 << 20, rows)
    order = np.argsort(keys % parts, kind="stable")
    bounds = np.searchsorted((keys % parts)[order], np.arange(1, parts))
    return np.split(keys[order], bounds)


def reduced(*pieces: Any) -> float:
    """Returns the sum of the squares of the keys' counts."""
    counts = sum(np.bincount(piece, minlength=1 << 20) for piece in pieces)
    return float(np.square(counts).sum())


def product(rows: Any, columns: Any) -> Any:
    """Returns one block of a matrix product."""
    return rows @ columns


def shard(number: int, rows: int) -> tuple[Any, Any]:
    """Returns one worker's part of the training data."""
    rng = np.random.default_rng(number)
    X = rng.normal(size=(rows, 50))
    return X, (X[:, 0] > 0).astype(float)


def gradient(weights: Any, X: Any, y: Any) -> Any:
    """Returns the gradient of logistic regression on one shard."""
    return X.T @ (1 / (1 + np.exp(-(X @ weights))) - y) / len(y)


def walked(agents: Any, seed: int) -> Any:
    """Moves agents for one step; they are drawn to their mean."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        agents = agents + 0.1 * rng.normal(size=agents.shape) + 0.01 * np.sin(agents.mean() - agents)
    return agents


def halves(region: Any) -> tuple[Any, Any]:
    """Returns the two parts of a region that nested tasks move."""
    return region[: len(region) // 2], region[len(region) // 2 :]


def regions(data: Data) -> list[Any]:
    """Returns the agents of each region."""
    return [np.random.default_rng(number).normal(size=data.agents) for number in range(data.regions)]


def fetch(url: str) -> int:
    """Calls the server."""
    with urllib.request.urlopen(url) as answer:
        return int(answer.read())


async def fetch_async(url: str) -> int:
    """Calls the server without blocking the event loop."""
    host, _, path = url.removeprefix("http://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    writer.write(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.rpartition(b"\r\n\r\n")[2])


async def fetch_all(urls: list[str], at_once: int) -> list[int]:
    """Calls for every URL, ``at_once`` at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(url: str) -> int:
        async with gate:
            return await fetch_async(url)

    return await asyncio.gather(*map(one, urls))


# -- comparing ---------------------------------------------------------------------------------


def _of_frames(value: Any) -> list[float]:
    groups, total = value
    groups = groups.sort_index()
    return [float(groups[name].sum()) for name in groups] + [float(groups.iloc[0]["top"]), float(total)]


_DIGESTS: dict[str, Callable[[Any], list[float]]] = {
    "grid search": lambda scores: [float(score) for score in scores],
    "groupby and join": _of_frames,
    "CSV to features": lambda found: [float(sum(one[name] for one in found)) for name in sorted(found[0])],
    "image filters": lambda stack: [float(np.abs(image).sum()) for image in stack],
    "matrix product": lambda product: [float(product.sum()), float(product[0, -1]), float(product[-1, 0])],
    "nested agents": lambda found: [float(one.sum()) for one in found],
    "agents in one level": lambda found: [float(one.sum()) for one in found],
}


def digest(workload: str, value: Any) -> list[float]:
    """Returns numbers that are equal, up to rounding, if two results are."""
    return _DIGESTS.get(workload, lambda found: [float(one) for one in np.ravel(found)])(value)


def equal(mine: list[float], theirs: list[float]) -> bool:
    """Returns whether two digests are those of one result."""
    return len(mine) == len(theirs) and bool(np.allclose(mine, theirs, rtol=1e-4, atol=1e-6))
