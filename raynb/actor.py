"""Ray's import path of actors: ``from ray.actor import ActorHandle``."""

from __future__ import annotations

from raynb.api.actor import (
    ActorClass,
    ActorClassInheritanceException,
    ActorHandle,
    ActorMethod,
    ActorProxy,
    AsyncioActorExit,
    RayActorError,
    TypedActor,
    exit_actor,
    method,
)

__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "ActorProxy",
    "AsyncioActorExit",
    "RayActorError",
    "TypedActor",
    "exit_actor",
    "method",
]
