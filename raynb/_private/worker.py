"""``ray._private.worker``: what libraries set and ask there, and the public names that Ray defines there.

There is no ``global_worker``: Daft takes its presence for Ray and would run the queries of all tasks in one actor,
where they have the same numbers and get each other's results. Without it, Daft computes where it is called, unless
``daft.set_runner_ray()`` says otherwise.
"""

from raynb.api import (
    Runtime,
    cancel,
    get,
    get_actor,
    get_gpu_ids,
    init,
    is_initialized,
    kill,
    put,
    remote,
    shutdown,
    wait,
)

#: What `init` returns, by Ray's names.
BaseContext = RayContext = Runtime
#: Ray's numbers for what a process is.
SCRIPT_MODE, WORKER_MODE, LOCAL_MODE = 0, 1, 2
#: Set by libraries that want no warning of Ray's; raynb has none of the kind.
blocking_get_inside_async_warned = False


def get_dashboard_url() -> None:
    """Returns None: the views are in the notebook, and nothing listens at a URL."""


__all__ = [
    "LOCAL_MODE", "SCRIPT_MODE", "WORKER_MODE", "BaseContext", "RayContext", "blocking_get_inside_async_warned",
    "cancel", "get", "get_actor", "get_dashboard_url", "get_gpu_ids", "init", "is_initialized", "kill", "put", "remote",
    "shutdown", "wait",
]  # fmt: skip
