"""Makes actors of a class."""

from __future__ import annotations

import inspect
from typing import Any

from raynb.api import definitions, own_class
from raynb.api import options as o
from raynb.api.checks.signature import Signature
from raynb.base.engine import current
from raynb.base.process import surroundings
from raynb.base.ref import ObjectRef
from raynb.base.spec import ActorSpec, TaskOptions
from raynb.serde import pickling

_NEVER = frozenset((
    "__init__", "__new__", "__del__", "__init_subclass__", "__class_getitem__", "__subclasshook__",
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getattr__", "__getattribute__",
    "__setattr__", "__delattr__", "__dir__", "__repr__", "__str__", "__hash__", "__eq__",
))  # fmt: skip
_ALWAYS = ("__ray_ready__", "__ray_call__", "__ray_terminate__")


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
            "given": o.marked(getattr(inner, "__raynb_method__", {})),
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


class Blueprint:
    """A class with what all actors of it share, whatever their options."""

    _count = 0

    def __init__(self, cls: type, given: dict[str, Any]) -> None:
        given = o.check(given, o.ACTOR)
        o.units(given, 0)
        if any(base is not object and issubclass(base, type) for base in cls.__mro__):
            raise TypeError("The @ray.remote decorator cannot be applied to metaclasses.")
        own_class.resolve_own_name(cls)
        Blueprint._count += 1
        self.cls = cls
        self.name = cls.__name__
        self.module = cls.__module__
        self.generation = Blueprint._count
        self.signature = Signature(cls.__init__, skip_first=True) if cls.__init__ is not object.__init__ else None  # type: ignore[misc]
        self.methods = _methods(cls)
        self.is_async = any(
            inspect.iscoroutinefunction(m) or inspect.isasyncgenfunction(m)
            for _, m in inspect.getmembers(cls, inspect.isfunction)
        )
        self.definition: definitions.Definition | None = None
        self.face: Any = None  # `remote`, as help sees it, once it was asked for

    def create(self, given: dict[str, Any], args: Any, kwargs: Any) -> tuple[ObjectRef[Any], ActorSpec]:
        """Starts an actor with these options and arguments of its constructor; returns what its handle is made of."""
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
        if self.signature is not None:
            self.signature.check(args, kwargs)
        elif args or kwargs:
            raise TypeError(f"{self.name}() takes no arguments")
        mark = surroundings.in_force(engine)
        self.definition = definitions.current(engine, self.cls, self.name, self.definition, mark)
        key = self.definition.key
        spec = self._spec(key, given)
        options = TaskOptions(
            name=f"{self.name}.__init__", function=key, resources=spec.placement, max_retries=0,
            runtime_env=o.env_for(engine, given.get("runtime_env")), memory=int(given.get("memory") or 0),
            surroundings=mark.key, extra=o.extra(given),
        )  # fmt: skip
        packed = pickling.pack_args(args, kwargs, f"{self.name}.__init__")
        return engine.create_actor(spec, options, packed, bool(given.get("get_if_exists")))

    def _check_order(self, given: dict[str, Any]) -> None:
        """Refuses a guaranteed order of calls for actors whose calls overtake each other."""
        if self.is_async:
            kind = "async actors"
        elif (given.get("max_concurrency") or 1) > 1 or given.get("concurrency_groups"):
            kind = "multi-threaded actors"
        else:
            return
        raise ValueError(
            f"If you're using {kind}, Ray can't execute actor tasks in order. Set "
            f"`allow_out_of_order_execution=True` to allow out-of-order execution ({self.name})."
        )

    def _spec(self, key: str, given: dict[str, Any]) -> ActorSpec:
        default = given.get("num_cpus") is None
        concurrency = given.get("max_concurrency")
        if concurrency is None:
            concurrency = 1000 if self.is_async else 1
        groups = given.get("concurrency_groups") or {}
        if isinstance(groups, list):
            groups = {g["name"]: g["max_concurrency"] for g in groups}
        return ActorSpec(
            actor_id=0,
            class_name=self.name,
            class_key=key,
            name=given.get("name") or "",
            namespace=given.get("namespace") or "",
            lifetime="detached" if given.get("lifetime") == "detached" else "",
            max_restarts=given.get("max_restarts") or 0,
            max_task_retries=given.get("max_task_retries") or 0,
            max_concurrency=concurrency,
            concurrency_groups=tuple(groups.items()),
            is_async=self.is_async,
            out_of_order=bool(given.get("allow_out_of_order_execution")),
            max_pending_calls=given.get("max_pending_calls") or -1,
            # As Ray: by default a CPU is needed to be placed, and none is held while it lives.
            placement=o.units(given, 1 if default else 0),
            held=o.units(given, 0),
            methods=self.methods,
            definition=self.generation,
            module=self.module,
            capture=o.capture(given),
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "definition": None, "face": None}
