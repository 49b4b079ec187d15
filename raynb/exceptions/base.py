"""The root of the tree, and errors of the runtime itself."""

from __future__ import annotations

import pickle
import traceback
from typing import Any


class RayError(Exception):
    """Base of everything raynb raises that Ray has a name for."""

    def to_bytes(self) -> bytes:
        """Returns the error pickled, with its traceback as text."""
        text = "".join(traceback.format_exception(type(self), self, self.__traceback__))
        return pickle.dumps((text, pickle.dumps(self)))

    @staticmethod
    def from_bytes(b: bytes) -> Any:
        """Returns the error of `to_bytes`, or an `UnserializableException` with its traceback's text."""
        text, error = pickle.loads(b)
        try:
            return pickle.loads(error)
        except Exception:  # whatever its class does: the text says what there is to know
            return UnserializableException(text)


class UnserializableException(RayError):
    """Ray: an error of another process that could not be unpickled."""

    def __init__(self, original_stack_trace: str) -> None:
        self._original_stack_trace = original_stack_trace
        super().__init__(original_stack_trace)

    def __str__(self) -> str:
        return f"Failed to deserialize exception. Original exception:\n{self._original_stack_trace}"


class CrossLanguageError(RayError):
    """An error of another language's worker (never raised by the embedded engine)."""

    def __init__(self, ray_exception: Any) -> None:
        super().__init__(ray_exception)

    def __str__(self) -> str:
        return f"An exception raised from another language: {self.args[0]}"


class RaySystemError(RayError):
    """The runtime itself failed.

    Attributes:
        client_exc: what happened, a text or an exception.
        traceback_str: where, if that is known.
    """

    _PREFIX = "System error: "

    def __init__(self, client_exc: Any, traceback_str: str | None = None) -> None:
        self.client_exc = client_exc
        self.traceback_str = traceback_str
        super().__init__(client_exc, *(() if traceback_str is None else (traceback_str,)))

    def __str__(self) -> str:
        text = f"{self._PREFIX}{self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class RuntimeGoneError(RaySystemError):
    """The runtime that a ref or handle belongs to is gone, or none is running where one is needed."""

    _PREFIX = ""


class ActorDeadlockError(RaySystemError):
    """A `get` inside an actor that could never end: the actor waits for itself, or for others that
    wait for it (raynb's addition; Ray hangs)."""

    _PREFIX = ""
