"""Process pools with `concurrent.futures`' interface: the standard library's and loky's.

They have no refs and no actors. An argument is pickled anew with every call, and a task that
waits for another task would hold its worker, so nested tasks are left out.
"""

from __future__ import annotations

import concurrent.futures
from typing import Any

from benchmarks import work
from benchmarks.engines.base import Adapter


class Pool(Adapter):
    """Drives an executor of processes."""

    executor: concurrent.futures.Executor
    note = "arguments travel by value"

    def stop(self) -> None:
        self.executor.shutdown(wait=True)

    def task(self) -> None:
        self.executor.submit(work.nothing).result()

    def tasks(self, count: int) -> None:
        submit = self.executor.submit
        for future in [submit(work.nothing) for _ in range(count)]:
            future.result()

    def wait_each(self, count: int) -> None:
        submit = self.executor.submit
        for _ in concurrent.futures.as_completed([submit(work.nothing) for _ in range(count)]):
            pass

    def wait_all(self, count: int) -> None:
        submit = self.executor.submit
        concurrent.futures.wait([submit(work.nothing) for _ in range(count)])

    def argument(self, value: Any) -> Any:
        return value

    def with_argument(self, ref: Any) -> None:
        self.executor.submit(work.first_and_size, ref).result()


class Futures(Pool):
    """`concurrent.futures.ProcessPoolExecutor`."""

    label = "futures"
    package = "concurrent.futures"

    def load(self) -> None:
        import concurrent.futures.process  # noqa: F401  (what the first use would import)

    def start(self, workers: int) -> None:
        self.executor = concurrent.futures.ProcessPoolExecutor(workers)

    def version(self) -> str:
        import platform

        return platform.python_version()


class Loky(Pool):
    """loky's reusable executor."""

    label = "loky"
    package = "loky"

    def load(self) -> None:
        import loky

        self.loky: Any = loky

    def start(self, workers: int) -> None:
        self.executor = self.loky.ProcessPoolExecutor(workers)
