"""Names of actors: which living actor has a name in a namespace, and the errors where none or another one has it."""

from __future__ import annotations

from raynb.base.spec import ActorSpec
from raynb.exceptions import ActorAlreadyExistsError


class ActorNames:
    """The table of names, for every engine that keeps actors itself.

    Rules: a name is claimed when its actor is submitted, and released when the actor dies or leaves.
    Invariant: each name belongs to one actor, which is not dead.
    """

    def __init__(self) -> None:
        self._table: dict[tuple[str, str], int] = {}  # (namespace, name) → actor

    def claim(self, spec: ActorSpec) -> None:
        """Gives the actor its name, if it has one."""
        if spec.name:
            self._table[spec.namespace, spec.name] = spec.actor_id

    def release(self, spec: ActorSpec) -> None:
        """Takes the actor's name back; does nothing if another actor has it by now."""
        key = (spec.namespace, spec.name)
        if self._table.get(key) == spec.actor_id:
            del self._table[key]

    def find(self, name: str, namespace: str) -> int:
        """Returns the id of the actor that has the name.

        Raises:
            ValueError: no living actor has it.
        """
        actor_id = self._table.get((namespace, name))
        if actor_id is None:
            raise self.unknown(name)
        return actor_id

    @staticmethod
    def unknown(name: str) -> ValueError:
        """Returns the error that no living actor has the name."""
        return ValueError(
            f"Failed to look up actor with name '{name}'. This could because 1. You are trying to look up a "
            "named actor you didn't create. 2. The named actor died. 3. You did not use a namespace matching "
            "the namespace of the actor."
        )

    def holder(self, spec: ActorSpec, get_if_exists: bool) -> int:
        """Returns the id of the actor that has a new actor's name already; 0: the name is free, or there is none.

        Raises:
            ActorAlreadyExistsError: it has, and may not be taken instead (``get_if_exists``).
        """
        actor_id = self._table.get((spec.namespace, spec.name), 0) if spec.name else 0
        if actor_id and not get_if_exists:
            raise ActorAlreadyExistsError(
                f"The name {spec.name} (namespace={spec.namespace or None}) is already taken. "
                "Please use a different name or get the existing actor using "
                f"raynb.get_actor('{spec.name}', namespace='{spec.namespace}')."
            )
        return actor_id

    def listed(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of all that are taken; None: in every namespace."""
        return sorted(key for key in self._table if namespace is None or key[0] == namespace)
