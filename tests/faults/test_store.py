"""D. The object store: too large, too full, lost, damaged, on a disk that is full."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from raynb.exceptions import (
    ObjectLostError,
    ObjectStoreAndDiskFullError,
    ObjectStoreFullError,
    OutOfDiskError,
    TaskCancelledError,
)
from raynb.serde import pickling
from raynb.store.disk import Files
from raynb.testing import faults, leaks
from raynb.testing.faults import Counter

MB = 1 << 20


def block(number: int, size: int = 4 * MB) -> bytes:
    """Bytes that are told apart by their number, cheap to make and to compare."""
    return hashlib.sha256(str(number).encode()).digest() * (size // 32)


def used(ray: Any) -> tuple[int, int]:
    """Bytes in the store: (in memory, spilled)."""
    store = ray.runtime().engine.snapshot().store
    return store.used, store.spilled


@pytest.mark.raynb(num_cpus=1, object_store_memory=32 * MB)
def test_d32_an_object_larger_than_the_store_works(ray: Any) -> None:
    data = block(1, 64 * MB)
    ref = ray.put(data)
    assert ray.get(ref, timeout=60) == data

    @ray.remote
    def size(value: bytes) -> tuple[int, str]:
        return len(value), hashlib.sha1(value).hexdigest()

    assert ray.get(size.remote(ref), timeout=60) == (64 * MB, hashlib.sha1(data).hexdigest())


@pytest.mark.raynb(num_cpus=1, object_store_memory=32 * MB)
def test_d33_six_times_the_store_is_alive_and_every_byte_is_right(ray: Any) -> None:
    @ray.remote
    def make(number: int) -> bytes:
        return block(number)

    refs = [ray.put(block(n)) if n % 2 else make.remote(n) for n in range(48)]
    for number, ref in enumerate(refs):
        assert ray.get(ref, timeout=60) == block(number), number
    assert leaks.until(lambda: used(ray)[0] <= 32 * MB)  # a process notes its bytes before it finds them too many
    del refs, ref
    gc.collect()
    assert leaks.until(lambda: used(ray) == (0, 0)), used(ray)


@pytest.mark.raynb(num_cpus=1, object_store_memory=32 * MB)
def test_d34_when_everything_is_pinned_there_is_progress_or_a_clear_error(ray: Any) -> None:
    import numpy as np

    views: list[Any] = []

    def fill() -> str:
        try:
            while len(views) < 20:
                views.append(ray.get(ray.put(np.full(MB // 2, len(views))), timeout=60))  # 4 MB, held
        except ObjectStoreFullError as error:
            return str(error)
        return "there was room for all of it, with object_store_memory and the disk"

    assert "object_store_memory" in fill()
    assert len(views) >= 5
    assert all((view == number).all() for number, view in enumerate(views))


def full_disk(path: Any, real: Any = os.statvfs) -> Any:
    """What `os.statvfs` says of a disk on which no byte is left."""
    found = real(path)
    return os.statvfs_result((found[0], found[1], found[2], 0, 0, *found[5:]))


def fill(ray: Any) -> tuple[list[Any], str]:
    """Puts blocks until there is an error; returns their refs, and what the error says."""
    accepted: list[Any] = []
    with pytest.raises(ObjectStoreAndDiskFullError) as caught:
        while len(accepted) < 20:
            accepted.append(ray.put(block(len(accepted))))
    assert isinstance(caught.value, OutOfDiskError)
    return accepted, str(caught.value)


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_d35_a_full_disk_is_told_and_what_was_accepted_stays_readable(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote
    def reads(*values: bytes) -> list[bool]:
        return [value == block(number) for number, value in enumerate(values)]

    monkeypatch.setattr(os, "statvfs", full_disk)
    accepted, words = fill(ray)
    assert "object_store_memory" in words
    assert ray.runtime().engine.disk.path in words
    assert 2 <= len(accepted) <= 4
    for number, ref in enumerate(accepted):
        assert ray.get(ref, timeout=60) == block(number)
    assert all(ray.get(reads.remote(*accepted), timeout=60))
    with pytest.raises(OutOfDiskError):  # it is still full, and says so each time
        ray.put(block(76, 8 * MB))
    monkeypatch.undo()
    accepted.append(ray.put(block(len(accepted))))
    assert all(ray.get(reads.remote(*accepted), timeout=60))
    accepted.clear()
    del ref
    gc.collect()
    assert leaks.until(lambda: used(ray) == (0, 0)), used(ray)
    folder = ray.runtime().engine.disk.path
    assert leaks.until(lambda: not os.listdir(folder)), os.listdir(folder)


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_d35_a_full_disk_is_told_to_a_task_and_what_it_had_stored_stays_readable(ray: Any) -> None:
    @ray.remote(max_retries=0)
    def task() -> tuple[list[Any], str]:
        before, os.statvfs = os.statvfs, full_disk
        try:
            return fill(ray)
        finally:
            os.statvfs = before

    accepted, words = ray.get(task.remote(), timeout=60)
    assert "object_store_memory" in words
    assert len(accepted) >= 2
    for number, ref in enumerate(accepted):
        assert ray.get(ref, timeout=60) == block(number)


class HalfWritten(Files):
    """A disk that takes a few bytes a call and, every third object, breaks in the middle."""

    def __init__(self) -> None:
        self.calls = 0
        self.broken = 0

    def write(self, fd: int, vectors: Sequence[memoryview | bytes]) -> int:
        self.calls += 1
        if self.calls % 29 == 0:
            self.broken += 1
            raise OSError(errno.EIO, "the disk broke in the middle of a file")
        return os.write(fd, memoryview(vectors[0])[: 300_001])


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_d36_a_spill_that_is_written_by_halves_or_breaks_loses_nothing(ray: Any) -> None:
    engine = ray.runtime().engine
    engine.disk._files = files = HalfWritten()
    accepted = {}
    for number in range(24):
        with contextlib.suppress(ObjectStoreFullError):  # no room in the store, and the disk broke just then
            accepted[number] = ray.put(block(number))
    assert files.broken >= 2
    assert len(accepted) >= 16
    for number, ref in accepted.items():
        assert ray.get(ref, timeout=60) == block(number), number

    def stored() -> list[str]:
        return sorted(o.value[1] for o in list(engine.machine.objects.table.values()) if o.value[0] == "file")

    def files_there() -> list[str]:
        return sorted(f for f in leaks.files_under(engine.disk.path) if os.path.isfile(f))

    assert leaks.until(lambda: stored() == files_there()), (stored(), files_there())


class Slow(Files):
    """A disk that takes nothing until it is told to go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def write(self, fd: int, vectors: Sequence[memoryview | bytes]) -> int:
        self.entered.set()
        assert self.go_on.wait(60)
        return super().write(fd, vectors)


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_d36_while_the_disk_hangs_everything_else_goes_on(ray: Any) -> None:
    engine = ray.runtime().engine
    refs = [ray.put(block(n)) for n in range(3)]
    engine.disk._files = slow = Slow()
    late: list[Any] = []
    putting = threading.Thread(target=lambda: late.append(engine.put(pickling.pack(block(3, 8 * MB)))))
    putting.start()
    try:
        assert slow.entered.wait(60)

        @ray.remote
        def first(value: bytes) -> bytes:
            return value[:32]

        for number, ref in enumerate(refs):  # also the one that is just being written
            assert ray.get(ref, timeout=60) == block(number)
            assert ray.get(first.remote(ref), timeout=60) == block(number)[:32]
        assert not late
    finally:
        slow.go_on.set()
        putting.join(60)
    assert [ray.get(ref, timeout=60) for ref in [*refs, *late]] == [*map(block, range(3)), block(3, 8 * MB)]
    refs.clear()
    late.clear()
    del ref
    gc.collect()
    assert leaks.until(lambda: used(ray) == (0, 0)), used(ray)


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_d36_a_worker_killed_in_the_middle_of_a_spill_file(ray: Any, counter: Counter) -> None:
    @ray.remote(max_retries=2)
    def large() -> bytes:
        if counter.add() == 1:
            from raynb.store.disk import Files

            def die(self: Any, fd: int, vectors: Any) -> int:
                os.write(fd, vectors[0][: len(vectors[0]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
                return 0

            Files.write = die  # type: ignore[method-assign]
        return block(9, 32 * MB)

    ref = large.remote()
    assert ray.get(ref, timeout=60) == block(9, 32 * MB)
    assert counter.value == 2
    folder = ray.runtime().engine.disk.path
    assert leaks.until(lambda: len(os.listdir(folder)) == 1), os.listdir(folder)


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
@pytest.mark.parametrize("damage", ["deleted", "truncated", "garbled"])
def test_d37_a_damaged_spill_file_is_never_read_as_if_it_were_whole(ray: Any, damage: str) -> None:
    refs = [ray.put(block(n)) for n in range(12)]
    folder = Path(ray.runtime().engine.disk.path)
    assert leaks.until(lambda: len([f for f in leaks.files_under(folder) if os.path.isfile(f)]) >= 6)
    for name in leaks.files_under(folder):
        path = Path(name)
        if not path.is_file() or path.stat().st_size < MB:
            continue
        if damage == "deleted":
            path.unlink()
            continue
        os.chmod(path, 0o600)
        with path.open("r+b") as file:
            if damage == "truncated":
                file.truncate(path.stat().st_size // 2)
            else:
                file.seek(path.stat().st_size // 2)
                file.write(b"not what was written here")
    lost = right = 0
    for number, ref in enumerate(refs):
        try:
            right += ray.get(ref, timeout=60) == block(number)
        except ObjectLostError:
            lost += 1
    assert lost + right == len(refs)
    assert lost >= 1


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_d38_lost_results_are_made_again(ray: Any, counter: Counter) -> None:
    @ray.remote(max_retries=3)
    def make(number: int) -> bytes:
        counter.add()
        return block(number)

    refs = [make.remote(n) for n in range(12)]
    ray.wait(refs, num_returns=len(refs), timeout=60)
    made = counter.value
    folder = Path(ray.runtime().engine.disk.path)
    for name in leaks.files_under(folder):
        if os.path.isfile(name) and os.path.getsize(name) > MB:
            os.unlink(name)
    for number, ref in enumerate(refs):
        assert ray.get(ref, timeout=60) == block(number)
    assert counter.value > made


@pytest.mark.raynb(num_cpus=1, object_store_memory=64 * MB)
def test_d39_nothing_is_left_after_a_cancel(ray: Any, gate: Any) -> None:
    @ray.remote(max_retries=0)
    def make(data: bytes) -> bytes:
        kept = ray.put(data)
        gate.arrive("made")
        try:
            gate.pass_through("held")
        finally:
            del kept
        return data

    ref = make.remote(ray.put(block(1)))
    gate.wait_for("made")
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)
    del ref
    gc.collect()
    assert leaks.until(lambda: used(ray) == (0, 0)), used(ray)


@pytest.mark.raynb(num_cpus=1, object_store_memory=64 * MB)
def test_d40_a_view_outlives_its_ref_and_is_accounted(ray: Any) -> None:
    import numpy as np

    data = np.arange(MB, dtype=np.int64)
    ref = ray.put(data)
    view = ray.get(ref)
    assert not view.flags.writeable
    part = view[100:200]
    del ref, view
    gc.collect()
    for number in range(6):  # what would overwrite it, were it taken for free
        ray.get(ray.put(np.full(MB, number)))
    assert (part == data[100:200]).all()
    assert used(ray)[0] >= 8 * MB
    del part
    gc.collect()
    assert leaks.until(lambda: used(ray) == (0, 0)), used(ray)


@pytest.mark.raynb(num_cpus=1, object_store_memory=64 * MB)
def test_objects_of_a_dead_worker_stay(ray: Any) -> None:
    @ray.remote
    def make() -> tuple[int, bytes]:
        return os.getpid(), block(5)

    ref = make.remote()
    pid, data = ray.get(ref, timeout=60)
    faults.kill(pid)
    assert data == block(5)
    assert ray.get(ref, timeout=60)[1] == block(5)

    @ray.remote
    def same(value: tuple[int, bytes]) -> bool:
        return value[1] == block(5)

    assert ray.get(same.remote(ref), timeout=60)
