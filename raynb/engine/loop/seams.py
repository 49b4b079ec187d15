"""What the loop's parts need of what is outside of the process: each is a protocol, with a fake in `raynb.testing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from raynb.engine.loop.connections import Connection
from raynb.wire.channel import Channel

#: ``("shm", arena, offset, size, segments)`` or ``("file", path, size, segments)``; sizes in bytes.
Location = tuple[Any, ...]


class Processes(Protocol):
    """Starts and ends the processes of workers: the supervisor, as far as the effects need it."""

    connection: Connection  # to who ends them

    def spawn(self, worker: int, settings: dict[str, Any], fds: tuple[int, ...]) -> tuple[Channel, Channel, Any]:
        """Returns a new worker's data and control channel, and what is to be sent so that it starts."""


class Storage(Protocol):
    """The driver's store: see `raynb.store.Store`."""

    slot: int
    limit: int

    def write(self, data: Any, buffers: Sequence[Any] = ()) -> Location: ...

    def write_file(self, data: Any, buffers: Sequence[Any] = ()) -> Location: ...

    def spill(self, location: Location) -> Location: ...

    def free(self, location: Location) -> None: ...

    def total(self) -> int: ...

    def live_views(self) -> int: ...

    def fd_of(self, arena: int) -> int: ...

    def attach(self, arena: int, fd: int) -> None: ...

    def adopt(
        self, arena: int, locations: Sequence[Location], row: int | None = None,
        settled: Callable[[], None] | None = None,
    ) -> Callable[[], None]: ...  # fmt: skip
