"""Protocols by which the parts of the loop (`Pace`, `IoThread`, `Waiters`) use it, and each other through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from raynb.base.interrupts import Critical
from raynb.base.spec import TaskSpec
from raynb.core.machine import Machine
from raynb.core.vocabulary import events as e
from raynb.engine.loop.callbacks import Callbacks
from raynb.engine.loop.connections import Connection
from raynb.engine.loop.health import Health
from raynb.engine.loop.polling import Poller, Wake


class CallsBack(Protocol):
    """Has a callback for the end of a wait: `Waiter`."""

    callback: Callable[[], None] | None
    ours: bool  # it only wakes somebody, and needs no thread of its own


class Leads(Protocol):
    """Knows whether a thread of the user's reads the sockets: `Waiters`."""

    leading: bool
    last_led: float  # monotonic seconds
    poll: Poller

    def wake_all(self) -> None:
        """Wakes everybody who waits."""


class Sleeps(Protocol):
    """The I/O thread: `IoThread`."""

    asleep: int  # 0: awake
    stopping: bool
    wake: Wake

    def step_aside(self) -> None:
        """Leaves the sockets to a thread that waits in `get`."""


class CountsSubmissions(Protocol):
    """`Pace`."""

    submissions: int


class SharedLoop(Protocol):
    """The loop, as its parts see it: see `Loop` for what each member is."""

    machine: Machine
    lock: Critical
    health: Health
    users: Callbacks
    connections: dict[int, Connection]
    dirty: deque[Connection]
    submission_queue: deque[TaskSpec | e.ObjectStored]
    ref_log: deque[Any]
    view_log: deque[int]
    drop_log: deque[tuple[list[int], float]]
    asked: float
    last_flush: float
    hungry: bool
    on_tick: Callable[[float], None]

    @property
    def waiters(self) -> Leads:
        """The threads that wait, one of which reads the sockets."""

    @property
    def io(self) -> Sleeps:
        """The I/O thread."""

    @property
    def pace(self) -> CountsSubmissions:
        """The count of submissions."""

    def dispatch(self, event: object, max_refs: int = ...) -> None:
        """Applies an event to the machine, and sends what it ordered."""

    def flush(self) -> None:
        """Sends all outboxes."""

    def receive(self, events: list[tuple[int, int]]) -> None:
        """Reads the sockets that are ready."""

    def drain_all(self) -> None:
        """Drains the submission queue and the logs."""

    def is_inside(self, thread: int) -> bool:
        """Returns whether a thread is in the middle of a change, of reading or of sending."""

    def is_reading(self) -> bool:
        """Returns whether the calling thread is in `receive`."""

    def call_back(self, waiter: CallsBack) -> None:
        """Schedules a waiter's callback."""

    def run_callbacks(self) -> None:
        """Runs raynb's own queued callbacks."""
