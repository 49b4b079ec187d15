"""What the programs that check a Ray cluster are written with, whatever cluster they run on."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

#: Name → check, in the order in which they are written.
CHECKS: dict[str, Callable[[], None]] = {}
#: The folder for temporary files of this machine, whatever `scratch` has made of it since.
TEMP = tempfile.gettempdir()
#: Seconds; only a busy machine takes long: Ray starts a process for each actor and many tasks.
WAIT = 120.0
#: Ray itself gives a node 30 seconds to start: on a busy machine it is tried again.
START_ATTEMPTS = 3
#: Environment variables of programs with a cluster of their own: Ray joins no other one of this machine, ends no worker
#: because others use its memory, and gives workers time (seconds) to start.
ALONE = {
    "RAY_ADDRESS": "local", "RAY_memory_monitor_refresh_ms": "0", "RAY_worker_register_timeout_seconds": "300",
}  # fmt: skip
#: And of the checks: Ray waits so long (ms) for word of an actor's death before it says that the actor is unavailable.
#: It reads them when it is imported, so they are the program's from its start.
CHECKING = {**ALONE, "RAY_timeout_ms_task_wait_for_death_info": "30000"}


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS[function.__name__] = function
    return function


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """Has all temporary files of this process in one folder, and removes it: checks leave theirs behind."""
    with tempfile.TemporaryDirectory(prefix="rb-", ignore_cleanup_errors=True) as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def until(condition: Callable[[], Any], what: str) -> Any:
    """Returns what the condition returns once it is true."""
    end = time.monotonic() + WAIT
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {WAIT:g} s for {what}")
        time.sleep(0.02)
    return found


def raised(call: Callable[[], Any]) -> Exception:
    """Returns what the call raises; it must raise."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


def start_ray(ray: Any, **given: Any) -> None:
    """Starts a cluster of one's own, whatever others this machine has; again if Ray was too slow for itself."""
    for left in reversed(range(START_ATTEMPTS)):
        try:
            ray.init("local", **given)
        except Exception as error:
            if not left:
                raise
            print(f"Ray did not start, and is tried again: {error}", file=sys.stderr, flush=True)
            ray.shutdown()
        else:
            return


def tell(row: dict[str, Any]) -> None:
    """Writes a line for the test that has started this program.

    In one piece and on a line of its own: other threads and processes write into the same file.
    """
    sys.stdout.flush()
    os.write(1, f"\n## {json.dumps(row)}\n".encode())
