"""Actors and streams of the cluster engine, in driver and worker."""

from __future__ import annotations

import asyncio
import functools
import pickle
import time
from collections.abc import Callable
from typing import Any

from ray import exceptions as theirs

from raynb.base import engine as slot
from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.cluster import bridge, rays
from raynb.engine.cluster.places import RayGroups
from raynb.engine.cluster.refs import Refs
from raynb.engine.cluster.side import Missing, Shared
from raynb.engine.cluster.submission import GENERIC_CALL, Submission
from raynb.engine.ticking import ticking
from raynb.exceptions import ActorAlreadyExistsError, GetTimeoutError

_now = time.monotonic
#: Of a method of an actor that plain Ray made: Ray itself checks its arguments.
_UNKNOWN: dict[str, Any] = {"given": {}, "generator": False, "signature": None}
LOOK_SECONDS = 0.2  # seconds after which a wait looks up: for Ctrl-C, and to count what is there


class ClusterActors:
    """Makes and finds actors.

    Thread contract: every method from any thread.
    """

    def __init__(self, shared: Shared, refs: Refs, submission: Submission, groups: RayGroups) -> None:
        self._engine = shared.engine
        self._side = shared.side
        self._namespace = shared.namespace
        self._ids = shared.ids
        self._lock = shared.lock
        self._refs = refs
        self._submission = submission
        self._groups = groups
        self._plain_actors: dict[str, int] = {}  # Ray's id of an actor that plain Ray made → ours

    def create_actor(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[object], ActorSpec]:
        """Creates an actor, or finds the named one (``get_if_exists``); returns its handle's ref and its spec."""
        ref, found = self._create(spec, options, packed, get_if_exists)
        self._side.has_actor(found, self._refs.native_by_id(ref._id))
        return ref, found

    def _create(
        self, spec: ActorSpec, options: TaskOptions, packed: Packed, get_if_exists: bool
    ) -> tuple[ObjectRef[object], ActorSpec]:
        from raynb.engine.cluster.on_worker import runner

        self._engine.check_alive()
        self._refs.drain_log()
        spec.namespace = spec.namespace or self._namespace
        if spec.name and get_if_exists:
            try:
                return self._actor_shared(spec)
            except ValueError:
                pass  # none yet; if another comes first, Ray says so below
        if spec.lifetime == "detached" and spec.max_restarts and self._submission.names_refs(spec.class_key):
            raise ValueError(
                f"The class {spec.class_name} uses ObjectRefs of this program, which end with it: as a detached actor "
                f"with max_restarts={spec.max_restarts} it could not be restarted afterwards. Give it the values "
                "instead (`value = ray.get(ref)` before the class, or arguments of its methods), or make it with "
                "max_restarts=0."
            )
        with self._lock:
            spec.actor_id = self._ids.next_task()
        which = (spec.class_key, spec.is_async, spec.concurrency_groups)
        submission = self._submission
        remote = submission.remotes.get(which)
        if remote is None:
            remote = submission.remotes[which] = runner.actor_class(submission.static(spec.class_key), spec)
        known = self._groups.known
        told, given = submission.known(options, lambda options: bridge.actor_options(spec, options, known))
        head, *rest = submission.head(told, spec.actor_id, spec.class_key, packed)
        submission.prepared(spec.actor_id, head)
        try:
            handle = remote.options(**given).remote(head, spec, *rest)
        except (theirs.RayError, ValueError) as error:
            if spec.name and "already" in str(error):
                if get_if_exists:
                    return self._actor_shared(spec)
                raise ActorAlreadyExistsError(str(error)) from None
            made = bridge.translate(error)
            raise made from made.__cause__
        if spec.name:
            bridge.keep(f"actor:{bridge.actor_key(handle)}", pickle.dumps(spec))
        self._side.submitted(spec.actor_id, None, options, spec.actor_id, True)
        return self._refs.own(ids.object_id(spec.actor_id, 1), handle), spec

    @rays.interrupted_here
    def actor_named(self, name: str, namespace: str) -> tuple[ObjectRef[object], ActorSpec]:
        """Returns the handle's ref and the spec of a live named actor; raises `ValueError` if there is none."""
        self._engine.check_alive()
        try:
            handle = rays.get_actor(name, namespace=namespace or self._namespace or None)
        except ValueError as error:
            others = [repr(other) for other, named in self.actor_names(None) if named == name]
            if not others:
                raise
            told = f"An actor of this name is in the namespace {' and in '.join(others)}: give that as namespace="
            if not namespace:  # that of this runtime, which is another one after each start if nobody has named it
                told += ", or start the runtime with it (init(namespace=...), c.Raynb.namespace)"
            raise ValueError(f"{error} {told}.") from None
        return self.adopt_handle(handle, name)

    def _actor_shared(self, spec: ActorSpec) -> tuple[ObjectRef[object], ActorSpec]:
        """Returns an actor that exists. If this process made it, its new handle keeps it too: a cell that is run again
        would end it otherwise."""
        ref, found = self.actor_named(spec.name, spec.namespace)
        own = ids.object_id(found.actor_id, 1)
        with self._lock:
            entry = self._refs.natives.get(own)
            if entry is None:
                return ref, found
            entry[1] += 1
        return self._refs.new_ref(own, self._engine), found

    def adopt_handle(self, handle: object, name: str = "") -> tuple[ObjectRef[object], ActorSpec]:
        """Returns our ref and spec for one of Ray's handles, of any process's actor."""
        told = bridge.kept(f"actor:{bridge.actor_key(handle)}") if hasattr(handle, GENERIC_CALL) else None
        if told is not None:
            spec: ActorSpec = pickle.loads(told)
        else:
            key = bridge.actor_key(handle)
            with self._lock:
                number = self._plain_actors.get(key)
                if number is None:
                    number = self._plain_actors[key] = self._ids.next_task()
            methods = {one: _UNKNOWN for one in dir(handle) if not one.startswith("_raynb") and one.isidentifier()}
            methods |= dict.fromkeys(("__ray_ready__", "__ray_call__", "__ray_terminate__"), _UNKNOWN)
            spec = ActorSpec(number, bridge.class_name(handle), "", name, methods=methods)
        return self._refs.hold_handle(spec.actor_id, handle, getattr(handle, "_ray_weak_ref", False)), spec

    @rays.interrupted_here
    def actor_names(self, namespace: str | None) -> list[tuple[str, str]]:
        """Returns (namespace, name) of the live named actors; None: of every namespace."""
        from ray.util import list_named_actors

        self._engine.check_alive()
        rows = [(row["namespace"], row["name"]) for row in rays.bare(list_named_actors)(all_namespaces=True)]
        return sorted(row for row in rows if row[0] != "raynb" and namespace in (None, row[0]))

    def kill(self, actor: int, no_restart: bool) -> None:
        """Kills an actor's process at once; unless ``no_restart``, its restarts may bring it back."""
        self._engine.check_alive()
        handle = self._refs.handle_of(actor)
        if handle is None:
            raise ValueError("this process holds no handle of that actor any more, so it cannot kill it")
        rays.kill(handle, no_restart=no_restart)
        if no_restart:
            bridge.forget(f"actor:{bridge.actor_key(handle)}")
            self._side.killed(actor)

    def pending_calls(self, actor: int) -> int:
        """Returns 0: Ray itself counts the calls, and refuses too many."""
        return 0  # Ray itself counts them, and refuses


