"""Ray's exception names, split by who has to act.

::

    RayError
    ├── the user's code
    │   ├── RayTaskError(cause)            a task raised; also an instance of the cause's class
    │   ├── TaskCancelledError             cancelled by ``cancel`` or an interrupted cell
    │   ├── TaskUnschedulableError         no node of this size will ever exist
    │   ├── ActorUnschedulableError
    │   ├── ActorAlreadyExistsError (ValueError)
    │   ├── TaskPlacementGroupRemoved, ActorPlacementGroupRemoved
    │   ├── PendingCallsLimitExceeded      ``max_pending_calls`` reached
    │   ├── CrossLanguageError
    │   └── RuntimeEnvSetupError           a ``runtime_env`` that cannot be made
    ├── names that Ray has and the embedded engine never raises
    │   ├── LocalRayletDiedError, AuthenticationError, UserCodeException, RpcError, UnserializableException
    │   ├── PlasmaObjectNotAvailable, ObjectRefStreamEndOfStreamError, StreamingGeneratorReplayInconsistentError
    │   ├── OufOfBandObjectRefSerializationException, ActorHandleNotFoundError (ValueError)
    │   └── RayChannelError, RayChannelTimeoutError, RayCgraphCapacityExceeded, RayDirectTransportError
    ├── time
    │   ├── GetTimeoutError (TimeoutError)  ``get(..., timeout=)`` ran out
    │   └── TaskTimeoutError (TimeoutError) ``timeout=`` of a task ran out
    ├── processes
    │   ├── WorkerCrashedError             the worker died under a task
    │   ├── OutOfMemoryError               the memory monitor stopped the task
    │   ├── RaySystemError                 the runtime itself; a bug of ours unless it says otherwise
    │   │   ├── ActorDeadlockError         actors that wait for each other in a ring
    │   │   └── RuntimeGoneError           the runtime a ref or handle belongs to was shut down
    │   └── RayActorError
    │       ├── ActorDiedError             will not come back
    │       └── ActorUnavailableError      restarting; try again
    └── objects
        ├── ObjectStoreFullError           can never fit
        ├── OutOfDiskError                 the spill disk is full
        ├── ObjectStoreAndDiskFullError    both of the above at once
        └── ObjectLostError
            ├── ObjectFreedError           freed by ``internal.free`` / ``raynb.free``
            ├── ObjectFetchTimedOutError
            ├── ReferenceCountingAssertionError
            ├── OwnerDiedError
            └── ObjectReconstructionFailedError
                ├── ObjectReconstructionFailedMaxAttemptsExceededError
                └── ObjectReconstructionFailedLineageEvictedError
"""

from __future__ import annotations

from typing import Any


class RayError(Exception):
    """Base of everything raynb raises that Ray has a name for."""


class CrossLanguageError(RayError):
    """An error of another language's worker (never raised by the embedded engine)."""


class TaskCancelledError(RayError):
    """The task was cancelled before it finished (Ray: ``TaskCancelledError``)."""

    def __init__(self, task_id: Any = None, error_message: str | None = None) -> None:
        self.task_id = task_id
        self.error_message = error_message
        super().__init__(task_id, error_message)

    def __str__(self) -> str:
        if self.task_id is None:
            return self.error_message or "This task or its dependency was cancelled."
        text = f"Task: {self.task_id} was cancelled."
        return f"{text} {self.error_message}" if self.error_message else text


class TaskUnschedulableError(RayError):
    """The task can never be placed; the message says what it asks for."""

    def __str__(self) -> str:
        return f"The task is not schedulable: {' '.join(map(str, self.args))}"


class ActorAlreadyExistsError(ValueError, RayError):
    """The actor's name is taken in its namespace."""


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

    def __str__(self) -> str:
        return f"The actor is not schedulable: {' '.join(map(str, self.args))}"


class PendingCallsLimitExceeded(RayError):
    """The actor already has ``max_pending_calls`` calls waiting."""


class RuntimeEnvSetupError(RayError):
    """The ``runtime_env`` could not be set up on a worker."""

    def __init__(self, error_message: str | None = None) -> None:
        self.error_message = error_message
        super().__init__(error_message)

    def __str__(self) -> str:
        return "\n".join(["Failed to set up runtime environment.", self.error_message or ""])


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


class NodeDiedError(RayError):
    """The node died (only on a cluster)."""


class RaySystemError(RayError):
    """The runtime itself failed."""


class RuntimeGoneError(RaySystemError):
    """The runtime that a ref or handle belongs to is gone, or none is running where one is needed."""


class ActorDeadlockError(RaySystemError):
    """A `get` inside an actor that could never end: the actor waits for itself, or for others that
    wait for it (raynb's addition; Ray hangs)."""


class RayActorError(RayError):
    """An actor could not run the call (base of the two below)."""

    def __init__(self, actor_id: str | None = None, error_msg: str | None = None) -> None:
        self.actor_id = actor_id
        self.error_msg = error_msg or "The actor died unexpectedly before finishing this task."
        super().__init__(actor_id, error_msg)

    def __str__(self) -> str:
        return self.error_msg


