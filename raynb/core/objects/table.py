"""Objects: which can be named, what they contain, when they are freed, how lost ones are made again.

Theory of operation. Each object is an `Obj` in one state of `OBJECT` (all transitions: docs/states.md):

    pending ──► ready (spilled, restored) ──► freed
        ▲         │
        └─ lost ◄─┘

An object is freed exactly when nothing can name it: no ref in the driver, no lend to a worker, no unfinished task
that takes it, no stored object that contains it, no zero-copy view. A lend is one message to a worker that named the
object. The worker returns all its lends of an object in one count when it holds no ref any more; a message in flight
therefore keeps the object alive. Counting messages instead of holders closes the race of distributed counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from raynb.base import ends
from raynb.base.ids import INDEX_BITS
from raynb.base.spec import Value
from raynb.core.history import FREED, READY, History
from raynb.core.step import Step
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.records import Obj, Task
from raynb.core.vocabulary.spelling import Spelling
from raynb.core.vocabulary.transitions import O_FREED, O_LOST, O_PENDING, O_READY, OBJECT


def is_error(value: Value | None) -> bool:
    """Returns whether the value is an error (``("exc", …)`` pickled, ``("err", …)`` by name)."""
    return type(value) is tuple and value[0] in ("exc", "err")


def is_stored(value: Value | None) -> bool:
    """Returns whether the value lies in an arena or a file."""
    return type(value) is tuple and value[0] in ("shm", "file")


class Objects:
    """The table of objects: counts who can name each, releases what nobody can, and rebuilds what was lost.

    Invariant: an object stays in the table while one of its counts (refs, lends, args, containers, views) is not zero.
    """

    def __init__(self, step: Step, history: History, spelling: Spelling) -> None:
        self._step = step
        self._history = history
        self._spelling = spelling
        self.table: dict[int, Obj] = {}
        self.lent: dict[int, set[int]] = {}  # worker → objects it may name
        self.inline_bytes = 0
        self.shared_bytes = 0
        self.spilled_bytes = 0

    def connect(
        self, *, argument_ready: Callable[[Obj, list[int]], None], request_ready: Callable[[list[int], bool], None],
        unreferenced: Callable[[int], None], error_freed: Callable[[Obj], None], kept: Mapping[int, Task],
        forget: Callable[[int], None], reconstruct: Callable[[Obj], bool],
    ) -> None:  # fmt: skip
        """Sets what is called when an object changes, in policies that are made after this one.

        Args:
            argument_ready: tasks wait for the object.
            request_ready: requests of workers wait for it.
            unreferenced: no handle of the actor is left.
            error_freed: the object was an error.
            kept: the tasks that are kept to make lost objects again.
            forget: an object of such a task is gone.
            reconstruct: makes a lost object again; returns False if it cannot be made.
        """
        self._argument_ready = argument_ready
        self._request_ready = request_ready
        self._unreferenced = unreferenced
        self._error_freed = error_freed
        self._kept = kept
        self._forget = forget
        self._reconstruct = reconstruct

    def __getitem__(self, object_id: int) -> Obj:
        return self.table[object_id]

    def new(self, object_id: int, caller: int, scope: int) -> Obj:
        """Enters an object that will be made; the submitter holds its first ref."""
        obj = Obj(object_id)
        obj.scope = scope
        if caller:
            obj.lends = {caller: 1}
        else:
            obj.refs = 1
        self.table[object_id] = obj
        return obj

    def move(self, obj: Obj, state: str, what: str = "") -> None:
        """Moves the object to a state that `OBJECT` allows, and records it."""
        if state not in OBJECT[obj.state]:
            self._history.impossible("object", obj.id, obj.state, state)
        obj.state = state
        self._history.record(self._step.now, "object", obj.id, what or state)

    # -- values --------------------------------------------------------------------------------
    def set_value(self, obj: Obj, value: Value, size: int, contained: tuple[int, ...]) -> None:
        """Sets the object's value, wakes everybody who waits, and frees it if nobody can name it."""
        if obj.state == O_PENDING or obj.state == O_LOST:
            obj.state = O_READY  # both tables allow it; this is the hot path
            self._history.add(self._step.now, READY, obj.id)
        else:  # made again while a copy was still there
            self._give_back(obj)
            self.move(obj, O_READY, "replaced")
        obj.value = value
        obj.size = size
        obj.used = self._step.now
        if type(value) is bytes:
            self.inline_bytes += size
            obj.error = False
        else:
            obj.error = is_error(value)
            self._account(value, size, 1)
        if contained or obj.contained:
            before, obj.contained = obj.contained, contained
            for inner in contained:
                self.table[inner].containers += 1
            if before:  # made again: what the lost value contained is no longer pinned by it
                self.unpin(before, "containers")
        waiters = obj.waiters
        if waiters is not None:
            obj.waiters = None
            self._argument_ready(obj, waiters)
        if obj.requests is not None:
            requests, obj.requests = obj.requests, None
            self._request_ready(requests, obj.error)
        if obj.watched:
            obj.watched = False
            self._step.out.append(c.Ready(obj.id, obj.error))
        if not obj.refs and obj.state == O_READY:  # a waiter that failed may have freed it already
            self.check(obj)

    def _account(self, value: Value | None, size: int, sign: int) -> None:
        if type(value) is bytes:
            self.inline_bytes += sign * size
        elif type(value) is tuple:
            if value[0] == "shm":
                self.shared_bytes += sign * size
            elif value[0] == "file":
                self.spilled_bytes += sign * size

    def relocate(self, object_id: int, value: Value) -> None:
        """Sets where the object's bytes lie now (spilled or restored)."""
        obj = self.table.get(object_id)
        if obj is None or obj.state != O_READY or obj.lends or obj.views or not is_stored(obj.value):
            # freed meanwhile, or somebody began to read it where it was: it stays there
            self._step.out.append(c.Free(value, object_id))
            return
        self._give_back(obj)
        obj.value = value
        self._account(value, obj.size, 1)
        self.move(obj, O_READY, "moved")

    def _give_back(self, obj: Obj) -> None:
        value = obj.value
        if value is not None:
            self._account(value, obj.size, -1)
            if is_stored(value):
                self._step.out.append(c.Free(value, obj.id))
        obj.value = None

    # -- counting ------------------------------------------------------------------------------
    def check(self, obj: Obj) -> None:
        """Frees the object if nobody can name it any more."""
        if obj.refs or obj.lends or obj.args or obj.containers or obj.views:
            return
        if obj.actor:
            self._unreferenced(obj.actor)
            return
        if obj.state == O_PENDING:
            return  # its task still runs; set_value looks again
        self.free(obj)

    def free(self, obj: Obj) -> None:
        """Frees the object: releases its bytes and what it contains, and removes it from the table."""
        identity = obj.id
        if obj.error:
            self._error_freed(obj)
        if type(obj.value) is bytes:
            self.inline_bytes -= obj.size
            obj.value = None
        else:
            self._give_back(obj)
        if obj.state == O_READY:  # the table allows it; this is the hot path
            obj.state = O_FREED
            self._history.add(self._step.now, FREED, identity)
        else:
            self.move(obj, O_FREED)
        del self.table[identity]
        if obj.contained:
            contained, obj.contained = obj.contained, ()
            self.unpin(contained, "containers")
        if self._kept and identity >> INDEX_BITS in self._kept:  # `task_of`: 45 ns of each actor call
            self._forget(identity >> INDEX_BITS)

    def unpin(self, ids: tuple[int, ...], what: str) -> None:
        """Takes one count of a kind (``"containers"`` or ``"args"``) off each object."""
        for inner in ids:
            obj = self.table[inner]
            if what == "args":
                obj.args -= 1
            else:
                obj.containers -= 1
            if not obj.refs:
                self.check(obj)

    def lend(self, object_id: int, worker: int) -> None:
        """Counts one message to the worker that names the object."""
        obj = self.table[object_id]
        lends = obj.lends
        if lends is None:
            obj.lends = {worker: 1}
        else:
            lends[worker] = lends.get(worker, 0) + 1
        self.lent.setdefault(worker, set()).add(object_id)

    def released(self, worker: int, ids: tuple[tuple[int, int], ...]) -> None:
        """Subtracts the lends that a worker gave back; those of a dead worker are written off already."""
        for object_id, count in ids:
            obj = self.table.get(object_id)
            if obj is None or not obj.lends or worker not in obj.lends:
                continue  # the worker died and its lends were written off
            left = obj.lends[worker] - count
            if left > 0:
                obj.lends[worker] = left
                continue
            del obj.lends[worker]
            lent = self.lent.get(worker)
            if lent is not None:
                lent.discard(object_id)
            if not obj.refs:
                self.check(obj)

    def worker_gone(self, worker: int) -> None:
        """Writes off everything lent to a worker that died."""
        for object_id in self.lent.pop(worker, ()):
            obj = self.table.get(object_id)
            if obj is not None and obj.lends and obj.lends.pop(worker, 0):
                self.check(obj)

    def refs_changed(self, changes: list[int], came: Sequence[tuple[int, ...]] = ()) -> None:
        """Applies the driver's log of refs: an id is one ref less, ``~id`` one more, in order; those of ``came`` one
        more, before them."""
        table = self.table
        for identity in chain.from_iterable(came):
            obj = table.get(identity)
            if obj is not None:
                obj.refs += 1
        freed: list[int] = []
        for change in changes:
            if change >= 0:
                obj = table.get(change)
                if obj is None:
                    continue
                obj.refs -= 1
                if not (obj.refs or obj.containers or obj.lends or obj.args or obj.views):
                    # The hot path: as `check` and `free` would, for a value that is in the message.
                    if obj.state == O_READY and type(obj.value) is bytes and not (obj.actor or obj.contained):
                        self.inline_bytes -= obj.size
                        obj.value = None
                        obj.state = O_FREED
                        del table[change]
                        freed.append(change)  # not `_forget`: lineage is kept for values that can be lost
                    else:
                        self.check(obj)
            else:
                obj = table.get(~change)
                if obj is not None:
                    obj.refs += 1
        self._history.add_many(self._step.now, FREED, freed)

    def views_died(self, ids: list[int]) -> None:
        """Subtracts zero-copy views that ended, and frees objects that nobody can name."""
        for object_id in ids:
            obj = self.table.get(object_id)
            if obj is not None:
                obj.views -= 1
                if not obj.refs:
                    self.check(obj)

    # -- loss ----------------------------------------------------------------------------------
    def lost_value(self, obj: Obj, why: str) -> Value:
        """Returns the `ObjectLostError` of an object, with the reason."""
        return ends.object_lost(self._spelling.object(obj.id), why)

    def lost(self, object_id: int, why: str, where: Value | None = None) -> None:
        """Makes lost bytes again from the lineage, or fails those who wait for them.

        Several readers may find out one after the other; ``where`` they looked says whether the object lies
        there still, or was made again since then, so that one loss costs one retry.
        """
        obj = self.table.get(object_id)
        if obj is None or obj.state != O_READY or not is_stored(obj.value):
            return
        value = obj.value
        if where is not None and where != value:
            return
        self._account(value, obj.size, -1)
        if type(value) is tuple and value[0] == "file":
            self._step.out.append(c.Free(value, object_id))  # a damaged file takes up room until it is removed
        obj.value = None
        self.move(obj, O_LOST, f"lost: {why}")
        if not self._reconstruct(obj):
            self.set_value(obj, self.lost_value(obj, why), 0, ())

    def free_now(self, ids: tuple[int, ...]) -> None:
        """Releases the value on request (``free``) although refs exist; reading it raises afterwards."""
        for object_id in ids:
            obj = self.table.get(object_id)
            if obj is not None and obj.state == O_READY and not obj.actor:
                contained, obj.contained = obj.contained, ()
                self.unpin(contained, "containers")
                self.set_value(obj, ends.object_freed(self._spelling.object(object_id)), 0, ())
