"""Actors, placement groups and streams of the cluster engine, in driver and worker."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from typing import Any

import ray
from ray import exceptions as theirs

from raynb.base import ids
from raynb.base.config import RESOURCE_UNIT
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.cluster import bridge
from raynb.engine.ticking import ticking
from raynb.exceptions import ActorAlreadyExistsError, GetTimeoutError

_now = time.monotonic
LOOK = 0.2  # seconds after which a wait looks up: for Ctrl-C, and to count what is there


class Actors:
    """The part of `Adapter` that makes and finds actors, and reads streams.

    Thread contract: as `Adapter`.
    """

    namespace: str
    check_alive: Any
    settle: Any
    own: Any
    submitted: Any
    _arguments: Any
    _call: Any
    _lock: threading.RLock
    _ids: ids.IdSource
    _natives: dict[int, list[Any]]
    _streams: dict[int, Any]
    _groups: dict[int, Any]

    # -- actors --------------------------------------------------------------------------------
    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[Any], ActorSpec]:
        from raynb.engine.cluster import runner

        self.check_alive()
        self.settle()
        spec.namespace = spec.namespace or self.namespace
        if spec.name and get_if_exists:
            try:
                return self.actor_named(spec.name, spec.namespace)
            except ValueError:
                pass  # none yet; if another comes first, Ray says so below
        with self._lock:
            spec.actor_id = self._ids.next_task()
        args, deps = self._arguments(packed)
        call = self._call(options, spec.class_key, spec.actor_id, spec.actor_id)
        remote = runner.actor_class(spec)
        try:
            handle = remote.options(**bridge.actor_options(spec, options, self._groups)).remote(
                call, spec, args, *deps
            )
        except (theirs.RayError, ValueError) as error:
            if spec.name and "already" in str(error):
                if get_if_exists:
                    return self.actor_named(spec.name, spec.namespace)
                raise ActorAlreadyExistsError(str(error)) from None
            made = bridge.translate(error)
            raise made from made.__cause__
        if spec.name:
            bridge.keep(f"actor:{bridge.actor_key(handle)}", pickle.dumps(spec))
        self.submitted(spec.actor_id, None, options, spec.actor_id, True)
        return self.own(ids.object_id(spec.actor_id, 1), handle), spec

    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[Any], ActorSpec]:
        self.check_alive()
        handle = ray.get_actor(name, namespace=namespace or self.namespace or None)
        told = bridge.kept(f"actor:{bridge.actor_key(handle)}")
        if told is None:
            raise ValueError(
                f"The actor {name!r} was not made with raynb (or is being made now): use ray.get_actor for it."
            )
        spec: ActorSpec = pickle.loads(told)
        identity = ids.object_id(spec.actor_id, 1)
        with self._lock:
            entry = self._natives.get(identity)
            if entry is not None:
                entry[1] += 1
                return ObjectRef(identity, self), spec  # type: ignore[arg-type]
        return self.own(identity, handle), spec

    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        from ray.util import list_named_actors

        rows = [(row["namespace"], row["name"]) for row in list_named_actors(all_namespaces=True)]
        return sorted(row for row in rows if row[0] != "raynb" and namespace in (None, row[0]))

    def kill(self, actor: int, no_restart: bool) -> None:
        self.check_alive()
        entry = self._natives.get(ids.object_id(actor, 1))
        if entry is None:
            raise ValueError("this process holds no handle of that actor any more, so it cannot kill it")
        ray.kill(entry[0], no_restart=no_restart)
        if no_restart:
            bridge.forget(f"actor:{bridge.actor_key(entry[0])}")

    def pending_calls(self, actor: int) -> int:
        return 0  # Ray itself counts them, and refuses

    # -- placement groups ----------------------------------------------------------------------
    def reserve_group(self, bundles: tuple[Any, ...], strategy: str = "PACK") -> int:
        """Asks Ray for a placement group; returns our number for it."""
        from ray.util.placement_group import placement_group

        made = placement_group(
            [{name: amount / RESOURCE_UNIT for name, amount in bundle} for bundle in bundles], strategy=strategy
        )
        with self._lock:
            number = self._ids.next_task()
        self._groups[number] = made
        return number

    def group_ready(self, group: int, timeout: float | None) -> bool:
        found = self._groups.get(group)
        return found is not None and bool(found.wait(timeout or 0.01))

    def return_group(self, group: int) -> None:
        from ray.util.placement_group import remove_placement_group

        found = self._groups.pop(group, None)
        if found is not None:
            remove_placement_group(found)

    def groups_table(self) -> dict[int, tuple[str, Any]]:
        from ray.util.placement_group import placement_group_table

        table = {}
        for number, group in list(self._groups.items()):
            row = placement_group_table(group)
            bundles = tuple(
                tuple((name, round(value * RESOURCE_UNIT)) for name, value in bundle.items())
                for bundle in group.bundle_specs
            )
            table[number] = ("CREATED" if row.get("state") == "CREATED" else "PENDING", bundles)
        return table

    # -- streaming generators ------------------------------------------------------------------
    def item_is_ready(self, task: int, index: int) -> bool:
        stream = self._streams.get(task)
        return stream is None or bool(ray.wait([stream], timeout=0)[0])

    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[Any] | None:
        self.check_alive()
        stream = self._streams.get(task)
        if stream is None:
            return None
        deadline = None if timeout is None else _now() + timeout
        while True:
            left = LOOK if deadline is None else max(0, min(LOOK, deadline - _now()))
            if ray.wait([stream], timeout=left)[0]:
                break
            if deadline is not None and _now() >= deadline:
                raise GetTimeoutError(f"no item was yielded within {timeout} s")
        try:
            ref: ObjectRef[Any] = self.own(ids.object_id(task, index), next(stream))
            return ref
        except StopIteration:
            return None

    async def next_item_async(self, task: int, index: int) -> ObjectRef[Any] | None:
        stream = self._streams.get(task)
        if stream is None:
            return None
        waiting = asyncio.ensure_future(stream.__anext__())
        try:
            ref: ObjectRef[Any] = self.own(ids.object_id(task, index), await ticking(waiting))
            return ref
        except StopAsyncIteration:
            return None

    def stream_finished(self, task: int, index: int) -> bool:
        stream = self._streams.get(task)
        return stream is None or bool(stream.is_finished())

    def drop_stream(self, task: int, index: int) -> None:
        self._streams.pop(task, None)
