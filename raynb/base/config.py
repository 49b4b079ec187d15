"""What `init` was asked for, after defaults: one value object a runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Values up to this size (bytes) travel inside messages (Ray's ``max_direct_call_object_size``, there 100 KB).
#: Measured: from 20 to 50 KB on, writing once into shared memory is quicker than copying through a socket.
INLINE_LIMIT = 32 * 1024

#: Resources are counted in whole ten-thousandths, as Ray does, so fractions add up exactly.
RESOURCE_UNIT = 10_000

#: How the reason begins when a worker could not set up its ``runtime_env``.
ENV_FAILED = "runtime_env: "


@dataclass(slots=True)
class Config:
    """Settings of one runtime.

    Sizes are bytes, times are seconds. ``None`` means "look at the machine" for counts and sizes.
    """

    address: str | None = None  # of a Ray cluster; None: this machine
    cluster: str | None = None  # "local": a throw-away Ray cluster on this machine, which ends with the runtime
    nodes: int = 3  # of that cluster
    local_mode: bool = False  # everything in this process, for debugging
    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: dict[str, float] = field(default_factory=dict)
    memory: int | None = None
    object_store_memory: int | None = None
    share: str = "off"  # "fair": idle slots of this user's runtimes that say so too are used by the busy ones
    spill_directory: str | None = None
    namespace: str | None = None
    log_to_driver: bool = True
    runtime_env: dict[str, Any] | None = None
    inline_limit: int = INLINE_LIMIT
    max_workers: int | None = None
    prefetch_seconds: float = 0.02
    connect_timeout: float = 300.0  # for a Ray cluster to start its first worker: new nodes fetch images
    ship_package: bool = True  # send raynb to nodes of a Ray cluster that lack it
    worker_start_timeout: float = 30.0
    worker_start_attempts: int = 3
    retry_pause: float = 1.0  # seconds before a task that raised is tried again, but for the first time
    cancel_grace: float = 2.0
    shutdown_timeout: float = 2.0
    actor_death_window: float = 60.0
    actor_death_limit: int = 5
    memory_usage_threshold: float = 0.95
    memory_monitor_interval: float = 0.25
    hang_warning: float = 10.0
    finished_tasks_kept: int = 10_000
    validate: bool = False
    isolated: bool = False

    def differences(self, other: Config) -> dict[str, tuple[Any, Any]]:
        """Returns the settings that differ from ``other``'s: name → (mine, theirs)."""
        return {
            name: (getattr(self, name), getattr(other, name))
            for name in self.__slots__
            if getattr(self, name) != getattr(other, name)
        }
