"""Actors of `InlineEngine`: makes them, finds them by name, and kills them."""

from __future__ import annotations

from raynb.base import ends, ids
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef, UncountedRef
from raynb.base.rows import ACTOR_CREATION_TASK
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.core.actors.names import ActorNames
from raynb.engine.inline.event_loop import DrivenLoop
from raynb.engine.inline.lives import ActorLives
from raynb.engine.inline.objects import InlineObjects, owned
from raynb.engine.inline.records import InlineActor, running
from raynb.engine.inline.runtime import InlineRuntime


class InlineActors:
    """The actors by handle and by name.

    Thread contract: any thread.
    """

    def __init__(
        self, runtime: InlineRuntime, objects: InlineObjects, names: ActorNames, lives: ActorLives, namespace: str
    ) -> None:  # fmt: skip
        self._engine = runtime
        self._objects = objects
        self._row_store = runtime.row_store
        self._names = names
        self._lives = lives
        self._namespace = namespace
        self.handles: dict[int, InlineActor] = {}  # object that stands for the handles → actor
        self.loops: list[DrivenLoop] = []  # of the async ones

    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[object], ActorSpec]:
        """Creates an actor, or finds the named one (``get_if_exists``); returns its handle's ref and its spec."""
        self._engine.check_alive()
        self._objects.drain_log()
        self._engine.refs.ids_of(packed.deps)
        self._engine.refs.ids_of(packed.contained)
        spec.namespace = spec.namespace or self._namespace
        holder = self._names.holder(spec, get_if_exists)
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
        self._names.claim(spec)
        row = self._engine.new_row(spec.actor_id, options, ACTOR_CREATION_TASK, spec.actor_id, scope)
        self._row_store.new_task(row)
        self._row_store.put("actors", host.row)
        self._lives.start(row, host)
        return ref, spec

    def _handle(self, host: InlineActor) -> ObjectRef[object]:
        identity = ids.object_id(host.spec.actor_id, 1)
        self._objects.log.append(~identity)
        return self._engine.new_ref(identity, self._engine)

    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[object], ActorSpec]:
        """Returns the handle's ref and the spec of a live named actor; raises `ValueError` if there is none."""
        self._engine.check_alive()
        self._objects.drain_log()
        identity = ids.object_id(self._names.find(name, namespace or self._namespace), 1)
        host = self.handles.get(identity)
        if host is None:  # another thread has let it go just now
            raise self._names.unknown(name)
        return UncountedRef(identity, self._engine), host.spec

    def own_handle(self, actor: int) -> ObjectRef[object]:
        """Returns the ref behind an actor's handle of itself; it doesn't keep the actor alive."""
        return UncountedRef(ids.object_id(actor, 1), self._engine)

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of the live named actors; None: of every namespace."""
        return self._names.listed(namespace)

    def kill(self, actor: int, no_restart: bool) -> None:
        """Kills an actor's process at once; unless ``no_restart``, its restarts may bring it back."""
        self._engine.check_alive()
        host = self.handles.get(ids.object_id(actor, 1))
        if host is not None:
            self._lives.end(host, self._lives.died(host, "it was killed by `ray.kill`"), restart=not no_restart)

    def freed(self, identity: int) -> None:
        """Ends the actor whose last handle was released."""
        host = self.handles.get(identity)
        if host is not None:
            self._names.release(host.spec)  # a name always leads to a handle
            del self.handles[identity]
        if host is not None and self._engine.alive:
            if host.loop is not None and host.dead is not None and not host.loop.driven_here():
                host.loop.close()
                self.loops.remove(host.loop)
            self._lives.end(host, ends.actor_gone(self._lives.spell(host)), restart=False)

    def pending_calls(self, actor: int) -> int:
        """Returns how many calls of an actor are unfinished."""
        host = self.handles.get(ids.object_id(actor, 1))
        return host.pending if host is not None else 0
