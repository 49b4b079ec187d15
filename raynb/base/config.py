"""`Config`: the settings of one runtime, as `init` was called, with defaults filled in."""

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
    """Settings of one runtime, after defaults.

    Sizes are bytes, times are seconds. ``None`` means "look at the machine" for counts and sizes.
    """

    address: str | None = None  # of a Ray cluster; None: this machine
    cluster: str | None = None  # "local": a throw-away Ray cluster on this machine, which ends with the runtime
    nodes: int = 3  # of that cluster
    local_mode: bool = False  # everything in this process, for debugging
    num_cpus: float | None = None  # CPU slots; None: the cores that this process may use
    num_gpus: float | None = None  # GPU slots; None: 0
    resources: dict[str, float] = field(default_factory=dict)  # custom resources: name → amount
    memory: int | None = None  # bytes that tasks may ask for with ``memory=``
    object_store_memory: int | None = None  # bytes of the object store
    share: str = "off"  # "fair": idle slots of this user's runtimes that say so too are used by the busy ones
    spill_directory: str | None = None  # None: the temporary folder
    namespace: str | None = None  # of named actors
    log_to_driver: bool = True  # show what tasks print
    runtime_env: dict[str, Any] | None = None  # of all tasks and actors
    inline_limit: int = INLINE_LIMIT  # bytes; larger values go through the object store
    max_workers: int | None = None  # processes, actors' included
    prefetch_seconds: float = 0.02  # seconds of estimated work that a worker is sent ahead
    connect_timeout: float = 300.0  # seconds for a Ray cluster to start its first worker: new nodes fetch images
    ship_package: bool = True  # send raynb to nodes of a Ray cluster that lack it
    worker_start_timeout: float = 30.0  # seconds for the first worker to be ready
    worker_start_attempts: int = 3  # deaths of the supervisor within a minute that the runtime survives
    retry_pause: float = 1.0  # seconds before a task that raised is tried again, but for the first time
    cancel_grace: float = 2.0  # seconds from the interrupt of a cancelled task to the kill of its worker
    shutdown_timeout: float = 2.0  # seconds for busy workers to end
    actor_death_window: float = 60.0  # seconds in which an actor's deaths are counted
    actor_death_limit: int = 5  # deaths in its constructor within that window until an actor is given up
    memory_usage_threshold: float = 0.95  # share of the memory (0..1) above which tasks are killed
    memory_monitor_interval: float = 0.25  # seconds between two samples of the memory
    hang_warning: float = 10.0  # seconds without an answer after which a worker is warned of
    finished_tasks_kept: int = 10_000  # tasks; the views forget older ones
    validate: bool = False  # check the machine's invariants after each event
    isolated: bool = False  # a `Runtime` of its own, beside the global one

    def differences(self, other: Config) -> dict[str, tuple[Any, Any]]:
        """Returns the settings that differ from ``other``'s: name → (mine, theirs)."""
        return {
            name: (getattr(self, name), getattr(other, name))
            for name in self.__slots__
            if getattr(self, name) != getattr(other, name)
        }
