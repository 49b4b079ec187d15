"""Actors: `@raynb.remote` on a class, handles, their methods."""

from __future__ import annotations

import inspect
from typing import Any

from raynb.api import definitions, measured, own_class, streams
from raynb.api import options as o
from raynb.api.checks.signature import Signature, with_keywords
from raynb.base import ids
from raynb.base.engine import Engine, current
from raynb.base.ids import HexId
from raynb.base.process import surroundings
from raynb.base.ref import ObjectRef
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.exceptions import AsyncioActorExit, RayActorError
from raynb.serde import pickling

_NEVER = frozenset((
    "__init__", "__new__", "__del__", "__init_subclass__", "__class_getitem__", "__subclasshook__",
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getattr__", "__getattribute__",
    "__setattr__", "__delattr__", "__dir__", "__repr__", "__str__", "__hash__", "__eq__",
))  # fmt: skip
_ALWAYS = ("__ray_ready__", "__ray_call__", "__ray_terminate__")


def method(*args: Any, **given: Any) -> Any:
    """Sets options of an actor method where it is defined (``ray.method``)."""
    if args:
        raise ValueError(
            "The @ray.method decorator takes only keyword arguments of the list "
            f"{[n for n, opt in o.OPTIONS.items() if opt.where & o.METHOD]}, for example '@ray.method(num_returns=2)'."
        )
    o.check(given, o.METHOD)

    def mark(function: Any) -> Any:
        streams.check_generator(given.get("num_returns"), function, getattr(function, "__name__", "the method"))
        function.__raynb_method__ = given
        return function

    return mark


def _methods(cls: type) -> dict[str, dict[str, Any]]:
    """Returns name → (marked options, is generator, signature) of what can be called."""
    found: dict[str, dict[str, Any]] = {}
    for name, member in inspect.getmembers(cls, lambda m: inspect.isroutine(m)):
        raw = inspect.getattr_static(cls, name)
        dunder = name.startswith("__") and name.endswith("__")
        if not callable(member) or (dunder and (name in _NEVER or getattr(object, name, None) is raw)):
            continue
        if dunder and not any(name in base.__dict__ for base in cls.__mro__ if base is not object):
            continue
        plain = isinstance(raw, (staticmethod, classmethod))
        inner = raw.__func__ if plain else member
        found[name] = {
            "given": dict(getattr(inner, "__raynb_method__", {})),
            "generator": inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner),
            "signature": _describe(member, skip=not plain),
        }
    for name in _ALWAYS:
        found[name] = {"given": {}, "generator": False, "signature": None}
    return found


def _describe(member: Any, skip: bool) -> Any:
    try:
        return Signature(member, skip_first=skip)
    except (TypeError, ValueError):
        return None


class ActorClassInheritanceException(TypeError):
    """A class tried to inherit from an actor class."""


