"""Actors of `InlineEngine`: how they are made and found, and how they end."""

from __future__ import annotations

import bdb
import contextvars
import os
import time
from typing import TYPE_CHECKING, Any, NoReturn

from raynb.base import ids
from raynb.base.config import Config
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef, OwnRef, UncountedRef
from raynb.base.rows import ACTOR_CREATION_TASK, ALIVE, CANCELLED, DEAD, FAILED, FINISHED, TaskRow
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.inline.event_loop import DrivenLoop
from raynb.engine.inline.objects import Objects
from raynb.engine.inline.records import Host, LeaveActor, Running, running
from raynb.engine.row_store import RowStore
from raynb.exceptions import ActorAlreadyExistsError, AsyncioActorExit
from raynb.run import environment
from raynb.serde import errors

if TYPE_CHECKING:
    from raynb.engine.inline.engine import InlineEngine

_now = time.monotonic


class ActorLives:
    """The part of `inline_tasks.Tasks` that begins and ends actors.

    Thread contract: as `Tasks`.
    """

    engine: InlineEngine
    open: dict[int, Running]
    _fail_all: Any
    _ended: Any

    def start_actor(self, row: TaskRow, host: Host) -> None:
        """Runs the constructor. What it raises is what calls will raise."""
        now = Running(row, host.options, host.row.scope, host)
        row.started = row.fetched = _now()
        token = running.set(now)
        book = self.engine.book
        try:
            with environment.temporary(host.options.runtime_env):
                made: list[Any] = []

                async def on_loop() -> None:
                    made.append(self._construct(host))

                if host.loop is None:
                    made.append(self._construct(host))
                else:
                    job = host.loop.start(on_loop(), contextvars.copy_context())
                    loop = host.loop
                    job.add_done_callback(lambda _: loop.interrupt())
                    loop.drive(job.done, None, patient=True)
                    job.result()
            host.instance = made[0]
            host.row.state = ALIVE
            self._ended(now, FINISHED)
        except (KeyboardInterrupt, bdb.BdbQuit):
            self._ended(now, CANCELLED)
            self.end_actor(host, self.engine.died(host, "its constructor was interrupted"), restart=False)
            raise
        except BaseException as raised:
            value, described, _ = errors.task_error(raised, host.options.name, "")
            row.error_type, row.error = described
            self._ended(now, FAILED)
            actor = self.engine.spell(host.spec.actor_id, ids.ACTOR_HEX)
            self.end_actor(host, ("err", "ActorDiedError", (actor, "creation", value)), restart=False)
            self.engine.unasked.actor_failed(actor, row)
        finally:
            running.reset(token)
        book.put("actors", host.row)

    def _construct(self, host: Host) -> Any:
        cls = self.engine.function(host.spec.class_key)
        args, kwargs = self.engine.arguments(host.packed)
        return cls(*args, **kwargs)

    def end_actor(self, host: Host, value: Any, restart: bool) -> None:
        """The actor is over; with ``restart`` it begins anew if it has restarts left."""
        if host.dead is not None:
            return
        for now in [one for one in self.open.values() if one.host is host and one.job is not None]:
            self._fail_all(now, FAILED, value, ("ActorDiedError", "the actor died"), (), None)
            assert now.job is not None
            now.job.cancel()
        spec = host.spec
        host.instance = None
        if restart and (spec.max_restarts < 0 or host.restarts < spec.max_restarts):
            host.restarts += 1
            host.row.restarts += 1
            again = TaskRow(self.engine.next_id(), host.options.name, ACTOR_CREATION_TASK, actor=spec.actor_id,
                            scope=host.row.scope, worker=1, pid=os.getpid(), submitted=_now())  # fmt: skip
            self.engine.book.new_task(again)
            self.start_actor(again, host)
            return
        host.dead = value
        host.row.state = DEAD
        host.row.death_cause = " ".join(part for part in value[2][1:] if isinstance(part, str))
        self.engine.book.put("actors", host.row)
        self.engine.forget_name(host)
        if host.loop is not None and not host.loop.driven_here():
            host.loop.close()


