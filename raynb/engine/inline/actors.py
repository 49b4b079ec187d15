"""Actors of `InlineEngine`: how they are made, found and called off."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from raynb.base import ends, ids
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef, UncountedRef
from raynb.base.rows import ACTOR_CREATION_TASK
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec, Location, TaskOptions
from raynb.core.actors.names import ActorNames
from raynb.engine.inline.event_loop import DrivenLoop
from raynb.engine.inline.objects import Objects, owned
from raynb.engine.inline.records import InlineActor, LeaveActor, running
from raynb.engine.row_store import RowStore
from raynb.exceptions import AsyncioActorExit

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
        self.names = ActorNames()
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
        holder = self.names.holder(spec, get_if_exists)
        there = self.handles.get(ids.object_id(holder, 1)) if holder else None
        if there is not None:
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
        self.names.claim(spec)
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
        identity = ids.object_id(self.names.find(name, namespace or self._namespace), 1)
        return UncountedRef(identity, self._engine), self.handles[identity].spec

    def own_handle(self, actor: int) -> ObjectRef[Any]:
        """Returns the ref behind an actor's handle of itself; it doesn't keep the actor alive."""
        return UncountedRef(ids.object_id(actor, 1), self._engine)

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of the live named actors; None: of every namespace."""
        return self.names.listed(namespace)

    def died(self, host: InlineActor, why: str) -> Location:
        """Returns the error value of an actor's death."""
        spec = host.spec
        return ends.actor_died(self.spell(host), spec.class_name, spec.name, os.getpid(), why)

    def spell(self, host: InlineActor) -> str:
        """Returns the actor's id in Ray's hexadecimal form."""
        return self._engine.spell(host.spec.actor_id, ids.ACTOR_HEX)

    def kill(self, actor: int, no_restart: bool) -> None:
        """Kills an actor's process at once; unless ``no_restart``, its restarts may bring it back."""
        self._engine.check_alive()
        host = self.handles.get(ids.object_id(actor, 1))
        if host is not None:
            self._engine.tasks.lives.end(host, self.died(host, "it was killed by `ray.kill`"), restart=not no_restart)

    def freed(self, identity: int) -> None:
        """Ends the actor whose last handle was released."""
        host = self.handles.get(identity)
        if host is not None:
            self.names.release(host.spec)  # a name always leads to a handle
            del self.handles[identity]
        if host is not None and self._engine.alive:
            if host.loop is not None and host.dead is not None and not host.loop.driven_here():
                host.loop.close()
                self.loops.remove(host.loop)
            self._engine.tasks.lives.end(host, ends.actor_gone(self.spell(host)), restart=False)

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
