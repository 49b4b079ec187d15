"""Numbers that all processes of a runtime share: small shared memory without a name."""

from __future__ import annotations

import os
from typing import ClassVar, TypeVar

from raynb.store import backing as backings
from raynb.store.memory import Mapping

P = TypeVar("P", bound="Page")


class Page:
    """A page of numbers in shared memory; `create` it in the driver, `attach` elsewhere."""

    __slots__ = ("fd",)

    NAME: ClassVar[str]
    SIZE: ClassVar[int]  # bytes of address space; what is never written to doesn't exist

    def __init__(self, fd: int) -> None:
        """Maps the page behind ``fd`` and takes the descriptor over."""
        self.fd = fd
        self._lay_out(Mapping(fd, self.SIZE, writable=True).writable_view())

    def _lay_out(self, view: memoryview) -> None:
        """Keeps the views that the numbers are read and written through."""
        raise NotImplementedError

    def _release(self) -> None:
        """Releases these views."""
        raise NotImplementedError

    @classmethod
    def create(cls: type[P], backing: backings.Backing | None = None) -> P:
        """Creates an empty page.

        Raises:
            OSError: there is no room for it. Touching it can't fail later.
        """
        backing = backing or backings.choose()
        fd = backing.create(cls.SIZE)
        try:
            backing.reserve(fd, 0, cls.SIZE)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    @classmethod
    def attach(cls: type[P], fd: int) -> P:
        """Opens what another process created. Takes the descriptor over.

        Raises:
            ValueError: the descriptor is another thing's.
        """
        size = os.fstat(fd).st_size
        if size != cls.SIZE:
            raise ValueError(f"descriptor {fd} isn't a {cls.NAME}: {size} bytes instead of {cls.SIZE}")
        return cls(fd)

    def close(self) -> None:
        """Closes the descriptor and unmaps. Nobody may use the object afterwards."""
        os.close(self.fd)
        self._release()
