"""Turns messages of workers and of the supervisor into events for the machine."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from raynb.base.process.waits import time
from raynb.base.rows import Output
from raynb.base.spec import TaskSpec
from raynb.core.vocabulary import events as e
from raynb.engine.loop.connections import Connection, WorkerConnection
from raynb.engine.loop.effects import Effects
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.seams import Storage
from raynb.engine.loop.waiters import WORKER_CHANGED_KEY
from raynb.engine.loop.worker_pages import WorkerPages
from raynb.serde import pickling
from raynb.wire import messages as w
from raynb.wire.codec import BadFrame, decode_all

NOTHING = -1  # what a worker's board says that has run no task yet


def _unpickled(blob: bytes) -> Any:
    """Unpickles what raynb's code in a worker has pickled. Raises `BadFrame` if it cannot be read."""
    try:
        return pickle.loads(blob)
    except Exception as error:
        raise BadFrame(f"{len(blob)} bytes of a message cannot be unpickled: {error}") from error


#: What carries something pickled.
_CARRIERS = frozenset((w.Call, w.Output, w.Options))


class Setups(Protocol):
    """The code that runs in every worker and is no task: see `Everywhere`."""

    @property
    def pending(self) -> Any:
        """Returns whether setups are on their way."""

    def done(self, message: w.Done) -> bool:
        """Returns whether the end belongs to code that runs on every worker, and is applied."""

    def handed_back(self, peer: WorkerConnection, tasks: tuple[int, ...]) -> tuple[int, ...]:
        """Removes what is no task of the machine from tasks that were handed back; returns the others."""

    def worker_died(self, worker: int, reason: str) -> None:
        """Fails what was to run on a worker that died."""


class Inspects(Protocol):
    """Questions to workers, and their breakpoints: see `Inspection`."""

    def answered(self, m: w.Inspected) -> None:
        """Applies a worker's answer to a question."""

    def paused(self, peer: WorkerConnection, m: w.Paused, now: float) -> None:
        """Applies that a task waits at a breakpoint."""

    def worker_died(self, worker: int, why: str) -> None:
        """Fails the questions to a worker that died."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Receivers of messages that are no events of the machine."""

    setups: Setups
    inspection: Inspects
    call: Callable[[WorkerConnection, w.Call], None]  # a worker calls a method of the engine
    output: Callable[[Output], None]  # a task has printed
    answered: Callable[[int, int], None]  # (worker, frames that it has sent): it is there
    system_killed: Callable[[int], str]  # worker → why the system has killed it; empty: it has not
    supervisor_lost: Callable[[], None]


