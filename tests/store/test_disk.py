"""The disk tier: whole files or none, never wrong bytes, nothing left."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from raynb.exceptions import ObjectLostError, OutOfDiskError
from raynb.store import DiskTier, GuestDiskTier, Store
from raynb.store.disk import HEADER_BYTES, Files

MB = 1 << 20


class FaultyFiles(Files):
    """Files on a disk that fills up or breaks after so many bytes, or takes little at a time."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.breaks_after: int | None = None
        self.error = errno.ENOSPC
        self.most = 1 << 40
        self.interrupt_after: int | None = None
        self.done = 0

    def free_room(self, path: str) -> int:
        return super().free_room(path) if self.room is None else self.room

    def write(self, fd: int, vectors: Sequence[memoryview | bytes]) -> int:
        if self.interrupt_after is not None and self.done >= self.interrupt_after:
            raise KeyboardInterrupt
        if self.breaks_after is not None and self.done >= self.breaks_after:
            raise OSError(self.error, os.strerror(self.error))
        n = super().write(fd, [memoryview(vectors[0])[: self.most]] if self.most < 1 << 40 else vectors)
        self.done += n
        return n

    def read(self, fd: int, view: memoryview, offset: int) -> int:
        if self.error == errno.EIO:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(fd, view[: self.most], offset)


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


@pytest.fixture
def disk(tmp_path: Path, files: FaultyFiles) -> Iterator[DiskTier]:
    tier = DiskTier(str(tmp_path), files=files)
    yield tier
    tier.close()
    assert list(tmp_path.iterdir()) == []


def content(disk: GuestDiskTier, location: tuple[object, ...]) -> bytes:
    return bytes(disk.map(location).writable_view()[HEADER_BYTES:])


