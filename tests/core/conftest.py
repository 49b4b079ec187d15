"""A machine with a virtual clock, checked at the end of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raynb.core import invariants
from tests.core.clockwork import Clockwork


@pytest.fixture
def clock() -> Iterator[Clockwork]:
    made = Clockwork()
    yield made
    invariants.check(made.machine)
