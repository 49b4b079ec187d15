"""Actors: `@raynb.remote` on a class, handles, their methods."""

from __future__ import annotations

import inspect
from types import GenericAlias
from typing import Any, TypeAlias, TypeVar

from raynb.api import options as o
from raynb.api import streams
from raynb.api.checks.option_texts import OPTION_TEXTS
from raynb.api.checks.signature import with_keywords
from raynb.api.submitting.creation import Blueprint
from raynb.api.submitting.methods import MethodCalls
from raynb.api.submitting.shown import ShownCalls, face, shown, without
from raynb.base import ids
from raynb.base.engine import current
from raynb.base.ids import HexId
from raynb.base.ref import ObjectRef
from raynb.base.spec import ActorSpec, plain
from raynb.exceptions import AsyncioActorExit, RayActorError


def method(*args: Any, **given: Any) -> Any:
    """Sets options of an actor method where it is defined (``ray.method``).

    Args:
        *args: the method itself, where the decorator is bare.
        **options: the keywords that the reference describes under Options.

    Returns:
        The method; with options, a decorator that returns it.

    Raises:
        ValueError: an option that doesn't exist, or a bad value; the text names it.

    Example:
        >>> @ray.remote
        ... class Pair:
        ...     @ray.method(num_returns=2)
        ...     def both(self):
        ...         return 1, 2
        >>> first, second = Pair.remote().both.remote()
        >>> ray.get(second)
        2
    """
    if len(args) == 1 and callable(args[0]) and not given:  # bare, as `@ray.method`
        return method()(args[0])
    if args:
        raise ValueError(
            "The @ray.method decorator takes the method alone, or only keyword arguments of the list "
            f"{[n for n, opt in o.OPTIONS.items() if opt.where & o.METHOD]}, for example '@ray.method(num_returns=2)'."
        )
    given = o.check(given, o.METHOD)

    def mark(function: Any) -> Any:
        streams.check_generator(given.get("num_returns"), function, getattr(function, "__name__", "the method"))
        function.__raynb_method__ = given
        return function

    return mark


class ActorClassInheritanceException(TypeError):
    """A class tried to inherit from an actor class."""


class TypedActor:
    """Base of a class whose handles show a type checker the methods that `raynb.method` marks.

    It does nothing at run time. Without it, and for methods without the mark, ``handle.method`` takes anything and
    returns `Any`. Annotate a parameter that takes such a handle as ``ActorProxy[TheClass]``.

    Example:
        >>> class _Counter(ray.TypedActor):
        ...     @ray.method
        ...     def add(self, n: int) -> int:
        ...         return n + 1
        >>> counter = ray.remote(_Counter).remote()
        >>> ray.get(counter.add.remote(1))  # a checker knows: int; counter.add.remote("1") is an error
        2
    """

    __slots__ = ()


