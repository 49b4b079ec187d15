"""`raynb.util` under Ray's name."""

from __future__ import annotations

from typing import Any

import raynb.util


def __getattr__(name: str) -> Any:
    return getattr(raynb.util, name)
