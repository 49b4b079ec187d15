"""``ray.runtime_env``: a runtime environment as an object instead of a plain dict."""

from __future__ import annotations

import json
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

    Example:
        >>> import os
        >>> env = ray.runtime_env.RuntimeEnv(env_vars={"GREETING": "hello"})
        >>> ray.get(ray.remote(lambda: os.environ["GREETING"]).options(runtime_env=env).remote())
        'hello'
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

    def env_vars(self) -> dict[str, str]:
        """Returns the environment variables of the workers."""
        return dict(self.get("env_vars") or {})

    def working_dir(self) -> str | None:
        """Returns the workers' folder; None: the driver's."""
        return self.get("working_dir")

    def has_working_dir(self) -> bool:
        """Returns whether the workers have a folder of their own."""
        return bool(self.working_dir())

    def py_modules(self) -> list[Any]:
        """Returns the folders and modules that the workers can import."""
        return list(self.get("py_modules") or [])

    def serialize(self) -> str:
        """Returns the fields as JSON."""
        return json.dumps(self, sort_keys=True)

    @classmethod
    def deserialize(cls, serialized_runtime_env: str) -> RuntimeEnv:
        """Returns the environment of ``serialized_runtime_env``, which `serialize` returned."""
        return cls(**json.loads(serialized_runtime_env))

    def set(self, name: str, value: Any) -> None:
        """Sets the field ``name`` to ``value``, checked as in the constructor."""
        _checked({**self, name: value}, None)
        self[name] = value


class RuntimeEnvConfig(dict[str, Any]):
    """Ray's settings of how environments are made; the embedded engine installs nothing, so they change nothing.

    Args:
        setup_timeout_seconds: seconds that it may take at most.
        eager_install: before a task asks for it.
        log_files: files to write to.
    """

    def __init__(
        self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files: list[str] | None = None
    ) -> None:
        super().__init__(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=log_files or []
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as a plain dict."""
        return dict(self)


__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]
