"""Applies the surroundings that a task takes along, in the process that runs it.

They are applied before the task, in order with it, and not undone, as in one process. What a
``runtime_env`` sets in this process stays as it is. Each part is pickled by itself, so one that this
process cannot read leaves the others alone, and says so.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from raynb.base.process import surroundings
from raynb.base.process.late_imports import when_imported
from raynb.run import environment
from raynb.serde import pickling

#: What was applied last here.
_path: list[str] = []
_env: dict[str, str | None] = {}
_handlers: list[logging.Handler] = []
_levels: set[str] = set()


def start(path: list[str]) -> None:
    """Records that `sys.path` is what the driver's was when the runtime started."""
    _path[:] = path


def apply(key: str, blob: bytes, env: Mapping[str, object]) -> None:
    """Applies surroundings; does nothing if they are in force.

    Args:
        key: their hash.
        blob: the pickled parts: name → pickled value.
        env: the ``runtime_env`` of this process, which wins.
    """
    if surroundings.mark.key == key:
        return
    surroundings.mark = surroundings.Mark(key, blob)
    for name, packed in pickle.loads(blob).items():
        try:
            if name in LATE:
                _apply_late(name, packed)
            elif name in _PARTS:
                _PARTS[name](pickling.load_in_band(packed), env)
            else:
                surroundings.pending[name] = packed
        except BaseException as error:  # `SystemExit` of a module that it comes from, say
            _report(f"the kernel's {name} could not be applied: {type(error).__name__}: {error}")


def sets(name: str) -> bool:
    """Returns whether the driver has set this environment variable since the runtime started."""
    return _env.get(name) is not None


def _report(text: str) -> None:
    print(f"raynb: {text}", file=sys.__stderr__)  # a task may have put something of the user's in its place


# -- what every process has ----------------------------------------------------------------------
def _apply_path(path: list[str], env: Mapping[str, object]) -> None:
    """Takes the driver's path; entries of this process's own stay in front of it, or behind."""
    before, known = set(_path), set(path)
    now = list(sys.path)
    first = next((place for place, entry in enumerate(now) if entry in before), 0)
    front = [entry for entry in now[:first] if entry not in known]
    behind = [entry for entry in now[first:] if entry not in before and entry not in known]
    sys.path[:] = [*front, *path, *behind]
    _path[:] = path


def _apply_folder(folder: str, env: Mapping[str, object]) -> None:
    if env.get("working_dir"):
        return
    try:
        os.chdir(folder)
    except OSError as error:
        why = f"cannot be entered here ({error.strerror})"
        _report(f"the kernel's folder {folder} {why}; the task runs in {surroundings.folder()}")


def _apply_env(changed: dict[str, str | None], env: Mapping[str, Any]) -> None:
    own = dict(env.get("env_vars") or ())
    for name, value in changed.items():
        if name in own or _env.get(name, _env) == value:
            continue
        _env[name] = value
        if name == "CUDA_VISIBLE_DEVICES":
            environment.devices_are(value)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "TZ" in changed and hasattr(time, "tzset"):
        time.tzset()


def _apply_logging(state: dict[str, Any], env: Mapping[str, object]) -> None:
    root = logging.getLogger()
    root.setLevel(state["root"])
    logging.disable(state["disable"])
    for name, level in state["loggers"].items():
        logging.getLogger(name).setLevel(level)
    for name in _levels - state["loggers"].keys():
        logging.getLogger(name).setLevel(logging.NOTSET)
    _levels.clear()
    _levels.update(state["loggers"])
    for handler in _handlers:
        root.removeHandler(handler)
        handler.close()
    _handlers.clear()
    for kind, where, level, formatter in state["handlers"]:
        made = _handler(kind, where)
        if any(_same(made, other) for other in root.handlers):
            continue  # a cell has set it up here
        made.setLevel(level)
        made.setFormatter(formatter)
        _handlers.append(made)
        root.addHandler(made)
    logging.captureWarnings(state["capture"])


def _handler(kind: str, where: Any) -> logging.StreamHandler[Any]:
    if kind == "file":
        name, encoding = where
        return logging.FileHandler(name, "a", encoding=encoding, delay=True)
    return logging.StreamHandler(sys.stdout if where == "stdout" else sys.stderr)


def _same(made: logging.StreamHandler[Any], other: logging.Handler) -> bool:
    if isinstance(made, logging.FileHandler):
        return isinstance(other, logging.FileHandler) and made.baseFilename == other.baseFilename
    return type(other) is logging.StreamHandler and made.stream is other.stream


def _apply_warnings(filters: list[tuple[Any, ...]], env: Mapping[str, object]) -> None:
    """Takes the driver's filters; one for a category whose module isn't loaded here waits for it."""
    made = []
    for action, message, category, module, line in filters:
        if isinstance(category, tuple):
            found = _category(*category)
            if found is None:
                when_imported(category[0], "warnings", lambda module: _apply_warnings(filters, env))
                continue
            category = found
        made.append((action, message, category, module, line))
    warnings.filters[:] = made  # type: ignore[index]
    changed = getattr(warnings, "_filters_mutated_lock_held", None) or warnings._filters_mutated  # type: ignore[attr-defined]
    changed()


def _category(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


_PARTS: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "path": _apply_path, "cwd": _apply_folder, "env": _apply_env, "logging": _apply_logging,
    "warnings": _apply_warnings,
}  # fmt: skip


# -- what comes with a module --------------------------------------------------------------------
def _apply_late(name: str, packed: bytes) -> None:
    module, set_options = LATE[name]

    def then(loaded: ModuleType) -> None:
        try:
            set_options(pickling.load_in_band(packed))
        except Exception as error:
            _report(f"the kernel's options of {name} could not be applied: {type(error).__name__}: {error}")

    when_imported(module, "options", then)


def _set_numpy(options: dict[str, Any]) -> None:
    sys.modules["numpy"].set_printoptions(**options)


def _set_pandas(options: dict[str, Any]) -> None:
    for name, value in options.items():
        sys.modules["pandas"].set_option(name, value)


def _set_matplotlib(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated names are the notebook's affair
        sys.modules["matplotlib"].rcParams.update(options)


#: Part → the module that it belongs to, and how it is set.
LATE: dict[str, tuple[str, Callable[[Any], None]]] = {
    "numpy": ("numpy", _set_numpy), "pandas": ("pandas", _set_pandas),
    "matplotlib": ("matplotlib", _set_matplotlib),
}  # fmt: skip