class ActorClass:
    """A class whose instances live in processes of their own (Ray's term). Make one with ``.remote(...)``.

    Example:
        >>> Counter = ray.remote(type("Counter", (), {"add": lambda self, n: n + 1}))
        >>> ray.get(Counter.remote().add.remote(1))
        2
    """

    __class_getitem__: Any = classmethod(GenericAlias)  # for annotations

    def __init__(self, cls: type, given: dict[str, Any]) -> None:
        self._blueprint = Blueprint(cls, given)  # which checks them
        given = plain(given)
        self._calls = Creations(self._blueprint, given)
        self._cls = cls
        self._given = given
        self.__doc__ = cls.__doc__
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__module__ = cls.__module__
        self.__wrapped__ = cls

    def __ray_own_class__(self) -> type:
        """Returns the class that was decorated."""
        return self._cls

    @property
    def __bases__(self) -> tuple[type, ...]:
        """What `issubclass` looks at: ``issubclass(B, Base)`` means the class that was decorated."""
        return (self._cls,)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._cls)

    def __subclasscheck__(self, cls: type) -> bool:
        return issubclass(cls, self._cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self.__name__}()', use '{self.__name__}.remote()'."
        )

    def __mro_entries__(self, bases: Any) -> Any:
        raise ActorClassInheritanceException(
            "Inheriting from actor classes is not currently supported. You can inherit from a non-actor base "
            f"class and then make the derived class an actor class (or use {self.__name__}'s own class)."
        )

    def __getattr__(self, name: str) -> Any:
        # As in Ray, constants, static and class methods can be used without an actor.
        if name.startswith("__") or name == "_cls":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._cls, name)

    def _bind(self) -> Any:
        return self._calls.bound()

    @shown
    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Starts an actor; returns its handle at once.

        Raises:
            TypeError: the constructor's arguments don't fit or cannot be pickled.
            ValueError: the name is taken.
        """
        made: ActorHandle = self._calls.remote(*args, **kwargs)
        return made

    def _remote(self, args: Any = None, kwargs: Any = None, **given: Any) -> ActorHandle:
        """Ray's internal spelling, which its own scripts use."""
        return self.options(**given)._calls.remote(*(args or ()), **(kwargs or {}))

    def options(self, **given: Any) -> ActorClassWithOptions:
        """Returns this class with other options, for ``.remote(...)``.

        Args:
            **options: the keywords that the reference describes under Options.

        Raises:
            ValueError, TypeError: an option doesn't exist or has a bad value; the text names it.
        """
        merged = {**self._given, **o.check(given, o.ACTOR)}
        o.units(merged, 0)
        return ActorClassWithOptions(self, merged)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Raises `NotImplementedError`: raynb does not have Ray's DAG API."""
        raise NotImplementedError("the DAG API (bind) is not part of raynb; use .remote(...)")

    def __getstate__(self) -> dict[str, Any]:
        return without(self.__dict__)

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"