class ActorClass:
    """A class whose instances live in processes of their own (Ray's term). Make one with ``.remote(...)``."""

    _count = 0

    def __init__(self, cls: type, given: dict[str, Any]) -> None:
        o.check(given, o.ACTOR)
        o.units(given, 0)
        if any(base is not object and issubclass(base, type) for base in cls.__mro__):
            raise TypeError("The @ray.remote decorator cannot be applied to metaclasses.")
        own_class.teach(cls)
        ActorClass._count += 1
        self._cls = cls
        self._given = given
        self._name = cls.__name__
        self._module = cls.__module__
        self._generation = ActorClass._count
        self._signature = Signature(cls.__init__, skip_first=True) if cls.__init__ is not object.__init__ else None  # type: ignore[misc]
        self._methods = _methods(cls)
        self._is_async = any(
            inspect.iscoroutinefunction(m) or inspect.isasyncgenfunction(m)
            for _, m in inspect.getmembers(cls, inspect.isfunction)
        )
        self._definition: definitions.Definition | None = None
        self.__doc__ = cls.__doc__
        self.__name__ = cls.__name__
        self.__qualname__ = cls.__qualname__
        self.__module__ = cls.__module__

    def __ray_own_class__(self) -> type:
        """Returns the class that was decorated."""
        return self._cls

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._cls)

    def __subclasscheck__(self, cls: type) -> bool:
        return issubclass(cls, self._cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self._name}()', use '{self._name}.remote()'."
        )

    def __mro_entries__(self, bases: Any) -> Any:
        raise ActorClassInheritanceException(
            "Inheriting from actor classes is not currently supported. You can inherit from a non-actor base "
            f"class and then make the derived class an actor class (or use {self._name}'s own class)."
        )

    def __getattr__(self, name: str) -> Any:
        # As in Ray, constants, static and class methods can be used without an actor.
        if name.startswith("__") or name == "_cls":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._cls, name)

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Starts an actor; returns its handle at once.

        Raises:
            TypeError: the constructor's arguments don't fit or cannot be pickled.
            ValueError: the name is taken.
        """
        return self._create(self._given, args, kwargs)

    def _remote(self, args: Any = None, kwargs: Any = None, **given: Any) -> ActorHandle:
        """Ray's internal spelling, which its own scripts use."""
        return self.options(**given).remote(*(args or ()), **(kwargs or {}))

    def options(self, **given: Any) -> ActorClassWithOptions:
        """Returns this class with other options, for ``.remote(...)``."""
        merged = {**self._given, **o.check(given, o.ACTOR)}
        o.units(merged, 0)
        return ActorClassWithOptions(self, merged)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Not on the embedded engine: Ray's DAG API."""
        raise NotImplementedError("the DAG API (bind) is not part of raynb; use .remote(...)")

    def _create(self, given: dict[str, Any], args: Any, kwargs: Any) -> ActorHandle:
        engine = current()
        if engine.capture:
            given = o.captured(engine, given)
        if given.get("name") == "":
            raise ValueError("Actor name cannot be an empty string.")
        if given.get("get_if_exists") and not given.get("name"):
            raise ValueError("The actor name must be specified to use `get_if_exists`.")
        if given.get("allow_out_of_order_execution") is False:
            self._check_order(given)
        if given.get("namespace") == "":
            raise ValueError('`""` is not a valid namespace. Pass None to not specify a namespace.')
        if self._signature is not None:
            self._signature.check(args, kwargs)
        elif args or kwargs:
            raise TypeError(f"{self._name}() takes no arguments")
        mark = surroundings.in_force(engine)
        self._definition = definitions.current(engine, self._cls, self._name, self._definition, mark)
        key = self._definition.key
        spec = self._spec(key, given)
        options = TaskOptions(
            name=f"{self._name}.__init__", function=key, resources=spec.placement, max_retries=0,
            runtime_env=o.env_for(engine, given.get("runtime_env")), memory=int(given.get("memory") or 0),
            surroundings=mark.key, extra=o.extra(given),
        )  # fmt: skip
        packed = pickling.pack_args(args, kwargs, f"{self._name}.__init__")
        ref, found = engine.create_actor(spec, options, packed, bool(given.get("get_if_exists")))
        return ActorHandle(ref, found)

    def _check_order(self, given: dict[str, Any]) -> None:
        """Calls of such an actor overtake each other, whoever asks for their order."""
        if self._is_async:
            kind = "async actors"
        elif (given.get("max_concurrency") or 1) > 1 or given.get("concurrency_groups"):
            kind = "multi-threaded actors"
        else:
            return
        raise ValueError(
            f"If you're using {kind}, Ray can't execute actor tasks in order. Set "
            f"`allow_out_of_order_execution=True` to allow out-of-order execution ({self._name})."
        )

    def _spec(self, key: str, given: dict[str, Any]) -> ActorSpec:
        default = given.get("num_cpus") is None
        concurrency = given.get("max_concurrency")
        if concurrency is None:
            concurrency = 1000 if self._is_async else 1
        groups = given.get("concurrency_groups") or {}
        if isinstance(groups, list):
            groups = {g["name"]: g["max_concurrency"] for g in groups}
        return ActorSpec(
            actor_id=0,
            class_name=self._name,
            class_key=key,
            name=given.get("name") or "",
            namespace=given.get("namespace") or "",
            lifetime="detached" if given.get("lifetime") == "detached" else "",
            max_restarts=given.get("max_restarts") or 0,
            max_task_retries=given.get("max_task_retries") or 0,
            max_concurrency=concurrency,
            concurrency_groups=tuple(groups.items()),
            is_async=self._is_async,
            out_of_order=bool(given.get("allow_out_of_order_execution")),
            max_pending_calls=given.get("max_pending_calls") or -1,
            # As Ray: by default a CPU is needed to be placed, and none is held while it lives.
            placement=o.units(given, 1 if default else 0),
            held=o.units(given, 0),
            methods=self._methods,
            definition=self._generation,
            module=self._module,
            capture=o.capture(given),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_definition": None}

    def __repr__(self) -> str:
        return f"ActorClass({self._name})"


class ActorClassWithOptions:
    """What `ActorClass.options` returns."""

    def __init__(self, parent: ActorClass, given: dict[str, Any]) -> None:
        self._parent = parent
        self._given = given

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """See `ActorClass.remote`."""
        return self._parent._create(self._given, args, kwargs)

    def options(self, **given: Any) -> ActorClassWithOptions:
        return ActorClassWithOptions(self._parent, {**self._given, **o.check(given, o.ACTOR)})


class ActorHandle:
    """A handle of a running actor (Ray's term). It may be passed to tasks and other actors; when the
    last one is gone, the actor ends after the calls already submitted."""

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
        # The method finds its handle by the ref, so that a handle in a variable is not kept by a cycle.
        method = self.__dict__[name] = ActorMethod(self._ray_ref, self._ray_spec, name, about, {})
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


class ActorMethod:
    """A method of a handle: call it with ``.remote(...)``."""

    def __init__(self, ref: ObjectRef[Any], spec: ActorSpec, name: str, about: Any, given: dict[str, Any]) -> None:
        self._ref = ref
        self._spec = spec
        self._method = name
        self._about = about
        self._given = given
        count = given.get("num_returns")
        if count in ("streaming", "dynamic") and not about["generator"] and about["signature"] is not None:
            raise streams.no_generator(count, name)
        self._signature = about["signature"]
        self._options: TaskOptions | None = None
        self._bare: TaskOptions | None = None  # the same, once a call without arguments needs no more looking at

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{self._method}()', "
            f"try 'object.{self._method}.remote()'."
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call; returns its `ObjectRef` at once (a list for ``num_returns`` > 1).

        Raises:
            TypeError: the arguments don't fit the signature, or one cannot be pickled.
            PendingCallsLimitExceeded: ``max_pending_calls`` calls wait already.
        """
        bare = self._bare
        if bare is not None and not args and not kwargs:
            refs: Any = self._ref._engine.submit(bare, pickling.NO_ARGS, self._spec.actor_id)
            return refs[0]
        options = self._options
        if options is None:
            options = self._options = self._make_options()
        if self._signature is not None:
            self._signature.check(args, kwargs)
        engine: Engine = self._ref._engine
        spec = self._spec
        if spec.max_pending_calls > 0:
            _check_pending(engine, spec)
        if not args and not kwargs:
            if options.num_returns == 1 and spec.max_pending_calls <= 0:
                self._bare = options
            return measured.handed(options, engine.submit(options, pickling.NO_ARGS, spec.actor_id))
        packed = pickling.pack_args(args, kwargs, options.name)
        return measured.submit(engine, options, packed, spec.actor_id, args, kwargs)

    def _remote(self, args: Any = None, kwargs: Any = None, **given: Any) -> Any:
        return self.options(**given).remote(*(args or ()), **(kwargs or {}))

    def options(self, **given: Any) -> ActorMethod:
        """Returns this method with other options."""
        return ActorMethod(self._ref, self._spec, self._method, self._about,
                           {**self._given, **o.check(given, o.METHOD)})  # fmt: skip

    def _make_options(self) -> TaskOptions:
        given = {**self._about["given"], **self._given}
        groups = dict(self._spec.concurrency_groups)
        group = given.get("concurrency_group") or ""
        if group and group not in groups:
            raise ValueError(f"concurrency group {group!r} is not one of {sorted(groups)} of {self._spec.class_name}")
        retries = given.get("max_task_retries")
        return TaskOptions(
            name=given.get("name") or f"{self._spec.class_name}.{self._method}",
            function_name=f"{self._spec.class_name}.{self._method}",
            function=self._method,
            num_returns=o.returns(given.get("num_returns"), self._about["generator"]),
            resources=(),
            max_retries=self._spec.max_task_retries if retries is None else retries,
            retry_exceptions=o.retry_on(given.get("retry_exceptions")),
            timeout=given.get("timeout"),
            backpressure=given.get("_generator_backpressure_num_objects") or -1,
            concurrency_group=group,
        )

    def __repr__(self) -> str:
        return f"ActorMethod({self._spec.class_name}.{self._method})"


def _check_pending(engine: Engine, spec: ActorSpec) -> None:
    from raynb.exceptions import PendingCallsLimitExceeded

    count = engine.pending_calls(spec.actor_id)  # type: ignore[attr-defined]
    if count >= spec.max_pending_calls:
        raise PendingCallsLimitExceeded(
            f"The task {spec.class_name} could not be submitted because more than {spec.max_pending_calls} "
            f"tasks are queued on the actor. This limit can be adjusted with the `max_pending_calls` actor option."
        )


def exit_actor() -> None:
    """Ends the actor that calls it, after this call (``ray.actor.exit_actor``). ``atexit`` runs.

    Raises:
        TypeError: called outside an actor.
    """
    engine = current()
    if not engine.context().actor:
        raise TypeError("exit_actor API is called on a non-actor worker.")
    leave = engine.leave_actor  # type: ignore[attr-defined]
    leave()


__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "AsyncioActorExit", "RayActorError", "exit_actor", "method"]


with_keywords(ActorClass.options, o.keywords(o.ACTOR))
with_keywords(ActorClassWithOptions.options, o.keywords(o.ACTOR))
with_keywords(ActorMethod.options, o.keywords(o.METHOD))
with_keywords(method, o.keywords(o.METHOD))
