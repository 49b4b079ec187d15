"""The facade, in one process."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raynb.exceptions import ObjectLostError, OutOfDiskError, RuntimeGoneError
from raynb.store import Ledger, NoRoom, Store
from raynb.store.arena import Arena
from raynb.store.backing import Backing
from raynb.store.memory import Mapping
from tests.store.copies import copied

MB = 1 << 20


def equal(store: Store, location: tuple[Any, ...], data: bytes, buffers: list[Any]) -> bool:
    found, views = store.read(location)
    return bytes(found) == data and [bytes(v) for v in views] == [bytes(memoryview(b)) for b in buffers]


def lend(owner: Store, reader: Store) -> None:
    assert owner.fd is not None
    reader.attach(owner.slot, os.dup(owner.fd))


# -- writing and reading -----------------------------------------------------------------------
@pytest.mark.parametrize(
    "buffers",
    [
        [],
        [b""],
        [b"x"],
        [b"x" * 63, b"y" * 64, b"z" * 65],
        [os.urandom(3 * MB), b"small", os.urandom(MB)],
        [np.arange(10.0), np.arange(300_000.0)],
        [bytearray(b"abc"), memoryview(b"abc").toreadonly(), pickle.PickleBuffer(b"abc")],
    ],
    ids=range(7),
)
@pytest.mark.parametrize("data", [b"", b"stream", b"x" * 100_000], ids=["none", "small", "large"])
def test_round_trips(store: Store, data: bytes, buffers: list[Any]) -> None:
    here = store.write(data, buffers)
    assert here[:2] == ("shm", 0)
    assert here[4] == tuple(memoryview(b).nbytes for b in [data, *buffers])
    assert (here[2] % 64, here[3] % 64) == (0, 0)
    assert equal(store, here, data, buffers)
    there = store.spill(here)
    assert there[0] == "file"
    assert there[2:] == here[3:]
    assert equal(store, there, data, buffers)
    store.free(here)
    back = store.restore(there)
    assert back[3:] == here[3:]
    store.free(there)
    assert equal(store, back, data, buffers)
    assert copied(store, back) == (data, [bytes(memoryview(b)) for b in buffers])
    direct = store.write_file(data, buffers)
    assert equal(store, direct, data, buffers)
    store.free(direct)
    store.free(back)
    stats = store.stats()
    assert (stats.used, stats.objects, stats.views, stats.disk.files, stats.disk.bytes) == (0, 0, 0, 0, 0)
    assert store.total() == 0


def test_each_segment_is_aligned(store: Store) -> None:
    location = store.write(b"odd", [np.arange(3, dtype="u1"), np.arange(5.0), np.arange(7.0)])
    _, views = store.read(location)
    for view in views:
        assert np.frombuffer(view, dtype="u1").ctypes.data % 64 == 0


def test_a_view_is_not_a_copy(store: Store) -> None:
    location = store.write(b"s", [bytes(MB)])
    _, (a,) = store.read(location)
    _, (b,) = store.read(location)
    assert np.frombuffer(a, "u1").ctypes.data == np.frombuffer(b, "u1").ctypes.data


def test_arrays_with_holes_are_refused(store: Store) -> None:
    with pytest.raises(BufferError, match="isn't contiguous"):
        store.write(b"s", [np.arange(100)[::2]])
    assert store.total() == 0


def test_nothing_exists_before_the_first_write(store: Store) -> None:
    assert store.fd is None
    assert store.stats().resident == 0
    store.write(b"s")
    assert store.fd is not None


# -- the limit ---------------------------------------------------------------------------------
def test_the_limit_is_exact(make_store: Callable[..., Store]) -> None:
    store = make_store(limit=MB)
    half = store.write(b"x" * (MB // 2))
    other = store.write(b"x" * (MB // 2))
    assert store.total() == MB
    with pytest.raises(NoRoom, match="no room for 64 bytes: 1048576 of 1048576 bytes are taken") as caught:
        store.write(b"x")
    assert caught.value.size == 64
    assert store.total() == MB
    store.free(half)
    store.free(store.write(b"x"))
    store.free(other)
    assert store.total() == 0


def test_what_can_never_fit(make_store: Callable[..., Store]) -> None:
    store = make_store(limit=MB)
    with pytest.raises(NoRoom, match="the object store's limit is 1048576 bytes"):
        store.write(b"x" * (MB + 1))
    location = store.write_file(b"x" * (MB + 1))
    assert equal(store, location, b"x" * (MB + 1), [])
    with pytest.raises(NoRoom):
        store.restore(location)


def test_the_limit_is_everybodys(make_store: Callable[..., Store]) -> None:
    a, b = make_store(limit=MB), make_store(limit=MB)
    mine = a.write(b"x" * (MB - 64))
    with pytest.raises(NoRoom):
        b.write(b"x" * 100)
    small = b.write(b"x")
    assert a.total() == b.total() == MB
    a.free(mine)
    assert b.total() == 64
    b.free(small)


def test_threads_never_pass_the_limit_and_lose_nothing(make_store: Callable[..., Store]) -> None:
    store = make_store(limit=2 * MB)  # too little for all eight at once
    highest, refused, wrong = [0], [0], [0]

    def churn(number: int) -> None:
        body = bytes([number]) * 300_000
        for _ in range(60):
            try:
                location = store.write(b"s", [body])
            except NoRoom:
                refused[0] += 1
                continue
            with store._lock:  # between its own two steps a thread may have reserved what it is about to give back
                highest[0] = max(highest[0], store.total())
            wrong[0] += not equal(store, location, b"s", [body])
            store.free(location)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0]
    assert highest[0] <= 2 * MB
    assert store.total() == 0
    assert store.stats().objects == 0


# -- pages -------------------------------------------------------------------------------------
def test_warm_pages_are_used_again(make_store: Callable[..., Store]) -> None:
    store = make_store(limit=64 * MB)
    for _ in range(20):
        store.free(store.write(b"s", [bytes(5 * MB)]))
    assert store.stats().resident < 6 * MB
    assert store.trim() > 5 * MB
    assert store.stats().resident == 0
    assert store.trim() == 0


def test_pages_of_all_stay_within_the_limit(make_store: Callable[..., Store], ledger: Ledger) -> None:
    a, b = make_store(limit=16 * MB), make_store(limit=16 * MB)
    for store in (a, b):
        store.free(store.write(b"s", [bytes(12 * MB)]))
    assert ledger.resident() <= 16 * MB
    location = a.write(b"s", [bytes(15 * MB)])
    assert b.stats().resident + a.stats().resident == ledger.resident()
    b.trim()
    a.free(location)
    assert ledger.resident() <= 16 * MB
    a.trim()
    assert ledger.resident() == 0


def test_an_idle_store_gives_its_pages_back_in_slices(
    make_store: Callable[..., Store], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raynb.store.own._SLICE_BYTES", 4 * MB)
    store = make_store(limit=64 * MB)
    assert not store.cool_down(0.0)
    kept = store.write(b"kept")
    store.free(store.write(b"s", [bytes(9 * MB)]))
    assert store.cool_down(100.0)
    assert store.cool_down(109.9)
    assert ledger.resident() > 9 * MB, "warm, for the next object"
    store.free(store.write(b"s", [bytes(9 * MB)]))
    assert store.cool_down(111.0)
    assert store.cool_down(120.0)
    assert ledger.resident() > 9 * MB, "it was used meanwhile"
    assert store.cool_down(121.0)
    assert 5 * MB < ledger.resident() < 6 * MB
    assert store.cool_down(121.1)
    assert not store.cool_down(121.2)
    assert not store.cool_down(121.3)
    assert ledger.resident() <= 2 * 4096
    assert equal(store, kept, b"kept", [])


def test_small_objects_do_not_keep_the_space_from_large_ones(make_store: Callable[..., Store]) -> None:
    store = make_store(limit=8 * MB)
    dust = [store.write(b"x" * 1024) for _ in range(8000)]
    for location in dust[1::2]:
        store.free(location)
    assert store.stats().fragmentation > 0.05
    large = store.write(b"y" * (4 * MB - 1024))
    assert store.stats().resident < 16 * MB
    for location in [*dust[::2], large]:
        store.free(location)
    assert store.stats().fragmentation == 0.0


# -- failures in the middle --------------------------------------------------------------------
def test_an_interrupt_while_copying_gives_the_room_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Arena, "fill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(b"s", [bytes(MB)])
    assert (store.total(), store.stats().objects) == (0, 0)


def test_a_ctrl_c_in_the_middle_of_allocating(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Arena.take

    def interrupted(arena: Arena, n: int) -> Any:
        found = real(arena, n)
        signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(Arena, "take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write(b"s", [bytes(MB)])
    assert (store.total(), store.stats().objects) == (0, 0)


def test_no_memory_is_no_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> bool:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Mapping, "populate", refuse)
    with pytest.raises(NoRoom, match="Cannot allocate memory"):
        store.write(b"s", [bytes(2 * MB)])
    assert store.total() == 0


def test_a_restore_that_fails_gives_the_room_back(store: Store) -> None:
    location = store.write_file(b"s", [bytes(MB)])
    os.truncate(location[1], 100)
    with pytest.raises(ObjectLostError):
        store.restore(location)
    assert (store.total(), store.stats().objects) == (0, 0)


def test_freed_twice(store: Store) -> None:
    location = store.write(b"s")
    store.free(location)
    with pytest.raises(ValueError, match="freed twice"):
        store.free(location)
    assert store.total() == 0


def test_without_a_disk(make_store: Callable[..., Store]) -> None:
    store = make_store(disk=False)
    location = store.write(b"s")
    with pytest.raises(OutOfDiskError, match="has no disk tier"):
        store.spill(location)
    with pytest.raises(OutOfDiskError):
        store.write_file(b"s")
    assert store.stats().disk.files == 0


# -- the end -----------------------------------------------------------------------------------
def test_after_close(store: Store) -> None:
    location = store.write(b"s", [b"x"])
    file = store.write_file(b"s")
    store.close()
    store.close()
    for use in (
        lambda: store.write(b"s"),
        lambda: store.read(location),
        lambda: store.free(location),
        lambda: store.write_file(b"s"),
        lambda: store.read(file),
        lambda: store.restore(file),
    ):
        with pytest.raises(RuntimeGoneError, match="object store is closed"):
            use()
    assert store.fd is None
    assert store.trim() == 0
    store.detach(3)
    assert not os.path.exists(file[1])


def test_closed_while_another_thread_writes(
    store: Store, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    """The writer ends with its location or with an error; nothing crashes."""
    real = Arena.fill

    def fill(arena: Arena, cold: Any, parts: Any) -> None:
        store.close()
        real(arena, cold, parts)
        raise RuntimeError("a failure after that")

    monkeypatch.setattr(Arena, "fill", fill)
    with pytest.raises(RuntimeError, match="a failure after that"):
        store.write(b"s", [b"x" * MB])


def test_a_fork_leaves_the_parent_alone(store: Store, make_store: Callable[..., Store]) -> None:
    other = make_store()
    other.write(b"s")
    lend(other, store)
    location = store.write(b"s", [b"x" * 1000])
    released: list[int] = []
    _, (view,) = store.read(location, lambda: released.append(1))
    file = store.write_file(b"f")
    held = store._lock.acquire_raw()  # as if another thread were inside at the moment of the fork
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            store.after_fork_in_child()
            assert bytes(view) == b"x" * 1000
            del view
            assert not released
            with pytest.raises(RuntimeGoneError):
                store.write(b"s")
            store.close()
            assert store.stats().arenas == 0
            code = 0
        os._exit(code)
    assert held
    store._lock.release_raw()
    assert os.waitpid(pid, 0)[1] == 0
    assert equal(store, location, b"s", [b"x" * 1000])
    assert equal(store, file, b"f", [])
    del view
    assert released == [1]


def test_the_backing_is_chosen_when_none_is_given(ledger: Ledger) -> None:
    store = Store(9, MB, ledger, None)
    assert equal(store, store.write(b"s", [b"x"]), b"s", [b"x"])
    store.close()


def test_a_small_limit(backing: Backing, ledger: Ledger) -> None:
    store = Store(0, 64, ledger, None, backing)
    location = store.write(b"s" * 64)
    with pytest.raises(NoRoom):
        store.write(b"")
    store.free(location)
    store.close()
