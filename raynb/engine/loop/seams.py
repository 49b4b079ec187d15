"""The protocols between the loop's parts and the world outside of the process; each has a fake in `raynb.testing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from raynb.engine.loop.connections import Connection
from raynb.wire.channel import Channel

#: ``("shm", arena, offset, size, segments)`` or ``("file", path, size, segments)``; sizes in bytes.
Location = tuple[Any, ...]


class Processes(Protocol):
    """Starts and ends worker processes: the part of the supervisor that the effects use."""

    connection: Connection  # to who ends them

    def spawn(self, worker: int, settings: dict[str, Any], fds: tuple[int, ...]) -> tuple[Channel, Channel, Any]:
        """Returns a new worker's data and control channel, and what is to be sent so that it starts."""


class Storage(Protocol):
    """The driver's store: see `raynb.store.Store`."""

    slot: int
    limit: int

    def write(self, data: object, buffers: Sequence[object] = ()) -> Location:
        """Stores bytes in shared memory, or on disk when it is full; returns where."""

    def write_file(self, data: object, buffers: Sequence[object] = ()) -> Location:
        """Stores bytes in a file; returns where."""

    def spill(self, location: Location) -> Location:
        """Copies an object from shared memory to a file; returns where."""

    def free(self, location: Location) -> None:
        """Releases the bytes."""

    def total(self) -> int:
        """Returns the bytes of all arenas that are taken."""

    def live_views(self) -> int:
        """Returns how many zero-copy views of this process are alive."""

    def fd_of(self, arena: int) -> int:
        """Returns the descriptor of an arena."""

    def attach(self, arena: int, fd: int) -> None:
        """Maps another process's arena."""

    def adopt(
        self, arena: int, locations: Sequence[Location], row: int | None = None,
        emptied: Callable[[], None] | None = None,
    ) -> Callable[[], None]:  # fmt: skip
        """Takes over the objects in a dead process's arena; returns what is to be called without the lock."""
