"""``ray.util.annotations``: the decorators by which libraries mark their public names. They change nothing."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any


class AnnotationType(Enum):
    """The marks that a name can have."""

    PUBLIC_API = "PublicAPI"
    DEVELOPER_API = "DeveloperAPI"
    DEPRECATED = "Deprecated"
    UNKNOWN = "Unknown"


class RayDeprecationWarning(DeprecationWarning):
    """Shown when a name marked with ``Deprecated(warning=True)`` is used."""


def _marker(kind: AnnotationType) -> Callable[..., Any]:
    def decorator(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and callable(args[0]):
            return _mark(args[0], kind)
        return lambda target: _mark(target, kind)

    decorator.__name__ = decorator.__qualname__ = kind.value
    decorator.__doc__ = f"Marks a name as {kind.value}; bare, or with Ray's arguments."
    return decorator


def _mark(target: Any, kind: AnnotationType) -> Any:
    target._annotated = target.__name__
    target._annotated_type = kind
    return target


PublicAPI = _marker(AnnotationType.PUBLIC_API)
DeveloperAPI = _marker(AnnotationType.DEVELOPER_API)


def Deprecated(*args: Any, message: str = "", warning: bool = False) -> Any:
    """Marks a name as deprecated; bare, or with arguments.

    Args:
        message: what to use instead.
        warning: warn when it is called.
    """
    if args:
        return _mark(args[0], AnnotationType.DEPRECATED)

    def mark(target: Any) -> Any:
        if not warning or isinstance(target, type):
            return _mark(target, AnnotationType.DEPRECATED)

        @functools.wraps(target)
        def warning_first(*given: Any, **named: Any) -> Any:
            text = f"{target.__name__} is deprecated. {message}".strip()
            warnings.warn(text, RayDeprecationWarning, stacklevel=2)
            return target(*given, **named)

        return _mark(warning_first, AnnotationType.DEPRECATED)

    return mark


__all__ = ["AnnotationType", "Deprecated", "DeveloperAPI", "PublicAPI", "RayDeprecationWarning"]
