"""Keeps what each cell has shown, for pages that were not open when it was sent.

Jupyter sends output to the pages that are open and remembers nothing: what a cell shows while its notebook is
closed is lost, and a page that is opened later gets no more of a cell that another one has started. So
the kernel remembers, as the outputs that the cell would have by now, and a page asks for them. The source is
the session that sends every message of the kernel, so it is complete and in order whoever wrote it.

Thread contract: any thread.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Bytes that are remembered of one cell, and of all; of more, a cell is forgotten, and the oldest cells are.
CELL_BYTES = 8_000_000
TOTAL_BYTES = 32_000_000

#: Bytes of one answer to a page, which asks again for the rest.
ANSWER_BYTES = 2_000_000

_OUTPUTS = ("stream", "display_data", "execute_result", "error")
_KINDS = (*_OUTPUTS, "update_display_data", "clear_output", "execute_input", "status")
_log = logging.getLogger("raynb.output")


@dataclass(slots=True)
class Shown:
    """One output, as it is saved in a notebook; ``changed``: the version in which it became so."""

    output: dict[str, Any]
    changed: int
    size: int
    display: str = ""
    updated: bool = False
    pieces: list[str] = field(default_factory=list)  # of a stream's text; the last line is in the last one

    def write(self, more: str) -> int:
        """Adds to a stream's text, where what a carriage return overwrites goes; returns the change of size."""
        pieces, before = self.pieces, 0
        if "\r" in more or (pieces and pieces[-1].endswith("\r")):
            line: list[str] = []
            while pieces and (not line or "\n" not in line[-1]):
                line.append(pieces.pop())
            text = "".join(reversed(line))
            before = len(text)
            start = text.rfind("\n") + 1
            lines = (text[start:] + more).replace("\r\n", "\n").split("\n")
            more = text[:start] + "\n".join(_overwritten(one) for one in lines)
        pieces.append(more)
        return len(more) - before

    def as_saved(self) -> dict[str, Any]:
        """Returns the output as a notebook file has it."""
        if not self.pieces:
            return self.output
        self.pieces[:] = ["".join(self.pieces)]
        return self.output | {"text": self.pieces[0]}


@dataclass(slots=True)
class Transcript:
    """The outputs of one run of a cell.

    Attributes:
        request: id of the message that asked for the run.
        session: of the page that asked.
        count: its prompt number.
        whole: False where raynb was loaded in the middle of it.
        first: when it showed something first, seconds since the epoch; 0: not yet.
        cleared: outputs were taken away again.
        version: counts up with each change.
        lost: it has shown more than is remembered.
    """

    request: str
    session: str
    count: int
    whole: bool = True
    running: bool = True
    first: float = 0.0
    cleared: bool = False
    version: int = 0
    lost: bool = False
    clears_next: bool = False
    size: int = 0
    outputs: list[Shown] = field(default_factory=list)


