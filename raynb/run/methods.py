"""Method lookup on an actor's instance, with the methods that Ray gives to every actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynb.serde import functions


def bound(instance: object, name: str, leave: Callable[[], None]) -> Callable[..., Any]:
    """Returns the method that a call names.

    Args:
        instance: the actor's instance.
        name: the method's name; ``__ray_ready__``, ``__ray_call__`` and ``__ray_terminate__`` exist
            on every actor, as in Ray.
        leave: ends the actor; called by ``__ray_terminate__``.

    Raises:
        AttributeError: the class has no such method.
    """
    if name == "__ray_ready__":
        return lambda: True
    if name == "__ray_call__":
        return lambda function, *args, **kwargs: function(instance, *args, **kwargs)
    if name == "__ray_terminate__":
        return leave
    found: Callable[..., Any] = functions.method(instance, name)
    return found
