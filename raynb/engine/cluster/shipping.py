"""raynb on the nodes of a cluster: what each has, and what is sent there if it lacks it."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import ray

from raynb.base import interrupts
from raynb.engine.cluster import rays

PACKAGE = Path(__file__).resolve().parents[2]
PROBE_SECONDS = 60.0  # that one node may take to answer
LOOK_SECONDS = 0.5  # seconds between two looks while waiting, so that Ctrl-C comes through
_quiet = logging.getLogger("raynb.shipping")


def version() -> str:
    """Returns the version of raynb here; empty for a source tree that was never installed."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("raynb")
    return ""


def examine_node(modules: tuple[str, ...], folders: tuple[str, ...]) -> dict[str, Any]:
    """Runs on a node, by value: there may be no raynb to import it from. Imports nothing of raynb's."""
    import importlib.util
    import os
    import platform
    import shutil
    import socket
    from importlib import metadata

    found: dict[str, Any] = {"python": platform.python_version(), "host": socket.gethostname(), "pid": os.getpid()}
    found["raynb"] = None
    if importlib.util.find_spec("raynb") is not None:
        try:
            found["raynb"] = metadata.version("raynb")
        except metadata.PackageNotFoundError:
            found["raynb"] = ""
    versions = {}
    packages = metadata.packages_distributions() if modules else {}
    for name in modules:
        try:
            there = importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            there = False
        owners = packages.get(name, []) if there else []
        try:
            versions[name] = (metadata.version(owners[0]) if owners else "") if there else None
        except metadata.PackageNotFoundError:
            versions[name] = ""
    found["modules"] = versions
    found["disk"] = {folder: shutil.disk_usage(folder).free for folder in folders if os.path.isdir(folder)}
    if os.path.isdir("/dev/shm"):
        found["shm"] = shutil.disk_usage("/dev/shm").total
    return found


def _by_value() -> Any:
    """Returns `examine_node` as a function that Ray pickles by value."""
    namespace: dict[str, Any] = {"Any": Any, "__name__": "__main__"}
    exec(compile(inspect.getsource(examine_node), "<raynb examine_node>", "exec"), namespace)
    return namespace["examine_node"]


def ask_nodes(modules: tuple[str, ...] = (), folders: tuple[str, ...] = ("/tmp",), env: dict[str, Any] | None = None,
              look: Callable[[], None] = lambda: None) -> dict[str, Any]:  # fmt: skip
    """Runs `examine_node` on every live node (`PROBE_SECONDS` at the most); node id → what it found, or the error.

    Args:
        modules: their versions are looked for.
        folders: their free space is.
        env: Ray's ``runtime_env`` of what runs there.
        look: called about every half second of the wait; what it raises ends the wait, as Ctrl-C does.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            examiner = rays.remote(_by_value(), num_cpus=0, max_retries=1)
            options = {"runtime_env": env} if env else {}
            asked[node["NodeID"]] = examiner.options(
                scheduling_strategy=where, name="raynb.examine_node", **options).remote(modules, folders)
    ready: list[Any] = []
    end = time.monotonic() + PROBE_SECONDS
    while len(ready) < len(asked) and time.monotonic() < end:
        with interrupts.Allowed():
            ready, _ = rays.wait(list(asked.values()), num_returns=len(asked), timeout=LOOK_SECONDS)
        look()
    there, found = set(ready), {}
    for node_id, ref in asked.items():
        try:
            found[node_id] = rays.get(ref) if ref in there else TimeoutError(f"no answer within {PROBE_SECONDS:g} s")
        except Exception as error:
            found[node_id] = error
    return found


def lacking(found: dict[str, Any]) -> list[str]:
    """Returns one line for each node whose raynb is missing or another version."""
    mine, lines = version(), []
    for node_id, about in found.items():
        if isinstance(about, BaseException):
            continue  # whether it answers is another question
        if about["raynb"] is None:
            lines.append(f"node {node_id[:8]} ({about['host']}) has no raynb")
        elif about["raynb"] != mine:
            lines.append(f"node {node_id[:8]} ({about['host']}) has raynb {about['raynb'] or 'from a source tree'}")
    return lines


def upload() -> list[str]:
    """Stores raynb (and cloudpickle, which it needs) with the cluster; returns the URIs for ``py_modules``."""
    found = importlib.util.find_spec("cloudpickle")
    packages = [PACKAGE, *([Path(found.origin).parent] if found is not None and found.origin else [])]
    with tempfile.TemporaryDirectory(prefix="raynb-ship-") as folder:
        return uploaded({"py_modules": [_slim(package, Path(folder)) for package in packages]})["py_modules"]  # type: ignore[no-any-return]


def _slim(source: Path, folder: Path) -> str:
    """Copies the Python files of a package: no built front end, no caches."""
    target = folder / source.name
    for path in source.rglob("*"):
        if path.suffix in (".py", ".typed") and "labextension" not in path.parts[len(source.parts):]:
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    return str(target)


def uploaded(env: dict[str, Any]) -> dict[str, Any]:
    """Returns a ``runtime_env`` for tasks with its local folders stored with the cluster: there Ray takes URIs only."""
    local = [*([env["working_dir"]] if env.get("working_dir") else []), *(env.get("py_modules") or ())]
    if not any(not isinstance(one, str) or "://" not in one for one in local):
        return env
    if not rays.is_connected():
        raise ConnectionError("this process is not connected to a Ray cluster")
    from ray._private.runtime_env.py_modules import upload_py_modules_if_needed
    from ray._private.runtime_env.working_dir import upload_working_dir_if_needed

    made = dict(env)
    with tempfile.TemporaryDirectory(prefix="raynb-ship-") as scratch:
        for store in (upload_working_dir_if_needed, upload_py_modules_if_needed):
            given: dict[str, Any] = {"scratch_dir": scratch, "logger": _quiet}
            if "include_gitignore" in inspect.signature(store).parameters:  # newer Rays
                given["include_gitignore"] = True
            made = store(made, **given)
    return made


def remedy(lines: list[str]) -> str:
    """Returns the one message about nodes that cannot run raynb's tasks."""
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"raynb {version() or '(source tree)'} on Python {python} runs here, but " + "; ".join(lines)
        + '. Install the same version in the nodes\' image (pip install "raynb[ray]"), or leave '
        "ship_package=True, which sends raynb there by itself (py_modules)."
    )
