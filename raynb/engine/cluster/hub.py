"""An actor that collects what workers report, and the driver's thread that applies it.

Workers push batches of events: output, and what became of tasks. A worker counts its events; a result names how
many must have been taken before it (`bridge.Value.mark`), so a task's output is always shown before its result, and
that of a nested task between what its caller prints before and after it (`CausalOrder`). The hub runs on the driver's
node. If it is lost all the same, the driver makes it again, and workers send again what was not acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ray

from raynb.base.process import trace
from raynb.engine.causal import CausalOrder, Mark
from raynb.engine.cluster import rays

NAMESPACE = "raynb"
#: Seconds that a result, and the end of a stream, wait for their output at the most. The variable is for checks on
#: machines that are busy: set where the nodes start, it goes for their workers.
OUTPUT_WAIT_SECONDS = float(os.environ.get("RAYNB_OUTPUT_WAIT_SECONDS", "5"))
TICK_SECONDS = 0.5  # seconds between two looks at what nothing was heard of
QUESTIONS_KEPT = 100  # to a worker that does not listen, at the most
GATHER_SECONDS = 0.1  # seconds in which reports nobody waits for are gathered
#: Seconds that workers gather reports: while a view is open, and when nobody looks.
LIVELY_SECONDS, CALM_SECONDS = 0.1, 1.0


def name_of(nonce: int) -> str:
    """Returns the name of a runtime's hub actor."""
    return f"raynb-hub-{nonce:08x}"


class Hub:
    """The actor that collects reports.

    Batches stay pickled: only the driver unpickles them. Thread contract: one event loop.
    """

    def __init__(self) -> None:
        self.life = random.randrange(1, 1 << 64)  # Ray makes it again when its process ends
        self.batches: deque[Any] = deque()
        self.there = asyncio.Event()
        self.urgent = asyncio.Event()
        self.pause = CALM_SECONDS
        self.questions: dict[str, deque[bytes]] = {}  # reporter → what it is asked
        self.asked = asyncio.Condition()
        self.begun = self.answered = 0  # pulls
        self.pulled = asyncio.Condition()

    async def ask(self, worker: str, question: bytes) -> None:
        """Takes a question of the driver's for a worker."""
        async with self.asked:
            self.questions.setdefault(worker, deque(maxlen=QUESTIONS_KEPT)).append(question)
            self.asked.notify_all()

    async def listen(self, worker: str, patience: float) -> list[bytes]:
        """Returns what a worker is asked; waits for it (seconds)."""
        async with self.asked:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.asked.wait_for(lambda: bool(self.questions.get(worker))), patience)
            return list(self.questions.pop(worker, ()))

    async def push(self, worker: str, sent: float, urgent: bool, failed: bool, output: bytes, ends: bytes) -> float:
        """Takes a batch; returns for how many seconds the worker gathers the next one.

        Args:
            worker: the reporter's name.
            sent: the time there.
            urgent: somebody waits for it.
            failed: the batch reports a failure and is read soon.
            output: (how many events before, events), pickled; empty if nothing was printed.
            ends: the same of what became of tasks.
        """
        if output or ends:
            self.batches.append((worker, time.time() - sent, failed, output, ends))
        self.there.set()
        if urgent:
            self.urgent.set()
        return self.pause

    async def pull(self, patience: float, looked_at: bool) -> tuple[float, list[Any], int]:
        """Returns the time, the batches that came since the last call, and the number of this life.

        Args:
            patience: seconds to wait for a batch.
            looked_at: a view is open.
        """
        self.pause = LIVELY_SECONDS if looked_at else CALM_SECONDS
        async with self.pulled:
            self.begun += 1
            self.pulled.notify_all()
        try:
            await asyncio.wait_for(self.there.wait(), patience)
            if not self.urgent.is_set():
                await asyncio.wait_for(self.urgent.wait(), GATHER_SECONDS)
        except asyncio.TimeoutError:
            pass
        self.there.clear()
        self.urgent.clear()
        found = list(self.batches)
        self.batches.clear()
        self.answered += 1
        return time.time(), found, self.life

    async def applied(self, patience: float) -> None:
        """Returns once the driver has applied all that is here now, or was: it pulls again then. At most (seconds)."""
        wanted = self.answered + 1
        if self.batches:
            wanted += 1
            self.urgent.set()
        async with self.pulled:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.pulled.wait_for(lambda: self.begun >= wanted), patience)


