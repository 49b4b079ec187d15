"""Writes results to disk behind the notebook's back: nothing waits for it, and a failure only means a miss later.

When a task has ended, its outputs are written by a task of raynb's own, on a worker, where they lie in shared
memory; only the index is written here. Results that come together are written together.
"""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import logging
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raynb import api
from raynb.base import engine as engines
from raynb.base import scope as scopes
from raynb.base.ids import task_of
from raynb.base.interfaces import DriverEngine, Engine
from raynb.base.ref import ObjectRef
from raynb.base.rows import Output
from raynb.exceptions import OutOfDiskError, RayError, RuntimeGoneError
from raynb.keeping import values
from raynb.keeping.box import Box, BoxFull, Entry
from raynb.keeping.folder import FolderError
from raynb.keeping.values import Stored
from raynb.keeping.versions import Unsure, changed_since

#: Results that one task writes at most.
BATCH_RESULTS = 64

_log = logging.getLogger("raynb.keeping")


@dataclass(slots=True)
class PendingKeep:
    """A result that is to be kept when its task has ended well.

    Attributes:
        key: of the entry.
        run: the word of this run, see `raynb.keeping.origins`.
        title, line: what people see.
        refs: output name → ref.
        task: whose times and output are kept; 0: none.
        output: whether what the task printed is kept with it.
        say: shows the user a sentence: why it is not kept.
        files: whose bytes are in the key, see `raynb.keeping.versions.watching`.
    """

    key: str
    run: str
    title: str
    line: str
    refs: dict[str, ObjectRef[object]]
    task: int
    output: bool
    say: Callable[[str], None] = field(repr=False)
    files: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class Keeper:
    """Keeps results of one process in a box.

    Thread contract: any thread; one thread of its own writes, and exists while something is to be written.
    """

    def __init__(self, box: Box) -> None:
        self.box = box
        self._ready: deque[tuple[contextvars.Context, Engine, PendingKeep]] = deque()
        self._waiting: dict[int, ObjectRef[object]] = {}  # number → status of tasks that have not ended, or just now
        self._numbers = itertools.count()
        self._busy = False
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def when_done(self, status: ObjectRef[object], pending: Sequence[PendingKeep], whole: bool) -> None:
        """Keeps results when the task that ``status`` stands for has ended.

        Args:
            whole: the results are of the task as a whole: if its status is anything but None, it left something out.
        """
        context = contextvars.copy_context()  # an isolated runtime is the calling context's
        engine, number = status._engine, next(self._numbers)
        with self._change:
            self._waiting[number] = status

        def ended(future: Any) -> None:
            good = not future.cancelled() and future.exception() is None
            if good and whole and future.result() is not None:
                pending[0].say("it did not bind all its names, so the same cell may end another way")
                good = False
            with self._change:
                del self._waiting[number]
                if good:
                    self._ready.extend((context, engine, one) for one in pending)
                    if self._thread is None:
                        thread = threading.Thread(target=self._serve, name="raynb-keep", daemon=True)
                        thread.start()
                        self._thread = thread  # only now: where no thread can be made, the next one tries again
                self._change.notify_all()

        try:
            status.future().add_done_callback(ended)
        except BaseException:
            with self._change:
                self._waiting.pop(number, None)
            raise

    def flush(self, seconds: float) -> bool:
        """Waits until what has ended is written; returns whether it is."""
        deadline = time.monotonic() + seconds
        ended = self._ended()
        with self._change:
            return self._change.wait_for(
                lambda: not (self._ready or self._busy or ended & self._waiting.keys()), deadline - time.monotonic()
            )

    def _ended(self) -> set[int]:
        """Returns the numbers of those that wait though their task has ended: its callback runs any moment."""
        with self._change:
            waiting = {status: number for number, status in self._waiting.items()}
        found: set[int] = set()
        for engine in {status._engine for status in waiting if status._engine.alive}:
            mine = [status for status in waiting if status._engine is engine]
            try:
                ready, _ = engine.wait(mine, len(mine), 0.0, False)
            except RayError:  # the runtime is going
                continue
            found.update(waiting[status] for status in ready)
        return found

    # -- inside --------------------------------------------------------------------------------
    def _next(self) -> tuple[contextvars.Context, list[PendingKeep]] | None:
        """Takes what is written together: results of one runtime; None: nothing is left. Call under the lock."""
        if not self._ready:
            return None
        context, engine, _ = self._ready[0]
        batch: list[PendingKeep] = []
        while self._ready and self._ready[0][1] is engine and len(batch) < BATCH_RESULTS:
            batch.append(self._ready.popleft()[2])
        return context, batch

    def _serve(self) -> None:
        while True:
            with self._change:
                found = self._next()
                self._busy = found is not None
                if found is None:
                    self._thread = None
                    self._change.notify_all()
                    return
            context, batch = found
            try:
                context.run(self._keep, batch)
            except RuntimeGoneError:  # shut down meanwhile: those results are gone, too
                pass
            except Exception as error:
                _log.warning("results could not be kept", exc_info=True)
                batch[0].say(f"{type(error).__name__}: {error}")
            finally:
                with self._change:
                    self._busy = False
                    self._change.notify_all()

    def _keep(self, batch: list[PendingKeep]) -> None:
        scopes.enter(0)  # what is submitted here belongs to no cell
        engine = engines.driver()
        if engine is None:
            raise RuntimeGoneError("The runtime was shut down before its results were kept.")
        wanted = [list(pending.refs.values()) for pending in batch]
        written = _write_all(engine, self.box.folder, wanted)
        rows = {row.id: row for row in engine.rows(tasks=[pending.task for pending in batch if pending.task]).tasks}
        printed = _printed(engine, [pending.task for pending in batch if pending.output])
        for pending, found in zip(batch, written, strict=True):
            if isinstance(found, str):
                if found:
                    pending.say(found)
                continue
            if path := changed_since(pending.files):
                self.box.discard(found)
                pending.say(f"{path} has changed meanwhile, so the result may be of either state of it")
                continue
            row = rows.get(pending.task)
            entry = Entry(
                pending.key, pending.title, pending.line, dict(zip(pending.refs, found, strict=True)),
                pickle.dumps((pending.run, printed.get(pending.task, [])), 5), time.time(),
                max(0.0, row.ended - row.started) if row is not None else 0.0,
            )  # fmt: skip
            try:
                self.box.add([entry])
            except (BoxFull, OSError) as error:
                self.box.discard(found)
                pending.say(str(error))


