"""`Shared` and `Missing`, which all parts of a cluster engine use, and `Side`, which differs between the driver and a
task."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from raynb.base import ids
from raynb.base.engine import Engine, Packed
from raynb.base.ref import ObjectRef
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.engine.causal import Mark


@dataclass(slots=True)
class Missing:
    """A wait, as listeners see it: how many objects are not ready yet."""

    left: int
    keys: tuple[int, ...] = ()
    since: float = field(default_factory=time.monotonic)
    aside: Callable[[], object] | None = None  # is to be called by the thread that waits

    def step_aside(self) -> float:
        """Calls what is to be called meanwhile; returns the seconds that it took, which don't count."""
        if self.aside is None:
            return 0.0
        began, aside, self.aside = time.monotonic(), self.aside, None
        aside()
        return time.monotonic() - began


class Side(Protocol):
    """The process that an engine is in: the driver, or a worker of Ray's while it runs a task.

    Thread contract: any thread.
    """

    def here(self) -> tuple[int, int]:
        """Returns (task, scope) of the calling code."""

    def reports_to(self) -> int:
        """Returns the nonce of the driver that the calling code reports to; 0: the one of this engine."""

    def so_far(self) -> Any:
        """Returns the `Mark` of what the calling code has printed, if another process has to wait for it, else None."""

    def debuggable(self) -> bool:
        """Returns whether somebody answers the prompt of a breakpoint."""

    def native_handle(self, object_id: int) -> Any:
        """Returns Ray's handle of the actor that the calling code is, if the id is its handle's; else None."""

    def defined(self, key: str, blob: bytes) -> None:
        """Called before a function or class is used."""

    def submitted(self, task: int, native: object, options: TaskOptions, actor: int, creates: bool) -> None:
        """Called after a task was submitted to Ray."""

    def stored(self, identity: int, packed: Packed) -> None:
        """Called after a put."""

    def has_actor(self, spec: ActorSpec, handle: object) -> None:
        """Called after an actor was made, or found by its name."""

    def killed(self, actor: int) -> None:
        """Called after an actor was killed for good."""

    def seen(self, mark: Mark | None) -> None:
        """Called before a value is returned: waits for its task's output."""

    def when_seen(self, mark: Mark | None, then: Callable[[], None]) -> None:
        """As `seen`, without waiting: calls ``then`` when the output is there."""

    def got(self, refs: Sequence[ObjectRef[object]]) -> None:
        """Called after values were read."""

    def explained(self, error: BaseException, refs: Sequence[ObjectRef[object]]) -> BaseException:
        """Returns an error that is about to be raised, with what the driver knows of its place and cause."""

    def asked(self, refs: Sequence[ObjectRef[object]], error: BaseException | None = None) -> None:
        """Called when errors of these refs are read, or given to a task."""

    def dropped(self, identities: Sequence[int]) -> None:
        """Called when this process names these objects no more."""


class Shared:
    """The objects that all parts of one engine use.

    Args:
        engine: the engine itself: refs name it.
        side: what is another thing in the driver than in a task.
        process: number in the ids that are made here.
        namespace: of named actors.
    """

    def __init__(self, engine: Engine, side: Side, nonce: int, process: int, namespace: str) -> None:
        self.engine = engine
        self.side = side
        self.nonce = nonce
        self.namespace = namespace
        self.process = process
        self.setups = 0  # how many functions have to run in a worker before its next task; there: how many have
        self.ids = ids.IdSource(process)
        self.lock = threading.RLock()
