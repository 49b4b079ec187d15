"""Types of actors, and of what ``.remote`` does to a function's parameters (`raynb.actor`; Ray's import path).

A checker knows the methods of an actor if its class inherits from `TypedActor` and marks them with `raynb.method`.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, Literal, TypeAlias, TypedDict, overload

from typing_extensions import Never, ParamSpec, TypeVar, Unpack

from raynb import ActorOptions, ObjectRefGenerator
from raynb.api.actor import ActorClassInheritanceException as ActorClassInheritanceException
from raynb.api.actor import TypedActor as TypedActor
from raynb.api.actor import exit_actor as exit_actor
from raynb.base.ids import HexId
from raynb.base.ref import ObjectRef
from raynb.exceptions import AsyncioActorExit as AsyncioActorExit
from raynb.exceptions import RayActorError as RayActorError

P = ParamSpec("P")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
F_co = TypeVar("F_co", covariant=True)
M_co = TypeVar("M_co", covariant=True)
TypedT = TypeVar("TypedT", bound=TypedActor)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")

NumReturns: TypeAlias = int | Literal["dynamic", "streaming"]

class MethodOptions(TypedDict, total=False):
    """Options of an actor's method, without ``num_returns``."""

    name: str
    enable_task_events: bool
    _labels: dict[str, str] | None
    _metadata: dict[str, Any] | None
    retry_exceptions: bool | list[type[BaseException]] | None
    timeout: float | None
    _generator_backpressure_num_objects: int
    max_task_retries: int
    concurrency_group: str
    tensor_transport: Any

