"""What programs and libraries do with the exceptions themselves: make, read and pickle them."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

from parity_programs import program
from parity_programs._tools import kind

#: Class → the arguments that Ray's own constructor takes.
MADE: dict[str, tuple[Any, ...]] = {
    "RayError": ("a", 1),
    "TaskCancelledError": (None, "stopped"),
    "TaskUnschedulableError": ("needs 9 GPUs",),
    "ActorUnschedulableError": ("needs 9 GPUs",),
    "ActorAlreadyExistsError": ("taken",),
    "ActorHandleNotFoundError": ("gone",),
    "TaskPlacementGroupRemoved": (),
    "ActorPlacementGroupRemoved": (),
    "PendingCallsLimitExceeded": ("full",),
    "RuntimeEnvSetupError": ("no pip",),
    "GetTimeoutError": ("late",),
    "OutOfMemoryError": ("3 GB",),
    "NodeDiedError": ("node 1",),
    "RaySystemError": ("broken",),
    "RayActorError": ("ab" * 16, "it failed", True, True),
    "ActorDiedError": (),
    "ActorUnavailableError": ("restarting", b"\x01" * 16),
    "RayChannelError": ("closed",),
    "RayCgraphCapacityExceeded": ("full",),
    "RayDirectTransportError": ("lost",),
    "StreamingGeneratorReplayInconsistentError": ("other items",),
    "RpcError": ("no answer", 14),
    "PlasmaObjectNotAvailable": ("x",),
    "AsyncioActorExit": ("x",),
    "UserCodeException": ("x",),
    "ObjectRefStreamEndOfStreamError": ("x",),
    "OufOfBandObjectRefSerializationException": ("x",),
}
#: The same, with texts that name Ray's own files and commands, so they are not compared.
OWN_WORDS: dict[str, tuple[Any, ...]] = {
    "WorkerCrashedError": (),
    "LocalRayletDiedError": (),
    "AuthenticationError": ("no token",),
    "UnserializableException": ("Traceback: x",),
    "ObjectStoreFullError": ("full",),
    "OutOfDiskError": ("full",),
    "ObjectLostError": ("ab" * 28, b"owner", "f.py:3"),
    "ObjectFetchTimedOutError": ("ab" * 28, b"", "f.py:3"),
    "ReferenceCountingAssertionError": ("ab" * 28, None, "f.py:3"),
    "ObjectFreedError": ("ab" * 28, b"", "f.py:3"),
    "OwnerDiedError": ("ab" * 28, b"", "f.py:3"),
    "ObjectReconstructionFailedError": ("ab" * 28, None, "too often", None, "f.py:3"),
    "RayTaskError": ("f", "Traceback (most recent call last):\nValueError: x", ValueError("x"), "ray::f", 7, "1.2.3.4"),
}


def attributes(error: BaseException) -> dict[str, Any]:
    """What is public of it: of its own and by properties."""
    cls = type(error)
    names = {name for name in vars(error) if not name.startswith("_")}
    names |= {name for name in dir(cls) if isinstance(inspect.getattr_static(cls, name), property) and name[0] != "_"}
    return {name: repr(getattr(error, name)) for name in sorted(names - {"why", "frames", "task_id", "actor_repr"})}


def told(ray: Any, made: dict[str, tuple[Any, ...]], texts: bool) -> list[Any]:
    found: list[Any] = []
    for name, arguments in made.items():
        error = getattr(ray.exceptions, name)(*arguments)
        again = pickle.loads(pickle.dumps(error))
        same = type(again) is type(error) and str(again) == str(error) and attributes(again) == attributes(error)
        bases = [base.__name__ for base in type(error).__mro__]
        found.append([name, bases, str(error).strip() if texts else "", attributes(error), same])
    return found


@program
def errors_that_a_program_makes(ray: Any) -> Any:
    return told(ray, MADE, texts=True)


@program
def errors_whose_words_are_rays_own(ray: Any) -> Any:
    return told(ray, OWN_WORDS, texts=False)


@program
def a_task_error_of_hand(ray: Any) -> Any:
    cause = KeyError("k")
    error = ray.exceptions.RayTaskError("f", "Traceback (most recent call last):\nKeyError: 'k'", cause)
    dual = error.as_instanceof_cause()
    died = ray.exceptions.ActorDiedError(error)
    return [
        isinstance(dual, KeyError), isinstance(dual, ray.exceptions.RayTaskError), dual.args == (cause,),
        type(dual).__name__, died.actor_init_failed, "creation task" in str(died),
        type(ray.exceptions.ActorDiedError.from_task_error(error)).__name__,
        type(ray.exceptions.RayError.from_bytes(ray.exceptions.GetTimeoutError("x").to_bytes())).__name__,
        isinstance(error.pid, int), isinstance(error.ip, str),
    ]  # fmt: skip


@program
def errors_that_lack_their_arguments(ray: Any) -> Any:
    return [name for name in {**MADE, **OWN_WORDS} if kind(getattr(ray.exceptions, name)) == "TypeError"]
