"""Ray's id classes (``ray.ActorID`` and kin): bytes of a fixed width.

raynb's own ids are numbers inside (`raynb.base.ids`) and appear as these where Ray's do.
"""

from __future__ import annotations

import builtins
import os
from typing import TypeVar

from raynb.base.ids import ACTOR_HEX, JOB_HEX, NODE_HEX, OBJECT_HEX, TASK_HEX, HexId

Id = TypeVar("Id", bound="BaseID")


class BaseID(HexId):
    """An id of ``size()`` bytes.

    Args:
        binary: the bytes.

    Raises:
        ValueError: the wrong number of bytes.
    """

    __slots__ = ()
    _bytes = 28

    def __init__(self, binary: bytes) -> None:
        if not isinstance(binary, bytes):
            raise TypeError(f"{type(self).__name__} takes bytes, got {type(binary).__name__}")
        if len(binary) != self._bytes:
            raise ValueError(f"{type(self).__name__} takes {self._bytes} bytes, got {len(binary)}")
        super().__init__(binary.hex())

    @classmethod
    def size(cls) -> int:
        """Returns the number of bytes of an id of this kind."""
        return cls._bytes

    @classmethod
    def nil(cls: type[Id]) -> Id:
        """Returns the id that stands for none."""
        return cls(b"\xff" * cls._bytes)

    @classmethod
    def from_random(cls: type[Id]) -> Id:
        """Returns a random id."""
        return cls(os.urandom(cls._bytes))

    @classmethod
    def from_hex(cls: type[Id], hex_id: str | bytes) -> Id:
        """Returns the id of a hex string."""
        return cls(bytes.fromhex(hex_id.decode() if isinstance(hex_id, bytes) else hex_id))

    @classmethod
    def from_binary(cls: type[Id], id_bytes: bytes) -> Id:
        """Returns the id of these bytes."""
        return cls(id_bytes)

    def __reduce__(self) -> tuple[type[BaseID], tuple[bytes]]:
        return type(self), (self.binary(),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"


class UniqueID(BaseID):
    """``ray.UniqueID``."""


class NodeID(UniqueID):
    """``ray.NodeID``."""

    _bytes = NODE_HEX // 2


class WorkerID(UniqueID):
    """``ray.WorkerID``."""


class FunctionID(UniqueID):
    """``ray.FunctionID``."""


class ActorClassID(UniqueID):
    """``ray.ActorClassID``."""


class ClusterID(UniqueID):
    """``ray.ClusterID``."""


class TaskID(BaseID):
    """``ray.TaskID``."""

    _bytes = TASK_HEX // 2


class ActorID(BaseID):
    """``ray.ActorID``."""

    _bytes = ACTOR_HEX // 2


class JobID(BaseID):
    """``ray.JobID``."""

    _bytes = JOB_HEX // 2

    @classmethod
    def from_int(cls, value: int) -> JobID:
        """Returns the id of a job's number."""
        return cls(value.to_bytes(cls._bytes, "little"))

    def int(self) -> builtins.int:
        """Returns the job's number."""
        return builtins.int.from_bytes(self.binary(), "little")


class PlacementGroupID(BaseID):
    """``ray.PlacementGroupID``."""

    _bytes = 18


OBJECT_BYTES = OBJECT_HEX // 2
