"""Types of the public API, for editors and type checkers.

`remote` keeps a function's parameters and result. Every positional argument (up to eight) may be a ref of its type.
mypy ignores what a decorator makes of a class: there, write ``Counter = ray.remote(_Counter)``. Types of actors are in
`raynb.actor`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Generic, Literal, TypedDict, overload

from typing_extensions import ParamSpec, TypeVar, Unpack

from raynb import actor as actor
from raynb import api as api
from raynb import cluster_utils as cluster_utils
from raynb import data as data
from raynb import exceptions as exceptions
from raynb import experimental as experimental
from raynb import internal as internal
from raynb import runtime_env as runtime_env
from raynb import types as types
from raynb import util as util
from raynb.actor import ActorClass as ActorClass
from raynb.actor import ActorHandle as ActorHandle
from raynb.actor import ActorProxy as ActorProxy
from raynb.actor import NumReturns, Remote, RemoteStream, TypedActorClass, _AnyHandle
from raynb.actor import TypedActor as TypedActor
from raynb.actor import method as method
from raynb.api.context import RuntimeContext
from raynb.base.ids import HexId
from raynb.base.ray_names.id_classes import (
    ActorClassID as ActorClassID,
)
from raynb.base.ray_names.id_classes import (
    ActorID as ActorID,
)
from raynb.base.ray_names.id_classes import (
    ClusterID as ClusterID,
)
from raynb.base.ray_names.id_classes import (
    FunctionID as FunctionID,
)
from raynb.base.ray_names.id_classes import (
    JobID as JobID,
)
from raynb.base.ray_names.id_classes import (
    NodeID as NodeID,
)
from raynb.base.ray_names.id_classes import (
    PlacementGroupID as PlacementGroupID,
)
from raynb.base.ray_names.id_classes import (
    TaskID as TaskID,
)
from raynb.base.ray_names.id_classes import (
    UniqueID as UniqueID,
)
from raynb.base.ray_names.id_classes import (
    WorkerID as WorkerID,
)
from raynb.base.ray_names.logging_config import LoggingConfig as LoggingConfig
from raynb.base.ref import DynamicObjectRefGenerator as DynamicObjectRefGenerator
from raynb.base.ref import ObjectRef as ObjectRef

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F_co = TypeVar("F_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)
ClassT = TypeVar("ClassT", bound=type)
TypedClassT = TypeVar("TypedClassT", bound=type[TypedActor])

__version__: str
SCRIPT_MODE: int
WORKER_MODE: int
LOCAL_MODE: int
ObjectID = ObjectRef
cloudpickle: ModuleType
logger: Any

class _CommonOptions(TypedDict, total=False):
    num_cpus: float | None
    num_gpus: float | None
    memory: float | None
    resources: dict[str, float] | None
    accelerator_type: str | None
    label_selector: dict[str, str] | None
    fallback_strategy: list[dict[str, Any]] | None
    name: str | None
    runtime_env: dict[str, Any] | None
    scheduling_strategy: Any
    placement_group: Any
    placement_group_bundle_index: int
    placement_group_capture_child_tasks: bool | None
    enable_task_events: bool
    _labels: dict[str, str] | None
    _metadata: dict[str, Any] | None

class TaskOptions(_CommonOptions, total=False):
    """Options of a remote function, without ``num_returns``, which changes the result's type."""

    max_calls: int
    max_retries: int
    retry_exceptions: bool | list[type[BaseException]] | None
    timeout: float | None
    _generator_backpressure_num_objects: int

class ActorOptions(_CommonOptions, total=False):
    """Options of an actor class."""

    object_store_memory: float | None
    concurrency_groups: dict[str, int] | list[dict[str, Any]] | None
    lifetime: Literal["detached", "non_detached"] | None
    max_concurrency: int | None
    max_restarts: int
    max_task_retries: int
    max_pending_calls: int
    namespace: str | None
    get_if_exists: bool
    allow_out_of_order_execution: bool | None
    enable_tensor_transport: Any

