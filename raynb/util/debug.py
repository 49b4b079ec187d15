"""Logging a message once, or once a minute (``ray.util.debug``)."""

from __future__ import annotations

import threading
import time

_PERIOD_SECONDS = 60.0  # seconds

_lock = threading.Lock()
_seen: dict[str, float] = {}
_disabled = False
_periodic = False


def log_once(key: str) -> bool:
    """Returns whether a message named ``key`` should be logged: the first time only.

    After `enable_periodic_logging` also once a minute; after `disable_log_once_globally` never.

    Example:
        >>> ray.util.log_once("doc key"), ray.util.log_once("doc key")
        (True, False)
    """
    with _lock:
        if _disabled:
            return False
        now = time.monotonic()
        last = _seen.get(key)
        if last is not None and not (_periodic and now - last > _PERIOD_SECONDS):
            return False
        _seen[key] = now
        return True


def reset_log_once(key: str | None = None) -> None:
    """Lets `log_once` return True again: for one name, or for all."""
    with _lock:
        if key is None:
            _seen.clear()
        else:
            _seen.pop(key, None)


def disable_log_once_globally() -> None:
    """Makes `log_once` return False in this process."""
    global _disabled
    _disabled = True


def enable_periodic_logging() -> None:
    """Makes `log_once` return True once a minute for each name."""
    global _periodic
    _periodic = True
