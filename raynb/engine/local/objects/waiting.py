"""`get`, `wait`, futures and `await` in the driver."""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from raynb.base import unshown
from raynb.base.engine import Engine
from raynb.base.ids import task_of
from raynb.base.process import headroom, shelter
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef
from raynb.core.vocabulary.transitions import O_READY
from raynb.engine.local.objects.reading import Reading
from raynb.engine.local.objects.watching import wake_loop, watch
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.waiters import Waiter
from raynb.engine.ref_future import RefFuture
from raynb.engine.refs import LOOP_MAX_REFS, OwnRefs
from raynb.exceptions import GetTimeoutError

if TYPE_CHECKING:
    import asyncio

_now = time.monotonic
_id_of = attrgetter("_id")


class LocalWaiting:
    """Waits for the engine's objects: `get`, `wait`, futures and `await`.

    Thread contract: every method from any thread, unless it says "under the lock".
    """

    def __init__(self, engine: Engine, loop: Loop, refs: OwnRefs, reading: Reading) -> None:
        self._engine = engine
        self._loop = loop
        self._machine = loop.machine
        self._refs = refs
        self._reading = reading

    def get(self, refs: Sequence[ObjectRef[object]], timeout: float | None) -> list[Any]:
        """See `Engine.get`."""
        engine = self._engine
        if not engine.alive or self._loop.health.failure is not None:
            engine.check_alive()
        wanted: list[int]
        if len(refs) > LOOP_MAX_REFS:  # "10,000 tasks": a loop takes 1 % of it
            wanted = list(self._refs.ids_of(refs))
        else:
            wanted = []
            for ref in refs:
                if ref._engine is not engine:
                    self._refs.refuse(ref)
                wanted.append(ref._id)
        deadline = None if timeout is None else _now() + timeout
        found = self._at_hand(wanted)
        if found is None:
            headroom.check()
            exposed = shelter.exposed()
            if not exposed:
                try:
                    wanted = self._await(wanted, timeout, deadline)
                except shelter.Moved:
                    exposed = True
            if exposed:
                wanted = shelter.aside(self._await, wanted, timeout, deadline)
            found = self._at_hand(wanted)
            if found is None and not exposed:
                found = self._reading.collect(wanted)
        return self._reading.read_values(wanted, deadline, found)

    def _at_hand(self, wanted: list[int]) -> list[Any] | None:
        """Returns the values if each is bytes; None if one has to be waited for or looked up in the store.

        Changes nothing and takes no lock: an object's bytes, once there, are its value whatever else goes on.
        So an exception may fall in. Without it, "get of an int" takes twice as long.
        """
        table = self._machine.objects.table
        obj = table.get(wanted[-1])
        value = None if obj is None else obj.value
        if type(value) is not bytes:  # it is the last to be there, most often
            return None
        if len(wanted) == 1:
            return [value]
        try:
            found: list[Any] = [obj.value for obj in map(table.__getitem__, wanted)]
        except KeyError:
            return None
        return found if set(map(type, found)) == {bytes} else None

    def _await(self, wanted: list[int], timeout: float | None, deadline: float | None) -> list[int]:
        """Waits for all, or for the first error; returns what is to be read."""
        waiter = watch(self._loop, wanted, len(wanted), True)
        if not waiter.done and not self._loop.waiters.wait_or_unwatch(waiter, deadline):
            raise GetTimeoutError(
                f"Get timed out: some object(s) not ready. {waiter.left} of {len(wanted)} are missing "
                f"after {timeout} s."
            )
        if waiter.failed:
            self._loop.waiters.unwatch(waiter)
            wanted = self._failed(wanted)
        return wanted

    def _failed(self, wanted: list[int]) -> list[int]:
        """Returns the first ready error: as in Ray, `get` does not wait for the others then."""
        table = self._machine.objects.table
        with self._loop.lock:
            for identity in wanted:
                obj = table.get(identity)
                if obj is not None and obj.error and obj.state == O_READY:
                    return [identity]
        return wanted

    def wait(
        self, refs: Sequence[ObjectRef[object]], num_returns: int, timeout: float | None, fetch_local: bool
    ) -> tuple[list[ObjectRef[object]], list[ObjectRef[object]]]:
        """See `Engine.wait`. Called again and again on a shrinking list, so it looks no further than
        the first that are ready."""
        self._engine.check_alive()
        self._refs.check(refs[0])  # `api.wait` has seen that they are of one engine
        deadline = None if timeout is None else _now() + timeout
        ready: list[int] = shelter.run(self._await_some, refs, num_returns, deadline)
        if not ready:
            return [], list(refs)
        count = len(ready)
        if ready[-1] == count - 1:  # the first ones: by far the most usual
            return list(refs[:count]), list(refs[count:])
        rest = list(refs)
        for at in reversed(ready):
            del rest[at]
        return [refs[at] for at in ready], rest

    def _await_some(self, refs: Sequence[ObjectRef[object]], num_returns: int, deadline: float | None) -> list[int]:
        """Waits until so many are ready, or the time is up; returns their places."""
        loop = self._loop
        with loop.lock:
            if loop.ref_log:
                loop.drain_logs(_now())
            ready = self._first_ready(refs, num_returns)
        if len(ready) < num_returns:
            waiter = watch(loop, list(map(_id_of, refs)), num_returns)
            if not waiter.done:
                waiter.may_move = True
                try:
                    if deadline is None or deadline > _now():
                        loop.waiters.wait(waiter, deadline)
                    else:
                        loop.flush()
                finally:
                    loop.waiters.unwatch(waiter)
            with loop.lock:
                ready = self._first_ready(refs, num_returns)
        return ready

    def _first_ready(self, refs: Sequence[ObjectRef[object]], most: int) -> list[int]:
        """Returns the places of the first ``most`` that are ready. Under the lock."""
        table = self._machine.objects.table
        ready: list[int] = []
        for at, ref in enumerate(refs):
            obj = table.get(ref._id)
            if obj is None or obj.state == O_READY:
                ready.append(at)
                if len(ready) == most:
                    break
        return ready

    def is_unasked(self, ref: ObjectRef[object]) -> bool:
        """Waits for the task's end; returns whether its failure is one that nobody has asked about."""
        self.wait([ref], 1, None, False)
        return shelter.run(self._is_unasked, ref._id)

    def _is_unasked(self, identity: int) -> bool:
        with self._loop.lock:
            self._loop.drain_logs(_now())
            return task_of(identity) in self._machine.tasks.unasked.failed

    def future(self, ref: ObjectRef[object]) -> concurrent.futures.Future[Any]:
        """Returns a future of the object's value."""
        self._engine.check_alive()
        self._refs.check(ref)
        future = RefFuture(ref)
        context = contextvars.copy_context()

        def read() -> None:
            held = future.taken_ref()  # noqa: F841  # it lives until its value is read
            try:
                self._engine.check_alive()
                result = self._reading.read_values([future.key], None)[0]
            except BaseException as error:
                future.set_exception(error)
                if type(error) is KeyboardInterrupt:
                    raise  # it is for whoever asks here
            else:
                future.set_result(result)

        turns = [read]

        def deliver() -> None:
            try:
                step = turns.pop()
            except IndexError:  # another thread was quicker
                return
            context.run(step)

        if not shelter.run(self._call_later, ref._id, deliver):
            if unshown.pending:
                unshown.show((ref._id,))
            if shelter.exposed():  # what falls in from outside is not the value's error
                self._loop.users.put(deliver)
                if not self._engine.alive:  # nobody may look there any more
                    deliver()
            else:
                deliver()
        return future

    def _call_later(self, identity: int, deliver: Callable[[], None]) -> bool:
        """Has ``deliver`` run on a thread for callbacks when the object is there; returns False if it is."""
        loop = self._loop
        with loop.lock:
            obj = self._machine.objects.table.get(identity)
            if obj is None or obj.state == O_READY:
                return False
            obj.watched = True
            # In the context of who asks: a callback submits to the same runtime, for the same cell.
            told = functools.partial(loop.users.put, deliver)
            waiter = Waiter(1, functools.partial(unshown.then, told, (identity,)))
            waiter.ours = True
            loop.waiters.watch((identity,), waiter)
        loop.flush()
        return True

    def awaitable(self, ref: ObjectRef[object]) -> Any:
        """Returns a coroutine. The awaiting thread unpickles the value, none of raynb's."""
        import asyncio

        from raynb.engine.ticking import ticking

        async def wait() -> Any:
            self._engine.check_alive()
            self._refs.check(ref)
            own = asyncio.get_running_loop()
            there: asyncio.Future[None] = own.create_future()
            wake = functools.partial(wake_loop, own, there)
            waiter = shelter.run(functools.partial(watch, self._loop, [ref._id], 1, callback=wake))
            shelter.run(self._loop.flush)
            if not waiter.done:
                try:
                    await ticking(there)
                except BaseException:
                    shelter.run(self._loop.waiters.unwatch, waiter)
                    raise
                self._engine.check_alive()
            if unshown.pending:
                unshown.show((ref._id,))
            try:
                return self._reading.read_values([ref._id], 0.0)[0]
            except GetTimeoutError:  # it was lost, and is being made again: reading would block the event loop
                return await ticking(asyncio.wrap_future(self.future(ref)))

        return wait()
