"""The libraries that are tested on raynb: which tests and programs, and which failures are known.

The versions are those of the table in docs/ray-compatibility.md. `libraries.in` beside this file names them, and
`libraries.txt` pins all that they need.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Suite:
    """One library: tests of its package, or a program that asserts and prints how many parts passed."""

    library: str
    said: str
    tests: tuple[str, ...] = ()
    """Files or tests, by their paths below the packages."""
    quick: tuple[str, ...] = ()
    """Those of the bounded part, which every run of the tests has; a program is in it always."""
    program: str = ""
    """A file of `library_programs`."""
    before: str = ""
    """A plugin of pytest there."""
    options: tuple[str, ...] = ()
    """More options of pytest."""
    known: dict[str, str] = field(default_factory=dict)
    """A test that fails, with or without its parameters → why, as the docs say it."""

    def reason(self, test: str) -> str | None:
        """Returns why a test is expected to fail; None: it is not."""
        return self.known.get(test) or self.known.get(test.partition("[")[0])


#: Tests that count or compare objects in the process of the test, which tasks in other processes cannot change.
_IN_PROCESS = "counts or compares objects of the test's own process"
DASK = {
    "dask/tests/test_delayed.py::test_traverse_false": _IN_PROCESS,
    "dask/tests/test_graph_manipulation.py::test_bind": _IN_PROCESS,
    "dask/bag/tests/test_bag.py::test_to_delayed_optimize_graph": _IN_PROCESS,
    "dask/bag/tests/test_bag.py::test_temporary_directory": "looks for the folder of a shuffle that is over: removed",
}
_CLASSES = "names loky's classes or their attributes"
_JUST_WORKS = "expects a warning or an error where raynb works"
_MEMORY_MAPS = "expects joblib's memory maps; raynb has its store"
JOBLIB = {f"joblib/test/test_parallel.py::{name}": why for name, why in {
    "test_error_capture[loky]": _CLASSES,
    "test_backend_context_manager[parallel_backend-loky]": _CLASSES,
    "test_backend_context_manager[parallel_config-loky]": _CLASSES,
    "test_nested_parallelism_limit[parallel_config-loky]": _CLASSES,
    "test_nested_parallelism_limit[parallel_backend-loky]": _CLASSES,
    "test_nested_backend_in_sequential": "without `n_jobs`, raynb's backend uses all CPUs, loky one",
    "test_nested_parallel_warnings[loky-multiprocessing-True]": _JUST_WORKS,
    "test_nested_parallel_warnings[threading-loky-True]": _JUST_WORKS,
    "test_multiple_generator_call_separated_gc[generator-generator-loky-True]": _JUST_WORKS,
    "test_multiple_generator_call_separated_gc[generator-generator_unordered-loky-True]": _JUST_WORKS,
    "test_multiple_generator_call_separated_gc[generator_unordered-generator-loky-True]": _JUST_WORKS,
    "test_multiple_generator_call_separated_gc[generator_unordered-generator_unordered-loky-True]": _JUST_WORKS,
    "test_auto_memmap_on_arrays_from_generator[loky]": _MEMORY_MAPS,
    "test_memmapping_leaks[loky]": _MEMORY_MAPS,
}.items()}  # fmt: skip

SUITES = [
    Suite("modin", "its own tests of concat, reshape, partitions and executions", (
        "modin/tests/test_partition_api.py", "modin/tests/test_executions_api.py",
        "modin/tests/pandas/test_concat.py", "modin/tests/pandas/test_reshape.py",
    ), (
        "modin/tests/test_partition_api.py", "modin/tests/test_executions_api.py",
        "modin/tests/pandas/test_reshape.py",
    )),
    Suite("modin", "frames of 200,000 rows: read, group, merge, apply, sort, pivot, …: equal to pandas'",
          program="use_modin"),
    Suite("dask", "its own tests of delayed, graph manipulation, bags and schedulers, on `ray_dask_get`", (
        "dask/tests/test_delayed.py", "dask/tests/test_graph_manipulation.py", "dask/bag/tests/test_bag.py",
        "dask/tests/test_local.py", "dask/tests/test_threaded.py",
    ), (
        "dask/tests/test_delayed.py", "dask/tests/test_graph_manipulation.py", "dask/tests/test_threaded.py",
    ), before="before_dask", known=DASK),
    Suite("dask", "delayed, bag, array, frame with a shuffle and a merge, persist, `pool=Executor()`",
          program="use_dask"),
    Suite("joblib", "its own tests of `Parallel` with loky as a parameter, raynb's backend in loky's place",
          ("joblib/test/test_parallel.py",), tuple(f"joblib/test/test_parallel.py::test_{name}" for name in (
              "simple_parallel", "parallel_kwargs", "parallel_as_context_manager", "parallel_pickling",
              "error_in_task_iterator", "exception_dispatch",
              "parallel_with_exhausted_iterator", "multiple_generator_call", "initializer_parallel",
          )), before="before_joblib", options=("-k", "loky"), known=JOBLIB),
    Suite("joblib", "`Parallel` with lists, both kinds of generators, nesting and an error", program="use_joblib"),
    Suite("scikit-learn", "`GridSearchCV`, `RandomForestClassifier`, `cross_val_score`: equal to the serial run",
          program="use_sklearn"),
    Suite("sktime", "`ForecastingGridSearchCV` by joblib, and its own `backend=\"ray\"`", program="use_sktime"),
    Suite("optuna", "a study that tasks share through a journal; `n_jobs=2` with tasks in the objective",
          program="use_optuna"),
    Suite("daft", "its quickstart under `as_ray`, and frames in tasks", program="use_daft"),
    Suite("daft", "its Ray runner: groups, a function, a join, to Dask", program="use_daft_runner"),
]  # fmt: skip
