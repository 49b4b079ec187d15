"""What a benchmark asks of an engine: one small class an engine, the same methods in each.

A method that an engine has no way to do stays as it is here and raises `Unsupported`; the
table then shows a dash. Methods do the work and return nothing: the cases hold the clock.
"""

from __future__ import annotations

from typing import Any


class Unsupported(Exception):
    """The engine has no such thing."""


class Adapter:
    """One engine under measurement, inside a process of its own.

    Thread contract: used by one thread.
    """

    #: The name in tables.
    label = "?"
    #: The package whose presence means that the engine can be measured here.
    package = "?"
    #: What a reader must know about how this engine was driven.
    note = ""
    #: The size of the object store in bytes, and where it spills; 0 and "": the engine's own choice.
    store_memory = 0
    spill_folder = ""

    def load(self) -> None:
        """Imports the package (this is timed)."""
        raise NotImplementedError

    def start(self, workers: int) -> None:
        """Starts the engine with so many worker processes."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ends the engine and its processes."""
        raise NotImplementedError

    def version(self) -> str:
        """Returns the version of what is measured."""
        import importlib.metadata

        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "?"

    # -- tasks ---------------------------------------------------------------------------------
    def task(self) -> None:
        """Runs one empty task and waits for its value."""
        raise Unsupported

    def tasks(self, count: int) -> None:
        """Submits so many empty tasks, then waits for all their values."""
        raise Unsupported

    def nested(self, count: int) -> None:
        """Runs so many tasks, each of which submits one task and waits for its value."""
        raise Unsupported

    def wait_each(self, count: int) -> None:
        """Submits so many tasks and takes the finished ones one by one as they come."""
        raise Unsupported

    def wait_all(self, count: int) -> None:
        """Submits so many tasks and waits until all are done, without fetching values."""
        raise Unsupported

    # -- actors --------------------------------------------------------------------------------
    def make_actor(self) -> Any:
        """Makes a `work.Counter` that lives on a worker, and waits until it answers."""
        raise Unsupported

    def call(self, actor: Any) -> None:
        """Calls the actor once and waits for the answer."""
        raise Unsupported

    def calls(self, actor: Any, count: int) -> None:
        """Calls the actor so many times, then waits for all the answers."""
        raise Unsupported

    # -- objects -------------------------------------------------------------------------------
    def put(self, value: Any) -> Any:
        """Stores a value and returns its ref."""
        raise Unsupported

    def get(self, ref: Any) -> Any:
        """Returns the value of a ref."""
        raise Unsupported

    def with_argument(self, ref: Any) -> None:
        """Runs one task on the value of a ref (or on the value itself where there are no refs)."""
        raise Unsupported

    def argument(self, value: Any) -> Any:
        """Returns what `with_argument` takes for this value: a ref, where there are refs."""
        return self.put(value)

    def map_length(self, refs: list[Any]) -> None:
        """Runs one task for each ref, on its value (`work.length_of`), and waits for all."""
        raise Unsupported

    def result_of(self, size: int) -> Any:
        """Returns an array of so many bytes that a task made (`work.array_of`)."""
        raise Unsupported
