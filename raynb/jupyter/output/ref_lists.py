"""Lists, tuples and dicts of refs as a cell shows them: how many are in which state, and the first few.

Looking costs microseconds per ref, however many tasks there are, and pins nothing.
"""

from __future__ import annotations

import html
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.api.definitions import redefined
from raynb.base import engine as engines
from raynb.base import ids
from raynb.base.ref import ObjectRef, is_ref
from raynb.base.rows import TASK_ENDED, TASK_STATES, ObjectRow, TaskRow
from raynb.jupyter.formatting import GONE, STATE_WORDS, clock, describe, dot

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Items that are shown, and items that are looked at for the counts.
ITEMS_SHOWN, ITEMS_COUNTED = 5, 10_000

_KINDS = (list, tuple, dict)


def holds_only_refs(value: Any) -> bool:
    """Returns whether a list, tuple or dict has something in it, and all of it is refs."""
    items = value.values() if isinstance(value, dict) else value
    return len(value) > 0 and all(is_ref(item) for item in items)


class Summary:
    """A list, tuple or dict of refs, summed up.

    Args:
        value: it; `holds_only_refs` of it is true.
    """

    def __init__(self, value: Any) -> None:
        named = list(value.items() if isinstance(value, dict) else enumerate(value))
        self.kind = type(value).__name__
        self.total = len(named)
        self.lines: list[tuple[str, str, str]] = []  # (place, state, words) of the first few
        engine = engines.driver()
        refs: list[ObjectRef[object]] = [ref for _, ref in named[:ITEMS_COUNTED]]
        if engine is None or any(ref._engine.nonce != engine.nonce for ref in refs[:ITEMS_SHOWN]):
            self.head = f"{self.kind} of {_refs(self.total)}: {GONE}"
            return
        picture = engine.rows(tasks=[ids.task_of(ref._id) for ref in refs], objects=[ref._id for ref in refs])
        tasks: dict[int, TaskRow] = {row.id: row for row in picture.tasks}
        stored: dict[int, ObjectRow] = {row.id: row for row in picture.objects}
        # It stays as it is, so it says when that was, if it will change.
        changes = any(row.state not in TASK_ENDED for row in picture.tasks)
        when = f" at {clock(time.time())}" if changes else ""
        self.head = f"{self.kind} of {_refs(self.total)}{when}: {_counts(refs, tasks, stored)}"
        kinds = engine.kinds([ref._id for ref in refs[:ITEMS_SHOWN]])
        for place, ref in named[:ITEMS_SHOWN]:
            task = tasks.get(ids.task_of(ref._id))
            words = describe(task, stored.get(ref._id), picture.now, picture.wall, redefined,
                             kind=kinds.get(ref._id, ""))  # fmt: skip
            self.lines.append((f"[{place!r:.40}]", task.state if task else "FINISHED", words))

    @property
    def more(self) -> int:
        """Returns how many refs have no line."""
        return self.total - len(self.lines)

    def text(self) -> str:
        """Returns the summary as text."""
        lines = [self.head, *(f"  {place} {words}" for place, _, words in self.lines)]
        if self.lines and self.more:
            lines.append(f"  … {self.more:,} more")
        return "\n".join(lines)

    def html(self) -> str:
        """Returns the summary as HTML."""
        rows = "".join(
            f"<div>{dot(state)} <code>{html.escape(place)}</code> {html.escape(words)}</div>"
            for place, state, words in self.lines
        )
        more = f'<div style="opacity:.8">… {self.more:,} more</div>' if self.lines and self.more else ""
        return (
            f'<div class="raynb-refs" style="font:13px/1.6 system-ui,sans-serif"><b>{html.escape(self.head)}</b>'
            f"{rows}{more}</div>"
        )


def _refs(count: int) -> str:
    return f"{count:,} ref" if count == 1 else f"{count:,} refs"


def _counts(refs: list[ObjectRef[object]], tasks: dict[int, TaskRow], stored: dict[int, ObjectRow]) -> str:
    states: Counter[str] = Counter()
    for ref in refs:
        task = tasks.get(ids.task_of(ref._id))
        states[task.state if task is not None else "stored" if ref._id in stored else "freed"] += 1
    order = [*reversed(TASK_STATES), "stored", "freed"]
    return ", ".join(f"{states[state]:,} {STATE_WORDS.get(state, state)}" for state in order if states[state])


def _html(value: object) -> str | None:
    return Summary(value).html() if holds_only_refs(value) else None


def _plain(old: Callable[..., None] | None) -> Callable[[Any, Any, bool], None]:
    def printer(value: object, printed: Any, cycle: bool) -> None:
        if not cycle and holds_only_refs(value):
            printed.text(Summary(value).text())
        elif old is not None:
            old(value, printed, cycle)
        else:
            printed.text(repr(value))

    return printer


def install(shell: InteractiveShell) -> Callable[[], None]:
    """Shows lists, tuples and dicts of refs as summaries in a shell; returns a function that undoes it."""
    formatters = shell.display_formatter.formatters
    plain, markup = formatters["text/plain"], formatters["text/html"]
    before = {kind: plain.type_printers.get(kind) for kind in _KINDS}
    for kind in _KINDS:
        plain.for_type(kind, _plain(before[kind]))
        markup.for_type(kind, _html)

    def undo() -> None:
        for kind in _KINDS:
            markup.type_printers.pop(kind, None)
            plain.type_printers.pop(kind, None)
            if before[kind] is not None:
                plain.for_type(kind, before[kind])

    return undo
