"""What `cluster_checks.py` is written with, and what runs it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import ray as real_ray
from cluster_shared import CHECKS, WAIT, check, raised, scratch, start_ray, tell, until  # noqa: F401  the checks import them

import raynb
from raynb.api.session import make_engine
from raynb.base import scope as scopes
from raynb.base.config import Config
from raynb.base.rows import Output
from raynb.engine.cluster import hub
from raynb.testing import engines
from raynb.testing.engines import CHECKS as PROMISES
from raynb.testing.engines import check_engine

heard: list[Output] = []


def printed(scope: int, kind: str = "stdout") -> str:
    return "".join(one.text for one in list(heard) if one.scope == scope and one.kind == kind)


def lines(scope: int) -> list[str]:
    """Returns the lines that tasks of a cell have printed, sorted.

    Each task's are put together first: what two of them print at once may come in turns, also a `print` in pieces.
    """
    pieces: dict[int, str] = {}
    for one in heard:
        if one.scope == scope and one.kind == "stdout":
            pieces[one.task] = pieces.get(one.task, "") + one.text
    return sorted("".join(pieces.values()).splitlines())


def engine() -> Any:
    return raynb.runtime().engine


class In:
    """A notebook cell, as far as submissions are concerned."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        self.token = scopes.enter(self.number)

    def __exit__(self, *exc: object) -> None:
        scopes.leave(self.token)


def promise(name: str) -> Callable[[], None]:
    """One check of `check_engine`, on an engine of its own over the same connection."""
    without = tuple(one.__name__ for one in PROMISES if one.__name__ != name)
    return lambda: check_engine(lambda: make_engine(Config(address="auto")), without=without)


def main() -> None:
    """Runs the checks that the command names, or all."""
    with scratch():
        _run()


def _run() -> None:
    # The checks of their own come last: they end the connection.
    checks = {f"promise_{one.__name__}": promise(one.__name__) for one in PROMISES} | CHECKS
    checks = {name: run for name, run in checks.items() if not sys.argv[1:] or name in sys.argv[1:]}
    # A busy machine is late with output, and a result must not be given out without it here; and with answers.
    hub.OUTPUT_WAIT_SECONDS, engines.ANSWER_SECONDS = WAIT / 2, WAIT
    os.environ["RAYNB_OUTPUT_WAIT_SECONDS"] = str(hub.OUTPUT_WAIT_SECONDS)  # and its workers
    quiet: dict[str, Any] = {"include_dashboard": False, "configure_logging": False, "log_to_driver": False}
    start_ray(real_ray, num_cpus=4, namespace="checks", **quiet)
    try:
        raynb.init("auto")
        engine().on_output.append(heard.append)
        for name, run in checks.items():
            row = {"name": name, "error": ""}
            try:
                run()
            except BaseException:
                row["error"] = traceback.format_exc()
            tell(row)
        raynb.shutdown()
    finally:
        real_ray.shutdown()
