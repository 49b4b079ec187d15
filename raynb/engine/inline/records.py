"""Records of `InlineEngine`: a running task, a stream, an actor; and the context of a call."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from types import TracebackType
from typing import Any, NoReturn

from raynb.base.engine import Packed
from raynb.base.process import package
from raynb.base.ref import ObjectRef
from raynb.base.rows import ActorRow, TaskRow
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.core.tasks import retries
from raynb.engine.inline.event_loop import DrivenLoop
from raynb.exceptions import AsyncioActorExit


class LeaveActor(BaseException):
    """`exit_actor`: the actor ends after this call."""


class InlineTask:
    """One task while it runs."""

    def __init__(self, row: TaskRow, options: TaskOptions, scope: int, host: InlineActor | None) -> None:
        self.row = row
        self.options = options
        self.scope = scope
        self.host = host
        self.attempt = 0
        self.retries = options.max_retries  # left; -1: without end
        self.again = False  # its actor was restarted under it, and it is to run again there
        self.begun = False  # of a call of an async actor: the event loop has begun with it
        self.cancelled = False
        self.leaving = False
        self.job: asyncio.Task[Any] | None = None  # in async actors

    def next_attempt(self) -> None:
        """Counts one more attempt."""
        self.again = False
        self.attempt += 1
        self.row.attempt += 1
        self.retries = retries.less_one(self.retries)


def leave_actor() -> NoReturn:
    """`exit_actor`: the actor ends after this call, even if the exception is caught."""
    now = running.get()
    assert now is not None
    now.leaving = True
    raise AsyncioActorExit if now.host is not None and now.host.loop is not None else LeaveActor


#: The task that the calling code belongs to; threads that copy their context belong to it too.
running: contextvars.ContextVar[InlineTask | None] = contextvars.ContextVar("raynb_inline_running", default=None)


class InlineStream:
    """The items of a generator: made ahead as far as its backpressure allows, without it all at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: dict[int, ObjectRef[object]] = {}
        self.made = 1  # index of the latest item; the first is 2
        self.taken = 1
        self.ended = False
        self.iterator: Any = None
        self.space: asyncio.Event | None = None  # for async generators
        self.loop: DrivenLoop | None = None

    def full(self) -> bool:
        """Returns whether backpressure stops the producer: as many unread items as allowed are there."""
        return self.limit > 0 and self.made - self.taken >= self.limit


class InlineActor:
    """An actor: its instance and, if it is async, its event loop.

    Thread contract: calls of a sync actor run one at a time (``turn``).
    """

    def __init__(self, spec: ActorSpec, options: TaskOptions, packed: Packed, scope: int) -> None:
        self.spec = spec
        self.options = options
        self.packed = packed
        self.instance: Any = None
        self.dead: Any = None  # the error value of calls that come too late
        self.traceback: TracebackType | None = None  # of what its constructor raised: debuggers go there
        self.restarts = 0
        self.pending = 0
        self.turn = threading.RLock()
        self.loop = DrivenLoop() if spec.is_async else None
        self.limit: asyncio.Semaphore | None = None
        self.row = ActorRow(spec.actor_id, spec.class_name, spec.name, spec.namespace, pid=os.getpid(),
                            max_restarts=spec.max_restarts, scope=scope, worker=1,
                            detached=spec.lifetime == "detached")  # fmt: skip


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """Returns the part of a traceback that begins in the user's code."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(package.FOLDER):
        traceback = traceback.tb_next
    return traceback
