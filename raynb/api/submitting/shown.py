"""`.remote` as help, completion and `inspect` see it: with the signature and docstring of what it calls."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Generic, Protocol, TypeVar, overload

from raynb.base.spec import TaskOptions

F = TypeVar("F", bound=Callable[..., Any])



class ShownCalls:
    """Base of what a `.remote` is bound to.

    Subclasses have a method ``remote`` and set ``_face``: that method as the user's function, by `face`.
    """

    __slots__ = ()
    _face: Any
    remote: Any

    def bound(self) -> Any:
        """Returns `remote`, looking like what it calls."""
        return MethodType(self._face, self)

    def reduce_bound(self) -> tuple[Any, ...]:
        """Returns how picklers of ours write `bound`: cloudpickle would write the function, which is a copy."""
        return getattr, (self, "remote")


def face(remote: Any, of: Any, signature: inspect.Signature | None = None, name: str = "") -> Any:
    """Returns a method that does what ``remote`` does, and looks like a function or class of the user.

    Args:
        remote: the method of a `ShownCalls`.
        of: the user's function or class; None where it isn't known, in a process that was sent a handle.
        signature: what to show; by default that of ``of``.
        name: of the function, if ``of`` has none.
    """
    made = FunctionType(remote.__code__, remote.__globals__, remote.__name__, remote.__defaults__, remote.__closure__)
    if of is None:
        made.__name__ = made.__qualname__ = name
    else:
        functools.update_wrapper(made, of, updated=())
        if signature is None:
            with contextlib.suppress(TypeError, ValueError):  # a builtin without one
                signature = inspect.signature(of)
    if signature is not None:
        parameters = signature.parameters
        own = inspect.Parameter("_calls" if "self" in parameters else "self", inspect.Parameter.POSITIONAL_ONLY)
        made.__signature__ = signature.replace(parameters=[own, *parameters.values()])  # type: ignore[attr-defined]
    return made


class HasCalls(Protocol):
    """A class whose `remote` is shown with the user's signature."""

    def _bind(self) -> Any:
        """Returns `ShownCalls.bound()`."""


class shown(Generic[F]):
    """Decorates the ``remote`` of a class that has `_bind`: an instance makes its own at the first look.

    The one that is made is an attribute of the instance, which Python finds first from then on.
    """

    def __init__(self, plain: F) -> None:
        self._plain = plain

    @overload
    def __get__(self, instance: None, owner: type) -> F: ...
    @overload
    def __get__(self, instance: HasCalls, owner: type) -> Callable[..., Any]: ...
    def __get__(self, instance: HasCalls | None, owner: type) -> Any:
        if instance is None:
            return self._plain
        made = instance._bind()
        # Not through ``__dict__``: looking at that makes every attribute of the instance slower.
        object.__setattr__(instance, "remote", made)
        return made


def without(state: dict[str, Any], *more: str) -> dict[str, Any]:
    """Returns the state of an object to be pickled, without what `shown` made."""
    left_out = {"remote", *more}
    return {name: value for name, value in state.items() if name not in left_out}


def handed(options: TaskOptions, refs: Any) -> Any:
    """Returns what ``.remote()`` returns for the refs of a submission: one ref, a list, or None."""
    count = options.num_returns
    if count == 1 or count == -1:
        return refs[0]
    return refs if count else None
