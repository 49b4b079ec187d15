"""Creates and finds actors, for the driver's own code and for workers that ask."""

from __future__ import annotations

from typing import Any

from raynb.base import ids
from raynb.base.engine import Engine, Packed
from raynb.base.process import headroom, shelter
from raynb.base.process.shelter import sheltered
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef, UncountedRef
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec, TaskOptions, TaskSpec
from raynb.core.vocabulary import events as e
from raynb.engine.local.objects.arguments import Arguments
from raynb.engine.loop.loop import Loop

_now = time.monotonic


class LocalActors:
    """The driver's actors by id and by name.

    Thread contract: every method from any thread; those for workers (``..._for``) under the lock.
    """

    def __init__(self, engine: Engine, loop: Loop, numbers: ids.IdSource, arguments: Arguments, namespace: str) -> None:
        self._engine = engine
        self._loop = loop
        self._machine = loop.machine
        self._ids = numbers
        self._arguments = arguments
        self._namespace = namespace

    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[object], ActorSpec]:
        """Creates an actor, or finds the named one (``get_if_exists``); returns its handle's ref and its spec."""
        headroom.check()
        self._engine.check_alive()
        args, deps, contained, hold = self._arguments.place(packed)
        made = shelter.run(
            self._create_here, spec, options, args, deps, contained, get_if_exists)  # fmt: skip
        del hold
        return made

    def _create_here(self, spec: ActorSpec, *given: Any) -> tuple[ObjectRef[object], ActorSpec]:
        with self._loop.lock:
            self._loop.drain_logs(_now())
            there = self._existing(spec, get_if_exists=given[-1])
            if there is not None:
                identity = ids.object_id(there.actor_id, 1)
                self._engine.ref_log.append(~identity)
            else:
                there = spec
                identity = ids.object_id(self._submit(0, (0, current_scope()), spec, *given[:-1]), 1)
            ref: ObjectRef[object] = self._engine.new_ref(identity, self._engine)
        self._loop.flush()
        self._loop.run_callbacks()
        return ref, there

    def create_actor_for(
        self, caller: int, where: tuple[int, int], spec: ActorSpec, options: TaskOptions, args: object,
        deps: tuple[int, ...], contained: tuple[int, ...], get_if_exists: bool,
    ) -> tuple[int, ActorSpec]:  # fmt: skip
        """Makes an actor for code in worker ``caller``, in the task and scope ``where``; returns its id and spec.
        The answer is counted as a message that names the actor's handle."""
        options.key = options.uid = 0
        there = self._existing(spec, get_if_exists)
        if there is not None:
            self._machine.objects.lend(ids.object_id(there.actor_id, 1), caller)
            return there.actor_id, there
        return self._submit(caller, where, spec, options, args, deps, contained), spec

    def _existing(self, spec: ActorSpec, get_if_exists: bool) -> ActorSpec | None:
        """Returns the live actor of the same name; raises unless it may be taken. Under the lock."""
        spec.namespace = spec.namespace or self._namespace
        actors = self._machine.actors
        holder = actors.names.holder(spec, get_if_exists)
        return actors.table[holder].spec if holder else None

    def _submit(self, caller: int, where: tuple[int, int], spec: ActorSpec, options: TaskOptions, args: Any,
                deps: tuple[int, ...], contained: tuple[int, ...]) -> int:  # fmt: skip
        """Submits the task that runs the constructor; returns the actor's id. Under the lock."""
        actor_id = self._ids.next_task()
        spec.actor_id = actor_id
        task = TaskSpec(actor_id, options, args, deps, contained, where[0], caller, where[1],
                        creates_actor=True)  # fmt: skip
        self._loop.apply(e.ActorSubmitted(_now(), spec, task))
        return actor_id

    @sheltered
    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[object], ActorSpec]:
        """Returns the handle's ref and the spec of a live named actor; raises `ValueError` if there is none."""
        self._engine.check_alive()
        with self._loop.lock:
            spec = self.actor_named_for(name, namespace)
        return UncountedRef(ids.object_id(spec.actor_id, 1), self._engine), spec

    def actor_named_for(self, name: str, namespace: str) -> ActorSpec:
        """Returns the spec of a live named actor. Under the lock."""
        return self._machine.actors.named(name, namespace or self._namespace).spec

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of the live named actors; None: of every namespace."""
        return self._machine.actors.names.listed(namespace)

    @sheltered
    def kill(self, actor: int, no_restart: bool) -> None:
        """Kills an actor's process at once; unless ``no_restart``, its restarts may bring it back."""
        self._engine.check_alive()
        self._loop.dispatch(e.KillAsked(_now(), actor, no_restart))
