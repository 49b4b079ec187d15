"""Carries out the machine's commands: messages into outboxes, bytes given back, processes asked for.

Runs under the engine's lock, so nothing here waits or writes to a socket.
"""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable
from typing import Any, Protocol

from raynb.base import ends
from raynb.base.process.waits import time
from raynb.base.rows import RUNNING
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.engine.loop.connections import Connection, WorkerConnection, with_fds
from raynb.engine.loop.loop import Loop
from raynb.engine.loop.seams import Processes, Storage
from raynb.engine.loop.waiters import WORKER_CHANGED_KEY
from raynb.engine.loop.worker_pages import WorkerPages
from raynb.exceptions import RaySystemError
from raynb.store import UnknownArena
from raynb.wire import messages as w
from raynb.wire.codec import code_of

_RUN = code_of(w.Run)
BIG_BYTES = 1 << 20  # freed ranges of this size (bytes) are sent at once, not with the next message


class Says(Protocol):
    """Shows the engine's own messages to the user."""

    def warn(self, text: str, scope: int = 0) -> None:
        """Shows a warning of the engine in a cell; scope 0: in no particular one."""

    def report_failure(self, command: c.ReportFailure) -> None:
        """Shows a failure that nobody has asked about."""


class Effects:
    """Carries out commands.

    Args:
        pages: the memory that every worker shares with the driver.
        definitions: key → (pickle, refs) of functions and classes.
        output: where warnings go.

    Thread contract: under the engine's lock.
    """

    processes: Processes

    def __init__(
        self, loop: Loop, store: Storage, pages: WorkerPages, definitions: dict[str, tuple[bytes, Any]], output: Says
    ) -> None:
        self.loop = loop
        self._machine = loop.machine
        self._store = store
        self._pages = pages
        self._definitions = definitions
        self._output = output
        #: Called with each worker whose channels are there.
        self.on_worker_started: Callable[[WorkerConnection], None] = lambda peer: None
        self.peers: dict[int, WorkerConnection] = {}
        self.options: dict[int, TaskOptions] = {}
        self._uids: dict[Any, int] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            c.Run: self.run,
            c.Free: self.free,
            c.Reply: self.reply,
            c.Withdraw: lambda cmd: self.control(cmd.worker, w.Withdraw(cmd.tasks)),
            c.Interrupt: self.interrupt,
            c.AllowItems: lambda cmd: self.control(cmd.worker, w.Allow(cmd.task, cmd.consumed)),
            c.StartWorker: self.start,
            c.StopWorker: self.stop,
            c.KillWorker: self.kill,
            c.Warn: lambda cmd: output.warn(cmd.text, cmd.scope),
            c.ReportFailure: output.report_failure,
        }

    def __call__(self, commands: list[Any]) -> None:
        handlers, ready = self._handlers, self.loop.waiters.ready
        for command in commands:
            if type(command) is c.Ready:  # one a task: "1,000 tasks" takes 0.5 % longer by way of the table
                ready(command.id, command.failed)
            else:
                handlers[type(command)](command)

    # -- sending -------------------------------------------------------------------------------
    def send(self, connection: Connection, message: object) -> None:
        """Appends a message to the connection's outbox; the next flush sends it."""
        connection.outbox.append(message)
        if not connection.dirty:
            connection.dirty = True
            self.loop.dirty.append(connection)

    def control(self, worker: int, message: object) -> None:
        """Sends a message on the worker's control channel, if the worker is connected."""
        peer = self.peers.get(worker)
        if peer is not None:
            self.send(peer.control, message)

    def interrupt(self, command: c.Interrupt) -> None:
        """Has a worker cancel its task: on the shared board, and by a message."""
        peer = self.peers.get(command.worker)
        if peer is not None:
            self._pages.board.interrupt(peer.row)  # before the message: see `Board`
            self.send(peer.control, w.Interrupt(command.task))

    def intern(self, options: TaskOptions) -> int:
        """Returns the number under which workers know these options."""
        uid = options.uid
        if not uid:
            content = options.content()
            uid = self._uids.get(content) or len(self._uids) + 1
            self._uids[content] = uid
            options.uid = uid
            self.options.setdefault(uid, options)
        return uid

    def run(self, command: c.Run) -> None:
        """Sends a task to its worker, with the definition and options that the worker lacks."""
        task = command.task
        spec = task.spec
        options = spec.options
        peer = self.peers[command.worker]
        connection = peer.data
        uid = options.uid or self.intern(options)
        if uid not in peer.sent_options:
            self._send_options(peer, connection, uid, options)
        key = options.function
        if not spec.actor and key not in peer.functions:
            self._send_definition(peer, connection, key)
        actor = spec.actor
        if spec.creates_actor:
            actor = spec.task_id
            self._send_actor(peer, connection, self._machine.actors.table[actor].spec)
        values: tuple[Any, ...] = ()
        if spec.deps:
            table = self._machine.objects.table
            values = tuple(table[dep].value for dep in spec.deps)
            for value in values:
                if type(value) is tuple and value[0] == "shm":
                    self.send_arena(peer, connection, value[1])
        gpus = task.gpus or (self._gpus(command) if spec.creates_actor else ())
        # Made as it is sent: see `encode`.
        connection.outbox.append((_RUN, spec.task_id, uid, spec.args, spec.deps, values, command.lent, spec.attempt,
                            spec.scope, actor, gpus))  # fmt: skip
        if not connection.dirty:
            connection.dirty = True
            self.loop.dirty.append(connection)
        if task.state == RUNNING:
            self.loop.hungry = True

    def _gpus(self, command: c.Run) -> tuple[int, ...]:
        """Returns the GPUs of the actor that the task creates."""
        gpus: tuple[int, ...] = self._machine.pool.table[command.worker].gpus
        return gpus

    def _send_options(self, peer: WorkerConnection, connection: Connection, uid: int, options: TaskOptions) -> None:
        peer.sent_options.add(uid)
        self.send(connection, w.Options(uid, pickle.dumps(options, 5)))
        if options.surroundings and options.surroundings not in peer.functions:
            self._send_definition(peer, connection, options.surroundings)

    def _send_definition(self, peer: WorkerConnection, connection: Connection, key: str) -> None:
        peer.functions.add(key)
        self.send(connection, w.Definition(key, self._definitions[key][0]))

    def run_setup(self, peer: WorkerConnection, number: int, options: TaskOptions, args: object, deps: tuple[int, ...],
                  scope: int) -> None:  # fmt: skip
        """Sends a worker a setup, which is no task (see `Everywhere`)."""
        connection = peer.data
        uid = options.uid or self.intern(options)
        if uid not in peer.sent_options:
            self._send_options(peer, connection, uid, options)
        if options.function not in peer.functions:
            self._send_definition(peer, connection, options.function)
        table = self._machine.objects.table
        values = tuple(table[dep].value for dep in deps)
        for value in values:
            if type(value) is tuple and value[0] == "shm":
                self.send_arena(peer, connection, value[1])
        self.send(connection, w.Run(number, uid, args, deps, values, (), 0, scope, 0))

    def _send_actor(self, peer: WorkerConnection, connection: Connection, spec: ActorSpec) -> None:
        if spec.class_key not in peer.functions:
            self._send_definition(peer, connection, spec.class_key)
        self.send(connection, w.Actor(pickle.dumps(spec, 5)))

    def send_arena(self, peer: WorkerConnection, connection: Connection, arena: int) -> None:
        """Sends a worker the descriptor of an arena it cannot read yet, before the message that names it."""
        if arena == peer.worker:
            return
        known = (connection is peer.control, arena)
        if known in peer.arenas:
            return
        try:
            fd = self._store.fd_of(arena)
        except UnknownArena:
            return  # its objects are gone; the worker's read says so
        peer.arenas.add(known)
        self.send(connection, with_fds(w.Arena(arena), os.dup(fd)))

    def reply(self, command: c.Reply) -> None:
        """Answers a worker's request with the values of the ready objects."""
        peer = self.peers.get(command.worker)
        if peer is None:
            return
        number = command.request
        connection = peer.data
        if number & w.ON_CONTROL:
            connection = peer.control
            number &= ~w.ON_CONTROL
        values: tuple[Any, ...] = ()
        if command.error is not None:
            values = (command.error,) * len(command.ids)
        elif not command.is_wait:
            table = self._machine.objects.table
            values = tuple(
                table[i].value if i in table else ends.object_lost(self._machine.spelling.object(i))
                for i in command.ids
            )
            for value in values:
                if type(value) is tuple and value[0] == "shm":
                    self.send_arena(peer, connection, value[1])
        self.send(connection, w.Reply(number, command.ids, values, command.lent))

    def adopt(self, worker: int, row: int) -> None:
        """Takes over the objects in a dead worker's arena; slow work follows after the lock."""
        later = self.loop.callbacks
        kept = [
            obj.value for obj in self._machine.objects.table.values()
            if type(obj.value) is tuple and obj.value[0] in ("shm", "file")
        ]  # fmt: skip
        closed = functools.partial(later.append, functools.partial(self._arena_closed, worker, row))
        later.append(self._store.adopt(worker, kept, row, closed))

    def _arena_closed(self, arena: int, row: int) -> None:
        """Releases a dead worker's slot: nothing is left in its arena, and others may close it."""
        with self.loop.lock:
            self._pages.slots.give(row)
            self._forget(arena)
        self.loop.flush()

    def _forget(self, arena: int) -> None:
        for peer in self.peers.values():
            for connection in (peer.data, peer.control):
                known = (connection is peer.control, arena)
                if known in peer.arenas:
                    peer.arenas.discard(known)
                    self.send(connection, w.Forget(arena))

    def free(self, command: c.Free) -> None:
        """Releases an object's bytes: here, at the worker that owns the arena, or on disk."""
        value = command.value
        if value[0] == "file" or value[1] not in self.peers:
            if value[0] == "shm" and value[1] == self._store.slot:
                self._free_here(value)
            else:  # removing a file, or giving pages back, takes its time: not under the lock
                self.loop.callbacks.append(functools.partial(self._free_here, value))
            return
        peer = self.peers[value[1]]
        big = value[3] >= BIG_BYTES
        self.send(peer.control if big else peer.data, w.Free((value,)))

    def _free_here(self, value: Any) -> None:
        try:
            self._store.free(value)
        except (UnknownArena, ValueError):
            pass  # went with the process that made it
        except OSError as error:
            self._output.warn(f"a spilled object's file could not be removed: {error}")

    # -- processes -----------------------------------------------------------------------------
    def start(self, command: c.StartWorker) -> None:
        """Asks the supervisor for a worker process."""
        pages = self._pages
        row = 0
        try:
            row = pages.slots.take()
            pages.clear(row)
            settings = {"env": command.env, "row": row}
            data, control, request = self.processes.spawn(command.worker, settings, pages.fds())
        except (RaySystemError, ValueError, OSError) as error:
            if row:
                pages.slots.give(row)
            reason = str(error)  # `error` itself is gone when the callback runs
            self.loop.callbacks.append(lambda: self._not_started(command.worker, reason))
            return
        peer = WorkerConnection(command.worker, data, control, row)
        self.peers[command.worker] = peer
        self.loop.add(peer.data)
        self.loop.add(peer.control)
        self.send(self.processes.connection, request)
        self.on_worker_started(peer)

    def _not_started(self, worker: int, reason: str) -> None:
        self.loop.dispatch(e.WorkerDied(time.monotonic(), worker, reason))
        with self.loop.lock:
            self.loop.waiters.ready(WORKER_CHANGED_KEY)  # a start of the runtime, which may have been given up

    def stop(self, command: c.StopWorker) -> None:
        """Asks a worker to leave after what it was sent."""
        peer = self.peers.get(command.worker)
        if peer is not None:
            self.send(peer.data, w.Stop())

    def kill(self, command: c.KillWorker) -> None:
        """Has the supervisor kill a worker process."""
        self.kill_worker(command.worker)

    def kill_worker(self, worker: int) -> None:
        """Ends a worker's process at once."""
        if worker in self.peers:
            self.send(self.processes.connection, w.Kill(worker, 9))
