"""Rare requests: actors by name, and what workers ask of the driver by `Call`."""

from __future__ import annotations

import time
from typing import Any

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.process import headroom, shelter
from raynb.base.process.shelter import sheltered
from raynb.base.ref import ObjectRef, OwnRef, UncountedRef
from raynb.base.scope import current_scope
from raynb.base.spec import ActorSpec, TaskOptions, TaskSpec
from raynb.core.vocabulary import events as e
from raynb.engine.loop.connections import WorkerConnection
from raynb.engine.loop.waiters import Waiter
from raynb.exceptions import ActorAlreadyExistsError
from raynb.serde import pickling
from raynb.wire import messages as w

_now = time.monotonic
#: What workers may call; everything else is refused.
CALLABLE = frozenset((
    "make_room", "pin", "free_ids", "stream_is_finished", "create_actor_for", "actor_named_for",
    "actor_names", "kill", "snapshot", "changes", "cluster", "reserve_group", "group_ready",
    "return_group", "groups_table", "cancel_task", "pending_calls", "item_is_ready", "store_full",
))  # fmt: skip


class WorkerCalls:
    """The part of `LocalEngine` that makes and finds actors, for the driver and for workers.

    Thread contract: as `LocalEngine`.
    """

    loop: Any
    machine: Any
    effects: Any
    nonce: int
    config: Any
    CONTROL: int
    capture = 0  # the driver's own code runs in no placement group

    # -- actors --------------------------------------------------------------------------------
    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        headroom.check()
        self.check_alive()  # type: ignore[attr-defined]
        args, deps, contained, hold = self._arguments(packed)  # type: ignore[attr-defined]
        made: tuple[ObjectRef[Any], ActorSpec] = shelter.run(
            self._create_here, spec, options, args, deps, contained, get_if_exists)  # fmt: skip
        del hold
        return made

    def _create_here(self, *given: Any) -> tuple[Any, ActorSpec]:
        with self.loop.lock:
            self.loop.settle(_now())
            ref, found = self._create(0, (0, current_scope()), *given)
        self.loop.flush()
        self.loop.run_callbacks()
        return ref, found

    def _create(self, caller: int, where: tuple[int, int], spec: ActorSpec, options: TaskOptions, args: Any,
                deps: Any, contained: Any, get_if_exists: bool) -> tuple[Any, ActorSpec]:  # fmt: skip
        """Makes the actor, or finds the named one; counts the caller's handle. Under the lock."""
        machine = self.machine
        spec.namespace = spec.namespace or self.config.namespace or ""
        if spec.name:
            there = machine.actors.named(spec.name, spec.namespace)
            if there is not None:
                if not get_if_exists:
                    raise ActorAlreadyExistsError(
                        f"The name {spec.name} (namespace={spec.namespace or None}) is already taken. "
                        "Please use a different name or get the existing actor using "
                        f"raynb.get_actor('{spec.name}', namespace='{spec.namespace}')."
                    )
                return self._count_handle(caller, there.spec.actor_id), there.spec
        actor_id = self._ids.next_task()  # type: ignore[attr-defined]
        spec.actor_id = actor_id
        task = TaskSpec(actor_id, options, args, deps, contained, where[0], caller, where[1],
                        creates_actor=True)  # fmt: skip
        self.loop.apply(e.ActorSubmitted(_now(), spec, task))
        if caller:
            return actor_id, spec
        return OwnRef(ids.object_id(actor_id, 1), self), spec  # type: ignore[arg-type]

    def _count_handle(self, caller: int, actor_id: int) -> Any:
        identity = ids.object_id(actor_id, 1)
        if caller:
            self.machine.objects.lend(identity, caller)
            return actor_id
        self.ref_log.append(~identity)  # type: ignore[attr-defined]
        return OwnRef(identity, self)  # type: ignore[arg-type]

    def create_actor_for(self, caller: int, where: Any, spec: ActorSpec, options: TaskOptions, args: Any,
                         deps: Any, contained: Any, get_if_exists: bool) -> tuple[int, ActorSpec]:  # fmt: skip
        options.key = options.uid = 0
        return self._create(caller, where, spec, options, args, deps, contained, get_if_exists)

    def _find(self, name: str, namespace: str) -> ActorSpec:
        namespace = namespace or self.config.namespace or ""
        actor = self.machine.actors.named(name, namespace)
        if actor is None:
            raise ValueError(
                f"Failed to look up actor with name '{name}'. This could because 1. You are trying to look up a "
                "named actor you didn't create. 2. The named actor died. 3. You did not use a namespace matching "
                "the namespace of the actor."
            )
        return actor.spec  # type: ignore[no-any-return]

    @sheltered
    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[Any], ActorSpec]:
        self.check_alive()  # type: ignore[attr-defined]
        with self.loop.lock:
            spec = self._find(name, namespace)
        return UncountedRef(ids.object_id(spec.actor_id, 1), self), spec  # type: ignore[arg-type]

    def actor_named_for(self, name: str, namespace: str) -> ActorSpec:
        return self._find(name, namespace)

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of live named actors; None: of every namespace."""
        return sorted(key for key in self.machine.actors.names if namespace is None or key[0] == namespace)

    # -- failures ------------------------------------------------------------------------------
    def is_unasked(self, ref: ObjectRef[Any]) -> bool:
        """See `DriverEngine.is_unasked`."""
        self.wait([ref], 1, None, False)  # type: ignore[attr-defined]
        with self.loop.lock:
            self.loop.settle(_now())
            return ids.task_of(ref._id) in self.machine.tasks.unasked.failed

    # -- placement groups ----------------------------------------------------------------------
    @sheltered
    def reserve_group(self, bundles: tuple[Any, ...]) -> int:
        """Asks for a placement group; returns its number."""
        with self._maybe_locked():
            number: int = self._ids.next_task()  # type: ignore[attr-defined]
            self.loop.apply(e.BundleReserved(_now(), number, bundles))
        return number

    @sheltered
    def group_ready(self, group: int, timeout: float | None) -> bool:
        """Waits until the group is placed (seconds). Workers call it with timeout 0."""
        waiter = Waiter(1)
        with self._maybe_locked():
            if group in self.machine.groups.placed:
                return True
            if timeout == 0:
                return False
            self.loop.waiters.watch((-group,), waiter)
        there: bool = self.loop.waiters.wait(waiter, None if timeout is None else _now() + timeout)
        if not there:
            self.loop.waiters.unwatch(waiter)
        return there

    @sheltered
    def return_group(self, group: int) -> None:
        with self._maybe_locked():
            self.loop.apply(e.BundleReturned(_now(), group))
        if self.loop.lock.owner == 0:
            self.loop.flush()

    @sheltered
    def groups_table(self) -> dict[int, tuple[str, Any]]:
        """Returns number → (state, bundles)."""
        with self._maybe_locked():
            groups = self.machine.groups
            table = {g: ("CREATED", b) for g, b in groups.placed.items()}
            table.update({g: ("PENDING", b) for g, b in groups.waiting.items()})
        return table

    def _maybe_locked(self) -> Any:
        """The lock, unless the caller is the inbox, which has it."""
        import contextlib

        if self.loop.lock.is_mine():
            return contextlib.nullcontext()
        return self.loop.lock

    # -- answering -----------------------------------------------------------------------------
    def pin(self, identity: int) -> None:
        """A worker pickled a ref out of band: its object stays for good."""
        obj = self.machine.objects.table.get(identity)
        if obj is not None:
            obj.refs += 1

    def store_full(self, size: int, why: str) -> str:
        """Returns the text of a worker's error: neither store nor disk took its object."""
        text: str = self.room.full(size, why)  # type: ignore[attr-defined]
        return text

    def answer_call(self, peer: WorkerConnection, message: w.Call) -> None:
        """Answers a worker's `Call`; what takes long is done elsewhere. Under the lock."""
        if message.method == "make_room":
            (size,) = _arguments_of(message)
            self.room.ask(size, lambda ok: self._send_answer(peer, message, True, ok))  # type: ignore[attr-defined]
            return
        # Outside the lock: methods take it themselves where they need it.
        if message.method in ("create_actor_for", "actor_named_for", "actor_names", "pin", "reserve_group",
                              "group_ready", "return_group", "groups_table"):  # fmt: skip
            self._answer(peer, message)
        else:
            self.loop.callbacks.append(lambda: self._answer_later(peer, message))

    def _answer_later(self, peer: WorkerConnection, message: w.Call) -> None:
        self._answer(peer, message)
        self.loop.flush()

    def _answer(self, peer: WorkerConnection, message: w.Call) -> None:
        try:
            if message.method not in CALLABLE:
                raise ValueError(f"workers may not call {message.method!r}")
            method = getattr(type(self), message.method)
            method = getattr(method, "__wrapped__", method)  # where this runs is settled: see `shelter.sheltered`
            result, ok = method(self, *_arguments_of(message)), True
        except Exception as error:
            result, ok = error, False
        self._send_answer(peer, message, ok, result)

    def _send_answer(self, peer: WorkerConnection, message: w.Call, ok: bool, result: Any) -> None:
        number = message.request
        lane = peer.control if number & self.CONTROL else peer.data
        blob = pickling.in_band(pickling.pack(result))
        self.effects.send(lane, w.Answer(number & ~self.CONTROL, ok, blob, ()))


def _arguments_of(message: w.Call) -> Any:
    args: Any = message.blob  # unpickled already: see `Inbox.prepare`
    if isinstance(args, Exception):
        raise args
    return args


__all__ = ["WorkerCalls"]
