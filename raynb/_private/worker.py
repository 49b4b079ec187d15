"""``ray._private.worker``: what libraries set and ask there.

There is no ``global_worker``: Daft takes its presence for Ray and would run the queries of all tasks in one actor,
where they have the same numbers and get each other's results. Without it, Daft computes where it is called, unless
``daft.set_runner_ray()`` says otherwise.
"""

#: Set by libraries that want no warning of Ray's; raynb has none of the kind.
blocking_get_inside_async_warned = False


def get_dashboard_url() -> None:
    """Returns None: the views are in the notebook, and nothing listens at a URL."""


__all__ = ["blocking_get_inside_async_warned", "get_dashboard_url"]
