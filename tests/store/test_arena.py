"""Arenas and the two kinds of memory below them."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raynb.store import backing as backings
from raynb.store.arena import Arena, NoRoom, Window
from raynb.store.backing import Backing, FileBacking, MemfdBacking, choose, punch
from raynb.store.memory import PAGE, Mapping

MB = 1 << 20


@pytest.fixture
def arena(backing: Backing) -> Iterator[Arena]:
    made = Arena(256 * MB, backing)
    yield made
    made.close()


def resident(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


def write(arena: Arena, *parts: bytes) -> tuple[int, int]:
    n = sum(map(len, parts))
    offset, cold = arena.take(n)
    at, placed = offset, []
    for part in parts:
        placed.append((at, memoryview(part)))
        at += len(part)
    arena.fill(cold, placed)
    return offset, n


def test_it_is_sparse_and_nameless(arena: Arena, tmp_path: Path) -> None:
    assert os.fstat(arena.fd).st_size == 256 * MB
    assert resident(arena.fd) == 0
    assert list(tmp_path.iterdir()) == []
    assert os.fstat(arena.fd).st_nlink == 0
    assert not os.get_inheritable(arena.fd)


@pytest.mark.parametrize("n", [1, 64, 5000, MB - 1, MB, 3 * MB + 17])
def test_what_is_written_is_there(arena: Arena, n: int) -> None:
    body = os.urandom(n)
    offset, _ = write(arena, body)
    assert arena.view(offset, n) == body
    window = Window(os.dup(arena.fd))
    mapping = window.mapping(offset + n)
    assert mapping.writable_view()[offset : offset + n] == body
    window.close()


def test_pages_come_and_go(arena: Arena) -> None:
    def megabytes() -> int:  # a disk that is in pieces needs a block more, for the list of the pieces
        return resident(arena.fd) // MB

    offset, n = write(arena, os.urandom(8 * MB))
    assert (megabytes(), arena.allocator.resident) == (8, 8 * MB)
    arena.give(offset, n)
    assert megabytes() == 8, "warm, for the next object"
    assert arena.trim(2 * MB) == 6 * MB
    assert (megabytes(), arena.allocator.resident) == (2, 2 * MB)
    assert arena.trim(0) == 2 * MB
    assert resident(arena.fd) == 0
    assert bytes(arena.view(offset, 64)) == bytes(64)


def test_without_populate(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on kernels before 5.14 and on macOS."""
    calls = []
    monkeypatch.setattr(Mapping, "populate", lambda *args: calls.append(args) or False)
    body = os.urandom(2 * MB)
    for _ in range(2):
        offset, n = write(arena, body)
        assert arena.view(offset, n) == body
    assert len(calls) == 1, "it isn't tried again"


def test_no_range_is_large_enough(arena: Arena) -> None:
    with pytest.raises(NoRoom, match=r"no room for 300\d+ bytes: no free range") as caught:
        arena.take(300_000_000)
    assert caught.value.size == 300_000_000


