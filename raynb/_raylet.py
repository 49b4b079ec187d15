"""``ray._raylet``: the types of Ray's core, in annotations and `isinstance` of libraries; nothing else of the core."""

from raynb.api import DynamicObjectRefGenerator, ObjectRef, ObjectRefGenerator
from raynb.base.ray_names.id_classes import (
    ActorClassID,
    ActorID,
    ClusterID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)

__all__ = [
    "ActorClassID", "ActorID", "ClusterID", "DynamicObjectRefGenerator", "FunctionID", "JobID", "NodeID", "ObjectRef",
    "ObjectRefGenerator", "PlacementGroupID", "TaskID", "UniqueID", "WorkerID",
]  # fmt: skip
