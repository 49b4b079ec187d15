"""What the store's tests share: both backings, stores that are closed, and a look for leaks."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raynb.base.process import shelter
from raynb.store import DiskTier, Ledger, Store
from raynb.store.backing import Backing, FileBacking, MemfdBacking
from raynb.testing import leaks

MB = 1 << 20


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    def held() -> set[object]:
        threads = [thread for thread in threading.enumerate() if not shelter.stays(thread)]
        return {*leaks.descriptors().items(), *threads, *leaks.own_temporaries()}

    def left() -> set[object]:
        if held() - before:
            gc.collect()
        return held() - before

    before = held()
    yield
    assert leaks.until(lambda: not left()), left()  # a thread of a runtime may be just ending


@pytest.fixture(params=["memfd", "file"])
def backing(request: pytest.FixtureRequest, tmp_path: Path) -> Backing:
    """Each way to have nameless memory; the second is forced, as where the first doesn't exist."""
    return MemfdBacking() if request.param == "memfd" else FileBacking(str(tmp_path))


@pytest.fixture
def ledger(backing: Backing) -> Iterator[Ledger]:
    book = Ledger.create(backing)
    yield book
    book.close()


@pytest.fixture
def make_store(backing: Backing, ledger: Ledger, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Makes stores that share a ledger: ``make_store(limit=64 MB, disk=True)``, slots 0, 1, …"""
    made: list[Store] = []
    slots = itertools.count()

    def make(limit: int = 64 * MB, disk: bool | DiskTier = True, **kwargs: Any) -> Store:
        tier = DiskTier(str(tmp_path)) if disk is True else disk or None
        store = Store(next(slots), limit, ledger, tier, backing, **kwargs)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()
