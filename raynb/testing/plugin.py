"""What the pytest plugin does once a test asks for a runtime. pytest loads `raynb_pytest`, which explains it.

``-p raynb.testing.plugin``, its former name, loads it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from raynb_pytest import global_engine, left_by, pytest_configure, pytest_runtest_teardown, raynb_runtime

from raynb.testing import leaks

if TYPE_CHECKING:
    from raynb.base.engine import DriverEngine

PATIENCE_SECONDS = 60.0  # that the check waits for what a test used to go, on a machine that is busy


def fresh_runtime(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Yields the isolated runtime of a test, with the options of its markers; checks what it left."""
    from raynb.api import Runtime

    _refuse_leftover(request)
    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("raynb"))):  # the nearest one wins
        if marker.args:
            raise pytest.UsageError(f"{request.node.nodeid}: the marker raynb takes options by name only")
        options.update(marker.kwargs)
    look = options.pop("leaks", True)
    before = leaks.Held.now()
    with Runtime(**options) as runtime:
        yield runtime
        _check_state(runtime.engine)
    if look is not False:
        leaks.check(before, PATIENCE_SECONDS if look is True else look, f"the runtime of {request.node.nodeid}")


def _refuse_leftover(request: pytest.FixtureRequest) -> None:
    """A global runtime that another test left is stopped; then this test fails and says whose it was."""
    if global_engine() is None:
        return
    from raynb.api import shutdown

    culprit = request.session.stash.get(left_by, "") or "code that ran before the first test"
    shutdown()
    pytest.fail(
        f"a global raynb runtime was still running: it was left behind by {culprit} "
        f"(process {os.getpid()}). It has been shut down now. Call raynb.shutdown() there, "
        "or use the fixture raynb_runtime.",
        pytrace=False,
    )


def _check_state(engine: DriverEngine) -> None:
    """Everything that must be true between two events is looked at once more."""
    if engine.alive:
        engine.check_invariants()


__all__ = ["fresh_runtime", "pytest_configure", "pytest_runtest_teardown", "raynb_runtime"]
