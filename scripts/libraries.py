#!/usr/bin/env python3
"""Runs parts of other libraries' own tests on raynb, and programs of their users; prints the table of the docs.

    python scripts/libraries.py [NAME ...]

It needs a Python with the libraries (`PACKAGES`) beside raynb; ``make test ONLY=libraries`` makes one. The tests are
those in the installed packages. A library that is not installed is left out, by name. Failures that
docs/ray-compatibility.md explains are expected (`Suite.known`); the exit code says how many libraries have more.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Seconds that the tests of one library may take unless ``--longest`` says otherwise: the table says how many ran.
LONGEST = 600.0
#: The versions that the table in docs/ray-compatibility.md is about, and what their tests need.
PACKAGES = (
    "modin==0.37.1", "dask[array,dataframe]==2026.8.0", "distributed==2026.8.0", "joblib==1.6.0",
    "scikit-learn==1.9.1", "sktime==1.2.0", "optuna==5.0.0", "daft==0.7.26", "cloudpickle", "pytest",
    "pytest-timeout", "boto3", "s3fs", "requests", "psutil", "matplotlib",  # the latter for Modin's tests
)  # fmt: skip


@dataclass
class Suite:
    """One library: tests of its package, or a program that asserts and prints how many parts passed."""

    library: str
    said: str
    tests: list[str] = field(default_factory=list)
    program: str = ""
    before: str = ""
    """Python that a plugin of pytest runs first, in the process of the tests."""
    options: tuple[str, ...] = ()
    """More options of pytest."""
    known: int = 0
    """How many of its tests fail for reasons that the docs give."""


#: Dask's own tests, with raynb's scheduler where they take their default.
DASK = """
import dask, raynb
from raynb.util.dask import ray_dask_get
raynb.init(num_cpus=2, log_to_driver=False)
dask.config.set(scheduler=ray_dask_get)
"""
#: The tests of `joblib.Parallel` that have a backend as a parameter, with raynb's in the place of loky.
JOBLIB_OWN = """
import joblib.parallel, raynb, raynb.util.joblib
raynb.init(num_cpus=4, log_to_driver=False)
raynb.util.joblib.register_ray()
joblib.parallel.BACKENDS["loky"] = joblib.parallel.BACKENDS["ray"]
"""
JOBLIB = """
import joblib, operator
from joblib import Parallel, delayed
import raynb.util.joblib
raynb.util.joblib.register_ray()
with joblib.parallel_backend("ray", n_jobs=2):
    assert Parallel()(delayed(operator.mul)(i, 2) for i in range(200)) == [2 * i for i in range(200)]
    assert list(Parallel(return_as="generator")(delayed(abs)(-i) for i in range(20))) == list(range(20))
    assert sorted(Parallel(return_as="generator_unordered")(delayed(abs)(-i) for i in range(20))) == list(range(20))
    assert Parallel()(delayed(sum)(Parallel(n_jobs=2)(delayed(abs)(-j) for j in range(i))) for i in range(5)) == [
        sum(range(i)) for i in range(5)]
    try:
        Parallel()(delayed(operator.truediv)(1, i) for i in range(2))
    except ZeroDivisionError:
        print("5 passed")
"""
SKLEARN = """
import joblib, numpy as np, raynb.util.joblib
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
X, y = make_classification(300, random_state=0)
def everything():
    grid = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, n_jobs=2).fit(X, y)
    forest = RandomForestClassifier(20, random_state=0, n_jobs=2).fit(X, y)
    scores = cross_val_score(LogisticRegression(), X, y, n_jobs=2)
    return grid.cv_results_["mean_test_score"], forest.predict_proba(X), scores
serial = everything()
raynb.util.joblib.register_ray()
with joblib.parallel_backend("ray", n_jobs=2):
    for one, other in zip(serial, everything(), strict=True):
        assert np.array_equal(one, other)
print("3 passed")
"""
OPTUNA = """
import optuna, raynb as ray, tempfile
optuna.logging.set_verbosity(optuna.logging.ERROR)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
path = tempfile.mkdtemp() + "/journal"
def objective(trial):
    return (trial.suggest_float("x", -3, 3) - 1) ** 2
@ray.remote
def work(n):
    study = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(path)))
    study.optimize(objective, n_trials=n)
