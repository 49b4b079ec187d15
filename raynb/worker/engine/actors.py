"""Actors for code in a worker: each method asks the driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from raynb.base import ids
from raynb.base.engine import Engine, Packed
from raynb.base.ref import ObjectRef, UncountedRef
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.worker import state
from raynb.worker.engine.requests import OpenRequests

if TYPE_CHECKING:
    from raynb.worker.main import WorkerProcess

#: A call's pickled arguments → (args, deps, contained, what must live until the message is posted).
Arguments = Callable[[Packed], tuple[Any, tuple[int, ...], tuple[int, ...], Any]]


class Actors:
    """The driver's actors. Thread contract: every method from any thread."""

    def __init__(self, engine: Engine, worker: WorkerProcess, requests: OpenRequests, arguments: Arguments) -> None:
        self._engine = engine
        self._worker = worker
        self._requests = requests
        self._arguments = arguments

    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        """Creates an actor, or finds the named one (``get_if_exists``); returns its handle's ref and its spec."""
        running = state.current()
        args, deps, contained, hold = self._arguments(packed)
        where = (running.task, running.scope) if running else (0, 0)
        found: tuple[int, ActorSpec] = self._requests.call(
            "create_actor_for", self._worker.number, where, spec, options, args, deps, contained, get_if_exists
        )
        del hold
        return self._handle_ref(found[0]), found[1]

    def _handle_ref(self, actor: int) -> ObjectRef[Any]:
        # The driver counted one message that named it; this ref is the hold behind that.
        identity = ids.object_id(actor, 1)
        self._worker.borrowed.lent((identity,))
        return self._engine.new_ref(identity, self._engine)

    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[Any], ActorSpec]:
        """Returns the handle's ref and the spec of a live named actor; raises `ValueError` if there is none."""
        spec = self._requests.call("actor_named_for", name, namespace)
        return UncountedRef(ids.object_id(spec.actor_id, 1), self._engine), spec

    def own_handle(self, actor: int) -> ObjectRef[Any]:
        """Returns the ref behind an actor's handle of itself; it doesn't keep the actor alive."""
        return UncountedRef(ids.object_id(actor, 1), self._engine)

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of the live named actors; None: of every namespace."""
        return self._requests.call("actor_names", namespace)  # type: ignore[no-any-return]

    def kill(self, actor: int, no_restart: bool) -> None:
        """Kills an actor's process at once; unless ``no_restart``, its restarts may bring it back."""
        self._requests.call("kill", actor, no_restart)

    def pending_calls(self, actor: int) -> int:
        """Returns how many calls of an actor are unfinished."""
        return int(self._requests.call("pending_calls", actor))
