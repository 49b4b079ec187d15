"""What the programs share: looking at errors, gates and counters across processes."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0  # seconds until a wait for a condition is given up: only a busy machine takes long


def sub(ray: Any, name: str) -> Any:
    """Returns the submodule ``name`` ("util.queue") of the module that plays Ray."""
    return importlib.import_module(f"{ray.__name__}.{name}")


def error(call: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException | None:
    """Returns what the call raises, None if it raises nothing."""
    try:
        call(*args, **kwargs)
    except BaseException as caught:
        if type(caught).__name__ == "ProgramTimeout":
            raise
        return caught
    return None


def first_error(call: Callable[[], Any], patience: float = PATIENCE) -> BaseException | None:
    """Returns what the first call that fails raises. On Ray, a kill arrives a moment after it was asked for."""
    caught: list[BaseException | None] = []
    until(lambda: caught.append(error(call)) or caught[-1], patience)
    return caught[-1]


def kind(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Returns the class name of what the call raises, "no error" if it raises nothing."""
    caught = error(call, *args, **kwargs)
    return "no error" if caught is None else type(caught).__name__


def family(caught: BaseException | None, *classes: type) -> list[str]:
    """Returns the names of those of ``classes`` that the exception is an instance of."""
    return [one.__name__ for one in classes if isinstance(caught, one)]


def says(caught: BaseException | None, *parts: str) -> list[str]:
    """Returns those of ``parts`` that the exception's text contains (colours and case ignored)."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(caught)).lower()
    return [part for part in parts if part.lower() in text]


def until(condition: Callable[[], Any], patience: float = PATIENCE) -> bool:
    """Waits until the condition holds; returns whether it did within ``patience`` seconds."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _path() -> str:
    folder = os.environ.get("PARITY_FOLDER") or tempfile.gettempdir()
    return os.path.join(folder, uuid.uuid4().hex)


class Gate:
    """Opened once, seen by every process (a file)."""

    def __init__(self) -> None:
        self.path = _path()

    def open(self) -> None:
        with open(self.path, "a"):
            pass

    def is_open(self) -> bool:
        return os.path.exists(self.path)

    def wait(self, patience: float = PATIENCE) -> bool:
        return until(self.is_open, patience)


class Tally:
    """A counter that processes share: one byte in a file for each `add`."""

    def __init__(self) -> None:
        self.path = _path()

    def add(self) -> int:
        """Adds one; returns the count after it."""
        with open(self.path, "ab") as file:
            file.write(b".")
            file.flush()
            return file.tell()

    def count(self) -> int:
        return os.path.getsize(self.path) if os.path.exists(self.path) else 0


def alive(pid: int) -> bool:
    """Returns whether the process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended between the opening and the reading
        return False


def counter(ray: Any) -> Any:
    """Returns an actor class that counts."""

    @ray.remote
    class Counter:
        def __init__(self, start: int = 0) -> None:
            self.n = start

        def add(self, by: int = 1) -> int:
            self.n += by
            return self.n

        def pid(self) -> int:
            return os.getpid()

    return Counter
