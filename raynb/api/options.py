"""Every option of `remote` and `.options`, in one table: name, where it applies, check, default.

Names, defaults and error texts are Ray's (``ray/_common/ray_option_utils``).
"""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raynb.api.checks import labels
from raynb.base.config import RESOURCE_UNIT
from raynb.base.interfaces import Engine
from raynb.base.spec import CPU, DYNAMIC, GPU, MEMORY, STREAMING, TaskOptions, plain

TASK = 1
ACTOR = 2
METHOD = 4


@dataclass(frozen=True)
class Option:
    """One option. ``check`` returns what is wrong, or None."""

    where: int
    check: Callable[[Any], str | None]
    default: Any = None


def _number(name: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"The type of keyword '{name}' must be int or float, but received type {type(value)}."
        if value < 0:
            return f"The quantity of resource {name} cannot be negative"
        if value != value or (value == math.inf and name != "timeout"):
            return f"{name}={value} is no amount: give a finite number."
        return None

    return check


def _integer(name: str, least: int, words: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            return f"The type of keyword '{name}' must be int, but received type {type(value)}."
        return None if value >= least else f"The keyword '{name}' only accepts {words}."

    return check


def _typed(name: str, *types: type) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value is None or isinstance(value, types):
            return None
        wanted = " or ".join(t.__name__ for t in types)
        return f"The type of keyword '{name}' must be {wanted}, but received type {type(value)}."

    return check


def _any(value: Any) -> str | None:
    return None


def _returns(value: Any) -> str | None:
    if value is None or value in ("dynamic", "streaming"):
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        return f"The type of keyword 'num_returns' must be int or str, but received type {type(value)}."
    return None if value >= 0 else (
        "The keyword 'num_returns' only accepts None, a non-negative integer, "
        "\"streaming\" (for generators), or \"dynamic\""
    )


def _resources(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        return f"The type of keyword 'resources' must be dict, but received type {type(value)}."
    if CPU in value or GPU in value:
        return "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword"
    if MEMORY in value or "object_store_memory" in value:
        return "Use the 'memory' keyword instead of 'memory' in 'resources' keyword"
    for name, amount in value.items():
        problem = _number(name)(amount)
        if problem:
            return problem
    return None


def _retry_exceptions(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, (list, tuple)) and all(
        isinstance(item, type) and issubclass(item, BaseException) for item in value
    ):
        return None
    if isinstance(value, (list, tuple)):
        return f"In 'retry_exceptions' there must be exception classes only, got {value!r}."
    return f"The type of keyword 'retry_exceptions' must be bool or a list of exception classes, got {value!r}."


def _lifetime(value: Any) -> str | None:
    if value in (None, "detached", "non_detached"):
        return None
    return f"actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None', got {value!r}."


def _strategy(value: Any) -> str | None:
    if value is None or value in ("DEFAULT", "SPREAD") or hasattr(value, "placement_group") \
            or type(value).__name__ in ("NodeAffinitySchedulingStrategy", "NodeLabelSchedulingStrategy"):  # fmt: skip
        return None
    return (
        f"Invalid scheduling_strategy {value!r}: it must be 'DEFAULT', 'SPREAD', "
        "PlacementGroupSchedulingStrategy or NodeAffinitySchedulingStrategy."
    )


OPTIONS: dict[str, Option] = {
    "num_cpus": Option(TASK | ACTOR, _number("num_cpus")),
    "num_gpus": Option(TASK | ACTOR, _number("num_gpus")),
    "memory": Option(TASK | ACTOR, _number("memory")),
    "resources": Option(TASK | ACTOR, _resources),
    "accelerator_type": Option(TASK | ACTOR, _typed("accelerator_type", str)),
    "label_selector": Option(TASK | ACTOR, labels.selector),
    "fallback_strategy": Option(TASK | ACTOR, labels.fallback),
    "name": Option(TASK | ACTOR | METHOD, _typed("name", str)),
    "runtime_env": Option(TASK | ACTOR, _typed("runtime_env", dict)),
    "scheduling_strategy": Option(TASK | ACTOR, _strategy),
    "placement_group": Option(TASK | ACTOR, _any),
    "placement_group_bundle_index": Option(TASK | ACTOR, _any),
    "placement_group_capture_child_tasks": Option(TASK | ACTOR, _any),
    "object_store_memory": Option(ACTOR, _number("object_store_memory")),
    "enable_task_events": Option(TASK | ACTOR | METHOD, _typed("enable_task_events", bool)),
    "_labels": Option(TASK | ACTOR | METHOD, _typed("_labels", dict)),
    "_metadata": Option(TASK | ACTOR | METHOD, _any),
    # tasks
    "num_returns": Option(TASK | METHOD, _returns),
    "max_calls": Option(TASK, _integer("max_calls", 0, "0 or a positive integer")),
    "max_retries": Option(TASK, _integer("max_retries", -1, "0, -1 or a positive integer")),
    "retry_exceptions": Option(TASK | METHOD, _retry_exceptions),
    "timeout": Option(TASK | METHOD, _number("timeout")),
    "_generator_backpressure_num_objects": Option(
        TASK | METHOD, _integer("_generator_backpressure_num_objects", -1, "-1 or a positive integer")
    ),
    # actors
    "concurrency_groups": Option(ACTOR, _typed("concurrency_groups", list, dict)),
    "lifetime": Option(ACTOR, _lifetime),
    "max_concurrency": Option(ACTOR, _integer("max_concurrency", 1, "positive integers")),
    "max_restarts": Option(ACTOR, _integer("max_restarts", -1, "-1, 0 or a positive integer")),
    "max_task_retries": Option(ACTOR | METHOD, _integer("max_task_retries", -1, "-1, 0 or a positive integer")),
    "max_pending_calls": Option(ACTOR, _integer("max_pending_calls", -1, "-1 or a positive integer")),
    "namespace": Option(ACTOR, _typed("namespace", str)),
    "get_if_exists": Option(ACTOR, _typed("get_if_exists", bool)),
    "allow_out_of_order_execution": Option(ACTOR, _typed("allow_out_of_order_execution", bool)),
    "enable_tensor_transport": Option(ACTOR, _any),
    # methods
    "concurrency_group": Option(METHOD, _typed("concurrency_group", str)),
    "tensor_transport": Option(METHOD, _any),
}

def keywords(where: int) -> dict[str, Any]:
    """Returns the public options of tasks, actors or methods, for signatures: name → None, the default."""
    return {name: None for name, option in OPTIONS.items() if option.where & where and name[0] != "_"}


_WORDS = {TASK: "tasks", ACTOR: "actors", METHOD: "actor methods"}


def check(options: dict[str, Any], where: int) -> dict[str, Any]:
    """Returns the options, as Python's own strings and numbers, if every one exists, applies here and has a good value.

    Raises:
        ValueError: names the option, what it takes, or which options there are.
        TypeError: it is of the wrong type.
    """
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None or not option.where & where:
            valid = ", ".join(repr(n) for n, o in OPTIONS.items() if o.where & where and n[0] != "_")
            raise ValueError(f"Invalid option keyword {name} for {_WORDS[where]}. Valid ones are {valid}.")
        problem = option.check(value)
        if problem:
            raise (TypeError if problem.startswith("The type of keyword") else ValueError)(problem)
    if options.get("resources") and options.get("name") == "":
        raise ValueError("Actor name cannot be an empty string.")
    return plain(options)


#: Ray's names of resources that are devices: a task gets a share of one, or whole ones.
ACCELERATORS = (GPU, "TPU", "neuron_cores", "HPU", "NPU", "RBLN", "FURIOSA", "MBLT", "TTNPU")


def units(options: dict[str, Any], default_cpus: float) -> tuple[tuple[str, int], ...]:
    """Returns the resources in ten-thousandths, sorted; zeros left out."""
    wanted: dict[str, float] = dict(options.get("resources") or {})
    cpus = options.get("num_cpus")
    wanted[CPU] = default_cpus if cpus is None else cpus
    if options.get("num_gpus"):
        wanted[GPU] = options["num_gpus"]
    for name in ACCELERATORS:
        amount = wanted.get(name, 0)
        if amount > 1 and amount != int(amount):
            spelled = "num_gpus" if name == GPU else f"resources[{name!r}]"
            raise ValueError(f"{spelled} must be a whole number when it is more than 1, got {amount}.")
    if options.get("memory"):
        wanted[MEMORY] = int(options["memory"])  # whole bytes, rounded down as in Ray
    if options.get("accelerator_type"):
        wanted[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    amounts = tuple(sorted((k, round(v * RESOURCE_UNIT)) for k, v in wanted.items() if v))
    return _in_group(amounts, options)


def _in_group(amounts: tuple[tuple[str, int], ...], options: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """Renames resources to those of the placement group that they come from."""
    strategy = options.get("scheduling_strategy")
    group = getattr(strategy, "placement_group", None) or options.get("placement_group")
    if group is None or isinstance(group, str) or group.is_empty:
        return amounts
    group.check_runtime()
    index = getattr(strategy, "placement_group_bundle_index", None)
    if index is None:
        index = options.get("placement_group_bundle_index", -1)
    bundles = group.bundle_specs
    if index is not None and index >= len(bundles):
        raise ValueError(
            f"placement group bundle index {index} is invalid. Valid placement group indexes: 0-{len(bundles) - 1}"
        )
    usable = bundles if index is None or index < 0 else [bundles[index]]
    if not any(all(b.get(n, 0) * RESOURCE_UNIT >= a for n, a in amounts) for b in usable):
        asked = {n: a / RESOURCE_UNIT for n, a in amounts}
        raise ValueError(
            f"Cannot schedule with the placement group because the resource request {asked} cannot fit "
            f"into any bundles for the placement group, {bundles}."
        )
    suffix = f"_group_{group.number}" if index is None or index < 0 else f"_group_{index}_{group.number}"
    named = tuple((f"{name}{suffix}", amount) for name, amount in amounts)
    return (*named, (f"bundle{suffix}", 10))


class _Around:
    """The placement group of a task that captures its children, as `_in_group` wants it."""

    is_empty = False

    def __init__(self, engine: Engine, number: int) -> None:
        self.number = number
        _, amounts = engine.groups_table().get(number, ("REMOVED", ()))
        self.bundle_specs = [{name: amount / RESOURCE_UNIT for name, amount in bundle} for bundle in amounts]

    def check_runtime(self) -> None:
        """It was made for the engine that it is used with."""


def captured(engine: Engine, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of what a task submits whose placement group captures its children."""
    free = given.get("scheduling_strategy") is None and given.get("placement_group", "default") == "default"
    if not free or given.get("placement_group_capture_child_tasks") is False:
        return given
    around = {"placement_group": _Around(engine, engine.capture), "placement_group_capture_child_tasks": True}
    return {**given, **around}


def capture(given: dict[str, Any]) -> int:
    """Returns the number of the placement group that children run in too; 0: none."""
    strategy = given.get("scheduling_strategy")
    group = getattr(strategy, "placement_group", None) or given.get("placement_group")
    wanted = getattr(strategy, "placement_group_capture_child_tasks", None)
    if wanted is None:
        wanted = given.get("placement_group_capture_child_tasks")
    if not wanted or group is None or isinstance(group, str):
        return 0
    return int(group.number)


def runtime_env(value: dict[str, Any] | None, base: dict[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    """Returns a checked, hashable ``runtime_env``, laid over the job's own."""
    merged: dict[str, Any] = {**(base or {}), **(value or {})}
    if base and value and base.get("env_vars") and value.get("env_vars"):
        merged["env_vars"] = {**base["env_vars"], **value["env_vars"]}
    made: list[tuple[str, Any]] = []
    for name, setting in sorted(merged.items()):
        if name == "env_vars":
            if not isinstance(setting, dict) or not all(
                isinstance(k, str) and isinstance(v, str) for k, v in setting.items()
            ):
                raise TypeError(f"runtime_env['env_vars'] must be a Dict[str, str], got {setting!r}")
            if setting:
                made.append((name, tuple(sorted(plain(dict(setting)).items()))))
        elif name == "working_dir":
            path = os.path.abspath(os.path.expanduser(plain(setting)))
            if not os.path.isdir(path):
                raise ValueError(f"runtime_env['working_dir']: {setting!r} is not a directory")
            made.append((name, path))
        elif name == "py_modules":
            made.append((name, tuple(_module_path(m) for m in setting)))
        elif name == "worker_process_setup_hook":
            import cloudpickle

            made.append((name, cloudpickle.dumps(setting)))
        elif name in ("pip", "conda", "uv", "container", "image_uri"):
            raise ValueError(
                f"runtime_env[{name!r}] is not supported by the embedded engine: workers share this "
                "environment. Install the packages here, or use a Ray cluster (raynb.init('auto'))."
            )
        elif name not in ("config", "excludes", "eager_install"):
            raise ValueError(f"runtime_env has no field {name!r}; there are env_vars, working_dir, py_modules, config.")
    return tuple(made)


def env_for(engine: Engine, value: dict[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    """Returns a task's ``runtime_env`` as the engine takes it (a cluster's has fields that we know nothing of)."""
    native = engine.native_env(value)
    return runtime_env(value, engine.job_env) if native is None else native


#: Options that say where in a cluster: on one machine they change nothing.
_PLACES = ("scheduling_strategy", "label_selector", "fallback_strategy", "_labels", "_metadata", "enable_task_events")


def extra(given: dict[str, Any]) -> tuple[tuple[str, bytes], ...]:
    """Returns the given options that only a cluster has a use for, pickled."""
    found = []
    for name in _PLACES:
        value = given.get(name)
        if value is not None and not hasattr(value, "placement_group"):  # a group is a matter of resources
            import cloudpickle

            found.append((name, cloudpickle.dumps(value)))
    return tuple(found)


def _module_path(module: Any) -> str:
    path: str = plain(module) if isinstance(module, str) else os.path.dirname(module.__file__)
    path = os.path.abspath(path)
    if not os.path.exists(path):
        raise ValueError(f"runtime_env['py_modules']: {module!r} does not exist")
    return path


def returns(value: Any, generator: bool) -> int:
    """Returns num_returns as a number; generators stream unless told otherwise."""
    if value is None:
        return STREAMING if generator else 1
    if isinstance(value, str):
        return {"dynamic": DYNAMIC, "streaming": STREAMING}[value]
    return int(value)


def retry_on(value: Any) -> bool | bytes:
    """Returns `retry_exceptions` as it travels: a bool, or the pickled tuple of classes."""
    if isinstance(value, bytes):  # it does already
        return value
    if value is None or isinstance(value, bool):
        return bool(value)
    import cloudpickle

    return cloudpickle.dumps(tuple(value)) if value else False


def marked(given: dict[str, object]) -> dict[str, object]:
    """Returns the options that `method` has marked a method with as they travel with every handle: a process that reads
    one need not know the user's classes."""
    made = dict(given)
    if "retry_exceptions" in made:
        made["retry_exceptions"] = retry_on(made["retry_exceptions"])
    return made


def task_options(
    name: str, function: str, given: dict[str, Any], generator: bool, env: Any, surroundings: str = ""
) -> TaskOptions:
    """Returns the options of a remote function, from what the user gave."""
    count = returns(given.get("num_returns"), generator)
    retries = given.get("max_retries")
    return TaskOptions(
        name=given.get("name") or name,
        function_name=name,
        function=function,
        num_returns=count,
        resources=units(given, 1),
        max_retries=3 if retries is None else retries,
        retry_exceptions=retry_on(given.get("retry_exceptions")),
        max_calls=given.get("max_calls") or 0,
        timeout=given.get("timeout"),
        memory=int(given.get("memory") or 0),
        runtime_env=env,
        backpressure=given.get("_generator_backpressure_num_objects") or -1,
        extra=extra(given),
        capture=capture(given),
        surroundings=surroundings,
    )


__all__ = ["ACTOR", "METHOD", "OPTIONS", "TASK", "Option", "check", "pickle", "task_options"]
