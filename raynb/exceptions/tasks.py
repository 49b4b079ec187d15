"""Errors of tasks, actors and processes."""

from __future__ import annotations

import os
from typing import Any

from raynb.exceptions.base import RayError


class TaskCancelledError(RayError):
    """The task was cancelled before it finished (Ray: ``TaskCancelledError``)."""

    def __init__(self, task_id: Any = None, error_message: str | None = None) -> None:
        self.task_id = task_id
        self.error_message = error_message
        super().__init__(task_id, error_message)

    def __str__(self) -> str:
        if self.task_id is None:
            return self.error_message or "This task or its dependency was cancelled."
        return f"Task: {self.task_id} was cancelled. {self.error_message or ''}"


class TaskUnschedulableError(RayError):
    """The task can never be placed; the message says what it asks for."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message
        super().__init__(error_message)

    def __str__(self) -> str:
        return f"The task is not schedulable: {self.error_message}"


class ActorAlreadyExistsError(ValueError, RayError):
    """The actor's name is taken in its namespace."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message
        super().__init__(error_message)


class TaskPlacementGroupRemoved(RayError):
    """The task waited for a placement group that was removed."""

    def __str__(self) -> str:
        return "The placement group corresponding to this task has been removed."


class ActorPlacementGroupRemoved(RayError):
    """The actor waited for a placement group that was removed."""

    def __str__(self) -> str:
        return "The placement group corresponding to this Actor has been removed."


class ActorUnschedulableError(RayError):
    """The actor can never be placed; the message says what it asks for."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message
        super().__init__(error_message)

    def __str__(self) -> str:
        return f"The actor is not schedulable: {self.error_message}"


class PendingCallsLimitExceeded(RayError):
    """The actor already has ``max_pending_calls`` calls waiting."""


class RuntimeEnvSetupError(RayError):
    """The ``runtime_env`` could not be set up on a worker."""

    def __init__(self, error_message: str | None = None) -> None:
        self.error_message = error_message
        super().__init__(error_message)

    def __str__(self) -> str:
        first = "Failed to set up runtime environment."
        return f"{first}\n{self.error_message}" if self.error_message else first


class GetTimeoutError(RayError, TimeoutError):
    """``get`` did not have every value within ``timeout`` seconds."""


class TaskTimeoutError(RayError, TimeoutError):
    """The task did not finish within its own ``timeout=`` (raynb's addition)."""


class WorkerCrashedError(RayError):
    """The worker process died while it ran the task."""

    def __str__(self) -> str:
        return " ".join(map(str, self.args)) or "The worker died unexpectedly while executing this task."


class OutOfMemoryError(RayError):
    """The memory monitor stopped the task's worker; the message says who used how much."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class NodeDiedError(RayError):
    """The node died (only on a cluster)."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class RayActorError(RayError):
    """An actor could not run the call (base of the two below).

    Attributes:
        actor_id: its id in hex, if known.
        error_msg: the whole message.
    """

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = BASE_ERROR_MSG,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted
        super().__init__(actor_id, error_msg, actor_init_failed, preempted)

    def __str__(self) -> str:
        return self.error_msg

    @property
    def actor_init_failed(self) -> bool:
        """Returns whether the actor's constructor raised."""
        return self._actor_init_failed

    @property
    def preempted(self) -> bool:
        """Returns whether the actor's node was preempted (never on one machine)."""
        return self._preempted


class ActorDiedError(RayActorError):
    """The actor is dead and will not be restarted.

    Args:
        cause: what its constructor raised, as a `RayTaskError`; None where it died otherwise.
        actor_id: its id in hex.
        error_msg: how it died; a general sentence by default.
    """

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(
        self, cause: RayTaskError | None = None, *, actor_id: str | None = None, error_msg: str = BASE_ERROR_MSG
    ) -> None:
        if cause is not None:
            if not isinstance(cause, RayTaskError):
                raise TypeError(f"the cause of an ActorDiedError is a RayTaskError or None, not {cause!r}")
            actor_id = actor_id or cause._actor_id
            error_msg = f"The actor died because of an error raised in its creation task, {cause}"
        super().__init__(actor_id, error_msg, cause is not None)
        self.args = (cause,)

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """Returns the error of an actor whose constructor raised."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor is not reachable now (restarting); the call may or may not have run."""

    def __init__(self, error_message: str, actor_id: bytes | None) -> None:
        spelled = None if actor_id is None else actor_id.hex()
        super().__init__(
            spelled,
            f"The actor {spelled} is unavailable: {error_message}. The task may or may not have been executed on "
            "the actor.",
        )
        self.args = (error_message, actor_id)


class AsyncioActorExit(RayError):
    """Raised inside an asyncio actor by ``exit_actor``."""


class RayTaskError(RayError):
    """A task raised. What ``get`` raises is this and the cause's own class at once.

    Attributes:
        function_name: name of the function or ``Class.method`` that raised.
        traceback_str: the remote traceback, the user's frames only.
        cause: the exception as it was raised (``None`` when it cannot travel).
        proctitle, pid, ip: the process that ran the task.
        actor_repr: of an actor's call, the actor's ``repr``, if it has one of its own.
        task_id: in hex; ``""`` for an error that no task of raynb raised.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException | None,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
        *,
        frames: tuple[Any, ...] = (),
        task_id: str = "",
    ) -> None:
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or f"ray::{function_name}"
        self.pid = os.getpid() if pid is None else pid
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self._actor_id = actor_id
        self.frames = frames
        self.task_id = task_id
        # Not super(): in an exception that is also of the cause's class, that would be the
        # user's constructor, which may take anything.
        Exception.__init__(self, function_name, traceback_str, cause, proctitle, pid, ip)

    def __str__(self) -> str:
        return self.traceback_str

    def as_instanceof_cause(self) -> RayTaskError:
        """Returns an exception that is both a ``RayTaskError`` and an instance of the cause's class."""
        from raynb.serde.errors import dual

        return dual(self)

    make_dual_exception_instance = as_instanceof_cause