class Inbox:
    """Applies the messages of workers.

    Thread contract: under the engine's lock.
    """

    def __init__(
        self, loop: Loop, effects: Effects, store: Storage, pages: WorkerPages,
        definitions: dict[str, tuple[bytes, Any]], listeners: Listeners,
    ) -> None:  # fmt: skip
        self.loop = loop
        self._effects = effects
        self._store = store
        self._pages = pages
        self._definitions = definitions
        self._listeners = listeners
        self._setups = listeners.setups
        self._handlers: dict[type, Callable[[WorkerConnection, Any, float], None]] = {
            w.Yield: self.yielded,
            w.Put: self.put,
            w.Ask: self.ask,
            w.Lost: lambda p, m, now: self.apply(e.ObjectLost(now, m.id, m.why, m.value)),
            w.NextItem: self.next_item,
            w.DropRequest: self.drop_request,
            w.DropStream: lambda p, m, now: self.apply(e.StreamDropped(now, m.task, m.index)),
            w.Release: lambda p, m, now: self.apply(e.Released(now, p.worker, m.ids)),
            w.Withdrawn: self.withdrawn,
            w.Cancel: lambda p, m, now: self.apply(e.CancelAsked(now, m.task, m.force, m.recursive)),
            w.Options: self.options,
            w.Definition: lambda p, m, now: self.definition(p, m),
            w.Arena: self.arena,
            w.Call: self.call,
            w.Output: self.output,
            w.Ready: self.ready,
            w.Leaving: self.leaving,
            w.ActorExits: self.actor_exits,
            w.Inspected: lambda p, m, now: listeners.inspection.answered(m),
            w.Paused: lambda p, m, now: listeners.inspection.paused(p, m, now),
        }
        #: What comes by the hundred goes to the machine by the hundred.
        self._many: dict[type, Callable[[WorkerConnection, list[Any], float], None]] = {
            w.Done: self.done,
            w.Submit: self.submit,
        }

    def apply(self, event: object) -> None:
        """Applies an event to the machine."""
        self.loop.apply(event)

    @staticmethod
    def prepare(messages: list[Any]) -> None:
        """Unpickles what the messages carry, before any lock is taken: a call's arguments may be the user's."""
        if _CARRIERS.isdisjoint(map(type, messages)):
            return
        for at, message in enumerate(messages):
            kind = type(message)
            if kind is w.Call:
                try:
                    blob = pickling.load_in_band(message.blob)
                except Exception as error:  # the one who called learns of it
                    blob = error
                messages[at] = message._replace(blob=blob)
            elif kind is w.Output and message.bundle:
                messages[at] = message._replace(bundle=_unpickled(message.bundle))
            elif kind is w.Options:
                messages[at] = message._replace(blob=_unpickled(message.blob))

    def __call__(self, connection: Connection, messages: list[Any], now: float) -> None:
        peer = connection.peer
        if peer is None:
            for message in messages:
                self.supervisor(message, now)
            return
        handlers = self._handlers
        many = self._many
        kinds = set(map(type, messages))
        groups: Any = ((kinds.pop(), messages),) if len(kinds) == 1 else itertools.groupby(messages, type)
        for kind, group in groups:
            if kind in many:
                many[kind](peer, group if group is messages else list(group), now)
            else:
                handler = handlers[kind]
                for message in group:
                    handler(peer, message, now)

    # -- tasks ---------------------------------------------------------------------------------
    def done(self, peer: WorkerConnection, ends: list[w.Done], now: float) -> None:
        """Applies the ends of tasks."""
        setups = self._setups
        if setups.pending:
            ends = [end for end in ends if not setups.done(end)]
        if ends:
            self.apply(e.TasksFinished(now, peer.worker, ends))

    def withdrawn(self, peer: WorkerConnection, m: w.Withdrawn, now: float) -> None:
        """Applies that a worker handed unstarted tasks back; without any it answers the hang watch."""
        if not m.tasks:
            self._listeners.answered(peer.worker, m.frames)
            return
        tasks = self._setups.handed_back(peer, m.tasks)
        if tasks:
            self.apply(e.Withdrawn(now, peer.worker, tasks))

    def yielded(self, peer: WorkerConnection, m: w.Yield, now: float) -> None:
        """Applies a generator's next item."""
        self.apply(e.ItemYielded(now, peer.worker, m.task, m.index, m.value, m.size, m.contained))

    def submit(self, peer: WorkerConnection, calls: list[w.Submit], now: float) -> None:
        """Applies a worker's submissions, in their order."""
        options = peer.options
        worker = peer.worker
        self.apply(e.Submitted(now, [
            TaskSpec(task, options[key], args, deps, contained, parent, worker, scope, actor, False, 0, returns)
            for task, key, args, deps, contained, parent, scope, actor, returns in calls
        ]))  # fmt: skip

    def put(self, peer: WorkerConnection, m: w.Put, now: float) -> None:
        """Applies a worker's put."""
        self.apply(e.ObjectStored(now, m.id, m.value, m.size, m.contained, peer.worker, m.scope))

    def _number(self, request: int, control: bool) -> int:
        return request | w.ON_CONTROL if control else request

    def ask(self, peer: WorkerConnection, m: w.Ask, now: float) -> None:
        """Applies a worker's `get` or `wait`."""
        self.loop.asked = now
        handed_back = self._setups.handed_back(peer, m.handed_back)
        number = self._number(m.request, m.control)
        self.apply(e.Requested(now, peer.worker, number, m.task, m.ids, m.needed, m.is_wait, handed_back))

    def next_item(self, peer: WorkerConnection, m: w.NextItem, now: float) -> None:
        """Applies a worker's request for an item of a stream."""
        self.loop.asked = now
        handed_back = self._setups.handed_back(peer, m.handed_back)
        if handed_back:
            self.apply(e.Withdrawn(now, peer.worker, handed_back))
        number = self._number(m.request, m.control)
        self.apply(e.NextItemAsked(now, peer.worker, number, m.running, m.task, m.index))

    def drop_request(self, peer: WorkerConnection, m: w.DropRequest, now: float) -> None:
        """Applies that a worker stopped waiting for a request."""
        for number in (m.request, m.request | w.ON_CONTROL):
            self.apply(e.RequestDropped(now, peer.worker, number))

    def options(self, peer: WorkerConnection, m: w.Options, now: float) -> None:
        """Stores the task options that a worker's submissions refer to by key."""
        options: Any = m.blob  # see `prepare`
        options.key = options.uid = 0  # numbers of the worker's own
        peer.options[m.key] = self._effects.options.get(self._effects.intern(options), options)

    def definition(self, peer: WorkerConnection, m: w.Definition) -> None:
        """Stores a definition that a worker's submissions refer to by key."""
        peer.functions.add(m.key)
        self._definitions.setdefault(m.key, (m.blob, ()))

    def arena(self, peer: WorkerConnection, m: w.Arena, now: float) -> None:
        """Maps the arena whose descriptor a worker has sent."""
        self._store.attach(m.arena, peer.data.channel.fds.popleft())

    def call(self, peer: WorkerConnection, m: w.Call, now: float) -> None:
        """Carries out a call by name of a worker."""
        self.loop.asked = now
        self._listeners.call(peer, m)

    def output(self, peer: WorkerConnection, m: w.Output, now: float) -> None:
        """Delivers what a task printed or displayed."""
        bundle: Any = m.bundle or None  # see `prepare`
        piece = Output(m.kind, m.task, m.scope, peer.worker, peer.pid, m.name, m.actor, m.text, bundle)
        self._listeners.output(piece)

    # -- processes -----------------------------------------------------------------------------
    def ready(self, peer: WorkerConnection, m: w.Ready, now: float) -> None:
        """Applies that a worker process is up."""
        peer.pid = m.pid
        self.apply(e.WorkerReady(now, peer.worker, m.pid))
        self.loop.waiters.ready(WORKER_CHANGED_KEY)

    def leaving(self, peer: WorkerConnection, m: w.Leaving, now: float) -> None:
        """Stores why a worker is going to end."""
        peer.leaving = m.reason

    def actor_exits(self, peer: WorkerConnection, m: w.ActorExits, now: float) -> None:
        """Applies that a worker's actor called ``exit_actor``."""
        self.apply(e.ExitAsked(now, peer.worker))

    def supervisor(self, m: object, now: float) -> None:
        """Applies a message of the supervisor: a worker ended, or could not be started."""
        if type(m) is w.Exited:
            killed = os.WIFSIGNALED(m.status) and os.WTERMSIG(m.status) == signal.SIGKILL
            memory = self._listeners.system_killed(m.worker) if killed else ""
            self.worker_died(m.worker, now, memory or _how_it_ended(m.status), bool(memory))
        elif type(m) is w.SpawnFailed:
            self.worker_died(m.worker, now, m.reason)

    def worker_died(self, worker: int, now: float, reason: str, oom: bool = False) -> None:
        """Applies a worker's death: reads what it had sent, then the machine gets `WorkerDied`, then its arena is taken
        over.
        """
        peers = self._effects.peers
        peer = peers.get(worker)
        if peer is None or peer.ended:
            return
        peer.ended = True
        self.loop.drain_connection(peer.data, now)
        self._last_words(peer, now)
        del peers[worker]
        self.loop.remove(peer.data)
        self.loop.remove(peer.control)
        current = self._pages.board.running(peer.row) or NOTHING
        self._pages.board.clear(peer.row)
        self.apply(e.WorkerDied(now, worker, peer.leaving or reason, oom, current=current))
        self._setups.worker_died(worker, peer.leaving or reason)
        self._listeners.inspection.worker_died(worker, peer.leaving or reason)
        self._effects.adopt(worker, peer.row)
        self.loop.waiters.ready(WORKER_CHANGED_KEY)  # a thread that waits for the first worker looks again

    def _last_words(self, peer: WorkerConnection, now: float) -> None:
        """Applies what a dead worker had written to its shared row and could not send."""
        notes = self._pages.unsent.read(peer.row, peer.data.channel.came)
        try:
            messages = decode_all(notes)
        except BadFrame:  # the user's code has overwritten the row
            return
        self(peer.data, messages, now)

    def connection_lost(self, connection: Connection) -> None:
        """Removes a connection whose socket ended. The supervisor reports the worker's death, with its reason; the end
        of the supervisor's own socket is the end of all workers."""
        peer = connection.peer
        if peer is not None:  # it may be writing that failed: what it has sent is read all the same
            self.loop.drain_connection(connection, time.monotonic())
        self.loop.remove(connection)
        if peer is None:
            self._listeners.supervisor_lost()
        elif not peer.ended and peer.worker in self._effects.peers:
            # Either it is dying, or it sent nonsense: make sure that it is gone.
            self._effects.kill_worker(peer.worker)


def _how_it_ended(status: int) -> str:
    """Returns in words how a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = {"SIGSEGV": " (a crash in native code)", "SIGKILL": " (killed, perhaps for memory)"}
        return f"it was ended by {name}{hint.get(name, '')}"
    return f"it exited with code {code}"
