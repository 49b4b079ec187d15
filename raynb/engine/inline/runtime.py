"""The protocol by which the parts of `InlineEngine` use the engine that they are made for."""

from __future__ import annotations

from typing import Any, Protocol

from raynb.base.engine import Engine, Packed
from raynb.base.rows import TaskRow
from raynb.base.spec import TaskOptions
from raynb.engine.refs import OwnRefs
from raynb.engine.row_store import RowStore
from raynb.engine.unasked import UnaskedFailures


class InlineRuntime(Engine, Protocol):
    """The engine, as its parts see it: the public interface, and what all of them share.

    Thread contract: every method from any thread.
    """

    alive: bool
    row_store: RowStore
    unasked: UnaskedFailures
    refs: OwnRefs

    def next_id(self, actor: int = 0) -> int:
        """Returns a new task id."""
        ...

    def spell(self, number: int, width: int) -> str:
        """Returns an id in Ray's hexadecimal form, ``width`` digits long."""
        ...

    def new_row(self, task: int, options: TaskOptions, kind: str, actor: int, scope: int) -> TaskRow:
        """Returns the views' row of a task that begins."""
        ...

    def function(self, key: str) -> Any:
        """Returns the function or class of a definition."""
        ...

    def arguments(self, packed: Packed) -> tuple[Any, dict[str, Any]]:
        """Loads the arguments of a call."""
        ...
