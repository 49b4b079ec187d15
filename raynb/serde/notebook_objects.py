"""Pickles objects that Python and cloudpickle send by name only, although a notebook made them.

``__main__`` of a worker has no such name. They are made anew instead: a cache empty, a context variable
without the value of a context, a logger with its class and name.
"""

from __future__ import annotations

import builtins
import contextvars
import functools
import importlib
import logging
import sys
import typing
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any

_MISSING = object()


def _importable(obj: Any) -> bool:
    """Returns whether importing its module finds this very object."""
    module = getattr(obj, "__module__", None)
    if module in (None, "__main__"):
        return False
    found: Any = sys.modules.get(module)
    for part in (getattr(obj, "__qualname__", None) or obj.__name__).split("."):
        found = getattr(found, part, None)
    return found is obj


def _name(obj: Any) -> str:
    return str(getattr(obj, "__qualname__", None) or obj.__name__)


# -- functools ---------------------------------------------------------------------------------
def _reduce_cache(cached: Any) -> Any:
    if _importable(cached):
        return _name(cached)
    extra = {name: value for name, value in vars(cached).items() if name not in functools.WRAPPER_ASSIGNMENTS}
    extra.pop("__wrapped__", None)
    extra.pop("cache_parameters", None)
    return _make_cache, (cached.__wrapped__, cached.cache_parameters(), extra)


def _make_cache(function: object, parameters: dict[str, Any], extra: dict[str, Any]) -> Any:
    made = functools.lru_cache(**parameters)(function)
    vars(made).update(extra)
    return made


def _reduce_cached_property(made: Any) -> Any:
    return _make_cached_property, (made.func, made.attrname)


def _make_cached_property(function: Any, attribute: str | None) -> Any:
    made = functools.cached_property(function)
    made.attrname = attribute
    return made


def _reduce_weak_keys(made: Any) -> Any:  # `singledispatch` keeps what it has found in one
    return _make_weak_keys, (list(made.items()),)


def _make_weak_keys(items: list[tuple[Any, Any]]) -> Any:
    return weakref.WeakKeyDictionary(items)


# -- typing ------------------------------------------------------------------------------------
def _reduce_new_type(made: Any) -> Any:
    if _importable(made):
        return _name(made)
    return _make_new_type, (made.__name__, made.__supertype__, made.__module__, made.__qualname__)


def _make_new_type(name: str, of: object, module: str, qualname: str) -> Any:
    kind: Any = typing.NewType
    made = kind(name, of)
    made.__module__, made.__qualname__ = module, qualname
    return made


def _reduce_param_spec(made: Any) -> Any:
    if _importable(made):
        return made.__name__
    return _make_parameter, (type(made).__name__, made.__name__, made.__module__)


def _make_parameter(kind: str, name: str, module: str) -> Any:
    made = getattr(typing, kind)(name)
    made.__module__ = module
    return made


def reduce_typing(made: Any) -> Any:
    """Returns how a `TypedDict` travels, which no metaclass makes a second time; None: it is something else."""
    if type(made).__name__ != "_TypedDictMeta" or _importable(made):
        return None
    return _make_typed_dict, (type(made).__module__, made.__name__, dict(made.__annotations__), made.__total__,
                              made.__module__, made.__qualname__)  # fmt: skip


def _make_typed_dict(source: str, name: str, fields: dict[str, Any], total: bool, module: str, qualname: str) -> Any:
    made: Any = importlib.import_module(source).TypedDict(name, fields, total=total)
    made.__module__, made.__qualname__ = module, qualname
    return made


#: Aliases whose value is still to come, by id.
_open_aliases: dict[int, list[Any]] = {}


def _reduce_alias(made: Any) -> Any:
    if _importable(made):
        return made.__name__
    if made.__type_params__:
        return _make_generic_alias, (made.__name__, made.__value__, made.__type_params__)
    return _make_alias, (made.__name__,), made.__value__, None, None, _set_alias


def _make_generic_alias(name: str, value: object, parameters: tuple[object, ...]) -> Any:
    kind: Any = typing.TypeAliasType  # type: ignore[attr-defined]
    return kind(name, value, type_params=parameters)


def _make_alias(name: str) -> Any:
    """Makes an alias whose value is looked up when it is asked for, as the statement does: it may name itself."""
    names: dict[str, Any] = {"holder": []}
    exec(f"type {name} = holder[0]", names)
    _open_aliases[id(names[name])] = names["holder"]
    return names[name]


def _set_alias(made: object, value: object) -> None:
    _open_aliases.pop(id(made)).append(value)


# -- others ------------------------------------------------------------------------------------
_variables: dict[str, contextvars.ContextVar[Any]] = {}