class Transcripts:
    """Remembers the outputs of the cells of one kernel.

    Args:
        shell: an ipykernel shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self._cells: dict[str, Transcript] = {}  # id of a cell → its latest run
        self._cell_of: dict[str, str] = {}  # request → id of the cell
        self._size = 0
        self._versions = itertools.count(1)
        self._lock = threading.RLock()  # a destructor may print inside

    def install(self) -> Callable[[], None]:
        """Begins to listen; returns a function that ends it."""
        session = self.shell.kernel.session
        send = session.send

        def sending(
            stream: Any, message: Any, content: Any = None, parent: Any = None, *more: Any, **named: Any
        ) -> Any:
            kind = message if isinstance(message, str) else message.get("msg_type")
            if kind in _KINDS:
                try:
                    self._take(kind, message, content, parent)
                except Exception:  # a message of another shape: it goes out all the same
                    _log.warning("what a cell shows could not be remembered", exc_info=True)
            return send(stream, message, content, parent, *more, **named)

        session.send = sending
        self._begin(self.shell.get_parent(), None)

        def undo() -> None:
            if session.__dict__.get("send") is sending:
                del session.send

        return undo

    def since(self, seen: Mapping[str, object]) -> dict[str, Any]:
        """Returns what has changed: id of a cell → its run, the number of its outputs, and those that are other now.

        Args:
            seen: id of a cell → [request, version], as a page knows it.
        """
        found: dict[str, Any] = {}
        left = ANSWER_BYTES
        with self._lock:
            for cell, run in self._cells.items():
                request, version = _seen(seen.get(cell))
                if request != run.request:
                    version = -1
                if run.version <= version or run.lost:
                    continue
                if left <= 0:
                    return {"cells": found, "more": True}
                missed = {str(at): one for at, one in enumerate(run.outputs) if one.changed > version}
                left -= sum(one.size for one in missed.values())
                found[cell] = {
                    "request": run.request, "session": run.session, "count": run.count, "whole": run.whole,
                    "running": run.running, "first": run.first, "version": run.version, "length": len(run.outputs),
                    "outputs": {at: one.as_saved() | {"updated": one.updated} for at, one in missed.items()},
                }  # fmt: skip
        return {"cells": found, "more": False}

    # -- inside --------------------------------------------------------------------------------
    def _take(self, kind: str, message: object, content: object, parent: object) -> None:
        if isinstance(message, dict):
            content, parent = message.get("content"), message.get("parent_header")
        if not isinstance(content, dict) or not isinstance(parent, Mapping):
            return
        if kind == "execute_input":
            self._begin(parent, content.get("execution_count"))
            return
        with self._lock:
            if kind == "update_display_data":
                self._update(content)
                return
            request = str((parent.get("header") or parent).get("msg_id") or "")
            run = self._cells.get(self._cell_of.get(request, ""))
            if run is None or run.lost or self._goes_to_a_widget(request):
                return
            run.version = next(self._versions)
            if kind == "status":
                run.running = run.running and content.get("execution_state") != "idle"
            elif kind == "clear_output":
                run.clears_next = bool(content.get("wait"))
                if not run.clears_next:
                    self._clear(run)
            else:
                self._add(run, kind, content)

    def _begin(self, parent: Mapping[str, Any] | None, count: int | None) -> None:
        """A cell begins to run; ``count`` None: the one that loads raynb, which has begun."""
        cell = str(((parent or {}).get("metadata") or {}).get("cellId") or "")
        header = (parent or {}).get("header") or {}
        if not cell or header.get("msg_type") != "execute_request":
            return
        with self._lock:
            self._forget(cell)
            number = count if count is not None else int(self.shell.execution_count)
            run = Transcript(str(header["msg_id"]), str(header.get("session", "")), number, whole=count is not None)
            run.version = next(self._versions)
            self._cells[cell] = run
            self._cell_of[run.request] = cell

    def _add(self, run: Transcript, kind: str, content: dict[str, Any]) -> None:
        if run.clears_next:
            self._clear(run)
        if not run.first:
            run.first = time.time()
        last = run.outputs[-1] if run.outputs else None
        if kind == "stream" and last is not None and last.output.get("name") == content["name"]:
            last.changed = run.version
            self._grow(run, last, last.size + last.write(content["text"]))
            return
        output = {name: value for name, value in content.items() if name != "transient"} | {"output_type": kind}
        made = Shown(output, run.version, 0, str((content.get("transient") or {}).get("display_id") or ""))
        run.outputs.append(made)
        self._grow(run, made, made.write(content["text"]) if kind == "stream" else _size_of(output))

    def _update(self, content: dict[str, Any]) -> None:
        display = (content.get("transient") or {}).get("display_id")
        for run in list(self._cells.values()) if display else ():
            for shown in run.outputs:
                if shown.display == display:
                    shown.output = shown.output | {"data": content.get("data"), "metadata": content.get("metadata")}
                    shown.updated = True
                    run.version = shown.changed = next(self._versions)
                    self._grow(run, shown, _size_of(shown.output))

    def _grow(self, run: Transcript, shown: Shown, size: int) -> None:
        run.size += size - shown.size
        self._size += size - shown.size
        shown.size = size
        if run.size > CELL_BYTES:
            self._clear(run)
            run.lost = True
        for cell in list(self._cells):
            if self._size <= TOTAL_BYTES:
                break
            self._forget(cell)

    def _clear(self, run: Transcript) -> None:
        run.cleared, run.clears_next = run.cleared or bool(run.outputs), False
        self._size -= run.size
        run.size = 0
        run.outputs = []

    def _forget(self, cell: str) -> None:
        run = self._cells.pop(cell, None)
        if run is not None:
            self._size -= run.size
            self._cell_of.pop(run.request, None)

    def _goes_to_a_widget(self, request: str) -> bool:
        """Returns whether pages put a request's output into an ``ipywidgets.Output`` now."""
        return any(getattr(widget, "msg_id", "") == request for widget in _widgets())


def _widgets() -> Iterator[Any]:
    from raynb.jupyter import notebook as notebooks

    loaded = notebooks.loaded()
    return iter(tuple(loaded.cells.widgets) if loaded is not None else ())


def _seen(given: object) -> tuple[str, int]:
    match given:
        case [str(request), int(version)]:
            return request, version
    return "", -1


def _overwritten(line: str) -> str:
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown + ("\r" if line.endswith("\r") else "")


def _size_of(output: Mapping[str, object]) -> int:
    size = 200
    for value in output.values():
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, Mapping):
            size += _size_of(value)
        elif isinstance(value, list):
            size += len(repr(value))
    return size


#: Of the notebook that is loaded; answers the pages' requests.
current: Transcripts | None = None


def remember(shell: InteractiveShell) -> Callable[[], None]:
    """Keeps what the cells of a kernel show; returns a function that ends it. Does nothing without a kernel."""
    global current
    if getattr(shell, "kernel", None) is None:
        return lambda: None
    current = made = Transcripts(shell)
    leave = made.install()

    def undo() -> None:
        global current
        leave()
        if current is made:
            current = None

    return undo


def missed(seen: Mapping[str, object]) -> dict[str, Any]:
    """Returns what pages have missed; see `Transcripts.since`."""
    return current.since(seen) if current is not None else {"cells": {}, "more": False}
