"""``raynb.as_ray()``: from then on ``import ray`` means raynb, here and in every worker.

For programs and libraries that were written for Ray and cannot be changed::

    import raynb
    raynb.as_ray()
    import modin.pandas as pd          # imports ray, and gets raynb

``python -m raynb.as_ray script.py`` runs a whole program so, ``%raynb as-ray`` does it in a notebook, and
``RAYNB_AS_RAY=1`` in the environment does it in every process that imports raynb. Nothing is written to
site-packages.
"""

from __future__ import annotations

import sys
from types import ModuleType

from raynb import api
from raynb.api.everywhere import run_on_workers
from raynb.base import engine as engines
from raynb.base.ray_names import hook as ray_hook


def as_ray() -> ModuleType:
    """Makes ``import ray`` mean raynb, in this process and in every worker.

    It ends with the runtime (`raynb.shutdown`), unless ``RAYNB_AS_RAY`` is set in the environment.

    Returns:
        The module that ``import ray`` gives.

    Raises:
        RuntimeError: the real Ray is imported already, or the runtime is a real Ray cluster.

    Example:
        >>> import raynb
        >>> ray = raynb.as_ray()
        >>> ray.__version__
        '2.60.0'
    """
    engine = engines.driver()
    if engine is not None and engine.config.address:
        raise RuntimeError(
            f"The runtime is the Ray cluster {engine.config.address!r}, where the real Ray is: `import ray` stays what "
            "it is. raynb.as_ray() is for the embedded engine."
        )
    module = ray_hook.install()
    if engine is not None and not engine.config.local_mode:
        for done in run_on_workers(api.remote(_in_worker), later=True, engine=engine):
            done.result(timeout=60)
    return module


def _in_worker() -> None:
    from raynb.base.ray_names import hook as ray_hook

    ray_hook.install()


class _Callable(ModuleType):
    """This module: ``raynb.as_ray()`` is a call, ``python -m raynb.as_ray`` runs it."""

    def __call__(self) -> ModuleType:
        return as_ray()


sys.modules[__name__].__class__ = _Callable

__all__ = ["as_ray"]