class Remote(Generic[F_co]):
    """What is called by ``.remote``: the parameters of a function, where a positional argument may be a ref."""

    @overload
    def remote(self: Remote[Callable[P, R]], *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R]: ...
    @overload
    def remote(self: Remote[Callable[[A], R]], a: A | ObjectRef[A], /) -> ObjectRef[R]: ...
    @overload
    def remote(self: Remote[Callable[[A, B], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], /) -> ObjectRef[R]: ...
    @overload
    def remote(self: Remote[Callable[[A, B, C], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], /) -> ObjectRef[R]: ...
    @overload
    def remote(self: Remote[Callable[[A, B, C, D], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], /) -> ObjectRef[R]: ...
    @overload
    def remote(self: Remote[Callable[[A, B, C, D, E], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], /) -> ObjectRef[R]: ...
    @overload
    def remote(self: Remote[Callable[[A, B, C, D, E, F], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], /) -> ObjectRef[R]: ...
    @overload
    def remote(self: Remote[Callable[[A, B, C, D, E, F, G], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], g: G | ObjectRef[G], /) -> ObjectRef[R]: ...
    @overload
    def remote(self: Remote[Callable[[A, B, C, D, E, F, G, H], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], g: G | ObjectRef[G], h: H | ObjectRef[H], /) -> ObjectRef[R]: ...

class RemoteStream(Generic[F_co]):
    """What is called by ``.remote`` and yields."""

    @overload
    def remote(self: RemoteStream[Callable[P, Iterator[R]]], *args: P.args, **kwargs: P.kwargs) -> ObjectRefGenerator[R]: ...
    @overload
    def remote(self: RemoteStream[Callable[[A], Iterator[R]]], a: A | ObjectRef[A], /) -> ObjectRefGenerator[R]: ...
    @overload
    def remote(self: RemoteStream[Callable[[A, B], Iterator[R]]], a: A | ObjectRef[A], b: B | ObjectRef[B], /) -> ObjectRefGenerator[R]: ...
    @overload
    def remote(self: RemoteStream[Callable[[A, B, C], Iterator[R]]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], /) -> ObjectRefGenerator[R]: ...
    @overload
    def remote(self: RemoteStream[Callable[[A, B, C, D], Iterator[R]]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], /) -> ObjectRefGenerator[R]: ...
    @overload
    def remote(self: RemoteStream[Callable[[A, B, C, D, E], Iterator[R]]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], /) -> ObjectRefGenerator[R]: ...
    @overload
    def remote(self: RemoteStream[Callable[[A, B, C, D, E, F], Iterator[R]]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], /) -> ObjectRefGenerator[R]: ...
    @overload
    def remote(self: RemoteStream[Callable[[A, B, C, D, E, F, G], Iterator[R]]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], g: G | ObjectRef[G], /) -> ObjectRefGenerator[R]: ...
    @overload
    def remote(self: RemoteStream[Callable[[A, B, C, D, E, F, G, H], Iterator[R]]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], g: G | ObjectRef[G], h: H | ObjectRef[H], /) -> ObjectRefGenerator[R]: ...

class ActorMethod(Generic[R]):
    """A method of a handle whose class doesn't say more."""

    def remote(self, *args: Any, **kwargs: Any) -> Any: ...
    def options(self, *, num_returns: NumReturns = ..., **options: Unpack[MethodOptions]) -> ActorMethod[R]: ...
    def bind(self, *args: Any, **kwargs: Any) -> Any: ...

class TypedMethod(Remote[F_co]):
    """A method that `raynb.method` marks, seen on a typed handle."""

    @overload
    def options(self, **options: Unpack[MethodOptions]) -> TypedMethod[F_co]: ...
    @overload
    def options(self, *, num_returns: NumReturns, **options: Unpack[MethodOptions]) -> TypedManyMethod[F_co]: ...

class TypedStreamMethod(RemoteStream[F_co]):
    """A method that `raynb.method` marks and that yields, seen on a typed handle."""

    def options(self, **options: Unpack[MethodOptions]) -> TypedStreamMethod[F_co]: ...

class TypedManyMethod(Generic[F_co]):
    """A marked method with ``num_returns``: what ``.remote`` returns depends on the number."""

    def remote(self: TypedManyMethod[Callable[P, Any]], *args: P.args, **kwargs: P.kwargs) -> Any: ...
    def options(self, *, num_returns: NumReturns = ..., **options: Unpack[MethodOptions]) -> TypedManyMethod[F_co]: ...

class Marked(Generic[M_co, F_co]):
    """A marked method: a plain one inside the class (``self.add(1)``), a remote one on a typed handle."""

    @overload
    def __get__(self, instance: None, owner: Any) -> M_co: ...
    @overload
    def __get__(self, instance: object, owner: Any) -> F_co: ...

class _ManyDecorator:
    def __call__(self, method: Callable[Concatenate[Any, P], R], /) -> Marked[TypedManyMethod[Callable[P, R]], Callable[P, R]]: ...

class _MethodDecorator:
    @overload
    def __call__(self, method: Callable[Concatenate[Any, P], Iterator[R]], /) -> Marked[TypedStreamMethod[Callable[P, Iterator[R]]], Callable[P, Iterator[R]]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, method: Callable[Concatenate[Any, P], AsyncIterator[R]], /) -> Marked[TypedStreamMethod[Callable[P, Iterator[R]]], Callable[P, AsyncIterator[R]]]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> Marked[TypedMethod[Callable[P, R]], Callable[P, Coroutine[Any, Any, R]]]: ...
    @overload
    def __call__(self, method: Callable[Concatenate[Any, P], R], /) -> Marked[TypedMethod[Callable[P, R]], Callable[P, R]]: ...
    @overload
    def __call__(self, *, num_returns: NumReturns, **options: Unpack[MethodOptions]) -> _ManyDecorator: ...
    @overload
    def __call__(self, **options: Unpack[MethodOptions]) -> _MethodDecorator: ...

method: _MethodDecorator

class _AnyHandle(Generic[T_co]):
    @property
    def _actor_id(self) -> HexId: ...

class _TypedHandle(_AnyHandle[T_co]):
    def __getattr__(self, name: str) -> Never: ...

class ActorHandle(_TypedHandle[T_co]):
    """A handle of a running actor of the class ``T``."""

    def __getattr__(self, name: str) -> ActorMethod[Any]: ...  # type: ignore[override]

ActorProxy: TypeAlias = _TypedHandle[TypedT] | type[TypedT]

class ActorClass(Generic[F_co]):
    """A class whose instances live in processes of their own."""

    @overload
    def remote(self: ActorClass[Callable[P, R]], *args: P.args, **kwargs: P.kwargs) -> ActorHandle[R]: ...
    @overload
    def remote(self: ActorClass[Callable[[A], R]], a: A | ObjectRef[A], /) -> ActorHandle[R]: ...
    @overload
    def remote(self: ActorClass[Callable[[A, B], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], /) -> ActorHandle[R]: ...
    @overload
    def remote(self: ActorClass[Callable[[A, B, C], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], /) -> ActorHandle[R]: ...
    @overload
    def remote(self: ActorClass[Callable[[A, B, C, D], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], /) -> ActorHandle[R]: ...
    @overload
    def remote(self: ActorClass[Callable[[A, B, C, D, E], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], /) -> ActorHandle[R]: ...
    @overload
    def remote(self: ActorClass[Callable[[A, B, C, D, E, F], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], /) -> ActorHandle[R]: ...
    @overload
    def remote(self: ActorClass[Callable[[A, B, C, D, E, F, G], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], g: G | ObjectRef[G], /) -> ActorHandle[R]: ...
    @overload
    def remote(self: ActorClass[Callable[[A, B, C, D, E, F, G, H], R]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], g: G | ObjectRef[G], h: H | ObjectRef[H], /) -> ActorHandle[R]: ...
    def options(self, **options: Unpack[ActorOptions]) -> ActorClass[F_co]: ...
    def bind(self, *args: Any, **kwargs: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...

class TypedActorClass(Generic[F_co]):
    """An actor class that inherits from `TypedActor`: its handles have the types of its marked methods."""

    @overload
    def remote(self: TypedActorClass[Callable[P, TypedT]], *args: P.args, **kwargs: P.kwargs) -> ActorProxy[TypedT]: ...
    @overload
    def remote(self: TypedActorClass[Callable[[A], TypedT]], a: A | ObjectRef[A], /) -> ActorProxy[TypedT]: ...
    @overload
    def remote(self: TypedActorClass[Callable[[A, B], TypedT]], a: A | ObjectRef[A], b: B | ObjectRef[B], /) -> ActorProxy[TypedT]: ...
    @overload
    def remote(self: TypedActorClass[Callable[[A, B, C], TypedT]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], /) -> ActorProxy[TypedT]: ...
    @overload
    def remote(self: TypedActorClass[Callable[[A, B, C, D], TypedT]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], /) -> ActorProxy[TypedT]: ...
    @overload
    def remote(self: TypedActorClass[Callable[[A, B, C, D, E], TypedT]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], /) -> ActorProxy[TypedT]: ...
    @overload
    def remote(self: TypedActorClass[Callable[[A, B, C, D, E, F], TypedT]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], /) -> ActorProxy[TypedT]: ...
    @overload
    def remote(self: TypedActorClass[Callable[[A, B, C, D, E, F, G], TypedT]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], g: G | ObjectRef[G], /) -> ActorProxy[TypedT]: ...
    @overload
    def remote(self: TypedActorClass[Callable[[A, B, C, D, E, F, G, H], TypedT]], a: A | ObjectRef[A], b: B | ObjectRef[B], c: C | ObjectRef[C], d: D | ObjectRef[D], e: E | ObjectRef[E], f: F | ObjectRef[F], g: G | ObjectRef[G], h: H | ObjectRef[H], /) -> ActorProxy[TypedT]: ...
    def options(self, **options: Unpack[ActorOptions]) -> TypedActorClass[F_co]: ...
    def bind(self, *args: Any, **kwargs: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...
