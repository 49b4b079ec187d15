"""Actors of `InlineEngine`: how they are made, found and called off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef, UncountedRef
from raynb.base.rows import ACTOR_CREATION_TASK
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.inline.event_loop import DrivenLoop
from raynb.engine.inline.objects import Objects, owned
from raynb.engine.inline.records import InlineActor, LeaveActor, running
from raynb.engine.row_store import RowStore
from raynb.exceptions import ActorAlreadyExistsError, AsyncioActorExit

if TYPE_CHECKING:
    from raynb.engine.inline.engine import InlineEngine


class Actors:
    """The actors by handle and by name.

    Thread contract: any thread.
    """

    def __init__(self, engine: InlineEngine, objects: Objects, book: RowStore, namespace: str) -> None:
        self._engine = engine
        self._objects = objects
        self._book = book
        self._namespace = namespace
        self._names: dict[tuple[str, str], InlineActor] = {}
        self.handles: dict[int, InlineActor] = {}  # object that stands for the handles → actor
        self.loops: list[DrivenLoop] = []  # of the async ones

    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        """Creates an actor, or finds the named one (``get_if_exists``); returns its handle's ref and its spec."""
        self._engine.check_alive()
        self._objects.drain_log()
        self._engine.refs.ids_of(packed.deps)
        self._engine.refs.ids_of(packed.contained)
        spec.namespace = spec.namespace or self._namespace
        if spec.name:
            there = self._names.get((spec.namespace, spec.name))
            if there is not None:
                if not get_if_exists:
                    raise ActorAlreadyExistsError(
                        f"The name {spec.name} (namespace={spec.namespace or None}) is already taken. "
                        "Please use a different name or get the existing actor using "
                        f"raynb.get_actor('{spec.name}', namespace='{spec.namespace}').")  # fmt: skip
                return self._handle(there), there.spec
        outer = running.get()
        scope = outer.scope if outer is not None else current_scope()
        spec.actor_id = self._engine.next_id()
        host = InlineActor(spec, options, owned(packed), scope)
        identity = ids.object_id(spec.actor_id, 1)
        self.handles[identity] = host
        if host.loop is not None:
            self.loops.append(host.loop)
        ref = self._objects.new(identity, scope)
        if spec.lifetime == "detached":
            self._objects.log.append(~identity)  # lives until it is killed
        if spec.name:
            self._names[spec.namespace, spec.name] = host
        row = self._engine.new_row(spec.actor_id, options, ACTOR_CREATION_TASK, spec.actor_id, scope)
        self._book.new_task(row)
        self._book.put("actors", host.row)
        self._engine.tasks.lives.start(row, host)
        return ref, spec

    def _handle(self, host: InlineActor) -> ObjectRef[Any]:
        identity = ids.object_id(host.spec.actor_id, 1)
        self._objects.log.append(~identity)
        return self._engine.new_ref(identity, self._engine)

    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[Any], ActorSpec]:
        """Returns the handle's ref and the spec of a live named actor; raises `ValueError` if there is none."""
        self._engine.check_alive()
        self._objects.drain_log()
        host = self._names.get((namespace or self._namespace, name))
        if host is None:
            raise ValueError(
                f"Failed to look up actor with name '{name}'. This could because 1. You are trying to look up a "
                "named actor you didn't create. 2. The named actor died. 3. You did not use a namespace matching "
                "the namespace of the actor."
            )
        return UncountedRef(ids.object_id(host.spec.actor_id, 1), self._engine), host.spec

    def own_handle(self, actor: int) -> ObjectRef[Any]:
        """Returns the ref behind an actor's handle of itself; it doesn't keep the actor alive."""
        return UncountedRef(ids.object_id(actor, 1), self._engine)

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of the live named actors; None: of every namespace."""
        return sorted(key for key in self._names if namespace is None or key[0] == namespace)

    def forget_name(self, host: InlineActor) -> None:
        """Releases the actor's name."""
        self._names.pop((host.spec.namespace, host.spec.name), None)

    def died(self, host: InlineActor, why: str) -> Any:
        """Returns the error value of an actor's death."""
        spec = host.spec
        actor = self._engine.spell(spec.actor_id, ids.ACTOR_HEX)
        return ("err", "ActorDiedError", (actor, "died", spec.class_name, spec.name, os.getpid(), why))

    def kill(self, actor: int, no_restart: bool) -> None:
        """Kills an actor's process at once; unless ``no_restart``, its restarts may bring it back."""
        self._engine.check_alive()
        host = self.handles.get(ids.object_id(actor, 1))
        if host is not None:
            self._engine.tasks.lives.end(host, self.died(host, "it was killed by `ray.kill`"), restart=not no_restart)

    def freed(self, identity: int) -> None:
        """Ends the actor whose last handle was released."""
        host = self.handles.pop(identity, None)
        if host is not None and self._engine.alive:
            if host.loop is not None and host.dead is not None and not host.loop.driven_here():
                host.loop.close()
                self.loops.remove(host.loop)
            actor = self._engine.spell(host.spec.actor_id, ids.ACTOR_HEX)
            self._engine.tasks.lives.end(host, ("err", "ActorDiedError", (actor, "gone")), restart=False)

    def leave_actor(self) -> NoReturn:
        """`exit_actor`: the actor ends after this call, even if the exception is caught."""
        now = running.get()
        assert now is not None
        now.leaving = True
        raise AsyncioActorExit if now.host is not None and now.host.loop is not None else LeaveActor

    def pending_calls(self, actor: int) -> int:
        """Returns how many calls of an actor are unfinished."""
        host = self.handles.get(ids.object_id(actor, 1))
        return host.pending if host is not None else 0
