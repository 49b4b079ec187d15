"""`init`, `shutdown` and isolated runtimes."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import os
from typing import Any

from raynb.api import options, session
from raynb.api.checks.option_texts import INIT_TEXTS
from raynb.api.checks.signature import with_keywords
from raynb.base import engine as slot
from raynb.base import interrupts
from raynb.base.config import Config
from raynb.base.ray_names import hook as ray_hook
from raynb.base.spec import plain

#: Arguments of ``ray.init`` that are accepted and mean nothing on one machine.
_IGNORED = frozenset((
    "include_dashboard", "dashboard_host", "dashboard_port", "job_config", "configure_logging",
    "logging_level", "logging_config", "logging_format", "log_to_driver", "allow_multiple",
    "_enable_object_reconstruction", "_redis_max_memory", "_plasma_directory", "_node_ip_address",
    "_driver_object_store_memory", "_redis_username", "_redis_password", "_temp_dir",
    "_metrics_export_port", "_system_config", "_tracing_startup_hook", "_node_name", "labels",
    "cgroup_path", "enable_resource_isolation", "proxy_server_url", "system_reserved_cpu", "system_reserved_memory",
))  # fmt: skip
_OWN = frozenset(Config.__slots__) - {"isolated", "address"}


def _config(given: dict[str, Any], address: str | None = None) -> Config:
    wanted = {}
    for name, value in given.items():
        if name in _OWN:
            wanted[name] = value
        elif name == "_memory":
            wanted.setdefault("memory", value)
        elif name == "_temp_dir" or name == "_plasma_directory":
            wanted.setdefault("spill_directory", value)
        elif name == "object_spilling_directory":
            if given.get("spill_directory") not in (None, value):
                raise ValueError("init(): spill_directory and object_spilling_directory name two places")
            wanted["spill_directory"] = value
        elif name not in _IGNORED:
            raise RuntimeError(
                f"init() got an unexpected keyword argument {name!r}; it takes {', '.join(sorted(_OWN))}"
            )
    for name in ("num_cpus", "num_gpus", "object_store_memory", "memory"):
        value = wanted.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf
        ):
            raise ValueError(f"init({name}={value!r}): it must be a finite number that is not negative")
    place = wanted.get("spill_directory")
    if not isinstance(place, (str, os.PathLike, type(None))):
        raise TypeError(f"init(object_spilling_directory={place!r}): it must be the path of a directory")
    rays = os.environ.get("RAY_object_spilling_directory")  # noqa: SIM112  Ray spells it so
    wanted["spill_directory"] = os.fspath(place) if place else rays or None
    if not isinstance(wanted.get("namespace"), (str, type(None))):
        raise TypeError(f"init(namespace={wanted['namespace']!r}): namespace must be None or a string.")
    if wanted.get("namespace") == "":
        raise ValueError('"" is not a valid namespace. Pass None to not specify a namespace.')
    if wanted.get("runtime_env") and address is None and not wanted.get("cluster"):
        checked = dict(options.runtime_env(wanted["runtime_env"], None))  # what is wrong is said here, not in a task
        # Whole paths: the caller may go to another folder before a task is submitted.
        places = ("working_dir", checked.get("working_dir")), ("py_modules", list(checked.get("py_modules", ())))
        if whole := {name: place for name, place in places if place}:
            wanted["runtime_env"] = copy.copy(wanted["runtime_env"])  # a `RuntimeEnv` remains one
            wanted["runtime_env"].update(whole)
    if wanted.get("share", "off") not in ("off", "fair"):
        raise ValueError(f"init(share={wanted['share']!r}): it must be 'off' or 'fair'")
    wanted["namespace"] = plain(wanted.get("namespace"))
    wanted["resources"] = plain(dict(wanted.get("resources") or {}))
    for key in wanted["resources"]:
        if key in ("CPU", "GPU"):
            raise ValueError(f"init(resources=...): use num_{key.lower()}s instead of {key!r}")
    return Config(**wanted)


class Runtime:
    """A runtime. ``raynb.init()`` returns the global one; ``with raynb.Runtime(num_cpus=2) as rt:`` starts
    an isolated one that shares nothing with others, and puts it in place for the block.

    Args:
        **given: the arguments of `init`, but ``address``.

    Thread contract: any thread; the block's own calls (``f.remote()``, ``raynb.get``) use the
    isolated runtime in the thread (or asyncio task) that entered it.

    Raises:
        ValueError, TypeError, RuntimeError: as `init`.

    Example:
        >>> with ray.Runtime(num_cpus=1) as own:
        ...     ray.get(ray.put(1))
        1
    """

    def __init__(self, **given: Any) -> None:
        self._config = _config(given)
        self._engine: Any = None
        self._token: Any = None

    @classmethod
    def _of(cls, engine: Any) -> Runtime:
        made = cls.__new__(cls)
        made._config = engine.config
        made._engine = engine
        made._token = None
        return made

    @property
    def engine(self) -> Any:
        """Returns the engine (the interface that tools build on)."""
        return self._engine

    def start(self) -> Runtime:
        """Starts it without a ``with`` block; returns it."""
        if self._engine is None:
            self._engine = session.make_engine(self._config)
        return self

    def shutdown(self, timeout: float | None = None) -> None:
        """Stops it. May be called again.

        Args:
            timeout: seconds until busy workers are killed; None: ``shutdown_timeout``, as given to `init`.
        """
        engine, self._engine = self._engine, None
        if engine is None:
            return
        if session.global_slot().engine is engine:
            shutdown()
        else:
            session.end_isolated(engine, engine.config.shutdown_timeout if timeout is None else timeout)

    def __enter__(self) -> Runtime:
        self.start()
        self._token = slot.enter_isolated(self._engine)
        return self

    def __exit__(self, *exc: object) -> None:
        slot.leave_isolated(self._token)
        self.shutdown()

    async def __aenter__(self) -> Runtime:
        import asyncio

        await asyncio.to_thread(self.start)
        self._token = slot.enter_isolated(self._engine)
        return self

    async def __aexit__(self, *exc: object) -> None:
        import asyncio

        slot.leave_isolated(self._token)
        await asyncio.to_thread(self.shutdown)

    # -- what `init` returns, as Ray's users know it ---------------------------------------------
    @property
    def address_info(self) -> dict[str, Any]:
        """Returns the addresses in Ray's form; those of a cluster are absent."""
        return {
            "node_ip_address": "127.0.0.1",
            "address": "local",
            "webui_url": None,
            "session_dir": None,
            "node_id": f"{self._engine.nonce:056x}" if self._engine else None,
        }

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    @property
    def dashboard_url(self) -> None:
        """Returns None: there is no dashboard server."""
        return None

    def disconnect(self) -> None:
        """Shuts the runtime down (Ray's client context)."""
        self.shutdown()

    def __repr__(self) -> str:
        if self._engine is None:
            return "Runtime(stopped)"
        total, _ = self._engine.cluster()
        config = self._engine.config
        where = config.address or ("local_mode" if config.local_mode else "embedded")
        return f"Runtime(engine={where}, cpus={total.get('CPU', 0):g})"


