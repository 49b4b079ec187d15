"""`inspect_serializability`: why a value doesn't pickle (``ray.util.check_serialize``)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, TextIO

from raynb.serde.pickling import pack


class FailureTuple:
    """A part that doesn't pickle.

    Attributes:
        obj: the part.
        path: the names that lead to it.
        parent: what holds it.
    """

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any) -> None:
        self.obj = obj
        self.path = path
        self.parent = parent

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.path[-1] if self.path else "unknown"

    def __repr__(self) -> str:
        return f"FailTuple({self.name} [path={' -> '.join(self.path)}, obj={self.obj}, parent={self.parent}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Finds the innermost parts of a value that cannot be pickled, and prints the way to them.

    Args:
        base_obj: a value, function or class.
        name: what to call it.
        depth: how many levels to look inside.
        print_file: where to print; None: stdout.

    Returns:
        (whether it pickles, the parts that don't).

    Example:
        >>> import io
        >>> ray.util.inspect_serializability([1, 2], name="numbers", print_file=io.StringIO())
        (True, set())
    """
    name = name or str(base_obj)
    failures: set[FailureTuple] = set()
    print("=" * 60, file=print_file)
    print(f"Checking Serializability of {base_obj}", file=print_file)
    print("=" * 60, file=print_file)
    good = _look(base_obj, None, (name,), depth, failures, print_file)
    if not good:
        print("-" * 60, file=print_file)
        for failure in failures:
            print(f"{failure}\nwas found to be non-serializable.", file=print_file)
        print("There may be other variables that don't pickle.", file=print_file)
    return good, failures


def _look(
    value: Any,
    parent: Any,
    path: tuple[str, ...],
    depth: int,
    failures: set[FailureTuple],
    out: TextIO | None,
) -> bool:
    try:
        pack(value)
        return True
    except Exception as error:
        print("    " * (len(path) - 1) + f"!!! FAIL serialization of {path[-1]}: {error}", file=out)
    deeper = False
    if depth > 0:
        for name, part in _parts(value):
            if not _look(part, value, (*path, name), depth - 1, failures, out):
                deeper = True
    if not deeper and not any(failure.obj is value for failure in failures):
        failures.add(FailureTuple(value, path, parent))
    return False


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields what pickling a value takes along, with names."""
    if inspect.isfunction(value):
        closure = inspect.getclosurevars(value)
        yield from closure.globals.items()
        yield from closure.nonlocals.items()
    elif isinstance(value, dict):
        yield from ((str(key), part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{at}]", part) for at, part in enumerate(value))
    else:
        parts = getattr(value, "__dict__", {})
        yield from [part for part in parts.items() if part[0] not in ("__dict__", "__weakref__")]  # of a class
        if inspect.isclass(value):
            return
        for method_name, method in inspect.getmembers(type(value), inspect.isfunction):
            if type(value).__module__ == "__main__":
                yield method_name, method
