"""Watches what this process allocates: its peak, and the places that had allocated what was there then.

With memray if it is installed: it sees what libraries in C, C++ and Rust allocate, too. Else with tracemalloc,
which sees Python's allocations and those of the libraries that report theirs to it (numpy does).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import tracemalloc
from typing import Any, Protocol

MAX_SITES = 300  # of allocations, the largest
MAX_FRAMES = 100  # of a site
TRACED_FRAMES = 16  # that tracemalloc keeps of a site, the innermost ones

#: A mapping of this many bytes or more may be an allocator's reserve of address space (mimalloc, which pyarrow brings,
#: takes 1 GB when it is imported), or a file: it is told apart.
RESERVE_BYTES = 256 << 20

#: (bytes, allocations, (file, line) of each frame, innermost last).
Site = tuple[int, int, list[tuple[str, int]]]

_one = threading.Lock()  # both tools watch the whole process


class _Tool(Protocol):
    name: str

    def stop(self) -> tuple[int, list[Site], list[Site]]: ...


class MemoryWatch:
    """Watches all threads of this process. Only one can at a time.

    Thread contract: `start` and `stop` from any thread, one after the other.
    """

    def start(self) -> None:
        """Begins to watch.

        Raises:
            ValueError: the memory of this process is being watched already.
        """
        if not _one.acquire(blocking=False):
            raise ValueError("The memory of this worker is being profiled already.")
        try:
            self._tool, self._why = _tool()
        except BaseException:
            _one.release()
            raise

    def stop(self) -> dict[str, Any]:
        """Ends; returns ``{"memory", "sites", "mapped", "tool", "why"}``.

        They are the peak in bytes; the `Site`s at that moment, the largest first; those that mapped much address
        space, which is not in the peak; the tool's name; and why it is not memray although that is installed.
        """
        try:
            peak, sites, mapped = self._tool.stop()
        finally:
            _one.release()
        return {"memory": peak, "sites": sites, "mapped": mapped, "tool": self._tool.name, "why": self._why}


def _tool() -> tuple[_Tool, str]:
    try:
        return _Memray(), ""
    except ModuleNotFoundError:
        return _Tracemalloc(), ""
    except (ImportError, RuntimeError, OSError) as error:  # broken, or the user's own Tracker is active
        return _Tracemalloc(), f"memray cannot watch this process: {error}"


class _Memray:
    """Its file is one in memory where the system has that, so that a killed worker leaves nothing behind. The
    aggregated format is written at the end, and has a record a place, not one an allocation."""

    name = "memray"

    def __init__(self) -> None:
        import memray

        self._reader, self._mmap = memray.FileReader, memray.AllocatorType.MMAP
        with contextlib.ExitStack() as undo:
            if hasattr(os, "memfd_create"):
                file = os.memfd_create("raynb-memory")
                undo.callback(os.close, file)
                self._path = f"/proc/self/fd/{file}"
            else:
                folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="raynb-memory-"))
                self._path = os.path.join(folder, "peak")
            self._tracker = memray.Tracker(
                destination=memray.FileDestination(self._path, overwrite=True, compress_on_exit=False),
                file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS,
            )
            self._tracker.__enter__()
            self._undo = undo.pop_all()

    def stop(self) -> tuple[int, list[Site], list[Site]]:
        try:
            self._tracker.__exit__(None, None, None)
            with self._reader(self._path) as reader:
                found = sorted(reader.get_high_watermark_allocation_records(merge_threads=True),
                               key=lambda record: -record.size)  # fmt: skip
                peak: int = reader.metadata.peak_memory
                reserves = [r for r in found if r.allocator == self._mmap and r.size >= RESERVE_BYTES * r.n_allocations]
                # The peak is that of both together; such a mapping mostly stays for good.
                used = [record for record in found if record not in reserves]
                peak -= sum(record.size for record in reserves)
                sites = [_site(r) for r in used[:MAX_SITES]], [_site(r) for r in reserves]
            return max(peak, 0), *sites
        finally:
            self._undo.close()


def _site(record: Any) -> Site:
    stack = record.stack_trace(max_stacks=MAX_FRAMES)
    return record.size, record.n_allocations, [(file, line) for _, file, line in reversed(stack)]


class _Tracemalloc:
    """A thread takes a picture whenever the memory has grown by a tenth."""

    name = "tracemalloc"

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="raynb-profile", daemon=True)
        self._seen = 1 << 20
        self._sites: list[Site] = []
        self._ours = not tracemalloc.is_tracing()
        if self._ours:
            tracemalloc.start(TRACED_FRAMES)
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]
        self._thread.start()

    def _serve(self) -> None:
        while not self._stopped.wait(0.02):
            self._look()

    def _look(self) -> None:
        """Takes a picture if there is more than at the last one."""
        with self._lock:
            now = tracemalloc.get_traced_memory()[0] - self._before
            if now < self._seen * 1.1:
                return
            self._seen = now
            sites = tracemalloc.take_snapshot().statistics("traceback")[:MAX_SITES]
            self._sites = [(s.size, s.count, [(f.filename, f.lineno) for f in s.traceback]) for s in sites]

    def stop(self) -> tuple[int, list[Site], list[Site]]:
        self._look()
        self._stopped.set()
        self._thread.join()
        peak = tracemalloc.get_traced_memory()[1] - self._before
        if self._ours:
            tracemalloc.stop()
        return max(peak, 0), self._sites, []
