"""Ids as error values name them: in Ray's hexadecimal form."""

from __future__ import annotations

from raynb.base import ids


class Spelling:
    """Spells the ids of one runtime; ``nonce`` is the runtime's, and part of each."""

    def __init__(self, nonce: int) -> None:
        self._nonce = nonce

    def task(self, task: int) -> str:
        """Returns a task's id in hex."""
        return ids.to_hex(task, self._nonce, ids.TASK_HEX)

    def object(self, identity: int) -> str:
        """Returns an object's id in hex."""
        return ids.to_hex(identity, self._nonce, ids.OBJECT_HEX)

    def actor(self, actor: int) -> str:
        """Returns an actor's id in hex."""
        return ids.to_hex(actor, self._nonce, ids.ACTOR_HEX)