def reporter_name(nonce: int, process: str) -> str:
    """Returns the name of what reports of a process to one driver."""
    return f"{nonce:08x}-{process}"


def is_for(mark: Mark | None, nonce: int) -> bool:
    """Returns whether the reports that a mark names are sent to this driver, and not to another one."""
    return mark is not None and mark[0].startswith(reporter_name(nonce, ""))


def make_hub(nonce: int, env: dict[str, Any] | None = None) -> Any:
    """Starts the hub beside the driver, where it lives as long as the driver can."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Not soft: while this node is busy Ray would take another one, with which the hub can be lost. Without this node
    # there is no driver either.
    where = NodeAffinitySchedulingStrategy(rays.context().get_node_id(), soft=False)
    cls = rays.remote(Hub, num_cpus=0, max_concurrency=10_000, max_restarts=-1)
    return cls.options(
        name=name_of(nonce), namespace=NAMESPACE, scheduling_strategy=where, get_if_exists=True, runtime_env=env or None
    ).remote()


def guarded(doing: str, step: Callable[..., object], *given: object) -> None:
    """Calls a step of a thread that serves all tasks: an error of one step leaves a trace, and the thread goes on.

    Args:
        doing: what the step does, for the trace.
        step: is called with ``given``. What it raises may be anything: callbacks of the user's run in some steps.
    """
    try:
        step(*given)
    except BaseException as error:
        trace.swallowed(doing, error)


class Listener:
    """The driver's thread that takes what the hub has. No error of the code that it calls ends it.

    Args:
        hub: handle of the hub.
        nonce: of the driver.
        again: makes the hub again; returns its handle.
        take: called with (worker, events, seconds that its clock is behind) of what each one printed, in order.
        ends: called with (worker, seconds, whether it is to be read soon, pickle) of what became of tasks.
        tick: called at least every `TICK_SECONDS` seconds.
        lost: called with whether the connection is over, and with the error.

    Thread contract: `seen` from any thread; the callbacks run on the listener's own.
    """

    def __init__(self, hub: Any, nonce: int, again: Callable[[], Any], take: Callable[[str, list[Any], Any], None],
                 ends: Callable[[str, float, bool, bytes], None], tick: Callable[[], None],
                 lost: Callable[[bool, BaseException], None]) -> None:  # fmt: skip
        self._hub = hub
        self._nonce = nonce
        self._again = again
        self._ends = ends
        self._tick = tick
        self._lost = lost
        self._session = rays.session()
        self._changed = threading.Condition()
        self._order = CausalOrder(take, OUTPUT_WAIT_SECONDS)
        #: The number of the hub that has answered last, 0: the one that there is has not. With it, what it had for the
        #: driver is lost.
        self._life = 0
        self._behind: dict[str, float] = {}
        self._hub_behind = float("inf")
        self._later: list[tuple[Mark, float, Callable[[], None]]] = []  # the time is when the wait ends, monotonic
        #: Reporters whose output did not come in time: nobody waits for more of it until one of them is heard again.
        self._silent: set[str] = set()
        self._losses = 0
        self._stopping = False
        self.looked_at = float("-inf")  # when a view last asked, monotonic
        self._thread = threading.Thread(target=self._serve, name="raynb-cluster", daemon=True)
        self._thread.start()

    @property
    def hub(self) -> Any:
        """Returns the handle of the hub actor."""
        return self._hub

    def _serve(self) -> None:
        ticked = time.monotonic()
        while not self._stopping:
            try:
                looked_at = time.monotonic() - self.looked_at < 5.0
                now, batches, life = rays.get(rays.call(self._hub, "pull", [TICK_SECONDS, looked_at]))
            except BaseException as error:
                if self._stopping or not self._survived(error):
                    break
                continue
            if self._life not in (0, life):  # Ray has made it again, and no call was on its way
                self._was_lost(ConnectionError("its process ended"), self._life)
            self._life = life
            self._hub_behind = min(self._hub_behind, time.time() - now)
            for batch in batches:
                guarded("reading what a worker reports", self._batch, *batch)
            if time.monotonic() - ticked >= TICK_SECONDS:
                guarded("applying reports that waited for others", self._order.look, time.monotonic())
                self._release()
                guarded("looking after the cluster's tasks", self._tick)
                ticked = time.monotonic()
        self._give_up(stopping=True)

    def _survived(self, error: BaseException) -> bool:
        """Makes the hub again after an error; returns False if the whole connection is over."""
        over = not rays.is_connected() or rays.session() is not self._session
        if over:
            guarded("telling that the connection is over", self._lost, True, error)
            return False
        life, self._life = self._life, 0
        if not isinstance(error, ray.exceptions.ActorUnavailableError):
            try:
                self._hub = self._again()
            except BaseException:  # the cluster cannot start it now: later
                time.sleep(TICK_SECONDS)
        else:
            time.sleep(0.1)
        self._was_lost(error, life)
        return True

    def _was_lost(self, error: BaseException, life: int) -> None:
        """Tells of a loss, unless that hub (``life`` 0) has never answered, and ends the waits for what it had."""
        if not self._losses or life:
            guarded("telling that the hub was lost", self._lost, False, error)
        self._hub_behind, self._behind = float("inf"), {}  # the next one may be on another machine
        self._give_up(stopping=False)

    def _give_up(self, stopping: bool) -> None:
        """Wakes everybody who waits for output that may never come."""
        guarded("applying reports whose causes were lost", self._order.give_up)
        with self._changed:
            self._stopping = self._stopping or stopping
            left, self._later = self._later, []
            self._losses += 1
            self._changed.notify_all()
        for _, _, then in left:
            guarded("giving out a value after its task's output", then)

    def _batch(self, worker: str, behind: float, failed: bool, output: bytes, ends: bytes) -> None:
        self._behind[worker] = behind = min(behind, self._behind.get(worker, behind))
        if ends:
            # What is printed must be in order whatever becomes of the rows.
            guarded("reading the ends of tasks", self._ends, worker, behind + self._hub_behind, failed, ends)
        if output:
            first, events = pickle.loads(output)
            self._order.add(worker, first, events, behind + self._hub_behind, time.monotonic())
            self._silent.discard(worker)
            self._release()

    def _release(self) -> None:
        """Calls those who waited for reports that are applied now, or for too long."""
        now = time.monotonic()
        with self._changed:
            self._changed.notify_all()
            late = [mark for mark, until, _ in self._later if until <= now and not self._order.has(mark)]
            self._silent.update(reporter for reporter, _ in late)
            ready = [one for one in self._later if self._order.has(one[0]) or one[0][0] in self._silent]
            self._later = [one for one in self._later if one not in ready]
        for _, _, then in ready:
            guarded("giving out a value after its task's output", then)

    def _is_awaited(self, mark: Mark) -> bool:
        """Returns whether the reports that ``mark`` names are still to come, as far as is known."""
        return not self._order.has(mark) and is_for(mark, self._nonce) and mark[0] not in self._silent

    def seen(self, mark: Mark | None) -> None:
        """Waits until the reports that ``mark`` names are applied (at most `OUTPUT_WAIT_SECONDS`)."""
        if mark is None or threading.current_thread() is self._thread or not self._is_awaited(mark):
            return
        with self._changed:
            losses = self._losses

            def over() -> bool:
                return self._stopping or self._losses > losses or not self._is_awaited(mark)

            if not self._changed.wait_for(over, OUTPUT_WAIT_SECONDS):
                self._silent.add(mark[0])  # else each of its values waits as long

    def when_seen(self, mark: Mark | None, then: Callable[[], None]) -> None:
        """Calls ``then`` on the listener's thread once those reports are applied, or late; at once if they are."""
        with self._changed:
            if mark is not None and not self._stopping and self._is_awaited(mark):
                self._later.append((mark, time.monotonic() + OUTPUT_WAIT_SECONDS, then))
                return
        then()

    def stop(self) -> None:
        """Applies what has arrived, then ends the thread."""
        self._stopping = True
        self._thread.join(TICK_SECONDS + 2.0)
