"""What the parts of a cluster engine share, and what is another thing in the driver than in a task."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from raynb.base import ids
from raynb.base.engine import Engine, Packed
from raynb.base.ref import ObjectRef
from raynb.base.spec import ActorSpec, TaskOptions


class Side(Protocol):
    """The process that an engine is in: the driver, or a worker of Ray's while it runs a task.

    Thread contract: any thread.
    """

    def here(self) -> tuple[int, int]:
        """Returns (task, scope) of the calling code."""

    def so_far(self) -> Any:
        """Returns what the calling code had printed, if another process has to wait for it: as a `Mark`, or None."""

    def native_handle(self, object_id: int) -> Any:
        """Returns Ray's handle of the actor that the calling code is, if the id is its handle's; else None."""

    def defined(self, key: str, blob: bytes) -> None:
        """A function or class is about to be used."""

    def submitted(self, task: int, native: Any, options: TaskOptions, actor: int, creates: bool) -> None:
        """A task was handed to Ray."""

    def stored(self, identity: int, packed: Packed) -> None:
        """A value was put."""

    def has_actor(self, spec: ActorSpec, handle: Any) -> None:
        """An actor was made, or found by its name."""

    def killed(self, actor: int) -> None:
        """An actor was ended for good."""

    def seen(self, mark: Any) -> None:
        """Called before a value is given out: its task's output comes first."""

    def when_seen(self, mark: Any, then: Callable[[], None]) -> None:
        """The same, without waiting: ``then`` is called when it is time."""

    def got(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """Values were read."""

    def told(self, error: BaseException, refs: Sequence[ObjectRef[Any]]) -> BaseException:
        """Returns an error with what the driver knows of where and for whom it happened: it is about to be raised."""

    def asked(self, refs: Sequence[ObjectRef[Any]], error: BaseException | None = None) -> None:
        """Somebody reads the errors of these refs, or gives them to a task."""

    def dropped(self, identities: Sequence[int]) -> None:
        """This process names these objects no more."""


class Shared:
    """What all parts of one engine use.

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