study = optuna.create_study(study_name="s", storage=JournalStorage(JournalFileBackend(path)))
ray.get([work.remote(10) for _ in range(2)])
assert len(study.trials) == 20 and study.best_value < 1
square = ray.remote(lambda x: x * x)
threads = optuna.create_study()
threads.optimize(lambda trial: ray.get(square.remote(trial.suggest_float("x", -1, 1))), 20, n_jobs=2)
assert len(threads.trials) == 20
print("2 passed")
"""
SKTIME = """
import numpy as np, raynb, raynb.util.joblib
from sktime.datasets import load_airline
from sktime.forecasting.naive import NaiveForecaster
from sktime.forecasting.model_selection import ForecastingGridSearchCV
from sktime.split import SlidingWindowSplitter
from sktime.utils.parallel import parallelize
y = load_airline()
cv = SlidingWindowSplitter(window_length=60, fh=[1, 2, 3], step_length=24)
def search(backend, params):
    grid = ForecastingGridSearchCV(NaiveForecaster(), cv, {"strategy": ["last", "mean", "drift"]},
                                   backend=backend, backend_params=params)
    return grid.fit(y).cv_results_.filter(like="mean_test").to_numpy()
raynb.util.joblib.register_ray()
assert np.array_equal(search(None, None), search("joblib", {"backend": "ray", "n_jobs": 2}))
def double(x, meta): return 2 * x
raynb.as_ray()
raynb.init(ignore_reinit_error=True)
found = parallelize(double, list(range(5)), {}, backend="ray", backend_params={"ray_remote_args": {"num_cpus": 1}})
assert found == [0, 2, 4, 6, 8], found
print("2 passed")
"""
DAFT = """
import datetime, raynb
ray = raynb.as_ray()
import daft
from daft import col
frame = daft.from_pydict({
    "integers": [1, 2, 3, 4], "floats": [1.5, 2.5, 3.5, 4.5], "bools": [True, True, False, False],
    "dates": [datetime.date(1994, 1, day) for day in (1, 2, 3, 4)], "lists": [[1], [2, 2], [3, 3, 3], [4]],
})
assert frame.where(col("integers") > 2).select("integers", (col("floats") * 2).alias("twice")).to_pydict() == {
    "integers": [3, 4], "twice": [7.0, 9.0]}
assert frame.groupby("bools").agg(col("integers").sum()).sort("bools").to_pydict() == {
    "bools": [False, True], "integers": [7, 3]}
@ray.remote
def part(low, high):
    import daft
    return daft.from_pydict({"n": list(range(low, high))}).agg(daft.col("n").sum()).to_pydict()["n"][0]
