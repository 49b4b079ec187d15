"""Brings what tasks print and display into the cell that submitted them.

The engine calls `Router.receive` on the thread that receives; it only appends to a queue. One
thread of ours shows what has gathered, twenty times a second while something comes, and sleeps
otherwise. At a cell's end `Router.drain` shows the rest at once, while it still counts as the
cell's own output.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from raynb.base import engine as engines
from raynb.base.rows import Output
from raynb.jupyter.output.folding import Action, CellOutput, Line, Rich
from raynb.jupyter.output.registry import Cell, Cells
from raynb.jupyter.output.sinks import Sink

#: Seconds between two deliveries while output comes.
INTERVAL = 0.05

#: Deliveries without news after which unfinished lines are shown as they are.
QUIET_ROUNDS = 4


class Router:
    """Routes output to cells.

    Args:
        cells: the notebook's cells.
        sink: where to show it.
        limit: returns the lines a cell shows (``Raynb.output_lines``).

    Thread contract: every method may be called from any thread. `receive` never blocks.
    """

    def __init__(self, cells: Cells, sink: Sink, limit: Callable[[], int]) -> None:
        self.cells = cells
        self.sink = sink
        self.limit = limit
        self._queue: deque[Output | Callable[[], None]] = deque()
        self._states: dict[int, CellOutput] = {}
        self._touched: set[int] = set()  # scopes with news since they were settled
        self._news = threading.Event()
        self._lock = threading.Lock()  # one delivery at a time; also keeps the order
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, name="raynb-output", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Shows what is left and ends the thread."""
        self._stopped = True
        self._news.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None
        self.drain()

    def receive(self, output: Output) -> None:
        """Takes one piece of output; the engine's ``on_output``."""
        self._queue.append(output)
        if not self._news.is_set():
            self._news.set()

    def waiting(self) -> bool:
        """Returns whether something has come that isn't shown yet."""
        return bool(self._queue)

    def post(self, action: Callable[[], None]) -> None:
        """Runs something small after the output that came before it, on the delivering thread.

        ``action`` may call the ``show_…`` methods' sink through `Router.sink`; it holds the lock.
        """
        self._queue.append(action)
        self._news.set()

    def drain(self) -> None:
        """Shows everything that has come so far, unfinished lines included."""
        self._deliver()
        self._settle()

    def show_error(self, scope: int, name: str, value: str, traceback: list[str]) -> None:
        """Shows an error in a cell, after what its tasks printed before."""
        self.post(lambda: self.sink.error(self.cell(scope), name, value, traceback))

    def show_text(self, scope: int, stream: str, text: str) -> None:
        """Shows a text of raynb's own in a cell, after what its tasks printed before."""
        self.post(lambda: self.sink.text(self.cell(scope), stream, text))

    def show_rich(self, scope: int, kind: str, bundle: dict[str, Any]) -> None:
        """Shows a rich output of raynb's own in a cell."""
        self.post(lambda: self.sink.rich(self.cell(scope), kind, bundle))

    def cell(self, scope: int) -> Cell | None:
        """Returns the cell of a scope; the latest one for what belongs to none."""
        return self.cells.get(scope) or self.cells.latest()

    # -- inside --------------------------------------------------------------------------------
    def _serve(self) -> None:
        quiet = 0
        while not self._stopped:
            if not self._news.wait(INTERVAL if quiet < QUIET_ROUNDS else None):
                quiet += 1
                if quiet == QUIET_ROUNDS:
                    self._settle()
                continue
            quiet = 0
            time.sleep(INTERVAL)  # let some gather: ``print`` alone writes twice
            self._deliver()

    def _deliver(self) -> None:
        with self._lock:
            self._news.clear()
            groups: dict[int, list[Output]] = {}
            while self._queue:
                item = self._queue.popleft()
                if isinstance(item, Output):
                    groups.setdefault(item.scope, []).append(item)
                else:
                    self._show(groups)
                    groups = {}
                    item()
            self._show(groups)

    def _show(self, groups: dict[int, list[Output]]) -> None:
        for scope, outputs in groups.items():
            state = self._state(scope)
            self._touched.add(scope)
            self._perform(scope, state.add(outputs, many=not state.shown and _has_many(scope)))

    def _settle(self) -> None:
        with self._lock:
            touched, self._touched = self._touched, set()
            for scope in touched & self._states.keys():
                self._perform(scope, self._states[scope].settle())

    def _state(self, scope: int) -> CellOutput:
        state = self._states.get(scope)
        if state is None:
            hint = f" (see them all: %raynb logs {scope})" if scope else " (see them all: %raynb logs)"
            state = self._states[scope] = CellOutput(str(scope), self.limit(), hint)
            while len(self._states) > 1_000:
                del self._states[next(iter(self._states))]
        return state

    def _perform(self, scope: int, actions: list[Action]) -> None:
        cell = self.cell(scope)
        for action in actions:
            if isinstance(action, Rich):
                self.sink.rich(cell, action.kind, action.bundle)
            elif isinstance(action, Line):
                self.sink.line(cell, action.key, action.text, action.update, action.final)
            else:
                self.sink.text(cell, action.stream, action.text)


def _has_many(scope: int) -> bool:
    """Returns whether a cell has submitted more than one task."""
    engine = engines.peek()
    if engine is None or not scope:
        return False
    counts: dict[str, int] = engine.scope_counts(scope)  # type: ignore[attr-defined]
    return sum(counts.values()) > 1