class ObjectRefGenerator(Generic[T_co]):
    """The refs that a streaming task yields, in order, as they come."""

    def __iter__(self) -> Iterator[ObjectRef[T_co]]: ...
    def __next__(self) -> ObjectRef[T_co]: ...
    def __aiter__(self) -> AsyncIterator[ObjectRef[T_co]]: ...
    def __anext__(self) -> Awaitable[ObjectRef[T_co]]: ...
    def completed(self) -> ObjectRef[Any]: ...
    def is_finished(self) -> bool: ...
    def task_id(self) -> HexId: ...

class RemoteFunction(Remote[F_co]):
    """A function whose calls run on workers."""

    @overload
    def options(self, **options: Unpack[TaskOptions]) -> RemoteFunction[F_co]: ...
    @overload
    def options(self, *, num_returns: NumReturns, **options: Unpack[TaskOptions]) -> RemoteMany[F_co]: ...
    def bind(self, *args: Any, **kwargs: Any) -> Any: ...

class RemoteGenerator(RemoteStream[F_co]):
    """A generator function whose items come as refs."""

    @overload
    def options(self, **options: Unpack[TaskOptions]) -> RemoteGenerator[F_co]: ...
    @overload
    def options(self, *, num_returns: NumReturns, **options: Unpack[TaskOptions]) -> RemoteMany[F_co]: ...

class RemoteMany(Generic[F_co]):
    """A remote function with ``num_returns``: what ``.remote`` returns depends on the number."""

    def remote(self: RemoteMany[Callable[P, Any]], *args: P.args, **kwargs: P.kwargs) -> Any: ...
    def options(self, *, num_returns: NumReturns = ..., **options: Unpack[TaskOptions]) -> RemoteMany[F_co]: ...

class _RemoteDecorator:
    @overload
    def __call__(self, target: TypedClassT, /) -> TypedActorClass[TypedClassT]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, target: ClassT, /) -> ActorClass[ClassT]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: Callable[P, Iterator[R]], /
    ) -> RemoteGenerator[Callable[P, Iterator[R]]]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> RemoteFunction[Callable[P, R]]: ...

class _RemoteManyDecorator:
    def __call__(self, target: Callable[P, R], /) -> RemoteMany[Callable[P, R]]: ...

class _ActorDecorator:
    @overload
    def __call__(self, target: TypedClassT, /) -> TypedActorClass[TypedClassT]: ...
    @overload
    def __call__(self, target: ClassT, /) -> ActorClass[ClassT]: ...

@overload
def remote(target: TypedClassT, /) -> TypedActorClass[TypedClassT]: ...  # type: ignore[overload-overlap]
@overload
def remote(target: ClassT, /) -> ActorClass[ClassT]: ...  # type: ignore[overload-overlap]
@overload
def remote(  # type: ignore[overload-overlap]
    target: Callable[P, Iterator[R]], /
) -> RemoteGenerator[Callable[P, Iterator[R]]]: ...
@overload
def remote(target: Callable[P, R], /) -> RemoteFunction[Callable[P, R]]: ...
@overload
def remote(*, num_returns: NumReturns, **options: Unpack[TaskOptions]) -> _RemoteManyDecorator: ...
@overload
def remote(**options: Unpack[_CommonOptions]) -> _RemoteDecorator: ...
@overload
def remote(**options: Unpack[TaskOptions]) -> _RemoteDecorator: ...
@overload
def remote(**options: Unpack[ActorOptions]) -> _ActorDecorator: ...
@overload
def get(object_refs: ObjectRef[T], *, timeout: float | None = None, _use_object_store: bool = False) -> T: ...
@overload
def get(
    object_refs: list[ObjectRef[T]], *, timeout: float | None = None, _use_object_store: bool = False
) -> list[T]: ...
@overload
def get(
    object_refs: ObjectRefGenerator[T], *, timeout: float | None = None, _use_object_store: bool = False
) -> ObjectRefGenerator[T]: ...
@overload
def get(object_refs: list[Any], *, timeout: float | None = None, _use_object_store: bool = False) -> list[Any]: ...
def put(value: T, *, _owner: Any = None, _tensor_transport: Any = None) -> ObjectRef[T]: ...
@overload
def wait(
    ray_waitables: list[ObjectRef[T]],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[ObjectRef[T]], list[ObjectRef[T]]]: ...