assert sum(ray.get([part.remote(n, n + 10) for n in range(0, 40, 10)])) == sum(range(40))
print("3 passed")
"""
#: A process has one runner of Daft's for its life, so this is a program of its own.
DAFT_ON_RAY = """
import raynb
ray = raynb.as_ray()
import daft
from daft import col
daft.set_runner_ray()
twice = daft.func(lambda value: 2 * value, return_dtype=daft.DataType.int64())
frame = daft.from_pydict({"n": [1, 2, 3, 4], "even": [False, True, False, True]})
assert frame.groupby("even").agg(col("n").sum()).sort("even").to_pydict() == {"even": [False, True], "n": [4, 6]}
assert frame.with_column("twice", twice(col("n"))).into_partitions(2).to_pydict()["twice"] == [2, 4, 6, 8]
assert frame.join(frame, on="n").count_rows() == 4 and frame.to_ray_dataset().count() == 4
assert list(frame.to_dask_dataframe().compute().n) == [1, 2, 3, 4]
print("4 passed")
"""
SUITES = [
    Suite("modin", "its own tests of concat, reshape, partitions and executions", [
        "modin/tests/test_partition_api.py", "modin/tests/test_executions_api.py",
        "modin/tests/pandas/test_concat.py", "modin/tests/pandas/test_reshape.py",
    ]),
    Suite("dask", "its own tests of delayed, graph manipulation, bags and schedulers, on `ray_dask_get`", [
        "dask/tests/test_delayed.py", "dask/tests/test_graph_manipulation.py", "dask/bag/tests/test_bag.py",
        "dask/tests/test_local.py", "dask/tests/test_threaded.py",
    ], before=DASK, known=4),
    Suite("joblib", "its own tests of `Parallel` with loky as a parameter, raynb's backend in loky's place",
          ["joblib/test/test_parallel.py"], before=JOBLIB_OWN, options=("-k", "loky"), known=23),
    Suite("joblib", "`Parallel` with lists, both kinds of generators, nesting and an error", program=JOBLIB),
    Suite("scikit-learn", "`GridSearchCV`, `RandomForestClassifier`, `cross_val_score`: equal to the serial run",
          program=SKLEARN),
    Suite("sktime", "`ForecastingGridSearchCV` by joblib, and its own `backend=\"ray\"`", program=SKTIME),
    Suite("optuna", "a study that tasks share through a journal; `n_jobs=2` with tasks in the objective",
          program=OPTUNA),
    Suite("daft", "its quickstart under `as_ray`, and frames in tasks", program=DAFT),
    Suite("daft", "its Ray runner: groups, a function, a join, to Dask", program=DAFT_ON_RAY),
]  # fmt: skip


def command_of(suite: Suite, folder: Path, environ: dict[str, str], longest: float) -> list[str]:
    """Writes what a suite needs into a folder, and returns the command that runs it."""
    if suite.program:
        (folder / "program.py").write_text(suite.program, encoding="utf-8")
        return [sys.executable, "program.py"]
    spec = importlib.util.find_spec(suite.library)
    assert spec is not None
    assert spec.origin is not None
    packages = Path(spec.origin).parents[1]
    (folder / "raynb_before.py").write_text(suite.before, encoding="utf-8")
    environ["PYTHONPATH"] += os.pathsep + str(folder)
    return [
        sys.executable, "-m", "raynb.as_ray", "-m", "pytest", "-q", "-p", "raynb_before", "-p", "no:cacheprovider",
        "-p", "no:randomly", "--timeout", "120", f"--session-timeout={longest}", "-W", "ignore", "--tb", "short",
        "--rootdir", str(packages), *suite.options, *[str(packages / test) for test in suite.tests],
    ]  # fmt: skip


def run(suite: Suite, log: Path | None, longest: float) -> tuple[str, float]:
    """Returns (what the last line says, seconds)."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "MODIN_ENGINE": "ray", "MODIN_CPUS": "2", "RAYNB_AS_RAY": "1"}
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        try:
            done = subprocess.run(
                command_of(suite, Path(place), environ, longest), cwd=place, env=environ, capture_output=True,
                text=True, timeout=longest + 180, check=False,
            )  # fmt: skip
            output = done.stdout + done.stderr
        except subprocess.TimeoutExpired as late:
            output = f"{(late.stdout or b'').decode()[-3000:]}\nended after {longest + 180:.0f} s"
        took = time.monotonic() - began
    if log is not None:
        log.mkdir(exist_ok=True)
        (log / f"{suite.library}-{SUITES.index(suite)}.log").write_text(output, encoding="utf-8")
    summary = re.findall(r"^.*\b\d+ (?:passed|failed|errors?)\b.*$|^ended after .*$", output, re.MULTILINE)
    return (summary[-1].strip("= ") if summary else (output.strip().splitlines() or ["nothing"])[-1][:200]), took


def good(suite: Suite, result: str) -> bool:
    """Returns whether something passed, and no more failed than the docs explain."""
    counted = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", result)}
    return counted.get("passed", 0) > 0 and counted.get("failed", 0) <= suite.known and "error" not in counted


def main() -> int:
    """Runs what the command line names, or all; returns how many failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ", ".join(dict.fromkeys(suite.library for suite in SUITES))
    parser.add_argument("libraries", nargs="*", metavar="NAME", help=f"which (default: all): {names}")
    parser.add_argument("--longest", type=float, default=LONGEST, help="seconds for a library's tests (%(default)s)")
    parser.add_argument("--logs", type=Path, help="a folder for the whole output")
    options = parser.parse_args()
    failed = 0
    for suite in SUITES:
        if options.libraries and suite.library not in options.libraries:
            continue
        try:
            version = importlib.metadata.version(suite.library)
        except importlib.metadata.PackageNotFoundError:
            print(f"{suite.library} is not installed here; left out", file=sys.stderr)
            continue
        result, took = run(suite, options.logs, options.longest)
        failed += not good(suite, result)
        print(f"| {suite.library} {version} | {suite.said} | {result} | {took:.0f} s |", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
