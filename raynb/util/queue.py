"""`Queue`: a first-in-first-out queue that tasks and actors share (``ray.util.queue``)."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any

from raynb import api as ray


class Empty(queue.Empty):
    """Nothing to get.

    Example:
        >>> try:
        ...     ray.util.Queue().get_nowait()
        ... except ray.util.queue.Empty:
        ...     print("nothing")
        nothing
    """


class Full(queue.Full):
    """No room to put.

    Example:
        >>> queue = ray.util.Queue(maxsize=1)
        >>> queue.put(1)
        >>> try:
        ...     queue.put_nowait(2)
        ... except ray.util.queue.Full:
        ...     print("no room")
        no room
    """


class Queue:
    """A queue held by an actor; pass it to tasks and actors freely.

    Thread contract: may be used from any thread and process.
    After `shutdown`, its methods raise `RuntimeError`.

    Args:
        maxsize: how many items it holds; 0: any number.
        actor_options: options of the actor behind it, e.g. ``{"num_cpus": 0}``.

    Example:
        >>> queue = ray.util.Queue(maxsize=10)
        >>> queue.put("item")
        >>> queue.get()
        'item'
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        self.actor: Any = ray.remote(_QueueActor).options(**(actor_options or {})).remote(maxsize)

    def _behind(self) -> Any:
        if self.actor is None:
            raise RuntimeError("This queue was shut down; make a new Queue().")
        return self.actor

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """Returns how many items wait. Raises `RuntimeError` after `shutdown`."""
        return int(ray.get(self._behind().qsize.remote()))

    def qsize(self) -> int:
        """Returns how many items wait."""
        return self.size()

    def empty(self) -> bool:
        """Returns whether nothing waits. Raises `RuntimeError` after `shutdown`."""
        return bool(ray.get(self._behind().empty.remote()))

    def full(self) -> bool:
        """Returns whether there is no room. Raises `RuntimeError` after `shutdown`."""
        return bool(ray.get(self._behind().full.remote()))

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Adds an item.

        Args:
            item: anything that can be pickled.
            block: wait for room.
            timeout: seconds to wait; None: as long as it takes.

        Raises:
            Full: there was no room (in time).
            ValueError: the timeout is negative.
            RuntimeError: the queue was shut down.
        """
        if block:
            ray.get(self._behind().put.remote(item, _checked(timeout)))
            return
        try:
            ray.get(self._behind().put_nowait.remote(item))
        except asyncio.QueueFull:
            raise Full from None

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As `put`, without blocking the event loop.

        Args:
            item: anything that can be pickled.
            block: wait for room.
            timeout: seconds to wait; None: as long as it takes.

        Raises:
            Full, ValueError, RuntimeError: as `put`.
        """
        if block:
            await self._behind().put.remote(item, _checked(timeout))
            return
        try:
            await self._behind().put_nowait.remote(item)
        except asyncio.QueueFull:
            raise Full from None

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Takes the oldest item and returns it.

        Args:
            block: wait for an item.
            timeout: seconds to wait; None: as long as it takes.

        Raises:
            Empty: nothing came (in time).
            ValueError: the timeout is negative.
            RuntimeError: the queue was shut down.
        """
        if block:
            return ray.get(self._behind().get.remote(_checked(timeout)))
        try:
            return ray.get(self._behind().get_nowait.remote())
        except asyncio.QueueEmpty:
            raise Empty from None

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `get`, without blocking the event loop.

        Args:
            block: wait for an item.
            timeout: seconds to wait; None: as long as it takes.

        Returns:
            The oldest item.

        Raises:
            Empty, ValueError, RuntimeError: as `get`.
        """
        if block:
            return await self._behind().get.remote(_checked(timeout))
        try:
            return await self._behind().get_nowait.remote()
        except asyncio.QueueEmpty:
            raise Empty from None

    def put_nowait(self, item: Any) -> None:
        """Does ``put(item, block=False)``."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """Returns ``get(block=False)``."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Adds all items, or none.

        Args:
            items: an iterable of them.

        Raises:
            Full: they don't all fit.
            TypeError: ``items`` is not iterable.
            RuntimeError: the queue was shut down.
        """
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        ray.get(self._behind().put_nowait_batch.remote(list(items)))

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Takes exactly ``num_items`` items and returns them.

        Raises:
            Empty: there are fewer.
            TypeError, ValueError: ``num_items`` is not a count.
            RuntimeError: the queue was shut down.
        """
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        return list(ray.get(self._behind().get_nowait_batch.remote(num_items)))

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """Ends the actor behind the queue.

        Args:
            force: kill it at once instead of letting its calls finish.
            grace_period_s: seconds that they have to finish.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            ended, _ = ray.wait([actor.__ray_terminate__.remote()], timeout=grace_period_s)
            if ended:
                return
        ray.kill(actor, no_restart=True)


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return timeout


class _QueueActor:
    """Holds the items; an asyncio actor, so waiting calls don't keep others out."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.items: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    def qsize(self) -> int:
        """Returns how many items there are."""
        return self.items.qsize()

    def empty(self) -> bool:
        """Returns whether there are no items."""
        return self.items.empty()

    def full(self) -> bool:
        """Returns whether there are as many items as may be."""
        return self.items.full()

    async def put(self, item: Any, timeout: float | None = None) -> None:
        """Adds an item, when there is room; raises `Full` after ``timeout`` seconds."""
        try:
            await asyncio.wait_for(self.items.put(item), timeout)
        except asyncio.TimeoutError:
            raise Full from None

    async def get(self, timeout: float | None = None) -> Any:
        """Removes and returns an item, when there is one; raises `Empty` after ``timeout`` seconds."""
        try:
            return await asyncio.wait_for(self.items.get(), timeout)
        except asyncio.TimeoutError:
            raise Empty from None

    def put_nowait(self, item: Any) -> None:
        """Adds an item, or raises."""
        self.items.put_nowait(item)

    def get_nowait(self) -> Any:
        """Removes and returns an item, or raises."""
        return self.items.get_nowait()

    def put_nowait_batch(self, items: list[Any]) -> None:
        """Adds all items, or raises `Full` and adds none."""
        if 0 < self.maxsize < self.items.qsize() + len(items):
            raise Full(f"Cannot add {len(items)} items to {self.qsize()} of at most {self.maxsize}.")
        for item in items:
            self.items.put_nowait(item)

    def get_nowait_batch(self, count: int) -> list[Any]:
        """Removes and returns ``count`` items, or raises `Empty` and removes none."""
        if count > self.items.qsize():
            raise Empty(f"Cannot get {count} items of {self.qsize()}.")
        return [self.items.get_nowait() for _ in range(count)]
