"""The `Engine` interface over the ``ray`` package: what driver and tasks on the cluster share."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pickle
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

import ray
from ray import exceptions as theirs

from raynb.base import ends, ids, unshown
from raynb.base import engine as slot
from raynb.base.config import RESOURCE_UNIT
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef
from raynb.engine.cluster import bridge, rays
from raynb.engine.cluster.actors import LOOK_SECONDS, ClusterActors, ClusterStreams
from raynb.engine.cluster.bridge import Broken, Value
from raynb.engine.cluster.places import RayGroups
from raynb.engine.cluster.refs import Refs
from raynb.engine.cluster.side import Missing, Shared
from raynb.engine.cluster.submission import Submission
from raynb.engine.ref_future import RefFuture
from raynb.engine.refs import gone
from raynb.engine.ticking import ticking
from raynb.exceptions import ActorDiedError, GetTimeoutError
from raynb.serde import errors

_now = time.monotonic
#: `wait` first looks at as many refs as it is to return, if it was given at least so many times as many: if those are
#: ready, they are what it returns, and the others, which would be handed to Ray at each step of a loop, are not asked.
FIRST_SHARE = 4


def _rest(refs: Sequence[ObjectRef[object]], count: int) -> list[ObjectRef[object]]:
    """Returns a new list of the refs from ``count`` on."""
    rest = refs[count:]
    return rest if type(rest) is list else list(rest)


class ClusterObjects:
    """Stores, reads and waits for objects in Ray's store.

    Thread contract: every method from any thread.
    """

    def __init__(self, shared: Shared, refs: Refs) -> None:
        self._shared = shared
        self._engine = shared.engine
        self._side = shared.side
        self._ids = shared.ids
        self._lock = shared.lock
        self._refs = refs

    def put(self, packed: Packed) -> ObjectRef[object]:
        """Stores a packed value; returns its ref."""
        self._engine.check_alive()
        self._refs.drain_log()
        with self._lock:
            identity = self._ids.next_put()
        try:
            native = rays.put(bridge.value_of(packed, self._refs.pairs(packed.contained), self._shared.nonce))
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # without the frames inside Ray
        except theirs.RayError as error:
            made = bridge.translate(error)
            raise made from made.__cause__
        ref = self._refs.own(identity, native)
        self._side.stored(identity, packed)
        return ref

    def put_error(self, value: object) -> ObjectRef[object]:
        """Stores an error value: reading it raises."""
        with self._lock:
            identity = self._ids.next_put()
        return self._refs.own(identity, rays.put(Broken(value)))

    def get(self, refs: Sequence[ObjectRef[object]], timeout: float | None) -> list[Any]:
        """Waits for the values (seconds; None: for ever) and returns them; raises the first error."""
        self._engine.check_alive()
        self._refs.drain_log()
        natives = self._refs.natives_of(refs)
        if timeout is None:
            deadline, first = None, LOOK_SECONDS
        else:
            deadline, first = _now() + timeout, min(LOOK_SECONDS, timeout)
        values: list[Any] | None
        try:
            try:
                values = rays.read(natives, first)
            except theirs.GetTimeoutError:
                values = None  # what goes wrong later has no error of Ray's as its context
            if values is None:
                values = self._get_later(natives, refs, timeout, deadline)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # without the frames inside Ray
        except BaseException as error:
            if type(error) is GetTimeoutError:  # and no class that Ray has made of it, for a task that raised one
                raise
            made = self._failed(error, refs)
            raise made from made.__cause__
        if bridge.marks:
            for ref, native in zip(refs, natives, strict=True):
                self._side.seen(bridge.taken_mark(ids.task_of(ref._id), native))
        self._side.got(refs)
        return [self._opened(value) if isinstance(value, Value) else value for value in values]

    def _opened(self, value: Value) -> Any:
        """Unpickles a value that could not be unpickled where Ray read it; its error is raised after its task's output.

        """
        self._side.seen(value.mark)
        return self._refs.unpack(value)

    def _get_later(
        self, natives: list[Any], refs: Sequence[ObjectRef[object]], timeout: float | None, deadline: float | None
    ) -> list[Any]:
        """Waits in steps, so that a Ctrl-C ends the wait and a progress bar can count."""
        waiting = list(dict.fromkeys(natives))
        found: dict[Any, Any] = {}
        missing = Missing(len(waiting), tuple(ref._id for ref in refs))
        over = slot.on_wait(missing) if slot.on_wait is not None else None
        try:
            while missing.left:
                left = LOOK_SECONDS if deadline is None else min(LOOK_SECONDS, deadline - _now())
                if left <= 0:
                    raise GetTimeoutError(
                        f"Get timed out: some object(s) not ready. {missing.left} of {len(natives)} are missing "
                        f"after {timeout} s."
                    )
                ready, waiting = rays.wait(waiting, num_returns=len(waiting), timeout=left)
                # Read as they come: one that failed is known at once, and not when the last is there.
                found.update(zip(ready, rays.read(ready, None), strict=True))
                missing.left = len(waiting)
                aside = missing.step_aside()
                deadline = None if deadline is None else deadline + aside
                self._engine.check_alive()
        finally:
            if over is not None:
                over()
        return [found[native] for native in natives]

    @rays.interrupted_here  # it waits for the task's output
    def _failed(self, error: BaseException, refs: Sequence[ObjectRef[object]]) -> BaseException:
        """Returns raynb's exception for one of Ray's that a read raised; the failure counts as asked about."""
        made = self.translated(error)
        dead = self._dead_of(refs, type(made)) if len(refs) > 1 and bridge.is_death(made) else refs
        made = self._side.explained(made, dead)
        self._side.asked(refs, made)
        return made

    def _dead_of(self, refs: Sequence[ObjectRef[object]], kind: type) -> Sequence[ObjectRef[object]]:
        """Returns the first of several refs with an error of this class; all if that is not to be found out at once."""
        for ref in refs:
            try:
                rays.read([self._refs.native(ref)], 0)
            except theirs.GetTimeoutError:
                continue
            except Exception as error:
                if type(self.translated(error)) is kind:
                    return [ref]
        return refs

    def translated(self, error: BaseException) -> BaseException:
        """Returns raynb's exception for one of Ray's, after its task's output was shown."""
        carried = bridge.failure_in(error)
        if carried is not None:
            self._side.seen(carried.mark)
            with self._refs.holding(carried.natives):
                return bridge.translate(error)
        made = bridge.translate(error)
        if isinstance(made, ActorDiedError) and made.actor_id and bridge.is_actor_died(error):
            told = bridge.kept(f"init:{made.actor_id}")
            if told is not None:  # its constructor raised, and left what
                return errors.load_error(ends.actor_not_made(made.actor_id, pickle.loads(told)))
        return made

    def wait(
        self, refs: Sequence[ObjectRef[object]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[object]], list[ObjectRef[object]]]:
        """Waits until ``num_returns`` objects are ready or ``timeout`` seconds are over; returns (ready, not ready)."""
        self._engine.check_alive()
        self._refs.drain_log()
        try:
            if num_returns * FIRST_SHARE <= len(refs):
                first = self._refs.natives_of(refs[:num_returns])
                here = rays.is_here(first[0])  # through Ray Client each look is a message there and back
                if here and len(rays.ready(first, num_returns, 0, fetch_local)) == num_returns:
                    return list(refs[:num_returns]), _rest(refs, num_returns)
            natives = self._refs.natives_of(refs)
            ready = self._ready(natives, refs, num_returns, timeout, fetch_local)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
        except theirs.RayError as error:
            made = bridge.translate(error)
            raise made from made.__cause__
        count = min(num_returns, len(ready))
        if ready == natives[: len(ready)]:
            return list(refs[:count]), _rest(refs, count)
        there = set(ready)
        places = list(islice((place for place, native in enumerate(natives) if native in there), count))
        rest = list(refs)
        for place in reversed(places):
            del rest[place]
        return [refs[place] for place in places], rest

    def _ready(
        self, natives: list[object], refs: Sequence[ObjectRef[object]], num_returns: int, timeout: float | None,
        fetch_local: bool,
    ) -> list[object]:  # fmt: skip
        """Returns those of Ray's refs that are ready, in steps, so that a Ctrl-C ends the wait and a bar can count."""
        deadline = None if timeout is None else _now() + timeout
        over = missing = None
        try:
            while True:
                left = LOOK_SECONDS if deadline is None else max(0, min(LOOK_SECONDS, deadline - _now()))
                ready = rays.ready(natives, num_returns, left, fetch_local)
                if len(ready) == num_returns < len(natives) and ready != natives[:num_returns]:
                    # Ray picks any; the first ones are wanted, up to the last of those it picked.
                    last = max(map(natives.index, ready))
                    ready = rays.ready(natives[: last + 1], last + 1, 0, fetch_local)
                if missing is not None:
                    missing.left = num_returns - len(ready)
                if len(ready) >= num_returns or (deadline is not None and _now() >= deadline):
                    return ready
                if missing is None:  # it really waits
                    missing = Missing(num_returns - len(ready), tuple(ref._id for ref in refs))
                    over = slot.on_wait(missing) if slot.on_wait is not None else None
                aside = missing.step_aside()
                deadline = None if deadline is None else deadline + aside
                self._engine.check_alive()
        finally:
            if over is not None:
                over()

    def future(self, ref: ObjectRef[object]) -> concurrent.futures.Future[Any]:
        """Returns a future of the object's value."""
        self._engine.check_alive()
        future = RefFuture(ref)
        native = self._refs.native(ref)

        def arrived(done: concurrent.futures.Future[Any]) -> None:
            error = done.exception()
            carrier: Any = None if error is None else bridge.failure_in(error)
            if error is None:
                mark = bridge.taken_mark(ids.task_of(ref._id), native)
            else:
                mark = getattr(carrier, "mark", None)
            # This is a thread of Ray's, which must not wait for what comes through Ray.
            self._side.when_seen(mark, lambda: unshown.then(lambda: deliver(done), (ref._id,)))

        def deliver(done: concurrent.futures.Future[Any]) -> None:
            try:
                result = self._refs.unpack(done.result())
            except BaseException as error:
                try:
                    known = self._failed(error, [ref])
                except Exception as broken:  # who waits for the future learns that, too
                    known = broken
                future.set_exception(known)
            else:
                future.set_result(result)
            future.taken_ref()

        native.future().add_done_callback(arrived)
        return future

    def awaitable(self, ref: ObjectRef[object]) -> Any:
        """Returns a coroutine that waits for the object's value without blocking the event loop."""
        async def wait() -> Any:
            return await ticking(asyncio.wrap_future(self.future(ref)))

        return wait()

    def free(self, refs: Sequence[ObjectRef[object]]) -> None:
        """Drops this process's value of each object, and keeps an `ObjectFreedError` in its place."""
        # Ray has no call for it (any more): this process lets go of the value, and keeps the error for it.
        for ref in refs:
            self._refs.native(ref)
            text = f"{ref.hex()} was freed on request."
            freed = rays.put(Broken(ends.object_freed(ref.hex(), text)))
            with self._lock:
                entry = self._refs.natives[ref._id]
                entry[0], freed = freed, entry[0]