def test_no_memory_for_cold_pages(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> bool:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(Mapping, "populate", refuse)
    offset, cold = arena.take(2 * MB)
    with pytest.raises(NoRoom, match="no memory"):
        arena.fill(cold, [(offset, memoryview(bytes(2 * MB)))])
    beside, _ = arena.take(64)
    arena.undo(offset, 2 * MB, cold)
    assert arena.allocator.used == 64
    arena.give(beside, 64)
    arena.trim(0)
    assert arena.allocator.resident == resident(arena.fd) == 0


def test_undone_pages_are_cold_again_except_shared_ones(arena: Arena) -> None:
    write(arena, b"x" * 100)
    offset, cold = arena.take(10 * PAGE)
    arena.fill(cold, [(offset, memoryview(b"y" * 10 * PAGE))])
    write(arena, b"z" * 100)
    arena.undo(offset, 10 * PAGE, cold)
    assert arena.allocator.resident == resident(arena.fd) == 2 * PAGE
    assert arena.take(10 * PAGE) == (offset, [(PAGE, 9 * PAGE)])


def test_writing_goes_on_while_another_thread_closes(backing: Backing) -> None:
    arena = Arena(64 * MB, backing)
    offset, cold = arena.take(MB)

    class Closing:  # closes the arena in the middle of `fill`
        def __iter__(self) -> Iterator[tuple[int, memoryview]]:
            yield offset, memoryview(b"first")
            arena.close()
            yield offset + 64, memoryview(bytes(MB))

    arena.fill(cold, Closing())  # type: ignore[arg-type]


def test_a_window_grows_with_what_is_read(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raynb.store.arena._FIRST_WINDOW_BYTES", 1 * MB)
    window = Window(os.dup(arena.fd))
    first = window.mapping(100)
    assert first.size == 1 * MB
    assert window.mapping(MB) is first
    second = window.mapping(MB + 1)
    assert second.size == 2 * MB
    assert window.mapping(200 * MB).size == 256 * MB
    with pytest.raises(ValueError, match="ends at 268435457, beyond its arena of 268435456 bytes"):
        window.mapping(256 * MB + 1)
    window.close()


LIMITED = """
import os, resource, sys
from raynb.store.arena import Arena
from raynb.store.backing import FileBacking, MemfdBacking
what, backing = sys.argv[1], MemfdBacking() if sys.argv[2] == "memfd" else FileBacking(sys.argv[3])
limit = getattr(resource, what)
resource.setrlimit(limit, (int(sys.argv[4]), resource.getrlimit(limit)[1]))
arena = Arena(1 << 40, backing)
offset, cold = arena.take(1 << 20)
arena.fill(cold, [(offset, memoryview(b"x" * (1 << 20)))])
print(arena.allocator.size)
"""


@pytest.mark.parametrize(("limit", "most"), [("RLIMIT_AS", 2 << 30), ("RLIMIT_FSIZE", 1 << 30)])
def test_it_is_smaller_where_the_system_allows_no_more(
    backing: Backing, tmp_path: Path, limit: str, most: int
) -> None:
    kind = "memfd" if isinstance(backing, MemfdBacking) else "file"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, limit, kind, str(tmp_path), str(most)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert most / 4 <= int(done.stdout) <= most


def test_no_descriptor_left(backing: Backing) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Arena(MB, backing)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(held[0])


# -- backings ----------------------------------------------------------------------------------
def test_punched_bytes_are_zero_and_neighbours_stay(backing: Backing) -> None:
    fd = backing.create(8 * PAGE)
    os.pwrite(fd, b"x" * 8 * PAGE, 0)
    assert punch(fd, PAGE - 64, 3 * PAGE)
    body = os.pread(fd, 8 * PAGE, 0)
    assert body == b"x" * (PAGE - 64) + bytes(3 * PAGE) + b"x" * (4 * PAGE + 64)
    assert resident(fd) <= 6 * PAGE
    assert os.fstat(fd).st_size == 8 * PAGE
    os.close(fd)


def test_reserved_pages_exist_on_a_disk(tmp_path: Path) -> None:
    backing = FileBacking(str(tmp_path))
    fd = backing.create(MB)
    backing.reserve(fd, 0, 64 * 1024)
    assert resident(fd) >= 64 * 1024
    os.close(fd)


def test_a_disk_that_is_full_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    arena = Arena(64 * MB, FileBacking(str(tmp_path)))
    with pytest.raises(NoRoom, match="No space left on device"):
        arena.take(100)
    assert (arena.allocator.used, arena.allocator.resident) == (0, 0)
    monkeypatch.undo()
    assert arena.take(100) == (0, [(0, PAGE)]), "cold still, and reserved when it is tried again"
    arena.close()


def test_where_room_can_only_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "posix_fallocate")
    backing = FileBacking(str(tmp_path))
    fd = backing.create(1 << 50 if sys.platform != "linux" else MB)
    backing.reserve(fd, 0, 4096)
    with pytest.raises(OSError, match="no room for 1152921504606846976 bytes"):
        backing.reserve(fd, 0, 1 << 60)
    os.close(fd)


def test_nobody_else_can_open_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    unlink = os.unlink

    def look(path: str) -> None:
        seen.append(
            (stat.S_IMODE(os.stat(path).st_mode), stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode))
        )
        unlink(path)

    monkeypatch.setattr(os, "unlink", look)
    os.close(FileBacking(str(tmp_path)).create(PAGE))
    monkeypatch.undo()
    assert seen == [(0o600, 0o700)]
    assert list(tmp_path.iterdir()) == []


def test_memfd_is_chosen_where_it_works_and_a_file_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose(), MemfdBacking if hasattr(os, "memfd_create") else FileBacking)

    def refuse(*args: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    assert isinstance(choose(), FileBacking)
    monkeypatch.delattr(os, "memfd_create")
    assert isinstance(choose(), FileBacking)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd here")
def test_memfd_without_the_newest_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.memfd_create
    asked = []

    def old_kernel(name: str, flags: int) -> int:
        asked.append(flags)
        if flags & 8:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(name, flags)

    monkeypatch.setattr(os, "memfd_create", old_kernel)
    os.close(MemfdBacking().create(PAGE))
    assert asked == [11, 3]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no memfd here")
def test_memfd_cannot_be_cut_under_its_readers() -> None:
    fd = MemfdBacking().create(4 * PAGE)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, PAGE)
    os.close(fd)


def test_macos_punch_asks_for_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    import struct

    calls = []
    monkeypatch.setattr(backings.fcntl, "fcntl", lambda *args: calls.append(args))
    assert backings._punch_macos(5, 100, 3 * PAGE)
    assert [(fd, op, struct.unpack("=IIqq", arg)) for fd, op, arg in calls] == [
        (5, 99, (0, 0, PAGE, 2 * PAGE))
    ]
    assert backings._punch_macos(5, 100, 200)
    assert len(calls) == 1

    def refuse(*args: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(backings.fcntl, "fcntl", refuse)
    assert not backings._punch_macos(5, 0, PAGE)
