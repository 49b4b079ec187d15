"""raynb under the name ``ray``, for scripts that can't be edited.

Only what Ray's microbenchmark imports is here. The scripts themselves are read from an installed
Ray, whose place ``RAYNB_BENCHMARK_RAY`` names; none of Ray's other code is loaded.
"""

from __future__ import annotations

from typing import Any

import raynb
from ray import _raylet, util  # noqa: F401  (attributes that the script reads)


def __getattr__(name: str) -> Any:
    return getattr(raynb, name)
