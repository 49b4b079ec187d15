"""What `cluster_checks.py` is written with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import raynb
from raynb.base import scope as scopes
from raynb.base.rows import Output

CHECKS: dict[str, Callable[[], None]] = {}
WAIT = 30.0
heard: list[Output] = []


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS[function.__name__] = function
    return function


def until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {WAIT} s for {what}")


def printed(scope: int, kind: str = "stdout") -> str:
    return "".join(one.text for one in list(heard) if one.scope == scope and one.kind == kind)


def engine() -> Any:
    return raynb.runtime().engine


def raised(call: Callable[[], Any]) -> BaseException:
    """Returns what the call raises; it must raise."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


class In:
    """A notebook cell, as far as submissions are concerned."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        self.token = scopes.enter(self.number)

    def __exit__(self, *exc: object) -> None:
        scopes.leave(self.token)