class ActorDiedError(RayActorError):
    """The actor is dead and will not be restarted."""


class ActorUnavailableError(RayActorError):
    """The actor is not reachable now (restarting); the call may or may not have run."""


class ObjectStoreFullError(RayError):
    """The object can never fit; the message says sizes, holders and the remedy."""


class OutOfDiskError(RayError):
    """The spill disk is full; objects accepted before stay readable."""


class ObjectStoreAndDiskFullError(ObjectStoreFullError, OutOfDiskError):
    """An object fits neither into the store nor on the disk (raynb's addition: both of Ray's names in
    one, so whichever a program catches, it catches this)."""


class ObjectLostError(RayError):
    """The object's value is gone and cannot be made again."""

    def __init__(self, object_ref_hex: str = "", why: str = "") -> None:
        self.object_ref_hex = object_ref_hex
        self.why = why
        super().__init__(object_ref_hex, why)

    def __str__(self) -> str:
        return self.why or f"Failed to retrieve object {self.object_ref_hex}: all copies of it have been lost."


class ObjectFetchTimedOutError(ObjectLostError):
    """Fetching the object took too long."""


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was freed while a reference existed: a bug of ours."""


class ObjectFreedError(ObjectLostError):
    """The object was freed on request (``raynb.free``)."""


class OwnerDiedError(ObjectLostError):
    """The process that owns the object died."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and could not be made again from its lineage."""


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """Its task has no retries left."""


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """How it was made is no longer known."""


class AsyncioActorExit(RayError):
    """Raised inside an asyncio actor by ``exit_actor``."""


class RayTaskError(RayError):
    """A task raised. What ``get`` raises is this and the cause's own class at once.

    Attributes:
        function_name: name of the function or ``Class.method`` that raised.
        traceback_str: the remote traceback, the user's frames only.
        cause: the exception as it was raised (``None`` when it cannot travel).
    """

    def __init__(
        self,
        function_name: str = "",
        traceback_str: str = "",
        cause: BaseException | None = None,
        pid: int = 0,
        frames: tuple[Any, ...] = (),
        task_id: str = "",
    ) -> None:
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.pid = pid
        self.frames = frames
        self.task_id = task_id
        # Not super(): in an exception that is also of the cause's class, that would be the
        # user's constructor, which may take anything.
        Exception.__init__(self, function_name, traceback_str, cause)

    def __str__(self) -> str:
        return self.traceback_str

    def as_instanceof_cause(self) -> RayTaskError:
        """Returns an exception that is both a ``RayTaskError`` and an instance of the cause's class."""
        from raynb.serde.errors import dual

        return dual(self)


RAY_EXCEPTION_TYPES = [
    RayError, RayTaskError, WorkerCrashedError, RayActorError, ObjectStoreFullError, ObjectLostError,
    ObjectFetchTimedOutError, ReferenceCountingAssertionError, OwnerDiedError,
    ObjectReconstructionFailedError, ObjectReconstructionFailedMaxAttemptsExceededError,
    ObjectReconstructionFailedLineageEvictedError, GetTimeoutError, AsyncioActorExit,
    RuntimeEnvSetupError, TaskUnschedulableError, ActorUnschedulableError, ActorDiedError,
    ActorUnavailableError, TaskCancelledError, PendingCallsLimitExceeded, OutOfMemoryError,
    OutOfDiskError, ObjectFreedError,
]  # fmt: skip


# -- names that Ray has and the embedded engine never raises: for `except` clauses of programs and libraries --------
class LocalRayletDiedError(RayError):
    """Ray: the node's raylet died."""


class AuthenticationError(RayError):
    """Ray: the cluster's token is missing or wrong."""


class UserCodeException(RayError):
    """Ray: an error in the user's code, of its libraries."""


class RpcError(RayError):
    """Ray: a call between its processes failed."""

    def __init__(self, message: str = "", rpc_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.rpc_code = rpc_code


class PlasmaObjectNotAvailable(RayError):
    """Ray: an object is not in the local store."""


class ObjectRefStreamEndOfStreamError(RayError):
    """Ray: the end of a generator, inside its own code."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """Ray: a generator that ran again yielded something else."""


class OufOfBandObjectRefSerializationException(RayError):
    """Ray: a ref was pickled outside Ray, where a setting forbids it (the spelling is Ray's)."""


class RayChannelError(RaySystemError):
    """Ray: an error of a compiled graph's channel."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """Ray: a compiled graph's channel timed out."""


class RayCgraphCapacityExceeded(RaySystemError):
    """Ray: a compiled graph has too many executions in flight."""


class RayDirectTransportError(RaySystemError):
    """Ray: an error of direct transport between GPUs."""


class UnserializableException(RayError):
    """Ray: an error of another process that could not be unpickled."""

    def __init__(self, original_stack_trace: str = "") -> None:
        super().__init__(original_stack_trace)


class ActorHandleNotFoundError(ValueError, RayError):
    """Ray: a handle of an actor of another cluster."""