@overload
def wait(
    ray_waitables: list[Any], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]: ...
@overload
def as_completed(
    refs: Sequence[ObjectRef[T]], *, chunk_size: int = 10, yield_obj_refs: Literal[False] = False, **kwargs: Any
) -> Iterator[T]: ...
@overload
def as_completed(
    refs: Sequence[ObjectRef[T]], *, chunk_size: int = 10, yield_obj_refs: Literal[True], **kwargs: Any
) -> Iterator[ObjectRef[T]]: ...
def cancel(
    ray_waitable: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True
) -> None: ...
def kill(actor: _AnyHandle[Any] | type[TypedActor], *, no_restart: bool = True) -> None: ...
def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]: ...
def free(object_refs: ObjectRef[Any] | Iterable[ObjectRef[Any]], local_only: bool = False) -> None: ...
def get_gpu_ids() -> list[Any]: ...
def get_runtime_context() -> RuntimeContext: ...
def cluster_resources() -> dict[str, float]: ...
def available_resources() -> dict[str, float]: ...
def nodes() -> list[dict[str, Any]]: ...
def timeline(filename: str | None = None) -> list[dict[str, Any]] | None: ...
def show_in_dashboard(message: str, key: str = "", dtype: str = "text") -> None: ...

class _InitArguments(TypedDict, total=False):
    local_mode: bool
    cluster: Literal["local"] | None
    nodes: int
    connect_timeout: float
    ship_package: bool
    retry_pause: float
    num_cpus: float | None
    num_gpus: float | None
    resources: dict[str, float] | None
    memory: int | None
    object_store_memory: int | None
    spill_directory: str | None
    object_spilling_directory: str | None
    namespace: str | None
    log_to_driver: bool
    runtime_env: Mapping[str, Any] | None
    inline_limit: int
    max_workers: int | None
    prefetch_seconds: float
    worker_start_timeout: float
    worker_start_attempts: int
    cancel_grace: float
    shutdown_timeout: float
    actor_death_window: float
    actor_death_limit: int
    memory_usage_threshold: float
    memory_monitor_interval: float
    hang_warning: float
    share: Literal["off", "fair"]
    finished_tasks_kept: int
    validate: bool
    # Accepted for Ray's sake.
    include_dashboard: bool | None
    dashboard_host: str
    dashboard_port: int | None
    job_config: Any
    configure_logging: bool
    logging_level: Any
    logging_config: LoggingConfig | None
    logging_format: str | None
    labels: dict[str, str] | None

class Runtime:
    """A runtime: what `init` returns, or an isolated one as a context manager."""

    def __init__(self, **arguments: Unpack[_InitArguments]) -> None: ...
    @property
    def engine(self) -> Any: ...
    @property
    def address_info(self) -> dict[str, Any]: ...
    @property
    def dashboard_url(self) -> None: ...
    def start(self) -> Runtime: ...
    def shutdown(self, timeout: float | None = None) -> None: ...
    def disconnect(self) -> None: ...
    def __enter__(self) -> Runtime: ...
    def __exit__(self, *exc: object) -> None: ...
    def __aenter__(self) -> Coroutine[Any, Any, Runtime]: ...
    def __aexit__(self, *exc: object) -> Coroutine[Any, Any, None]: ...
    def __getitem__(self, key: str) -> Any: ...

def init(
    address: str | None = None, *, ignore_reinit_error: bool = True, **arguments: Unpack[_InitArguments]
) -> Runtime: ...
def shutdown(_exiting_interpreter: bool = False, wait_for_processes: bool = False) -> None: ...
def is_initialized() -> bool: ...
def runtime() -> Runtime | None: ...
async def init_async(address: str | None = None, **arguments: Unpack[_InitArguments]) -> Runtime: ...
async def shutdown_async() -> None: ...
def as_ray() -> ModuleType: ...
def load_ipython_extension(ipython: Any) -> None: ...
def unload_ipython_extension(ipython: Any) -> None: ...
