"""In which cell each name of a notebook was bound last.

Thread contract: one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping


class Births:
    """Compares the namespace with what it was when the last cell ended, by the identities of the values.

    Args:
        space: the notebook's names.
    """

    def __init__(self, space: Mapping[str, object]) -> None:
        self._space = space
        self._ids: dict[str, int] = {}
        self._scopes: dict[str, int] = {}

    def record(self, scope: int) -> set[str]:
        """Takes the names as they are at a cell's end; returns those that were bound or deleted in it."""
        now = {name: id(value) for name, value in list(self._space.items()) if not name.startswith("_")}
        if now == self._ids:
            return set()
        changed = {name for name in now.keys() | self._ids.keys() if now.get(name) != self._ids.get(name)}
        for name in changed:
            if name in now:
                self._scopes[name] = scope
            else:
                self._scopes.pop(name, None)
        self._ids = now
        return changed

    def so_far(self) -> set[str]:
        """Returns the names that the running cell has bound so far."""
        return {name for name, value in list(self._space.items()) if self._ids.get(name) != id(value)}

    def of(self, name: str, scope: int, value: object = None) -> int:
        """Returns the cell in which a name was bound last; 0: nobody knows.

        Args:
            scope: the running cell.
            value: what the name was, if it is another thing now.
        """
        if name not in self._space:
            return 0
        held = self._space[name] if value is None else value
        return self._scopes.get(name, 0) if self._ids.get(name) == id(held) else scope
