"""joblib on the runtime's workers (``ray.util.joblib``).

::

    from raynb.util.joblib import register_ray
    register_ray()
    with joblib.parallel_config("ray"):
        GridSearchCV(...).fit(X, y)
"""

from __future__ import annotations


def register_ray() -> None:
    """Makes ``"ray"`` and ``"raynb"`` backends of joblib.

    Raises:
        ImportError: joblib is not installed.

    Example:
        >>> import joblib
        >>> from raynb.util.joblib import register_ray
        >>> register_ray()
        >>> with joblib.parallel_config("ray"):
        ...     joblib.Parallel()(joblib.delayed(abs)(n) for n in (-1, -2))
        [1, 2]
    """
    try:
        import joblib
    except ImportError as error:
        raise ImportError("register_ray() needs joblib: pip install joblib") from error
    from raynb.util.joblib.backend import RaynbBackend

    for name in ("ray", "raynb"):
        joblib.register_parallel_backend(name, RaynbBackend)


__all__ = ["register_ray"]
