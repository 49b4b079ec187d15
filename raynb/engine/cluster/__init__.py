"""`ClusterEngine`: the same interface on a real Ray cluster, through the installed ``ray`` package.

Only this folder imports ``ray``. What lies in Ray's object store are `bridge.Value`s: raynb's own
pickles with the refs inside them beside, so that Ray counts those too. ``runner`` is the code that
Ray's workers run; ``hub`` brings what tasks print, and what became of them, back to the driver.
"""

from __future__ import annotations

import re

try:
    import ray
except ImportError as error:
    raise ImportError(
        'A Ray cluster needs the ray package, which is not installed here: pip install "raynb[ray]".'
    ) from error

OLDEST = (2, 40)

if tuple(map(int, re.findall(r"\d+", ray.__version__)[:2])) < OLDEST:
    raise ImportError(
        f"raynb works with Ray {OLDEST[0]}.{OLDEST[1]} and later, and this is Ray {ray.__version__}: "
        'pip install -U "raynb[ray]".'
    )

from raynb.engine.cluster.driver import ClusterEngine  # noqa: E402  needs the ray that was looked for

__all__ = ["ClusterEngine"]