class Creations(ShownCalls):
    """Makes actors of one class with one set of options."""

    __slots__ = ("_blueprint", "_given")

    def __init__(self, blueprint: Blueprint, given: dict[str, Any]) -> None:
        self._blueprint = blueprint
        self._given = given

    @property
    def _face(self) -> Any:
        blueprint = self._blueprint
        if blueprint.face is None:
            blueprint.face = face(Creations.remote, blueprint.cls)
        return blueprint.face

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Creates an actor; returns its handle at once."""
        return ActorHandle(*self._blueprint.create(self._given, args, kwargs))

    def __reduce__(self) -> Any:
        return Creations, (self._blueprint, self._given)


class ActorClassWithOptions:
    """An actor class with other options, as `ActorClass.options` returns it."""

    def __init__(self, parent: ActorClass, given: dict[str, Any]) -> None:
        self._parent = parent
        self._given = given
        self._calls = Creations(parent._blueprint, given)

    def _bind(self) -> Any:
        return self._calls.bound()

    @shown
    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """See `ActorClass.remote`."""
        return self._calls.remote(*args, **kwargs)

    def options(self, **given: Any) -> ActorClassWithOptions:
        """Returns the class with further options.

        Args:
            **options: the keywords that the reference describes under Options.

        Raises:
            ValueError, TypeError: an option doesn't exist or has a bad value; the text names it.
        """
        return ActorClassWithOptions(self._parent, {**self._given, **o.check(given, o.ACTOR)})

    def __getstate__(self) -> dict[str, Any]:
        return without(self.__dict__)


class ActorHandle:
    """A handle of a running actor (Ray's term). It may be passed to tasks and other actors; when the
    last one is gone, the actor ends after the calls already submitted.

    Example:
        >>> handle = ray.remote(type("Named", (), {"name": lambda self: "me"})).remote()
        >>> ray.get(handle.name.remote())
        'me'
    """

    __class_getitem__: Any = classmethod(GenericAlias)  # for annotations

    def __init__(self, ref: ObjectRef[Any], spec: ActorSpec) -> None:
        self._ray_ref = ref
        self._ray_spec = spec

    @property
    def _actor_id(self) -> Any:
        return HexId(ids.to_hex(self._ray_spec.actor_id, self._ray_ref._engine.nonce, ids.ACTOR_HEX))

    @property
    def _ray_actor_id(self) -> Any:
        return self._actor_id

    def __getattr__(self, name: str) -> ActorMethod:
        if name.startswith("_ray"):
            raise AttributeError(name)
        about = self._ray_spec.methods.get(name)
        if about is None:
            raise AttributeError(
                f"'{type(self).__name__}' object has no attribute '{name}': the actor class "
                f"{self._ray_spec.class_name} has no method of that name"
            )
        # The method finds its handle by the ref, so that a handle in a variable is not kept by a cycle. Set past
        # ``__dict__``, which makes every later look slower.
        method = ActorMethod(MethodCalls(self._ray_ref, self._ray_spec, plain(name), about, {}))
        object.__setattr__(self, name, method)
        return method

    def __dir__(self) -> list[str]:
        return [*self._ray_spec.methods, "_actor_id"]

    def __hash__(self) -> int:
        return hash(self._ray_spec.actor_id)

    def __eq__(self, other: object) -> bool:
        # Not the refs: on a cluster a weak handle of the same actor has a ref of another name.
        return (
            isinstance(other, ActorHandle)
            and self._ray_spec.actor_id == other._ray_spec.actor_id
            and self._ray_ref._engine.nonce == other._ray_ref._engine.nonce
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorHandle, (self._ray_ref, self._ray_spec)

    def __repr__(self) -> str:
        return f"Actor({self._ray_spec.class_name}, {self._actor_id.hex()})"


_T = TypeVar("_T")
#: The handle of a `TypedActor` in annotations: ``def work(counter: ActorProxy[_Counter])`` (Ray's name).
ActorProxy: TypeAlias = ActorHandle | type[_T]


class ActorMethod:
    """A method of a handle: call it with ``.remote(...)``."""

    __class_getitem__: Any = classmethod(GenericAlias)  # for annotations

    def __init__(self, calls: MethodCalls) -> None:
        self._calls = calls
        self.__name__ = calls.name
        looks = calls._face
        self.__doc__ = looks.__doc__
        if hasattr(looks, "__wrapped__"):
            self.__wrapped__ = looks.__wrapped__

    @property
    def __signature__(self) -> inspect.Signature:
        """The method's own signature, for help and completion."""
        return inspect.signature(self.remote)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{self.__name__}()', "
            f"try 'object.{self.__name__}.remote()'."
        )

    def _bind(self) -> Any:
        return self._calls.bound()

    @shown
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call; returns its `ObjectRef` at once (a list for ``num_returns`` > 1).

        Raises:
            TypeError: the arguments don't fit the signature, or one cannot be pickled.
            PendingCallsLimitExceeded: ``max_pending_calls`` calls wait already.
        """
        return self._calls.remote(*args, **kwargs)

    def _remote(self, args: Any = None, kwargs: Any = None, **given: Any) -> Any:
        return self.options(**given).remote(*(args or ()), **(kwargs or {}))

    def options(self, **given: Any) -> ActorMethod:
        """Returns this method with other options.

        Args:
            **options: the keywords that the reference describes under Options.

        Raises:
            ValueError, TypeError: an option doesn't exist or has a bad value; the text names it.
        """
        return ActorMethod(self._calls.with_options(given))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Raises `NotImplementedError`: raynb does not have Ray's DAG API."""
        raise NotImplementedError("the DAG API (bind) is not part of raynb; use .remote(...)")

    def __reduce__(self) -> Any:
        return ActorMethod, (self._calls,)

    def __repr__(self) -> str:
        return f"ActorMethod({self._calls._spec.class_name}.{self.__name__})"


def exit_actor() -> None:
    """Ends the actor that calls it, after this call (``ray.actor.exit_actor``). ``atexit`` runs.

    Raises:
        TypeError: called outside an actor.
    """
    engine = current()
    if not engine.context().actor:
        raise TypeError("exit_actor API is called on a non-actor worker.")
    engine.leave_actor()


__all__ = [
    "ActorClass", "ActorHandle", "ActorMethod", "ActorProxy", "AsyncioActorExit", "RayActorError", "TypedActor",
    "exit_actor", "method",
]  # fmt: skip


with_keywords(ActorClass.options, o.keywords(o.ACTOR), OPTION_TEXTS)
with_keywords(ActorClassWithOptions.options, o.keywords(o.ACTOR), OPTION_TEXTS)
with_keywords(ActorMethod.options, o.keywords(o.METHOD), OPTION_TEXTS)
with_keywords(method, o.keywords(o.METHOD), OPTION_TEXTS)