def _reduce_variable(made: contextvars.ContextVar[Any]) -> Any:
    default: tuple[Any, ...] = ()
    try:
        default = (contextvars.Context().run(made.get),)
    except LookupError:
        pass  # it has none
    return _make_variable, (made.name, default)


def _make_variable(name: str, default: tuple[object, ...]) -> contextvars.ContextVar[Any]:
    """Returns this process's variable of that name."""
    found = _variables.get(name)
    if found is None:
        found = contextvars.ContextVar(name, default=default[0]) if default else contextvars.ContextVar(name)
        _variables[name] = found
    return found


_OWN = frozenset(vars(logging.Logger("_"))) | {"manager", "root"}
_loggers: dict[tuple[type, str], logging.Logger] = {}


def reduce_logger(logger: logging.Logger) -> Any:
    """Returns how a logger of a class of its own travels; None: by its name, as others."""
    if type(logger) in (logging.Logger, logging.RootLogger):
        return None
    registered = logging.root.manager.loggerDict.get(logger.name) is logger
    extra = {name: value for name, value in vars(logger).items() if name not in _OWN}
    return _make_logger, (type(logger), logger.name, logger.level, registered, extra)


def _make_logger(
    cls: type[logging.Logger], name: str, level: int, registered: bool, extra: dict[str, Any]
) -> logging.Logger:
    loggers = logging.root.manager.loggerDict
    there = loggers.get(name) if registered else _loggers.get((cls, name))
    if isinstance(there, cls):
        return there
    made = cls.__new__(cls)
    logging.Logger.__init__(made, name, level)
    vars(made).update(extra)
    made.parent = logging.root
    if not registered:
        _loggers[cls, name] = made
        return made
    made.manager = logging.root.manager
    plain = logging.getLogger(name)
    made.parent, made.propagate, made.handlers = plain.parent, plain.propagate, plain.handlers
    loggers[name] = made
    for other in loggers.values():
        if isinstance(other, logging.Logger) and other.parent is plain:
            other.parent = made
    return made


def reduce_loguru(logger: Any) -> Any:
    """Returns how loguru's logger travels: each process has its own, what is bound to it goes along."""
    return _make_loguru, (logger._options,)


def _make_loguru(options: Any) -> Any:
    logger = importlib.import_module("loguru").logger
    return type(logger)(logger._core, *options)


def reduce_proxy(proxy: Any) -> Any:
    """A proxy of a `multiprocessing.Manager` travels with its manager's key: workers are no children of this process,
    which would have the key already."""
    key = getattr(proxy, "_authkey", None)
    if key is None:  # another class of that module
        return None
    build, (make, token, serializer, named) = proxy.__reduce__()
    return build, (make, token, serializer, {**named, "authkey": bytes(key)})


def reduce_exit(made: object) -> Any:
    """Returns how IPython's ``exit`` and ``quit`` travel, which hold the kernel: as Python's own."""
    return (_python_exit, ()) if type(made).__name__.endswith("ExitAutocall") else None


def _python_exit() -> Any:
    return getattr(builtins, "exit", sys.exit)


def reduce_shell(made: object) -> Any:
    """Returns how the notebook's shell travels (in ``get_ipython``): as the one of the worker."""
    return (_shell, ()) if type(made).__name__.endswith("InteractiveShell") else None


def _shell() -> Any:
    return importlib.import_module("IPython").get_ipython()


def _reduce_method(made: MethodType) -> Any:
    """The kernel puts methods of its own in the place of `input` and `getpass.getpass`: they mean the worker's."""
    if type(made.__self__).__module__.startswith("ipykernel.") and made.__name__ in ("getpass", "raw_input"):
        return _question, (made.__name__,)
    return MethodType, (made.__func__, made.__self__)


def _question(name: str) -> Any:
    return importlib.import_module("getpass").getpass if name == "getpass" else input


def _table() -> dict[type, Callable[[Any], Any]]:
    table: dict[type, Callable[[Any], Any]] = {
        functools._lru_cache_wrapper: _reduce_cache, functools.cached_property: _reduce_cached_property,
        weakref.WeakKeyDictionary: _reduce_weak_keys, contextvars.ContextVar: _reduce_variable,
        MethodType: _reduce_method, typing.NewType: _reduce_new_type, typing.ParamSpec: _reduce_param_spec,
    }  # fmt: skip
    for name, reduce in (("TypeVarTuple", _reduce_param_spec), ("TypeAliasType", _reduce_alias)):
        kind = getattr(typing, name, None)  # since 3.11 and 3.12
        if kind is not None:
            table[kind] = reduce
    return table


#: Type → its reduction, for a pickler's ``dispatch_table``.
REDUCTIONS = _table()
