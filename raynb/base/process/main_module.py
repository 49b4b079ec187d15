"""Makes ``__main__`` the notebook's namespace in a process that runs its code.

In a kernel ``__main__`` is where cells define things, and Python looks there: `pickle` for classes and
functions, `typing` for annotations, `multiprocessing` in its children, `unittest`, `doctest`, `timeit`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

#: Names that ``%%everywhere`` has bound in this process: ``__main__`` has them whatever runs.
shared: dict[str, Any] = {}

#: Finds a class of the notebook that came here inside a value, by its qualified name's first part.
find_class: Callable[[str], Any] | None = None


class Main(ModuleType):
    """A module whose namespace is a dict that exists already: that of the code which runs."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        super().__init__("__main__")
        object.__setattr__(self, "_namespace", namespace)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        namespace: dict[str, Any] = object.__getattribute__(self, "_namespace")
        return namespace

    def __getattribute__(self, name: str) -> Any:
        if name in ("__class__", "__dict__"):
            return object.__getattribute__(self, name)
        namespace = object.__getattribute__(self, "_namespace")
        if name in namespace:
            return namespace[name]
        if name in shared:
            return shared[name]
        found = None if find_class is None or name.startswith("__") else find_class(name)
        return object.__getattribute__(self, name) if found is None else found

    def __setattr__(self, name: str, value: object) -> None:
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None

    def __dir__(self) -> list[str]:
        return sorted(self.__dict__)


#: The one module that stands for ``__main__`` here, as a kernel has one. Modules keep it (IPython's completer, and all
#: that `import __main__` where they are loaded): one for each cell would hold the variables of the cell that loaded it.
_main = Main({"__name__": "__main__"})


def enter(namespace: dict[str, Any]) -> None:
    """Makes ``__main__`` this namespace."""
    sys.modules["__main__"] = _main
    object.__setattr__(_main, "_namespace", namespace)


@contextlib.contextmanager
def entered(namespace: dict[str, Any]) -> Iterator[None]:
    """Makes ``__main__`` this namespace for the length of a block."""
    before = sys.modules["__main__"]
    theirs = before.__dict__
    enter(namespace)
    try:
        yield
    finally:
        object.__setattr__(_main, "_namespace", theirs)
        sys.modules["__main__"] = before


def namespace_of(made: object) -> dict[str, Any] | None:
    """Returns the namespace that a notebook's function, or a class's methods, see; None: it is no notebook's."""
    if getattr(made, "__module__", None) != "__main__":
        return None
    found = getattr(made, "__globals__", None)
    if found is None and isinstance(made, type):
        for member in vars(made).values():
            inner = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            if getattr(inner, "__module__", None) == "__main__" and hasattr(inner, "__globals__"):
                found = inner.__globals__
                break
    return found if isinstance(found, dict) else None
