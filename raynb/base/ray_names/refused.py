"""Ray's libraries, which raynb does not have: their names import, and using one says what to do instead."""

from __future__ import annotations

from types import ModuleType
from typing import Any

_CLUSTER = "on a Ray cluster (raynb.init('auto'))"

#: Name below ``ray`` → one sentence that names the alternative.
REFUSED = {
    "autoscaler": f"The embedded engine is one machine; autoscaling works {_CLUSTER}.",
    "dag": "Pass refs from one call to the next: f.remote(g.remote(x)).",
    "rllib": f"Use actors for the rollouts, or RLlib {_CLUSTER}.",
    "serve": f"Use an actor that keeps the model loaded, or Ray Serve {_CLUSTER}.",
    "train": f"Call your framework's training in a %%remote cell, or use Ray Train {_CLUSTER}.",
    "tune": f"Use scikit-learn's searches or Optuna with raynb's joblib backend, or Ray Tune {_CLUSTER}.",
    "workflow": "Use %%remote --keep, which writes results to disk.",
    "data": f"Use refs to pandas, Arrow or polars frames with ray.remote, or Ray Data {_CLUSTER}.",
    "air": f"Call your framework's training in a %%remote cell, or use Ray Train {_CLUSTER}.",
    "llm": f"Keep the model loaded in an actor, or use Ray Serve {_CLUSTER}.",
    "job_submission": "Run the script itself, or submit it to a Ray cluster with `ray job submit`.",
    "cross_language": "raynb runs Python only.",
}

_CLIENT = "connect to a Ray cluster with raynb.init('ray://host:10001')"
_PYTHON = "raynb runs Python only"
#: Names of Ray that are no attributes here, so that `hasattr` says so → the reason in the error.
LEFT_OUT = {
    "client": _CLIENT, "ClientBuilder": _CLIENT, "client_builder": _CLIENT,
    "Language": _PYTHON, "java_function": _PYTHON, "java_actor_class": _PYTHON, "cpp_function": _PYTHON,
    "job_config": "give raynb.init() runtime_env= and namespace= themselves",
}  # fmt: skip


class RefusedModule(ModuleType):
    """A module whose every name can be imported, and refuses to be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return stand_in(self.__name__, name)


def stand_in(module: str, name: str) -> Any:
    """Returns what ``module.name`` is: a class, so that annotations and isinstance checks work, which refuses calls.

    Args:
        module: the full name of Ray's module, such as ``ray.tune``.
    """
    instead = REFUSED[module.split(".")[1]]

    def refuse(cls: type, *args: object, **kwargs: object) -> Any:
        raise NotImplementedError(f"{module}.{name} is not part of raynb. {instead}")

    def missing(cls: type, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise NotImplementedError(f"{module}.{name}.{attribute} is not part of raynb. {instead}")

    kind = type("Refused", (type,), {"__call__": refuse, "__getattr__": missing})
    return kind(name, (), {"__module__": module})


def refused(name: str) -> RefusedModule | None:
    """Returns the module for a name such as ``ray.tune.schedulers``; None: raynb has it, or Ray hasn't."""
    parts = name.split(".")
    if len(parts) < 2 or parts[1] not in REFUSED:
        return None
    module = RefusedModule(name, f"Not part of raynb. {REFUSED[parts[1]]}")
    module.__path__ = []
    return module