def init(address: str | None = None, *, ignore_reinit_error: bool = True, **given: Any) -> Runtime:
    """Starts the global runtime (``ray.init``); with one running and the same arguments, does nothing.

    One that has failed is shut down, and another is started.

    Args:
        address: None or ``"local"``: the embedded engine on this machine. ``"auto"``, ``"host:port"`` or
            ``"ray://host:10001"``: a Ray cluster, through the ``ray`` package (``pip install "raynb[ray]"``).
        ignore_reinit_error: False: an already running runtime is an error, as in Ray.
        **options: the keywords that the reference describes under Options.
        **given: the arguments above by name; others of ``ray.init`` mean nothing on one machine and are accepted.

    Returns:
        The `Runtime`.

    Raises:
        RuntimeError: one is running with other arguments, or an argument doesn't exist; the text says which.
        ValueError, TypeError: a bad value; the text names the argument.

    Example:
        >>> runtime = ray.init(num_cpus=2)
    """
    address = None if address in (None, "", "local") else address
    if address not in (None, "auto") and "://" not in address and not address.rpartition(":")[2].isdigit():
        raise ValueError(f"Malformed address {address}. Expected '<host>:<port>', 'auto' or 'ray://<host>:<port>'.")
    config = _config(given, address)
    config.address = address
    if address is not None and ray_hook.installed():
        raise RuntimeError(
            f"init({address!r}): `import ray` means raynb in this process (raynb.as_ray), so the real Ray of a cluster "
            "cannot be reached. Start without raynb.as_ray()."
        )
    place = session.global_slot()
    running = place.wait_started()
    if running is not None and running.failure:  # it has told why, to everybody who waited; nothing is left to lose
        place.stop(running.config.shutdown_timeout, only=running)
        running = place.wait_started()
    if running is not None:
        differing = {
            name: pair for name, pair in running.config.differences(config).items()
            if name in given or (name == "address" and address)
        }
        if differing or not ignore_reinit_error:
            what = "; ".join(f"{n} is {mine!r}, asked for {theirs!r}" for n, (mine, theirs) in differing.items())
            raise RuntimeError(
                "raynb is running already" + (f" with other settings: {what}" if what else "")
                + ". Call raynb.shutdown() first (or %raynb restart)."
            )
        return Runtime._of(running)
    return place.start(config, Runtime._of)  # type: ignore[no-any-return]


