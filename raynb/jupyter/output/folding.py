"""Turns what a cell's tasks print into what the cell shows: order, prefixes, progress lines, and the fold.

A pure state machine, one a cell: outputs in, `Action` s out. No clock, no thread, no Jupyter. Every
line is kept by the engine's log anyway; this decides only what a cell shows, and a line that is
not shown is counted, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from raynb.base.rows import END_OF_TASK, Output
from raynb.base.text import printable
from raynb.jupyter.formatting import short_task
from raynb.jupyter.output.bars import Bars, draws

#: The longest unfinished line that is held back while several tasks print, in characters.
PARTIAL_MAX_CHARACTERS = 8_192


@dataclass(slots=True)
class Text:
    """Append text to the cell's ``stdout`` or ``stderr``."""

    stream: str
    text: str


@dataclass(slots=True)
class Rich:
    """Show, update or clear a rich output (``kind`` as in `raynb.base.rows.Output`)."""

    kind: str
    bundle: dict[str, Any]


@dataclass(slots=True)
class Line:
    """Show a line under ``key``, or change the line shown there."""

    key: str
    text: str
    update: bool
    final: bool = False


Action = Text | Rich | Line


def prefix_of(output: Output) -> str:
    """Returns who said it: ``f#12`` for a task, ``Counter#4`` for an actor."""
    if not output.task and output.name == "raynb":
        return ""  # what the runtime says names itself
    name = printable(output.name).rsplit("<locals>.", 1)[-1].replace("\n", " ") or "task"
    if output.actor:
        return f"{name.split('.')[0]}#{short_task(output.actor)}"
    return f"{name}#{short_task(output.task)}"


def dim(text: str) -> str:
    """Returns text in a terminal's dim style."""
    return f"\x1b[2m{text}\x1b[0m "


@dataclass(slots=True)
class _Voice:
    """One stream of one task: its unfinished line, and the progress lines it draws."""

    prefix: str
    stream: str
    bars: Bars
    partial: str = ""
    open: bool = False  # part of the current line is shown already


