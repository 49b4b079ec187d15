"""The peak of a process's memory and what had allocated it, with tracemalloc, and with memray if it is installed."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raynb.run.inspection.memory import RESERVE_BYTES, MemoryWatch

ROOM = 12 << 20
HERE = os.path.realpath(__file__)


def left_open() -> list[str]:
    """Returns the open files in memory of memory watches."""
    return [link for link in _links() if "raynb-memory" in link]


def _links() -> Iterator[str]:
    for file in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            yield os.readlink(f"/proc/self/fd/{file}")


@pytest.fixture(params=["tracemalloc", "memray"])
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    if request.param == "memray":
        pytest.importorskip("memray")
    else:
        monkeypatch.setitem(sys.modules, "memray", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield request.param
    assert not tracemalloc.is_tracing()
    assert not left_open()
    assert not os.listdir(tmp_path)


def of_function(part: dict[str, Any], function: Any) -> int:
    """Returns the bytes whose innermost frame is in a function of this file."""
    code = function.__code__
    lines = {line for _, _, line in code.co_lines() if line is not None}
    return sum(size for size, _, frames in part["sites"]
               if os.path.realpath(frames[-1][0]) == HERE and frames[-1][1] in lines)  # fmt: skip


def allocates() -> None:
    room = bytearray(ROOM)
    del room


def test_the_peak_and_its_places_in_every_thread(tool: str) -> None:
    begun, go = threading.Event(), threading.Event()

    def beside() -> None:  # a thread that ran before
        begun.set()
        go.wait()
        allocates()

    thread = threading.Thread(target=beside)
    thread.start()
    begun.wait()
    watch = MemoryWatch()
    watch.start()
    reserve = mmap.mmap(-1, RESERVE_BYTES)
    kept = bytearray(ROOM)
    go.set()
    thread.join()
    small = bytearray(1000)
    part = watch.stop()
    assert part["tool"] == tool
    assert not part["why"]
    assert 2 * ROOM <= part["memory"] < 3 * ROOM
    if tool == "memray":  # tracemalloc's pictures may miss what is gone within 20 ms
        assert of_function(part, allocates) >= ROOM
        assert [size for size, _, _ in part["mapped"]] == [RESERVE_BYTES]
    reserve.close()
    assert len(kept) + len(small) == ROOM + 1000
    assert part["sites"] == sorted(part["sites"], key=lambda site: -site[0])
    assert any(size >= ROOM and any(os.path.realpath(file) == HERE for file, _ in frames)
               for size, _, frames in part["sites"])  # fmt: skip


def test_one_at_a_time_and_one_after_the_other(tool: str) -> None:
    for _ in range(2):
        watch = MemoryWatch()
        watch.start()
        with pytest.raises(ValueError, match="profiled already"):
            MemoryWatch().start()
        kept = [bytearray(ROOM)]
        part = watch.stop()
        assert part["memory"] >= ROOM
        assert part["tool"] == tool
        del kept


def test_a_tracker_of_the_users_leaves_tracemalloc_and_says_so(tmp_path: Path) -> None:
    memray = pytest.importorskip("memray")
    with memray.Tracker(tmp_path / "users.bin"):
        watch = MemoryWatch()
        watch.start()
        kept = bytearray(ROOM)
        part = watch.stop()
    assert part["tool"] == "tracemalloc"
    assert part["why"].startswith("memray cannot watch this process: ")
    assert part["memory"] >= len(kept)
    assert not left_open()
