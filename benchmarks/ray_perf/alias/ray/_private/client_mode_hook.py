"""raynb has no client mode, so there is nothing to switch off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def disable_client_hook() -> Iterator[None]:
    yield