@dataclass(slots=True)
class CellOutput:
    """The output of one cell, as it is shown.

    Args:
        name: unique name of the cell, used in keys of lines.
        limit: lines and displays shown before the fold.
        hint: how to see the rest; ends the folding line.
    """

    name: str
    limit: int = 1000
    hint: str = ""
    shown: int = 0
    hidden: int = 0
    _voices: dict[tuple[int, str], _Voice] = field(default_factory=dict)
    _sources: set[int] = field(default_factory=set)
    _many: bool = False
    _fold_shown: int = 0  # the count that the folding line says now
    _last: _Voice | None = None

    def add(self, outputs: Iterable[Output], many: bool = False) -> list[Action]:
        """Takes outputs in order; returns what to show.

        Args:
            outputs: what came since the last call.
            many: the cell has more than one task, whether or not they have printed.
        """
        actions: list[Action] = []
        for output in outputs:
            self._sources.add(output.actor or output.task)
            if not self._many and (many or len(self._sources) > 1):
                self._many = True
                self._end_line(actions)
            if output.kind in ("stdout", "stderr"):
                self._text(output, actions)
            elif output.kind == END_OF_TASK:
                voice = self._voices.get((output.actor or output.task, output.text))
                if voice is not None:
                    self._flush_line(voice, actions)
            else:
                self._rich(output, actions)
        return actions

    def flush_lines(self) -> list[Action]:
        """Shows unfinished lines and the fold as they are; call it when nothing came for a while."""
        actions: list[Action] = []
        for voice in self._voices.values():
            self._flush_line(voice, actions)
        self._fold(actions)
        return actions

    def _flush_line(self, voice: _Voice, actions: list[Action]) -> None:
        if voice.partial:
            self._show(voice, voice.partial, actions)
            voice.partial = ""

    # -- text ----------------------------------------------------------------------------------
    def _text(self, output: Output, actions: list[Action]) -> None:
        key = (output.actor or output.task, output.kind)
        voice = self._voices.get(key)
        if voice is None:
            voice = self._voices[key] = self._new_voice(prefix_of(output), output.kind)
        text = output.text.replace("\r\n", "\n")
        if self.shown >= self.limit and not (voice.open or voice.bars.active or draws(text)):
            self._count(voice, text)
            return
        if not voice.bars.active:
            text, voice.partial = voice.partial + text, ""
        while text:
            line, end, rest = text.partition("\n")
            if voice.bars.takes(line) or draws(line):
                self._draw(voice, line + end, actions)
            elif end:
                voice.bars.leave()
                if self.shown >= self.limit and not (voice.open or draws(rest)):
                    self._count(voice, text)
                    return
                self._show(voice, line + end, actions)
            else:
                voice.bars.leave()
                self._rest(voice, line, actions)
            text = rest

    def _new_voice(self, prefix: str, stream: str) -> _Voice:
        count = 0

        def new_key() -> str:
            nonlocal count
            if self.shown >= self.limit:
                self.hidden += 1
                return ""
            self.shown += 1
            count += 1
            return f"{self.name}-{prefix}-{stream}-{count}"

        return _Voice(prefix, stream, Bars(new_key))

    def _count(self, voice: _Voice, text: str) -> None:
        """Counts lines that aren't shown, by their ends."""
        self.hidden += text.count("\n")
        tail = text.rpartition("\n")[2]
        voice.partial = (tail if "\n" in text else voice.partial + tail)[-1:]

    def _rest(self, voice: _Voice, partial: str, actions: list[Action]) -> None:
        """Keeps what follows the last line end."""
        if self._many and len(partial) <= PARTIAL_MAX_CHARACTERS:
            voice.partial = partial
        else:
            self._show(voice, partial, actions)

    def _show(self, voice: _Voice, text: str, actions: list[Action]) -> None:
        ends = text.endswith("\n")
        if self.shown >= self.limit and not voice.open:
            self.hidden += ends
            return
        if self._last is not None and self._last is not voice:
            self._end_line(actions)
        if not voice.open:
            self.shown += 1
            if self._many and voice.prefix:
                text = dim(voice.prefix) + text
        voice.open = not ends
        self._last = voice if voice.open else None
        self._append(Text(voice.stream, text), actions)

    def _end_line(self, actions: list[Action]) -> None:
        """Ends a task's unfinished line before another task's text is shown."""
        if self._last is not None and self._last.open:
            self._append(Text(self._last.stream, "\n"), actions)
            self._last.open = False
        self._last = None

    # -- progress lines ------------------------------------------------------------------------
    def _draw(self, voice: _Voice, text: str, actions: list[Action]) -> None:
        """Shows lines that a task draws over and over (``tqdm``) in place."""
        for row, update, final in voice.bars.feed(text):
            if not update:
                self._end_line(actions)
            said = dim(voice.prefix) + row.shown if self._many and row.shown else row.shown
            self._put_line(Line(row.key, said, update, final), actions)

    def _put_line(self, line: Line, actions: list[Action]) -> None:
        for last in reversed(actions):
            if not isinstance(last, Line):
                break
            if last.key == line.key:
                last.text, last.final = line.text, line.final
                return
        actions.append(line)

    # -- rich output ---------------------------------------------------------------------------
    def _rich(self, output: Output, actions: list[Action]) -> None:
        bundle = output.bundle or {}
        if output.kind == "update_display":
            actions.append(Rich(output.kind, bundle))
            return
        if output.kind == "clear":
            self.shown = 0
            self._last = None
            for voice in self._voices.values():
                voice.open, voice.partial = False, ""
                voice.bars.leave()
            actions.append(Rich(output.kind, bundle))
            return
        if self.shown >= self.limit:
            self.hidden += 1
            return
        self._end_line(actions)
        self.shown += 1
        if self._many:
            self._append(Text("stdout", dim(prefix_of(output)) + "\n"), actions)
        actions.append(Rich(output.kind, bundle))

    # -- the fold ------------------------------------------------------------------------------
    def _fold(self, actions: list[Action]) -> None:
        if self.hidden == self._fold_shown:
            return
        self._end_line(actions)
        lines = "line" if self.hidden == 1 else "lines"
        text = f"… and {self.hidden:,} more {lines}{self.hint}"
        actions.append(Line(f"{self.name}-fold", text, self._fold_shown > 0))
        self._fold_shown = self.hidden

    @staticmethod
    def _append(action: Text, actions: list[Action]) -> None:
        last = actions[-1] if actions else None
        if isinstance(last, Text) and last.stream == action.stream:
            last.text += action.text
        else:
            actions.append(action)