class ClusterGroups:
    """Placement groups by our numbers: Ray keeps them. Thread contract: any thread."""

    def __init__(self, groups: RayGroups) -> None:
        self._groups = groups

    def reserve_group(self, bundles: tuple[Any, ...]) -> int:
        """Asks for a placement group of bundles; returns its number at once."""
        named = [{name: amount / RESOURCE_UNIT for name, amount in bundle} for bundle in bundles]
        return self._groups.place(named)

    def group_ready(self, group: int, timeout: float | None) -> bool:
        """Returns whether the group is placed, after at most ``timeout`` seconds."""
        return self._groups.ready(group, timeout)

    def return_group(self, group: int) -> None:
        """Removes a placement group and releases its resources."""
        self._groups.remove(group)

    def groups_table(self) -> dict[int, tuple[str, Any]]:
        """Returns number → (state, bundles) of the placement groups."""
        return self._groups.table()


class Adapter:
    """Tasks, objects and actors of raynb as those of Ray: what the engines of driver and worker have in common.

    An assembly, as `LocalEngine` is: the parts' methods are the engine's own by assignment.

    Thread contract: every method from any thread.
    """

    failure = ""  # why the runtime failed; Ray's own state is Ray's

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.side = shared.side
        self.nonce = shared.nonce
        self.namespace = shared.namespace
        self.alive = True
        self._pid = os.getpid()
        self.refs = Refs(shared)
        self.foreign_groups = RayGroups(lambda: self.check_alive())
        self.submission = Submission(shared, self.refs, self.foreign_groups)
        self._expose_refs()
        self._expose_objects()

    def _expose_refs(self) -> None:
        refs = self.refs
        self.ref_log, self.new_ref = refs.ref_log, refs.new_ref
        self.drain_log, self.holding = refs.drain_log, refs.holding
        self.native, self.pairs, self.unpack = refs.native, refs.pairs, refs.unpack
        self.adopt, self.adopt_all = refs.adopt, refs.adopt_all
        self.reduce_ref, self.ref_bundle = refs.reduce_ref, refs.ref_bundle

    def _expose_objects(self) -> None:
        shared, refs, submission = self.shared, self.refs, self.submission
        objects = ClusterObjects(shared, refs)
        self.put, self.put_error, self.free = objects.put, objects.put_error, objects.free
        self.get, self.wait = objects.get, objects.wait
        self.future, self.awaitable = objects.future, objects.awaitable
        streams = ClusterStreams(shared, refs, submission.streams)
        self.next_item, self.next_item_async = streams.next_item, streams.next_item_async
        self.item_is_ready, self.stream_finished = streams.item_is_ready, streams.stream_finished
        self.at_stream_end = streams.at_stream_end
        self.define, self.submit, self.cancel = submission.define, submission.submit, submission.cancel
        self.native_env = submission.native_env
        actors = ClusterActors(shared, refs, submission, self.foreign_groups)
        self.create_actor, self.kill, self.adopt_handle = actors.create_actor, actors.kill, actors.adopt_handle
        self.actor_named, self.actor_names = actors.actor_named, actors.actor_names
        self.pending_calls = actors.pending_calls
        groups = ClusterGroups(self.foreign_groups)
        self.reserve_group, self.return_group = groups.reserve_group, groups.return_group
        self.group_ready, self.groups_table = groups.group_ready, groups.groups_table

    def check_alive(self) -> None:
        """Raises `RuntimeGoneError` if the runtime was shut down, or its failure if it has failed."""
        if not self.alive:
            raise gone(self._pid)

    def after_fork_in_child(self) -> None:
        """Marks the engine as gone in a forked child: the runtime belongs to the parent."""
        self.alive = False

    @rays.interrupted_here
    def nodes(self) -> list[dict[str, Any]]:
        """Returns the cluster's nodes, as Ray describes them."""
        self.check_alive()
        return ray.nodes()  # type: ignore[no-any-return]

    def node_id(self) -> str:
        """Returns Ray's id of the node that the calling code runs on."""
        self.check_alive()
        return str(rays.context().get_node_id())

    @rays.interrupted_here
    def cluster(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (total, available) resources."""
        self.check_alive()
        return dict(ray.cluster_resources()), {k: v for k, v in ray.available_resources().items() if v > 0}


__all__ = ["Adapter"]
