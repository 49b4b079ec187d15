"""Asks workers that have work whether they answer, and reports to the machine those that do not.

The question is an empty `Withdraw` on the control channel: a thread of its own answers it, so a
worker that computes does answer, and one that is stopped, or whose native code holds Python's
lock, doesn't.

Question and answer say how many frames have gone out on the data channel. So a frame that was lost
there is found out, in either direction, even when none follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from raynb.base import engine as slot
from raynb.base.process import package
from raynb.core.vocabulary import events as e
from raynb.core.vocabulary.records import Worker
from raynb.engine.loop.connections import WorkerConnection
from raynb.engine.loop.loop import Loop
from raynb.run.inspection import dumps
from raynb.run.inspection.stacks import Stack
from raynb.wire import messages as w

ASK_TIMES = 3  # a question that is not answered is asked so often: it, or the answer, may be lost itself
MAX_FRAMES = 8  # of the stack in a warning, the innermost ones
MIN_LOOKS = 5  # a question is open over so many looks, or the driver itself was held up
MAX_DUMP_LOOKS = 40  # then the worker is told of without its stack, or with the part that there is


class HangWatch:
    """Asks, and counts the answers.

    Args:
        peers: the workers that are connected.
        control: sends a worker a message on its control channel. Under the lock.
        limit: seconds without an answer after which a `WorkerSilent` is dispatched; 0: nobody is asked.

    Thread contract: `tick` in the I/O thread, `answered` under the engine's lock.
    """

    def __init__(
        self, loop: Loop, peers: Mapping[int, WorkerConnection], control: Callable[[int, Any], None], limit: float
    ) -> None:
        self._loop = loop
        self._machine = loop.machine
        self._peers = peers
        self._control = control
        self._limit = limit
        self._open: dict[int, tuple[float, int]] = {}  # worker → when it was asked, looks since
        self._asked: dict[int, int] = {}  # how often
        self._claims: dict[int, tuple[int, int]] = {}  # worker → frames it has sent, looks since
        self._warned: set[int] = set()
        #: Worker that does not answer → its stacks, by a signal; looks since they were asked for.
        self._dumps: dict[int, tuple[dumps.Dump, int]] = {}
        self._next = 0.0

    def answered(self, worker: int, frames: int = 0) -> None:
        """Applies a worker's answer: it is there, and it has received so many frames."""
        self._open.pop(worker, None)
        self._asked.pop(worker, None)
        self._dumps.pop(worker, None)
        if frames:
            self._claims[worker] = (frames, 0)
        self._warned.discard(worker)

    def tick(self, now: float) -> None:
        """Checks the open questions, and asks again when the last round is over."""
        limit = self._limit
        if not limit:
            return
        if self._open:
            self._look(now, 0.6 * limit)
        if self._claims:
            self._compare()
        if now >= self._next:
            self._next = now + 0.2 * limit
            self._ask(now)

    def _ask(self, now: float) -> None:
        peers = self._peers
        with self._loop.lock:
            for gone in [worker for worker in self._open if worker not in peers]:
                self.answered(gone)
            for worker in self._machine.pool.table.values():
                if worker.pid and worker.id in peers and self._may_ask(worker):
                    self._open.setdefault(worker.id, (now, 0))
                    self._asked[worker.id] = self._asked.get(worker.id, 0) + 1
                    self._control(worker.id, w.Withdraw((), peers[worker.id].data.channel.out))
        self._loop.flush()

    def _compare(self) -> None:
        """Ends a worker that has lost frames: they are neither here nor on their way."""
        loop = self._loop
        with loop.lock:
            for worker, (frames, looks) in list(self._claims.items()):
                peer = self._peers.get(worker)
                channel = peer.data.channel if peer is not None else None
                if peer is None or channel is None or channel.closed or channel.came >= frames:
                    del self._claims[worker]
                elif channel.readable():
                    self._claims[worker] = (frames, 0)
                elif looks < MIN_LOOKS:
                    self._claims[worker] = (frames, looks + 1)
                else:
                    del self._claims[worker]
                    loop.lost(peer.data)
        loop.flush()

    def _may_ask(self, worker: Worker) -> bool:
        return self._asked.get(worker.id, 0) < ASK_TIMES and self._works(worker)

    def _works(self, worker: Worker) -> bool:
        if worker.actor:
            actor = self._machine.actors.table.get(worker.actor)
            return bool(actor is not None and actor.inflight)
        return bool(worker.queue)

    def _look(self, now: float, limit: float) -> None:
        silent = []
        with self._loop.lock:
            for worker, (asked, looks) in list(self._open.items()):
                self._open[worker] = (asked, looks + 1)
                if worker not in self._warned and looks >= MIN_LOOKS and now - asked > limit:
                    peer = self._peers.get(worker)
                    silent.append((worker, now - asked, peer.pid if peer is not None else 0))
        for worker, seconds, pid in silent:
            asked_for = self._dumps.get(worker)
            if asked_for is None:  # its stack is there at one of the next looks
                self._dumps[worker] = dumps.Dump(0 if stopped(pid) else pid), 0
                continue
            dump, looks = asked_for
            if dump.asked and looks < MAX_DUMP_LOOKS and not dump.whole():  # it is being written
                self._dumps[worker] = dump, looks + 1
                continue
            del self._dumps[worker]
            self._warned.add(worker)
            self._loop.dispatch(e.WorkerSilent(now, worker, seconds, stopped(pid), _users_part(dump.stacks())))


def stopped(pid: int) -> bool:
    """Returns whether the system says that a process is stopped (Linux; elsewhere False)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def _users_part(stacks: list[Stack]) -> tuple[str, ...]:
    """Returns, as lines, what the thread that runs tasks does: the innermost frames of those that are not raynb's."""
    frames = stacks[0].frames if stacks else []
    kept = [place for place in frames if not place[0].startswith((package.FOLDER, "<frozen", "<string>"))]
    return tuple(slot.show_stack(kept[-MAX_FRAMES:]))
