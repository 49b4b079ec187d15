"""``ray.runtime_env``: a runtime environment as an object instead of a plain dict."""

from __future__ import annotations

from typing import Any

from raynb.api.options import runtime_env as _checked


class RuntimeEnv(dict[str, Any]):
    """A dict with the fields of a ``runtime_env``, checked when it is made.

    Args:
        env_vars: environment variables of the workers.
        working_dir: the folder that they run in.
        py_modules: folders or modules that they can import.
        **fields: further fields, as the ``runtime_env=`` option takes them.

    Raises:
        TypeError, ValueError: as for the option ``runtime_env=``, naming the field.
    """

    def __init__(
        self,
        *,
        env_vars: dict[str, str] | None = None,
        working_dir: str | None = None,
        py_modules: list[Any] | None = None,
        **fields: Any,
    ) -> None:
        given = {"env_vars": env_vars, "working_dir": working_dir, "py_modules": py_modules, **fields}
        super().__init__({name: value for name, value in given.items() if value is not None})
        _checked(dict(self), None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict."""
        return dict(self)


__all__ = ["RuntimeEnv"]
