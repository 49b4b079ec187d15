"""Small programs written for Ray, run unchanged on Ray and on raynb.

A program is a function of one argument, the module that plays Ray (``import ray`` or
``import raynb as ray``), and returns a plain value. Both engines must return the same. One that
differs on purpose says so in place::

    @program
    @differs("raynb finds the cycle; Ray waits for ever", expected=["ActorDeadlock"])
    def an_actor_that_gets_itself(ray): ...

Everything here runs in Ray's own environment too, so it imports the standard library only.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: What `init` is called with for programs that don't ask for something else.
DEFAULT_INIT: dict[str, Any] = {"num_cpus": 4, "resources": {"widget": 2}, "namespace": "parity"}

Body = Callable[[Any], Any]


@dataclass
class Program:
    """One program and how it is to be run."""

    name: str
    area: str
    body: Body
    timeout: float = 30.0  # seconds
    init: dict[str, Any] | None = field(default_factory=lambda: DEFAULT_INIT)  # None: starts none
    python: tuple[int, int] = (3, 10)  # the oldest Python that can run it
    on_ray: bool = True  # False: Ray cannot even run it; `differs` says why
    reason: str = ""  # why raynb differs on purpose
    expected: Any = None  # then: what raynb returns
    digest: str = ""  # of the source: a recording of an older text is stale

    @property
    def key(self) -> str:
        return f"{self.area}.{self.name}"


_programs: dict[str, Program] = {}


def program(body: Body | None = None, **options: Any) -> Any:
    """Registers a function as a parity program of its module's area.

    Args:
        body: the function, when used bare.
        **options: fields of `Program` (timeout, init, python, on_ray).
    """
    if body is None:
        return lambda function: program(function, **options)
    area = body.__module__.rpartition(".")[2]
    made = Program(body.__name__, area, body, **options)
    made.reason, made.expected = getattr(body, "parity_differs", ("", None))
    # Without the decorators, which say nothing of what Ray is to run.
    source = inspect.getsource(body).partition("\ndef ")[2]
    made.digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    if not made.on_ray and not made.reason:
        raise ValueError(f"{made.key} is not run on Ray; say why with @differs")
    if made.key in _programs:
        raise ValueError(f"two programs are called {made.key}; rename one")
    _programs[made.key] = made
    return body


def differs(reason: str, expected: Any) -> Callable[[Body], Body]:
    """Marks a deliberate difference: raynb returns ``expected`` and ``reason`` says why."""

    def mark(body: Body) -> Body:
        body.parity_differs = (reason, expected)  # type: ignore[attr-defined]
        return body

    return mark


def catalogue() -> dict[str, Program]:
    """Returns every program that this Python can run, by key, in a fixed order."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name[0] != "_")
    for module in names:
        importlib.import_module(f"{__name__}.{module}")
    able = {key: one for key, one in _programs.items() if sys.version_info >= one.python}
    return dict(sorted(able.items()))