class InlineActors:
    """The part of `InlineEngine` that makes and finds actors.

    Thread contract: as `InlineEngine`.
    """

    alive: bool
    config: Config
    objects: Objects
    handles: dict[int, Host]
    loops: list[DrivenLoop]
    tasks: Any
    book: RowStore
    ref_log: Any
    check_alive: Any
    ids_of: Any
    next_id: Any
    spell: Any
    _own: Any
    _row: Any
    _pid: int
    _names: dict[tuple[str, str], Host]

    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        self.check_alive()
        self.objects.settle()
        self.ids_of(packed.deps)
        self.ids_of(packed.contained)
        spec.namespace = spec.namespace or self.config.namespace or ""
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
        spec.actor_id = self.next_id()
        host = Host(spec, options, self._own(packed), scope)
        identity = ids.object_id(spec.actor_id, 1)
        self.handles[identity] = host
        if host.loop is not None:
            self.loops.append(host.loop)
        ref = self.objects.new(identity, scope)
        if spec.lifetime == "detached":
            self.ref_log.append(~identity)  # lives until it is killed
        if spec.name:
            self._names[spec.namespace, spec.name] = host
        row = self._row(spec.actor_id, options, ACTOR_CREATION_TASK, spec.actor_id, scope)
        self.book.new_task(row)
        self.book.put("actors", host.row)
        self.tasks.start_actor(row, host)
        return ref, spec

    def _handle(self, host: Host) -> ObjectRef[Any]:
        identity = ids.object_id(host.spec.actor_id, 1)
        self.ref_log.append(~identity)
        return OwnRef(identity, self)  # type: ignore[arg-type]

    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[Any], ActorSpec]:
        self.check_alive()
        self.objects.settle()
        host = self._names.get((namespace or self.config.namespace or "", name))
        if host is None:
            raise ValueError(
                f"Failed to look up actor with name '{name}'. This could because 1. You are trying to look up a "
                "named actor you didn't create. 2. The named actor died. 3. You did not use a namespace matching "
                "the namespace of the actor."
            )
        return UncountedRef(ids.object_id(host.spec.actor_id, 1), self), host.spec  # type: ignore[arg-type]

    def own_handle(self, actor: int) -> ObjectRef[Any]:
        """Returns the ref behind an actor's handle of itself; it doesn't keep the actor alive."""
        return UncountedRef(ids.object_id(actor, 1), self)  # type: ignore[arg-type]

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        return sorted(key for key in self._names if namespace is None or key[0] == namespace)

    def forget_name(self, host: Host) -> None:
        self._names.pop((host.spec.namespace, host.spec.name), None)

    def died(self, host: Host, why: str) -> Any:
        """Returns the error value of an actor's death."""
        spec = host.spec
        actor = self.spell(spec.actor_id, ids.ACTOR_HEX)
        return ("err", "ActorDiedError", (actor, "died", spec.class_name, spec.name, self._pid, why))

    def kill(self, actor: int, no_restart: bool) -> None:
        self.check_alive()
        host = self.handles.get(ids.object_id(actor, 1))
        if host is not None:
            self.tasks.end_actor(host, self.died(host, "it was killed by `ray.kill`"), restart=not no_restart)

    def _freed(self, identity: int) -> None:
        """Nobody names an object any more; if it stood for handles, its actor ends."""
        host = self.handles.pop(identity, None)
        if host is not None and self.alive:
            if host.loop is not None and host.dead is not None and not host.loop.driven_here():
                host.loop.close()
                self.loops.remove(host.loop)
            actor = self.spell(host.spec.actor_id, ids.ACTOR_HEX)
            self.tasks.end_actor(host, ("err", "ActorDiedError", (actor, "gone")), restart=False)

    def leave_actor(self) -> NoReturn:
        """`exit_actor`: the actor ends after this call, even if the exception is caught."""
        now = running.get()
        assert now is not None
        now.leaving = True
        raise AsyncioActorExit if now.host is not None and now.host.loop is not None else LeaveActor

    def pending_calls(self, actor: int) -> int:
        host = self.handles.get(ids.object_id(actor, 1))
        return host.pending if host is not None else 0
