"""Where a cell's output goes: a Jupyter kernel's front end, or a terminal.

Both take the same calls, so the router doesn't know which it has.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Protocol

from raynb.jupyter.output.registry import Cell

RichBundle = dict[str, Any]


class Sink(Protocol):
    """Shows output in a cell. Thread contract: any thread, one call at a time."""

    def text(self, cell: Cell | None, stream: str, text: str) -> None: ...
    def rich(self, cell: Cell | None, kind: str, bundle: RichBundle) -> None: ...
    def line(self, cell: Cell | None, key: str, text: str, update: bool, final: bool) -> None: ...
    def error(self, cell: Cell | None, name: str, value: str, traceback: list[str]) -> None: ...


class KernelSink:
    """Sends messages on the kernel's IOPub channel, as children of the cell's request.

    Args:
        shell: an ipykernel shell.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.kernel = shell.kernel
        self.session = shell.kernel.session

    def _send(self, cell: Cell | None, kind: str, content: dict[str, Any]) -> None:
        # What the kernel itself printed before must not come after.
        sys.stdout.flush()
        sys.stderr.flush()
        parent = cell.parent if cell is not None else self.shell.get_parent()
        self.session.send(
            self.kernel.iopub_socket, kind, content, parent=parent, ident=self.kernel._topic(kind)
        )

    def text(self, cell: Cell | None, stream: str, text: str) -> None:
        self._send(cell, "stream", {"name": stream, "text": text})

    def rich(self, cell: Cell | None, kind: str, bundle: RichBundle) -> None:
        if kind == "clear":
            self._send(cell, "clear_output", {"wait": bool(bundle.get("wait", False))})
            return
        from ipykernel.jsonutil import encode_images, json_clean

        content = {
            "data": encode_images(dict(bundle.get("data") or {})),
            "metadata": bundle.get("metadata") or {},
            "transient": bundle.get("transient") or {},
        }
        message = "update_display_data" if kind == "update_display" else "display_data"
        self._send(cell, message, json_clean(content))

    def line(self, cell: Cell | None, key: str, text: str, update: bool, final: bool) -> None:
        scope = cell.scope if cell is not None else 0
        self.rich(
            cell,
            "update_display" if update else "display",
            {"data": {"text/plain": text}, "transient": {"display_id": f"raynb-{id(self):x}-{scope}-{key}"}},
        )

    def error(self, cell: Cell | None, name: str, value: str, traceback: list[str]) -> None:
        self._send(cell, "error", {"ename": name, "evalue": value, "traceback": traceback})


class TerminalSink:
    """Writes to the terminal (IPython without a kernel). Lines that change in place are written
    once they are final, rich outputs as their plain text.

    Args:
        shell: the InteractiveShell.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self._folds: dict[str, str] = {}
        self._lock = threading.Lock()

    def text(self, cell: Cell | None, stream: str, text: str) -> None:
        # Looked up at each call: while a prompt is shown, IPython puts a stream there that prints above it.
        out = sys.stderr if stream == "stderr" else sys.stdout
        out.write(text)
        out.flush()

    def rich(self, cell: Cell | None, kind: str, bundle: RichBundle) -> None:
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
        if final or not update:
            self.text(cell, "stdout", f"{text}\n")

    def error(self, cell: Cell | None, name: str, value: str, traceback: list[str]) -> None:
        self.text(cell, "stderr", "\n".join(traceback) + "\n")


def sink_for(shell: Any) -> Sink:
    """Returns the sink that fits the shell."""
    return KernelSink(shell) if getattr(shell, "kernel", None) is not None else TerminalSink(shell)