def put_kept(box: Box, stored: Stored) -> ObjectRef[object]:
    """Returns a ready ref of a kept value. On a cluster the value itself is put: other machines have no such folder."""
    engine = engines.driver()
    if engine is not None and engine.cluster_info is not None:
        return api.put(values.read(box.folder, stored))
    return api.put(box.stub(stored))


def replayed(entry: Entry) -> tuple[str, list[tuple[str, str, Any]]]:
    """Returns (the word of the run that made it, what it printed and displayed as (kind, text, bundle))."""
    run, output = pickle.loads(entry.output)
    return run, output


def _printed(engine: DriverEngine, tasks: list[int]) -> dict[int, list[tuple[str, str, Any]]]:
    """Returns what tasks printed and displayed, in order."""
    found: dict[int, list[tuple[str, str, Any]]] = {task: [] for task in tasks}
    logs: list[Output] = engine.logs(task=tasks[0]) if len(tasks) == 1 else engine.logs() if tasks else []
    for output in logs:
        if output.task in found:
            found[output.task].append((output.kind, output.text, output.bundle))
    return found


def _write_all(engine: DriverEngine, folder: str, wanted: list[list[ObjectRef[object]]]) -> list[list[Stored] | str]:
    if engine.cluster_info is not None:
        return write_batch(folder, wanted)  # another machine's worker may not have this folder
    function = _remote_write()
    result: list[list[Stored] | str] = api.get(function.remote(folder, wanted))
    return result


_made: list[Any] = []


def _remote_write() -> Any:
    if not _made:
        _made.append(api.remote(num_cpus=0, max_retries=0, name="keep")(write_batch))
    return _made[0]


def write_batch(folder: str, wanted: list[list[ObjectRef[object]]]) -> list[list[Stored] | str]:
    """Writes results; returns for each its values, or why it is not kept ("" if it failed)."""
    found: list[list[Stored] | str] = []
    for refs in wanted:
        done: list[Stored] = []
        try:
            for ref in refs:  # one by one: what is written before a failure is removed again
                done.append(values.write(folder, api.get(ref)))  # noqa: PERF401
        except (Unsure, OutOfDiskError, FolderError, OSError) as error:
            found.append(str(error))
        except Exception:  # the output itself failed: nothing is kept of a failure
            found.append("")
        else:
            found.append(done)
            continue
        with contextlib.suppress(FolderError):
            tier = values.tier_of(folder)
            for stored in done:
                if stored.name:
                    tier.remove(("file", f"{tier.path}/{stored.name}", stored.size, stored.segments))
    return found


def task_id(ref: ObjectRef[object]) -> int:
    """Returns the task that makes a ref's object."""
    return task_of(ref._id)