SHAPES: list[tuple[bytes, list[bytes]]] = [
    (b"", []),
    (b"s", []),
    (b"stream", [b""]),
    (b"x" * 64, [b"y" * 64, b"z" * 65]),
    (b"stream", [bytes([i]) * i for i in range(1, 256)]),
    (b"stream", [b"q"] * 1500),
    (os.urandom(100_001), [os.urandom(3 * MB + 1), b"", os.urandom(20 * MB)]),
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_what_is_written_is_read(disk: DiskTier, shape: tuple[bytes, list[bytes]]) -> None:
    data, buffers = shape
    location = disk.write(data, buffers)
    kind, path, size, segments = location
    assert (kind, segments) == ("file", tuple(map(len, [data, *buffers])))
    assert os.path.getsize(path) == HEADER_BYTES + size
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    body = content(disk, location)
    at = 0
    for part in [data, *buffers]:
        assert at % 64 == 0
        assert body[at : at + len(part)] == part
        at += -(-len(part) // 64) * 64
    assert size == (at or 64)
    target = bytearray(size)
    disk.read_into(location, memoryview(target))
    assert target == body


def test_short_writes_and_reads(disk: DiskTier, files: FaultyFiles) -> None:
    files.most = 777
    data, buffers = os.urandom(5000), [os.urandom(3000), os.urandom(1)]
    location = disk.write(data, buffers)
    target = bytearray(location[2])
    disk.read_into(location, memoryview(target))
    assert target[:5000] == data
    assert target[5056:8056] == buffers[0]


def test_views_of_a_file_after_it_is_removed(disk: DiskTier) -> None:
    location = disk.write(b"stream", [os.urandom(MB)])
    mapping = disk.map(location)
    disk.remove(location)
    assert not os.path.exists(location[1])
    assert bytes(mapping.writable_view()[HEADER_BYTES : HEADER_BYTES + 6]) == b"stream"
    disk.remove(location)


def test_statistics(disk: DiskTier) -> None:
    one, two = disk.write(b"x" * 1000, []), disk.write(b"y", [])
    s = disk.stats()
    assert (s.files, s.bytes, s.written, s.read) == (2, 1088, 1088, 0)
    disk.map(one)
    assert disk.stats().read == 1024
    disk.remove(one)
    s = disk.stats()
    assert (s.files, s.bytes, s.written) == (1, 64, 1088)
    disk.remove(two)


# -- a disk that is full or broken -------------------------------------------------------------
def test_no_room_is_seen_before_writing(disk: DiskTier, files: FaultyFiles) -> None:
    files.room = 1000
    with pytest.raises(OutOfDiskError) as caught:
        disk.write(b"x" * 1000, [])
    text = str(caught.value)
    assert "1088 bytes needed, 1000 free" in text
    assert disk.path in text
    assert "object_spilling_directory" in text
    assert os.listdir(disk.path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("after", [0, 1, 20 * MB])
def test_the_disk_fails_while_writing(disk: DiskTier, files: FaultyFiles, after: int, code: int) -> None:
    before = disk.write(b"accepted", [])
    files.done = 0
    files.breaks_after, files.error = after, code
    with pytest.raises(OutOfDiskError, match=os.strerror(code)) as caught:
        disk.write(b"stream", [bytes(50 * MB)])
    assert isinstance(caught.value.__cause__, OSError)
    assert os.listdir(disk.path) == [os.path.basename(before[1])], "nothing half written"
    assert disk.stats().failures == 1
    files.breaks_after = None
    assert content(disk, before)[:8] == b"accepted"
    files.error = 0
    disk.write(b"works again", [])


def test_a_disk_that_takes_nothing(disk: DiskTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk._files, "write", lambda fd, vectors: 0)
    with pytest.raises(OutOfDiskError, match="takes no more bytes"):
        disk.write(b"stream", [])


def test_interrupted_while_writing(disk: DiskTier, files: FaultyFiles) -> None:
    files.interrupt_after = 20 * MB
    with pytest.raises(KeyboardInterrupt):
        disk.write(b"stream", [bytes(50 * MB)])
    assert os.listdir(disk.path) == []
    assert threading.active_count() == 1 or "raynb-checksum" not in str(threading.enumerate())


def test_the_directory_is_gone(disk: DiskTier) -> None:
    location = disk.write(b"stream", [])
    os.unlink(location[1])
    os.rmdir(disk.path)
    with pytest.raises(OutOfDiskError, match=r"Cannot write an object of .*unknown bytes free"):
        disk.write(b"stream", [])
    with pytest.raises(ObjectLostError, match="it was removed"):
        disk.map(location)


TINY = """
import os, resource, sys
from raynb.exceptions import OutOfDiskError
from raynb.store import DiskTier
disk = DiskTier(sys.argv[1])
kept = disk.write(b"accepted", [])
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    disk.write(b"stream", [bytes(3 << 20)])
except OutOfDiskError as error:
    print(error)
assert os.listdir(disk.path) == [os.path.basename(kept[1])]
assert disk.map(kept)
disk.close()
"""


def test_a_real_limit_of_the_system(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TINY, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "Cannot write an object of 3145792 bytes" in done.stdout
    assert "File too large" in done.stdout


# -- files that were changed -------------------------------------------------------------------
def cut(path: str) -> None:
    os.truncate(path, os.path.getsize(path) - 1)


def cut_to_nothing(path: str) -> None:
    os.truncate(path, 0)


def extend(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def garble(at: int) -> Callable[[str], None]:
    def change(path: str) -> None:
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))

    change.__name__ = f"garble_{at}"
    return change


def zero_header(path: str) -> None:
    with open(path, "r+b") as file:
        file.write(bytes(HEADER_BYTES))


def replace_by_symlink(path: str) -> None:
    os.rename(path, path + "x")
    os.symlink(path + "x", path)


DAMAGES = [cut, cut_to_nothing, extend, zero_header, os.unlink, garble(0), garble(8), garble(16), garble(20),
           garble(HEADER_BYTES), garble(HEADER_BYTES + 70), garble(HEADER_BYTES + 64 + 5 * MB)]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_a_damaged_file_is_a_lost_object(
    disk: DiskTier, make_store: Callable[..., Store], damage: Callable[[str], None]
) -> None:
    location = disk.write(b"stream", [os.urandom(6 * MB)])
    damage(location[1])
    with pytest.raises(ObjectLostError, match=r"spill file .* can't be used") as caught:
        disk.map(location)
    assert location[1] in str(caught.value)
    store = make_store(disk=disk)
    with pytest.raises(ObjectLostError):
        store.restore(location)
    assert store.total() == 0


def test_a_symlink_is_not_followed(disk: DiskTier) -> None:
    location = disk.write(b"stream", [])
    replace_by_symlink(location[1])
    with pytest.raises(ObjectLostError, match="Too many levels of symbolic links"):
        disk.map(location)


def test_a_file_that_is_cut_while_it_is_read(
    disk: DiskTier, files: FaultyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = disk.write(b"stream", [bytes(10 * MB)])
    monkeypatch.setattr(files, "read", lambda fd, view, offset: len(view) if offset < MB else 0)
    with pytest.raises(ObjectLostError, match=r"it ends after \d+ of \d+ bytes"):
        disk.read_into(location, memoryview(bytearray(location[2])))


def test_the_disk_fails_while_reading(disk: DiskTier, files: FaultyFiles) -> None:
    location = disk.write(b"stream", [])
    files.error = errno.EIO
    with pytest.raises(ObjectLostError, match=r"the disk failed: .*Input/output error"):
        disk.read_into(location, memoryview(bytearray(location[2])))


def test_a_file_of_another_object(disk: DiskTier) -> None:
    a, b = disk.write(b"a" * 100, [b"1"]), disk.write(b"b" * 100, [b"2"])
    os.rename(b[1], a[1])  # same size and shape
    with pytest.raises(ObjectLostError, match="checksum"):
        disk.map(a)
    with pytest.raises(ObjectLostError, match="checksum"):
        disk.read_into(a, memoryview(bytearray(a[2])))
    with pytest.raises(ObjectLostError, match="header"):
        disk.map(("file", a[1], a[2], (1, 2, 3)))


@pytest.mark.parametrize("exchange", [False, True])
def test_a_file_that_is_changed_after_it_was_read(disk: DiskTier, exchange: bool) -> None:
    location = disk.write(b"a" * 100, [])
    os.utime(location[1], (1, 1))
    for _ in range(3):
        assert content(disk, location)[:100] == b"a" * 100
    before = os.stat(location[1])
    old = Path(location[1]).read_bytes()
    if exchange:
        os.rename(location[1], location[1] + ".old")
        descriptor = os.open(location[1], os.O_WRONLY | os.O_CREAT, 0o600)
        os.close(descriptor)
    Path(location[1]).write_bytes(old[:HEADER_BYTES] + b"b" * 100 + old[HEADER_BYTES + 100 :])
    os.utime(location[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(2):
        with pytest.raises(ObjectLostError, match="checksum"):
            disk.map(location)


def test_a_file_that_others_may_read_or_that_is_none(disk: DiskTier) -> None:
    location = disk.write(b"stream", [])
    os.chmod(location[1], 0o640)
    with pytest.raises(ObjectLostError, match="others may read"):
        disk.map(location)
    os.unlink(location[1])
    os.mkfifo(location[1], 0o600)  # opening it must not wait for a writer
    with pytest.raises(ObjectLostError, match="another user's"):
        disk.map(location)
    with pytest.raises(ObjectLostError, match="not in this runtime's folder"):
        disk.map(("file", "/etc/passwd", 64, (1,)))


def test_another_folder_in_the_place_of_ours(disk: DiskTier) -> None:
    location = disk.write(b"stream", [])
    held, fresh = GuestDiskTier(disk.home, 7), GuestDiskTier(disk.home, 8)
    mine = held.write(b"held", [])
    aside = disk.path + ".aside"
    os.rename(disk.path, aside)
    shutil.copytree(aside, disk.path)  # an exact copy
    try:
        assert content(held, mine)[:4] == b"held", "it has a descriptor of the right one"
        with pytest.raises(ObjectLostError, match="another directory"):
            fresh.map(location)
        with pytest.raises(OutOfDiskError, match="another directory"):
            fresh.write(b"", [])
    finally:
        shutil.rmtree(disk.path)
        os.rename(aside, disk.path)
        held.close()
        fresh.close()


def test_the_key_is_shown_nowhere(disk: DiskTier) -> None:
    assert len(disk.home.key) == 32
    assert str(disk.home.key) not in repr(disk.home)


def test_another_byte_order_is_not_ours(disk: DiskTier) -> None:
    location = disk.write(b"stream", [])
    with open(location[1], "r+b") as file:
        head = struct.unpack("<8sQII", file.read(24))
        file.seek(0)
        file.write(struct.pack(">8sQII", *head))
    with pytest.raises(ObjectLostError, match="header"):
        disk.map(location)


# -- several processes -------------------------------------------------------------------------
def test_a_worker_writes_beside_the_driver(disk: DiskTier) -> None:
    guest = GuestDiskTier(disk.home, writer=7)
    mine, its = disk.write(b"driver", []), guest.write(b"worker", [])
    guest.close()
    assert content(disk, its)[:6] == b"worker"
    assert os.path.basename(its[1]).startswith("7-")
    disk.remove(its)
    assert (disk.stats().files, disk.stats().bytes) == (1, 64), "only its own files count"
    assert content(disk, mine)[:6] == b"driver"


def test_what_a_dead_worker_left(disk: DiskTier) -> None:
    guest, other = GuestDiskTier(disk.home, writer=7), GuestDiskTier(disk.home, writer=77)
    kept, lost, foreign = guest.write(b"kept", []), guest.write(b"lost", []), other.write(b"other", [])
    Path(disk.path, "7-9.part").write_bytes(b"half")
    assert disk.remove_strays(7, [kept, ("shm", 7, 0, 64, (1,))]) == 2
    assert sorted(os.listdir(disk.path)) == sorted(os.path.basename(at[1]) for at in (kept, foreign))
    guest.close()
    other.close()
    assert not os.path.exists(lost[1])


def test_only_files_of_this_runtime_are_removed(disk: DiskTier, tmp_path: Path) -> None:
    precious = tmp_path / "thesis"
    precious.write_text("years of work")
    for path in (str(precious), os.path.join(disk.path, "..", "thesis")):
        with pytest.raises(ValueError, match="is not a spilled object of this runtime"):
            disk.remove(("file", path, 64, (1,)))
    assert precious.read_text() == "years of work"
    precious.unlink()


def test_threads_write_at_once(disk: DiskTier) -> None:
    found: list[tuple[int, tuple[object, ...]]] = []

    def write(number: int) -> None:
        found.extend(
            (number, disk.write(bytes([number]) * 1000, [bytes([number]) * 5000])) for _ in range(10)
        )

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({location[1] for _, location in found}) == 80
    for number, location in found:
        assert set(content(disk, location)[:1000]) == {number}
    assert disk.stats().files == 80


def test_arrays_of_a_file_are_aligned(store: Store) -> None:
    location = store.write_file(b"odd", [np.arange(1000.0), np.arange(3.0)])
    _, buffers = store.read(location)
    for buffer in buffers:
        assert np.frombuffer(buffer).ctypes.data % 64 == 0
    assert np.frombuffer(buffers[0])[999] == 999.0


def test_a_thread_that_cannot_start(disk: DiskTier, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    location = disk.write(b"stream", [b"z" * (10 * MB)])
    assert content(disk, location)[64:70] == b"zzzzzz"
