"""Brings what tasks print and display into the cell that submitted them.

The engine calls `Router.receive` on the thread that receives; it only appends to a queue. One
thread of ours shows what has gathered, twenty times a second while something comes, and sleeps
otherwise. A thread that reads a task's end first shows what has arrived (`Router.show`), before its
code goes on; one into which an exception of the user's may fall at any step waits until our thread has.
At a cell's end `Router.drain` shows the rest at once, while it still counts as the cell's own output.

Where another thread shows something, it is waited for as long as it gets on, and no longer (`Patience`): a stream of
the user's may want a lock that the waiting thread has.

Where the running cell has redirected its output (``%%capture``, ``redirect_stdout``), output of its
tasks is held back until the cell waits for something: what is awaited inside, or was submitted inside and
has ended by then, goes where a plain call's output would go; the rest to the cell when the redirection is over.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from raynb.base import engine as engines
from raynb.base import unshown
from raynb.base.interrupts import Allowed, Deferred, Turn
from raynb.base.process import shelter
from raynb.base.process.waits import Bell
from raynb.base.rows import END_OF_TASK, PROFILE, Output
from raynb.jupyter.output.folding import Action, CellOutput, Line, Rich
from raynb.jupyter.output.patience import Patience, in_slices
from raynb.jupyter.output.redirections import Redirections, watch_widgets
from raynb.jupyter.output.registry import Cell, Cells
from raynb.jupyter.output.sinks import PlainSink, Sink

#: Seconds between two deliveries while output comes.
INTERVAL_SECONDS = 0.05

#: Deliveries without news after which unfinished lines are shown as they are.
QUIET_ROUNDS = 4

#: Pieces of output that are held back at most while the cell's output is redirected.
MAX_HELD = 10_000

_log = logging.getLogger("raynb.output")


class _After:
    """Something to do once the output before it is shown, when the turn is over."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action


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
        self.plain = PlainSink(cells.shell)
        #: The main thread waits for tasks: their output is wanted now, also where it is redirected.
        self.main_waits = False
        #: Where the running cell has redirected its output, and whose goes there.
        self.redirections = Redirections(cells)
        self._queue: deque[Output | Callable[[], None] | _After] = deque()
        self._held: list[Output] = []
        self._states: dict[int, CellOutput] = {}
        self._replays = 0
        self._earlier: dict[int, int] = {}  # cell → its tasks before it was submitted again
        self._touched: set[int] = set()  # scopes with news since they were settled
        self._arrived = Bell()
        self._turn = Turn()  # one delivery at a time; also keeps the order
        self._urgent = Bell()  # somebody waits for a delivery
        self._wanted = self._stopped = False  # wanted: what is held back, too
        self._patience = Patience()
        self.progress = self._patience.progress  # see `unshown.Screen`
        self._undo: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None
        self.on_profile: Callable[[Output], None] = lambda output: None

    def start(self) -> None:
        """Starts the delivering thread."""
        self._stopped = False
        unshown.add(self)
        self._undo = watch_widgets(self.cells)
        self._thread = threading.Thread(target=self._serve, name="raynb-output", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Shows what is left and ends the thread."""
        self._stopped = True
        unshown.remove(self)
        self._undo()
        self._urgent.set()
        self._arrived.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None
        self.drain()
        self.drain()  # what came during the first

    def receive(self, output: Output) -> None:
        """Enqueues a piece of output; a listener of the engine's ``on_output``."""
        if output.kind == PROFILE:
            self.on_profile(output)
            return
        self._queue.append(output)
        unshown.mark()
        self._arrived.set()

    def show(self, asked: Sequence[int] = ()) -> None:
        """Shows what has come: the calling thread has learned of the end of a task of the running cell."""
        if asked and threading.current_thread() is threading.main_thread():
            self.redirections.asked(asked)
        if (self._queue or self._held or self._turn.is_taken()) and not self._shown_elsewhere():
            self._deliver(awaited=True, patient=False)

    def after(self, action: Callable[[], None], asked: Sequence[int] = ()) -> None:
        """Runs an action once what has come is shown: at once, or on the delivering thread."""
        if asked:
            self.redirections.asked(asked)
        if self._stopped or not (self._queue or self._turn.is_taken()):
            action()
            return
        self._queue.append(_After(action))
        self._urgent.set()
        self._arrived.set()

    def post(self, action: Callable[[], None]) -> None:
        """Runs something small after the output that came before it, on the delivering thread.

        ``action`` may call the ``show_…`` methods' sink through `Router.sink`; it has the turn.
        """
        self._queue.append(action)
        self._arrived.set()

    def drain(self) -> None:
        """Shows everything that has come so far, unfinished lines included."""
        if not self._shown_elsewhere(self._flush_all_lines):
            self._deliver(awaited=True, patient=False)
            self._take(self._flush_all_lines)

    def show_error(self, scope: int, name: str, value: str, traceback: list[str]) -> None:
        """Shows an error in a cell, after what its tasks printed before."""
        self.post(lambda: self.sink.error(self.cell(scope), name, value, traceback))

    def show_text(self, scope: int, stream: str, text: str) -> None:
        """Shows a text of raynb's own in a cell, after what its tasks printed before."""
        self.post(lambda: self.sink.text(self.cell(scope), stream, text))

    def show_rich(self, scope: int, kind: str, bundle: dict[str, Any]) -> None:
        """Shows a rich output of raynb's own in a cell."""
        self.post(lambda: self.sink.rich(self.cell(scope), kind, bundle))

    def show_latest(self, scope: int, kind: str, make: Callable[[], dict[str, Any]]) -> None:
        """Shows what ``make`` returns at that moment, so that the last of several threads shows the last state."""
        self.post(lambda: self.sink.rich(self.cell(scope), kind, make()))

    def replay(self, scope: int, of: int, outputs: list[Output]) -> None:
        """Shows in a cell what another one has shown, or would have if somebody had watched.

        Args:
            scope: where.
            of: the cell that the outputs belong to.
        """
        self._replays += 1
        hint = f" (see them all: %raynb logs {of})"
        state = CellOutput(f"{scope}-replay-{self._replays}", self.limit(), hint)

        def show() -> None:
            self._perform(scope, state.add(outputs, many=_tasks_of(of) - self._earlier.get(of, 0) > 1))
            self._perform(scope, state.flush_lines())

        self.post(show)
        self.drain()

    def begin_again(self, scope: int) -> None:
        """A cell is submitted again: what it showed goes, and its lines and tasks are counted from the start."""
        self._earlier[scope] = _tasks_of(scope)

        def clear() -> None:
            self._states.pop(scope, None)
            self.sink.rich(self.cell(scope), "clear", {"wait": False})

        self.post(clear)

    def cell(self, scope: int) -> Cell | None:
        """Returns the cell of a scope; the latest one for what belongs to none."""
        return self.cells.get(scope) or self.cells.latest()

    # -- inside --------------------------------------------------------------------------------
    def _serve(self) -> None:
        quiet = 0
        while not self._stopped:
            if not self._arrived.wait(INTERVAL_SECONDS if quiet < QUIET_ROUNDS or self._held else None):
                quiet += 1
                if self._held:
                    self._deliver(awaited=self.main_waits)
                if quiet == QUIET_ROUNDS:
                    self._turn.take(self._flush_all_lines)
                continue
            quiet = 0
            self._urgent.wait(INTERVAL_SECONDS)  # let some gather: ``print`` alone writes twice
            self._deliver(awaited=self.main_waits)

    def _shown_elsewhere(self, last: Callable[[], None] | None = None) -> bool:
        """Waits until the delivering thread has shown what has come, and has called ``last`` in its turn; returns
        False, at once, where nothing of the user's can fall into the calling thread, or there is no other one."""
        thread = self._thread
        if thread in (None, threading.current_thread()) or self._turn.is_mine() or not shelter.exposed():
            return False
        shown = Bell()
        self._wanted = True
        if last is not None:
            self._queue.append(last)
        self._queue.append(_After(shown.set))
        self._urgent.set()
        self._arrived.set()
        self._patience.wait(lambda seconds: in_slices(shown, seconds, lambda: self._stopped))
        return True

    def _take(self, work: Callable[[], None], patient: bool = False) -> None:
        """Runs ``work`` in the calling thread's turn, unless it has that already, or who has it gets nowhere, for which
        nobody ``patient`` looks."""
        if patient:
            self._turn.take(work)
        else:
            self._patience.wait(lambda seconds: self._turn.take(work, seconds) or self._turn.is_mine())

    def _deliver(self, awaited: bool, patient: bool = True) -> None:
        """Shows what has come, and does what was to be done after it; ``awaited``: the running cell waits for its
        tasks, or has waited; ``patient``: the calling thread waits for its turn as long as it takes."""
        actions: list[Callable[[], None]] = []
        try:
            # A thread that has the turn was called from inside, by a stream or a formatter of the user's.
            self._take(lambda: self._show_all(awaited, actions), patient)
        finally:
            for action in actions:
                action()

    def _show_all(self, awaited: bool, actions: list[Callable[[], None]]) -> None:
        with Deferred():
            self._arrived.clear()
            awaited = awaited or self._wanted
            self._wanted = False
            if self._held:
                held, self._held = self._held, []
                self._show(held, awaited)
            left = len(self._queue)  # in a flood more comes meanwhile: who waits for these, waits for no others
            while left:
                outputs: list[Output] = []
                while left and isinstance(item := self._queue[0], Output):
                    outputs.append(item)
                    self._queue.popleft()
                    left -= 1
                self._show(outputs, awaited or (bool(self._queue) and isinstance(self._queue[0], _After)))
                if not left:
                    break
                item = self._queue.popleft()
                left -= 1
                if isinstance(item, _After):
                    actions.append(item.action)
                elif not isinstance(item, Output):
                    _guarded(item)
                    self._patience.step()
            self._patience.all_is_shown()

    def _show(self, outputs: list[Output], awaited: bool) -> None:
        """Shows outputs in their cells. In the thread's turn. What a Ctrl-C keeps from being shown comes later."""
        groups: dict[int, list[Output]] = {}
        left = deque(outputs)
        try:
            while left:
                if not self._goes_elsewhere(left[0], awaited):
                    groups.setdefault(left[0].scope, []).append(left[0])
                left.popleft()
                self._patience.step()
            for scope in list(groups):
                self._show_in(scope, groups.pop(scope))
        except KeyboardInterrupt:  # where a stream or the terminal kept us waiting
            self._later([*(one for group in groups.values() for one in group), *left])
            raise

    def _later(self, items: Sequence[Output | Callable[[], None]]) -> None:
        """Has what was taken from the queue, and not shown, shown by the delivering thread."""
        self._queue.extendleft(reversed(items))
        self._arrived.set()

    def _show_in(self, scope: int, group: list[Output]) -> None:
        state = self._state(scope)
        self._touched.add(scope)
        many = not state.shown and _tasks_of(scope) - self._earlier.get(scope, 0) > 1
        self._perform(scope, state.add(group, many=many))

    def _goes_elsewhere(self, output: Output, awaited: bool) -> bool:
        """Returns whether output was written where the running cell has redirected its own, or is held back."""
        place = self.cells.redirected(output.kind if output.kind != END_OF_TASK else output.text)
        inside = self.redirections
        if place is None or not (self.cells.runs(output.scope) or inside.awaits(output.task)):
            return False
        inside.look()
        if not inside.takes(output, awaited):
            if len(self._held) >= MAX_HELD:
                return False
            self._held.append(output)
            unshown.mark()  # whoever asks for its task next shows it
            return True
        if self.cells.widgets and place is self.cells.widgets[-1]:
            return False  # the front end puts the cell's output there
        with Allowed():
            return _guarded(lambda: self.plain.put(output))

    def _flush_all_lines(self) -> None:
        with Deferred():
            touched, self._touched = self._touched, set()
            for scope in touched & self._states.keys():
                self._perform(scope, self._states[scope].flush_lines())

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
        for at, action in enumerate(actions, 1):
            try:
                _guarded(functools.partial(self._act, cell, action))
                self._patience.step()
            except KeyboardInterrupt:
                self._later([functools.partial(self._act, cell, other) for other in actions[at:]])
                raise

    def _act(self, cell: Cell | None, action: Action) -> None:
        if isinstance(action, Rich):
            self.sink.rich(cell, action.kind, action.bundle)
        elif isinstance(action, Line):
            self.sink.line(cell, action.key, action.text, action.update, action.final)
        else:
            self.sink.text(cell, action.stream, action.text)


def _tasks_of(scope: int) -> int:
    """Returns how many tasks a cell has submitted."""
    engine = engines.driver()
    if engine is None or not scope:
        return 0
    return sum(engine.scope_counts(scope).values())


def _guarded(action: Callable[[], None]) -> bool:
    """Runs what shows something; what it raises is logged and ends nothing. Returns whether it worked."""
    try:
        action()
    except Exception:  # of a stream, a formatter, or a message that cannot be encoded
        _log.warning("some output of a task could not be shown", exc_info=True)
        return False
    return True