def _arguments() -> dict[str, Any]:
    """Returns the arguments that `init` has of its own: name → default."""
    found = {}
    for field in dataclasses.fields(Config):
        if field.name in _OWN:
            made = field.default_factory
            found[field.name] = field.default if made is dataclasses.MISSING else made()
    return {**found, "object_spilling_directory": None}


with_keywords(init, _arguments(), INIT_TEXTS)
with_keywords(Runtime.__init__, _arguments())


def shutdown(_exiting_interpreter: bool = False, wait_for_processes: bool = False) -> None:
    """Stops the global runtime in order (``ray.shutdown``). May be called any number of times.

    Args:
        wait_for_processes: accepted for Ray's sake: when this returns, every process of the runtime is gone.

    Example:
        >>> ray.shutdown()
        >>> ray.is_initialized()
        False
    """
    place = session.global_slot()
    engine = place.engine
    place.stop(engine.config.shutdown_timeout if engine is not None else 0.0)
    if not ray_hook.asked_for():
        ray_hook.uninstall()


def is_initialized() -> bool:
    """Returns whether a runtime is running, or on its way: after ``%load_ext raynb``, or by another thread's
    `init` (``ray.is_initialized``).

    Example:
        >>> if not ray.is_initialized():
        ...     runtime = ray.init(num_cpus=2)
    """
    engine = slot.peek()
    return session.global_slot().is_coming() if engine is None else engine.alive


def runtime() -> Runtime | None:
    """Returns the running runtime, or None; never starts one.

    Example:
        >>> ray.runtime().engine.alive
        True
    """
    engine = slot.peek()
    return Runtime._of(engine) if engine is not None else None


async def init_async(address: str | None = None, **given: Any) -> Runtime:
    """`init` without blocking the event loop.

    Args:
        address: as of `init`.
        **given: as of `init`.

    Returns:
        The `Runtime`.

    Raises:
        RuntimeError, ValueError, TypeError: as `init`.

    Example:
        >>> import asyncio
        >>> runtime = asyncio.run(ray.init_async(num_cpus=2))
    """
    import asyncio

    return await asyncio.to_thread(functools.partial(init, address, **given))


async def shutdown_async() -> None:
    """`shutdown` without blocking the event loop.

    Example:
        >>> import asyncio
        >>> asyncio.run(ray.shutdown_async())
    """
    import asyncio

    await asyncio.to_thread(shutdown)
    interrupts.restore()  # only the main thread may; there it is most often


__all__ = ["Runtime", "init", "init_async", "is_initialized", "runtime", "shutdown", "shutdown_async"]
