"""Writes a cell's output to a Jupyter kernel's front end, or to a terminal.

Both take the same calls, so the router doesn't know which it has.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from raynb.base.interrupts import Allowed
from raynb.base.rows import END_OF_TASK, Output
from raynb.base.text import clean
from raynb.jupyter.output import displays
from raynb.jupyter.output.registry import Cell

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

RichBundle = dict[str, Any]


class Sink(Protocol):
    """Shows output in a cell. Thread contract: any thread, one call at a time."""

    def text(self, cell: Cell | None, stream: str, text: str) -> None:
        """Writes text to a stream of the cell."""
    def rich(self, cell: Cell | None, kind: str, bundle: RichBundle) -> None:
        """Shows, updates or clears a rich output."""
    def line(self, cell: Cell | None, key: str, text: str, update: bool, final: bool) -> None:
        """Shows a line under ``key``, or updates it."""
    def error(self, cell: Cell | None, name: str, value: str, traceback: list[str]) -> None:
        """Shows an error with its traceback."""


class KernelSink:
    """Sends messages on the kernel's IOPub channel, as children of the cell's request.

    Args:
        shell: an ipykernel shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        from ipykernel.iostream import OutStream

        self.shell = shell
        self.kernel = shell.kernel
        self.session = shell.kernel.session
        self._own = OutStream
        self._streams: list[Any] = [sys.stdout, sys.stderr]
        self._written = 0  # which of them was written last

    def _send(self, cell: Cell | None, kind: str, content: dict[str, Any]) -> None:
        self._flush()
        parent = cell.parent if cell is not None else self.shell.get_parent()
        try:
            self._post(kind, content, parent)
        except UnicodeEncodeError:
            self._post(kind, _cleaned(content), parent)

    def _post(self, kind: str, content: dict[str, Any], parent: object) -> None:
        self.session.send(
            self.kernel.iopub_socket, kind, content, parent=parent, ident=self.kernel._topic(kind)
        )

    def _flush(self) -> None:
        """Flushes what the kernel itself printed before, so that the order holds."""
        for at, stream in enumerate((sys.stdout, sys.stderr)):
            if isinstance(stream, self._own):  # else a cell has redirected it
                self._streams[at] = stream
            if isinstance(self._streams[at], self._own):
                self._streams[at].flush()

    def text(self, cell: Cell | None, stream: str, text: str) -> None:
        """Writes text to a stream of the cell."""
        if not self._write(cell, stream, text):
            self._send(cell, "stream", {"name": stream, "text": text})

    def _write(self, cell: Cell | None, stream: str, text: str) -> bool:
        """Writes text of the running cell's tasks as the cell itself does, which costs a fiftieth of a message."""
        if threading.current_thread() is not threading.main_thread() or cell is None or cell.ended:
            return False
        at, other = (1, 0) if stream == "stderr" else (0, 1)
        now: Any = sys.stderr if at else sys.stdout
        if not isinstance(now, self._own) or self.shell.get_parent() is not cell.parent:
            return False
        if self._written != at:  # the two are sent apart: order is kept where one follows the other
            self._written = at
            if isinstance(self._streams[other], self._own):
                self._streams[other].flush()
        self._streams[at] = now
        now.write(clean(text))
        if at:  # what the cell prints next to the other stream would be sent first
            now.flush()
        return True

    def rich(self, cell: Cell | None, kind: str, bundle: RichBundle) -> None:
        """Sends, updates or clears a display."""
        if kind == "clear":
            self._send(cell, "clear_output", {"wait": bool(bundle.get("wait", False))})
            return
        from ipykernel.jsonutil import encode_images, json_clean

        displays.shown.record(bundle)
        content = {
            "data": encode_images(dict(bundle.get("data") or {})),
            "metadata": bundle.get("metadata") or {},
            "transient": bundle.get("transient") or {},
        }
        message = "update_display_data" if kind == "update_display" else "display_data"
        self._send(cell, message, json_clean(content))

    def line(self, cell: Cell | None, key: str, text: str, update: bool, final: bool) -> None:
        """Sends a line as a display, or updates it."""
        scope = cell.scope if cell is not None else 0
        name = f"raynb-{id(self):x}-{scope}-{key}"
        data = {"text/plain": text, **displays.live(name, not final, text)}
        kind = "update_display" if update else "display"
        self.rich(cell, kind, {"data": data, "transient": {"display_id": name}})

    def error(self, cell: Cell | None, name: str, value: str, traceback: list[str]) -> None:
        """Sends an error with its traceback."""
        self._send(cell, "error", {"ename": name, "evalue": value, "traceback": traceback})


class PlainSink:
    """Writes output as the running cell's own code would: wherever its ``print`` and ``display`` go.

    Args:
        shell: the InteractiveShell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def put(self, output: Output) -> None:
        """Writes one piece of output, without a prefix or a fold."""
        if output.kind in ("stdout", "stderr"):
            getattr(sys, output.kind).write(clean(output.text))
            return
        if output.kind == END_OF_TASK:
            return
        publisher, bundle = self.shell.display_pub, output.bundle or {}
        if output.kind == "clear":
            publisher.clear_output(bool(bundle.get("wait", False)))
            return
        publisher.publish(
            bundle.get("data") or {}, bundle.get("metadata") or {},
            transient=bundle.get("transient") or {}, update=output.kind == "update_display",
        )  # fmt: skip


class TerminalSink:
    """Writes to the terminal (IPython without a kernel). Lines that change in place are written
    once they are final, rich outputs as their plain text.

    Args:
        shell: the InteractiveShell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self._lock = threading.Lock()

    def text(self, cell: Cell | None, stream: str, text: str) -> None:
        """Writes text to the terminal's stream."""
        # Looked up at each call: while a prompt is shown, IPython puts a stream there that prints above it.
        out = sys.stderr if stream == "stderr" else sys.stdout
        with Allowed():  # a terminal that was stopped keeps its writer waiting
            try:
                out.write(clean(text))
            except UnicodeEncodeError:  # a terminal of another encoding
                encoding = getattr(out, "encoding", None) or "ascii"
                out.write(text.encode(encoding, "replace").decode(encoding))
            out.flush()

    def rich(self, cell: Cell | None, kind: str, bundle: RichBundle) -> None:
        """Prints the plain text of a rich output; displays it if the cell runs in the main thread."""
        if kind == "clear":
            return
        running = (
            cell is not None and not cell.ended and threading.current_thread() is threading.main_thread()
        )
        if running:
            self.shell.display_pub.publish(
                bundle.get("data") or {}, bundle.get("metadata") or {},
                transient=bundle.get("transient") or {}, update=kind == "update_display",
            )  # fmt: skip
            return
        plain = (bundle.get("data") or {}).get("text/plain")
        if plain:
            self.text(cell, "stdout", f"{plain}\n")

    def line(self, cell: Cell | None, key: str, text: str, update: bool, final: bool) -> None:
        """Prints a line when it is new or final."""
        if final or not update:
            self.text(cell, "stdout", f"{text}\n")

    def error(self, cell: Cell | None, name: str, value: str, traceback: list[str]) -> None:
        """Prints the traceback."""
        self.text(cell, "stderr", "\n".join(traceback) + "\n")


def _cleaned(value: object) -> Any:
    """Returns JSON whose texts can be encoded."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    return value


def sink_for(shell: InteractiveShell) -> Sink:
    """Returns the sink that fits the shell."""
    return KernelSink(shell) if getattr(shell, "kernel", None) is not None else TerminalSink(shell)
