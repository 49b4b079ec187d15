"""The import hook behind `raynb.as_ray`: ``import ray`` gives a module that stands for `raynb`.

``ray`` and each ``ray.x.y`` are modules of their own that look every name up in ``raynb`` and
``raynb.x.y``. Functions and classes keep their module, so what is pickled names `raynb` and loads in
every worker.

Thread contract: `install` and `uninstall` from any thread; the import lock guards the rest.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from raynb.base.ray_names.refused import LEFT_OUT, REFUSED, refused

if TYPE_CHECKING:
    from importlib.abc import Loader

#: The Ray whose API raynb follows, what ``ray.__version__`` says.
RAY_VERSION = "2.60.0"
#: Set for the processes that are started while the hook is in: each installs it when it imports raynb.
VARIABLE = "RAYNB_AS_RAY"
#: Attributes of `ray` that stand for private modules, as Ray has kept them for libraries of older days.
FORMER = {name: f"raynb._private.{name}" for name in ("ray_constants", "state", "worker")}
#: Parts of raynb that Ray has not: neither modules nor attributes of `ray`, so that `ray.worker` is the former module.
OWN = frozenset((
    "api", "as_ray", "base", "core", "engine", "jupyter", "keeping", "labextension", "lineage", "run", "serde", "store",
    "testing", "wire", "worker",
))  # fmt: skip


class StandIn(ModuleType):
    """``ray`` or a module below it; every name is looked up in raynb's module of the same place."""

    _raynb: ModuleType

    def __getattr__(self, name: str) -> Any:
        if name == "_raynb":
            raise AttributeError(name)
        if name == "__version__" and self.__name__ == "ray":
            return RAY_VERSION
        if name in FORMER and self.__name__ == "ray":
            return importlib.import_module(FORMER[name])
        if name not in OWN or self.__name__ != "ray":
            try:
                return getattr(self._raynb, name)
            except AttributeError:
                pass
        if not name.startswith("__"):
            try:
                return importlib.import_module(f"{self.__name__}.{name}")
            except ModuleNotFoundError:
                pass
        why = LEFT_OUT.get(name) if self.__name__ == "ray" else None
        raise AttributeError(
            f"raynb has no {self.__name__}.{name}: {why or 'docs/ray-compatibility.md lists what raynb has of Ray'}."
        )

    def __setattr__(self, name: str, value: object) -> None:
        # What importing a module below puts here must not hide a function of that name: ray.util.placement_group.
        if isinstance(value, StandIn) and not isinstance(getattr(self._raynb, name, value), ModuleType):
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._raynb) if name not in OWN or self.__name__ != "ray"]

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions that hold the module in their closure or globals travel: by its name, as modules do.
        return importlib.import_module, (self.__name__,)


class Finder:
    """Finds ``ray`` and what is below it.

    A meta path finder and a loader by its methods; their base classes import 60 modules.
    """

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Returns the spec of a stand-in, or None for any other name or a module that raynb lacks."""
        if name != "ray" and not name.startswith("ray."):
            return None
        part = name.split(".")[1] if name.count(".") else ""
        if part in OWN:
            return None
        if part in REFUSED and name != "ray.data":
            return ModuleSpec(name, cast("Loader", self), is_package=True)
        ours = f"raynb{name[3:]}"
        try:
            if ours not in sys.modules and importlib.util.find_spec(ours) is None:
                return None
        except ModuleNotFoundError:
            return None
        return ModuleSpec(name, cast("Loader", self), is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Returns the stand-in for a module of Ray's, or a module that says why raynb has none."""
        if spec.name == "ray.data":
            return StandIn(spec.name)
        return refused(spec.name) or StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Joins a stand-in to raynb's module of the same place."""
        if not isinstance(module, StandIn):
            return
        ours = importlib.import_module(f"raynb{module.__name__[3:]}")
        module.__dict__["_raynb"] = ours
        module.__doc__ = ours.__doc__


_finder = Finder()
_own_variable = False


def installed() -> bool:
    """Returns whether ``import ray`` means raynb in this process."""
    return _finder in sys.meta_path


def install() -> ModuleType:
    """Puts the hook in and returns the module ``ray``. Again: nothing changes.

    Raises:
        RuntimeError: the real Ray is imported already.
    """
    global _own_variable
    there = sys.modules.get("ray")
    if there is not None and not isinstance(there, StandIn):
        raise RuntimeError(
            f"The real Ray {getattr(there, '__version__', '')} is imported in this process already, so `import ray` "
            "cannot come to mean raynb. Restart the kernel and call raynb.as_ray() before anything imports ray."
        )
    if not installed():
        sys.meta_path.insert(0, _finder)
        if VARIABLE not in os.environ:
            os.environ[VARIABLE] = "1"
            _own_variable = True
    return importlib.import_module("ray")


def uninstall() -> None:
    """Takes the hook out again; modules that hold ``ray`` keep what they have, which still works."""
    global _own_variable
    if sys.is_finalizing() or not installed():  # at the end of the process there is no list of finders any more
        return
    sys.meta_path.remove(_finder)
    for name, module in sys.modules.copy().items():
        if isinstance(module, StandIn):
            del sys.modules[name]
    if _own_variable:
        os.environ.pop(VARIABLE, None)
        _own_variable = False


def asked_for() -> bool:
    """Returns whether the environment asks for the hook as long as this process lives."""
    return os.environ.get(VARIABLE, "0") not in ("", "0") and not _own_variable
