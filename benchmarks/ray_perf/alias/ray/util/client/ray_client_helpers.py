"""The "client" rows of the script.

Ray's client reaches a cluster on another machine through a server. raynb's kernel is the driver
itself, so there is no such hop: these rows run the same calls in the driver, and the runner
lists them apart from the rows that compare like with like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray


@contextmanager
def ray_start_client_server(
    metadata: Any = None, ray_connect_handler: Callable[..., Any] | None = None, **_: Any
) -> Iterator[Any]:
    if ray_connect_handler is None:
        ray.init()
    else:
        ray_connect_handler()
    try:
        yield ray
    finally:
        ray.shutdown()
