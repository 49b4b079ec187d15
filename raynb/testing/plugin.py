"""The pytest plugin that comes with raynb: a fresh runtime for each test that asks for one.

::

    def test_square(raynb_runtime):
        assert raynb.get(square.remote(3)) == 9

    @pytest.mark.raynb(num_cpus=4, object_store_memory=100_000_000)
    def test_wide(raynb_runtime): ...

The runtime is isolated: it is in place for the test (and for what it does in its own thread), and
shares nothing with a global runtime or with tests in other processes. When the test is over, the
runtime is shut down, its state is checked, and whatever it left behind fails the test by name.

A test that leaves the *global* runtime running makes the next test that asks for a fresh one fail
with the name of the test that left it, not with a riddle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from raynb.testing import leaks

if TYPE_CHECKING:
    from raynb.base.engine import DriverEngine

MARKER_TEXT = (
    "raynb(*, leaks=True, **options): options of the runtime that the fixture raynb_runtime starts "
    "(as raynb.init takes them); leaks=False leaves out the check for what the test left behind, "
    "a number is for how many seconds the check waits for the last things to go (default 60)."
)

PATIENCE_SECONDS = 60.0  # that the check waits for what a test used to go, on a machine that is busy

#: The test after which a global runtime was first seen running; empty: there is none.
_left_by: pytest.StashKey[str] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and marks the processes that tests start."""
    config.addinivalue_line("markers", MARKER_TEXT)
    # Processes that tests start inherit the mark, so that orphans are found too. Each xdist worker
    # is a process of its own and marks its own.
    leaks.mark()


def _global_engine() -> Any:
    """The global runtime's engine, without starting one or importing what is not loaded."""
    from raynb.api import session

    engine = session.global_slot().engine
    return engine if engine is not None and engine.alive else None


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Records which test left the global runtime running."""
    yield
    stash = item.session.stash
    if _global_engine() is None:
        stash[_left_by] = ""
    elif not stash.get(_left_by, ""):
        stash[_left_by] = item.nodeid


@pytest.fixture
def raynb_runtime(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Gives the test a fresh isolated `raynb.Runtime`; options come from the marker ``raynb``."""
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
    if _global_engine() is None:
        return
    from raynb.api import shutdown

    culprit = request.session.stash.get(_left_by, "") or "code that ran before the first test"
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
