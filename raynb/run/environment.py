"""Sets what surrounds a worker's tasks: directory, variables, module path, threads of C libraries."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from raynb.base.process import surroundings

_devices = os.environ.get("CUDA_VISIBLE_DEVICES")


def enter(settings: dict[str, Any]) -> None:
    """Applies the driver's surroundings to this process."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.path[:] = settings["sys_path"]
    try:
        os.chdir(settings["cwd"])
    except OSError:
        pass  # the driver's directory is gone; stay where we are
    settings["omp_by_user"] = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def set_up(settings: dict[str, Any]) -> None:
    """Sets up the worker's own ``runtime_env``."""
    env = dict(settings.get("env", ()))
    apply(env)
    hook = env.get("worker_process_setup_hook")
    if hook:
        import pickle

        pickle.loads(hook)()


def apply(env: Mapping[str, Any]) -> None:
    """Applies the variables, the directory and the modules of a ``runtime_env`` to this process."""
    os.environ.update(dict(env.get("env_vars", ())))
    working_dir = env.get("working_dir")
    if working_dir:
        os.chdir(working_dir)
        sys.path.insert(0, working_dir)
    for path in reversed(env.get("py_modules", ())):
        # A package directory: its parent is what must be on the path.
        package = os.path.isfile(os.path.join(path, "__init__.py"))
        sys.path.insert(0, os.path.dirname(path) if package else path)


@contextlib.contextmanager
def temporary(env: Iterable[tuple[str, Any]]) -> Iterator[None]:
    """Applies a ``runtime_env`` for the length of a block, in a process that others use too."""
    if not env:
        yield
        return
    given = dict(env)
    before = {name: os.environ.get(name) for name in dict(given.get("env_vars", ()))}
    folder, path = surroundings.folder(), list(sys.path)
    try:
        apply(given)
        yield
    finally:
        with contextlib.suppress(OSError):  # it was deleted meanwhile
            os.chdir(folder)
        sys.path[:] = path
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def set_threads(resources: tuple[tuple[str, int], ...]) -> None:
    """Limits the threads of C libraries to the cores that the task asked for, as Ray does."""
    cpus = next((a for n, a in resources if n == "CPU" or n.startswith("CPU_group_")), 10_000)
    os.environ["OMP_NUM_THREADS"] = str(max(1, cpus // 10_000))


def devices(gpu_ids: tuple[int, ...]) -> tuple[int | str, ...]:
    """Returns the names of GPUs: their numbers, or what the driver's ``CUDA_VISIBLE_DEVICES`` has at these places.

    On a shared machine that variable says which GPUs are ours, so no task may see another one.
    """
    named = [name.strip() for name in (_devices or "").split(",") if name.strip()]
    if not named or not gpu_ids:
        return gpu_ids
    if max(gpu_ids) < len(named):
        return tuple(named[i] for i in gpu_ids)
    return tuple(named)  # as in Ray, if there are fewer than init was told


def devices_are(named: str | None) -> None:
    """Sets the driver's ``CUDA_VISIBLE_DEVICES`` for the tasks from now on."""
    global _devices
    _devices = named


def set_gpus(gpu_ids: tuple[int, ...]) -> None:
    """Shows a task the GPUs that it was given (``CUDA_VISIBLE_DEVICES``, as Ray); none: as it was."""
    if gpu_ids:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, devices(gpu_ids)))
    elif _devices is None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = _devices