class ClusterStreams:
    """Takes the items of Ray's generators.

    Thread contract: every method from any thread.
    """

    def __init__(self, shared: Shared, refs: Refs, table: dict[int, Any]) -> None:
        self._engine = shared.engine
        self._own = refs.own
        self._streams = table

    def item_is_ready(self, task: int, index: int) -> bool:
        """Returns whether `next_item` would return at once."""
        stream = self._streams.get(task)
        return stream is None or bool(rays.wait([stream], timeout=0)[0])

    def next_item(self, task: int, index: int, timeout: float | None) -> ObjectRef[object] | None:
        """Waits for item ``index`` (seconds; None: for ever); returns its ref, or None when the stream ended before it.

        """
        self._engine.check_alive()
        stream = self._streams.get(task)
        if stream is None:
            return None
        deadline = None if timeout is None else _now() + timeout
        missing = Missing(1, (ids.object_id(task, index),))
        over, left = None, 0.0
        try:
            while not rays.wait([stream], timeout=left)[0]:
                if deadline is not None and _now() >= deadline:
                    raise GetTimeoutError(f"no item was yielded within {timeout} s")
                if over is None and slot.on_wait is not None:
                    over = slot.on_wait(missing)  # it really waits
                aside = missing.step_aside()
                deadline = None if deadline is None else deadline + aside
                left = LOOK_SECONDS if deadline is None else max(0, min(LOOK_SECONDS, deadline - _now()))
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # without the frames inside Ray
        finally:
            if over is not None:
                over()
        try:
            ref: ObjectRef[object] = self._own(ids.object_id(task, index), next(stream))
            return ref
        except StopIteration:
            return None

    async def next_item_async(self, task: int, index: int) -> ObjectRef[object] | None:
        """Waits for item ``index`` without blocking the event loop; returns None when the stream ended before it."""
        stream = self._streams.get(task)
        if stream is None:
            return None
        waiting = asyncio.ensure_future(stream.__anext__())
        try:
            ref: ObjectRef[object] = self._own(ids.object_id(task, index), await ticking(waiting))
            return ref
        except StopAsyncIteration:
            return None

    def stream_finished(self, task: int, index: int) -> bool:
        """Returns whether the stream has ended before item ``index``."""
        stream = self._streams.get(task)
        return stream is None or bool(stream.is_finished())

    def at_stream_end(self, position: list[int]) -> Callable[[], object]:
        """Returns the function that releases the stream when its generator object is released."""
        return functools.partial(self._streams.pop, position[0], None)
