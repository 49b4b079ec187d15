"""Names that Ray has and the embedded engine never raises: for `except` clauses of programs and libraries."""

from __future__ import annotations

from raynb.exceptions.base import RayError, RaySystemError


class LocalRayletDiedError(RayError):
    """Ray: the node's raylet died."""


class AuthenticationError(RayError):
    """Ray: the cluster's token is missing or wrong."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class UserCodeException(RayError):
    """Ray: an error in the user's code, of its libraries."""


class RpcError(RayError):
    """Ray: a call between its processes failed."""

    def __init__(self, message: str, rpc_code: int | None = None) -> None:
        self.message = message
        self.rpc_code = rpc_code
        super().__init__(message, rpc_code)

    def __str__(self) -> str:
        return self.message


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


class ActorHandleNotFoundError(ValueError, RayError):
    """Ray: a handle of an actor of another cluster."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message
        super().__init__(error_message)
