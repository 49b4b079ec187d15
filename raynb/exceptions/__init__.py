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

from raynb.exceptions.base import (
    ActorDeadlockError,
    CrossLanguageError,
    RayError,
    RaySystemError,
    RuntimeGoneError,
    UnserializableException,
)
from raynb.exceptions.objects import (
    ObjectFetchTimedOutError,
    ObjectFreedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectReconstructionFailedLineageEvictedError,
    ObjectReconstructionFailedMaxAttemptsExceededError,
    ObjectStoreAndDiskFullError,
    ObjectStoreFullError,
    OutOfDiskError,
    OwnerDiedError,
    ReferenceCountingAssertionError,
)
from raynb.exceptions.tasks import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    ActorUnschedulableError,
    AsyncioActorExit,
    GetTimeoutError,
    NodeDiedError,
    OutOfMemoryError,
    PendingCallsLimitExceeded,
    RayActorError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskTimeoutError,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from raynb.exceptions.unraised import (
    ActorHandleNotFoundError,
    AuthenticationError,
    LocalRayletDiedError,
    ObjectRefStreamEndOfStreamError,
    OufOfBandObjectRefSerializationException,
    PlasmaObjectNotAvailable,
    RayCgraphCapacityExceeded,
    RayChannelError,
    RayChannelTimeoutError,
    RayDirectTransportError,
    RpcError,
    StreamingGeneratorReplayInconsistentError,
    UserCodeException,
)

RAY_EXCEPTION_TYPES = [
    RayError, RayTaskError, WorkerCrashedError, RayActorError, ObjectStoreFullError, ObjectLostError,
    ObjectFetchTimedOutError, ReferenceCountingAssertionError, OwnerDiedError,
    ObjectReconstructionFailedError, ObjectReconstructionFailedMaxAttemptsExceededError,
    ObjectReconstructionFailedLineageEvictedError, GetTimeoutError, AsyncioActorExit,
    RuntimeEnvSetupError, TaskPlacementGroupRemoved, ActorPlacementGroupRemoved, PendingCallsLimitExceeded,
    TaskUnschedulableError, ActorUnschedulableError, ActorDiedError, ActorUnavailableError, TaskCancelledError,
    OutOfMemoryError, OutOfDiskError, ObjectFreedError, ActorAlreadyExistsError,
]  # fmt: skip

__all__ = [
    "RAY_EXCEPTION_TYPES",
    "ActorAlreadyExistsError",
    "ActorDeadlockError",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CrossLanguageError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectReconstructionFailedLineageEvictedError",
    "ObjectReconstructionFailedMaxAttemptsExceededError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreAndDiskFullError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RayActorError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayDirectTransportError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "RuntimeGoneError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskPlacementGroupRemoved",
    "TaskTimeoutError",
    "TaskUnschedulableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
]

# Where they are written is nobody's concern: tracebacks and pickles name this module.
for _name in __all__:
    if _name != "RAY_EXCEPTION_TYPES":
        globals()[_name].__module__ = __name__
