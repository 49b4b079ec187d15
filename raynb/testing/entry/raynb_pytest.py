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
with the name of the test that left it.

pytest loads this module in every run where raynb is installed. So it is installed beside the package, and imports
nothing of it until a test asks for the fixture: importing `raynb.anything` imports raynb.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

MARKER_TEXT = (
    "raynb(*, leaks=True, **options): options of the runtime that the fixture raynb_runtime starts "
    "(as raynb.init takes them); leaks=False leaves out the check for what the test left behind, "
    "a number is for how many seconds the check waits for the last things to go (default 60)."
)

#: The environment variable by which the processes of one test run are found: `raynb.testing.leaks.MARKER`.
LEAK_MARK = "RAYNB_LEAK_MARK"

#: The test after which a global runtime was first seen running; empty: there is none.
left_by: pytest.StashKey[str] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and marks the processes that tests start."""
    config.addinivalue_line("markers", MARKER_TEXT)
    # Processes that tests start inherit the mark, so that orphans are found too. Each xdist worker
    # is a process of its own and marks its own.
    os.environ[LEAK_MARK] = os.urandom(16).hex()


def global_engine() -> Any:
    """Returns the global runtime's engine, or None; starts none, and imports nothing."""
    session = sys.modules.get("raynb.api.session")
    engine = None if session is None else session.global_slot().engine
    return engine if engine is not None and engine.alive else None


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Records which test left the global runtime running."""
    yield
    stash = item.session.stash
    if global_engine() is None:
        stash[left_by] = ""
    elif not stash.get(left_by, ""):
        stash[left_by] = item.nodeid


@pytest.fixture
def raynb_runtime(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Gives the test a fresh isolated `raynb.Runtime`; options come from the marker ``raynb``."""
    from raynb.testing import plugin

    yield from plugin.fresh_runtime(request)
