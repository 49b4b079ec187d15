"""Errors that travel: what a task raised becomes a `RayTaskError` that is also the cause's class."""

from __future__ import annotations

import itertools
import linecache
import logging
import os
import traceback
from types import GetSetDescriptorType, MemberDescriptorType, TracebackType
from typing import Any

import raynb.exceptions as x
from raynb.base.process import package, shelter, trace
from raynb.base.spec import Value
from raynb.serde import pickling

_duals: dict[type, type] = {}

#: What a task says that failed because an argument of it did.
OF_ARGUMENT = "  At least one of the input arguments for this task could not be computed:"

#: Set in the flags of a type that is no part of a library in C (``Py_TPFLAGS_HEAPTYPE``).
_MADE_BY_CLASS = 1 << 9

#: The most characters of a traceback that views get.
TRACEBACK_MAX_CHARACTERS = 8_000


# -- exceptions that pickle whatever their constructor takes -----------------------------------
def _keeps_default_reduce(cls: type) -> bool:
    """Returns whether pickling is Python's own: to call the class with ``args``, whatever its constructor takes."""
    for name in ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__"):
        for base in cls.__mro__:
            if name in base.__dict__:
                if base.__module__ != "builtins":
                    return False
                break
    return True


_DESCRIPTORS = (MemberDescriptorType, GetSetDescriptorType)


def _fields(cls: type) -> list[str]:
    """Returns the attributes of an exception class that are not in ``__dict__``: ``errno``, ``lineno``, slots."""
    return [
        name for base in reversed(cls.__mro__) for name, found in base.__dict__.items()
        if type(found) in _DESCRIPTORS and name != "args" and not (name.startswith("__") and name.endswith("__"))
    ]  # fmt: skip


def _state_of(error: BaseException) -> dict[str, Any]:
    """Returns the fields that are set, by name, and the attributes."""
    state: dict[str, Any] = {}
    for name in _fields(type(error)):
        try:
            state[name] = getattr(error, name)
        except (AttributeError, TypeError):  # not set
            continue
    state.update(error.__dict__)
    return state


def _set_state(error: BaseException, state: dict[str, Any]) -> None:
    fields = set(_fields(type(error)))
    for name, value in state.items():
        if name not in fields:
            error.__dict__[name] = value
            continue
        if value is None and hasattr(error, name) and getattr(error, name) is None:
            continue  # OSError's text tells a file name of None from none at all
        try:
            _put(error, **{name: value})
        except (AttributeError, TypeError):  # one that says no more than `args` (the parts of a group)
            continue


def _put(error: BaseException, **values: object) -> None:
    """Sets attributes although the class may refuse it, as a frozen dataclass does."""
    for name, value in values.items():
        BaseException.__setattr__(error, name, value)


def reduce_exception(error: BaseException) -> tuple[Any, ...] | None:
    """Returns a reduction that does not call the constructor; None when the own one must do."""
    cls = type(error)
    if not _keeps_default_reduce(cls) or isinstance(error, x.RayTaskError):
        return None
    args = tuple(a if pickling.can_pickle(a) else repr(a) for a in error.args)
    state = {}
    for name, value in _state_of(error).items():
        state[name] = value if pickling.can_pickle(value) else repr(value)
    return rebuild_exception, (cls, args, state)


def rebuild_exception(cls: Any, args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Makes an exception from its class, arguments and attributes, without calling its ``__init__``."""
    try:
        error = cls.__new__(cls, *args)
    except Exception as refused:
        shelter.pass_on(refused)
        error = _bare(cls)
    _put(error, args=args)
    _set_state(error, state)
    return error  # type: ignore[no-any-return]


def _bare(cls: Any) -> BaseException:
    """Makes an exception of its class alone, by the ``__new__`` of the class in C that Python would call.

    Of several bases, ``cls.__new__`` may be another one's (`MemoryError` has its own), which Python refuses.
    """
    made: BaseException
    try:
        made = cls.__new__(cls)
    except TypeError:
        base = cls
        while base.__flags__ & _MADE_BY_CLASS:
            base = base.__base__
        made = base.__new__(cls)
    return made


# -- the dual exception ------------------------------------------------------------------------
def dual(error: x.RayTaskError) -> x.RayTaskError:
    """Returns an exception that is a `RayTaskError` and an instance of the cause's class."""
    cause = error.cause
    while isinstance(cause, x.RayTaskError) and cause.cause is not None:
        cause = cause.cause
    if cause is None or isinstance(cause, x.RayTaskError):
        return error
    cls: Any = _dual_class(type(cause))
    if cls is None:
        return error
    try:
        if isinstance(cause, BaseExceptionGroup_):
            made = cls.__new__(cls, cause.message, cause.exceptions)
        else:
            made = cls.__new__(cls, *cause.args) if isinstance(cause, OSError) else _bare(cls)
    except Exception as refused:
        shelter.pass_on(refused)
        try:
            made = rebuild_exception(cls, cause.args, {})
        except Exception as again:
            shelter.pass_on(again)
            return error
    x.RayTaskError.__init__(
        made, error.function_name, error.traceback_str, cause, error.proctitle, error.pid, error.ip, error.actor_repr,
        error._actor_id, frames=error.frames, task_id=error.task_id,
    )  # fmt: skip
    _put(made, args=(cause,) if not isinstance(cause, BaseExceptionGroup_) else cause.args)
    _set_state(made, {k: v for k, v in _state_of(cause).items() if k not in made.__dict__})
    _put(made, __cause__=cause)
    return made  # type: ignore[no-any-return]


try:
    BaseExceptionGroup_: Any = BaseExceptionGroup  # type: ignore[name-defined, unused-ignore]
except NameError:  # Python 3.10

    class BaseExceptionGroup_(BaseException):  # type: ignore[no-redef]
        pass


def _dual_class(cause: type) -> type | None:
    cls = _duals.get(cause)
    if cls is not None:
        return cls
    name = f"RayTaskError({cause.__name__})"

    def __getattr__(self: object, attribute: str) -> Any:
        inner = self.__dict__.get("cause")
        if inner is None or attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(inner, attribute)

    def __reduce__(self: Any) -> Any:
        # Whoever pickles it need not be one of ours: the cause goes as the bytes that we would make of it.
        cause = pickling.in_band(pickling.pack(_Linked(self.cause)))
        return _rebuild_dual, (self.function_name, self.traceback_str, cause, self.pid, self.frames, self.task_id)

    body = {
        "__init__": lambda self, *args, **kwargs: None,
        "__str__": lambda self: self.traceback_str,
        "__repr__": lambda self: f"{name}({self.cause!r})",
        "__getattr__": __getattr__,
        "__reduce__": __reduce__,
        "__module__": "raynb.exceptions",
    }
    try:
        cls = type(name, (x.RayTaskError, cause), body)
    except TypeError:  # a class that cannot be inherited from
        return None
    _duals[cause] = cls
    return cls


def _rebuild_dual(name: str, text: str, cause: bytes, pid: int, frames: Any, task_id: str) -> x.RayTaskError:
    return dual(x.RayTaskError(name, text, pickling.load_in_band(cause), pid=pid, frames=frames, task_id=task_id))


class _Linked:
    """An exception on its way with its cause and context, which Python's pickling drops."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return _relink, (self.error, _links(self.error))


def _links(error: BaseException) -> tuple[Any, ...]:
    links = (error.__cause__, error.__context__, error.__suppress_context__)
    return tuple(
        link if not isinstance(link, BaseException) or pickling.can_pickle(link) else None for link in links
    )


def _relink(error: BaseException, links: tuple[object, ...]) -> BaseException:
    cause, context, suppressed = links
    _put(error, __cause__=cause, __context__=context, __suppress_context__=suppressed)
    return error


# -- making ------------------------------------------------------------------------------------
def user_frames(tb: TracebackType | None) -> tuple[tuple[str, int, str, str], ...]:
    """Returns (file, line, function, source) of the user's frames, ours left out."""
    frames = []
    for frame in traceback.extract_tb(tb):
        if frame.filename.startswith(package.FOLDER) or frame.filename.startswith("<frozen"):
            continue
        frames.append((frame.filename, frame.lineno or 0, frame.name, frame.line or ""))
    return tuple(frames)


#: A frame that follows itself is written this often, then counted, as Python does it.
MAX_REPEATS = 3


def format_frames(frames: tuple[tuple[str, int, str, str], ...]) -> str:
    """Returns the lines of frames; those of a recursion are counted after the first few."""
    lines = []
    for frame, same in itertools.groupby(frames):
        filename, lineno, name, source = frame
        source = source or linecache.getline(filename, lineno).strip()
        text = f'  File "{filename}", line {lineno}, in {name}\n' + (f"    {source}\n" if source else "")
        count = sum(1 for _ in same)
        lines.append(text * min(count, MAX_REPEATS))
        if count > MAX_REPEATS:
            more = count - MAX_REPEATS
            lines.append(f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n")
    return "".join(lines)


def _chain(error: BaseException, seen: set[int]) -> str:
    """Formats the causes of an error, oldest first, as Python does, the user's frames only."""
    seen.add(id(error))
    inner, words = error.__cause__, "\nThe above exception was the direct cause of the following exception:\n\n"
    if inner is None and not error.__suppress_context__:
        inner, words = error.__context__, (
            "\nDuring handling of the above exception, another exception occurred:\n\n")  # fmt: skip
    if inner is None or id(inner) in seen or isinstance(error, x.RayTaskError):
        return ""
    return _chain(inner, seen) + _one(inner) + words


def _one(error: BaseException) -> str:
    if isinstance(error, x.RayTaskError):
        return error.traceback_str.rstrip("\n") + "\n"
    frames = user_frames(error.__traceback__)
    head = "Traceback (most recent call last):\n" if frames else ""
    return f"{head}{format_frames(frames)}{final_text(error)}\n"


#: Levels of groups inside groups that are written out, and exceptions of one group.
MAX_LEVELS, MAX_MEMBERS = 5, 20


def final_text(error: BaseException, depth: int = 0) -> str:
    """Returns the last part of a traceback: type and text, of a group also its exceptions with their frames."""
    text = "".join(traceback.format_exception_only(type(error), error)).rstrip("\n")
    if not isinstance(error, BaseExceptionGroup_) or isinstance(error, x.RayTaskError) or depth >= MAX_LEVELS:
        return text
    lines = [text]
    for number, member in enumerate(error.exceptions[:MAX_MEMBERS], 1):
        lines.append(f"  +---------------- {number} ----------------")
        if isinstance(member, x.RayTaskError):
            inner = member.traceback_str
        else:
            frames = format_frames(user_frames(member.__traceback__))
            inner = _chain(member, set()) + frames + final_text(member, depth + 1)
        lines += [f"  | {line}" for line in inner.rstrip("\n").split("\n")]
    left = len(error.exceptions) - MAX_MEMBERS
    if left > 0:
        lines.append(f"  +---------------- … and {left} more ----------------")
    return "\n".join([*lines, "  +------------------------------------"])


def task_error(
    error: BaseException, name: str, task_id: str, whose: str = ""
) -> tuple[Value, tuple[str, str], list[Any]]:
    """Returns (value, (type, text), contained refs) of what a task raised.

    Args:
        error: what it raised.
        name: of the task.
        task_id: its id in hex, or "". With ``:N`` behind it, it is the N-th failure of its process.
        whose: of an actor's call, the actor's id and repr (``actor_id=…, repr=…``).
    """
    frames = user_frames(error.__traceback__)
    pid = os.getpid()
    cause: BaseException | None = error
    inner = error
    while isinstance(inner, x.RayTaskError) and inner.cause is not None:
        inner = inner.cause
    try:
        last = final_text(error)
    except BaseException as broken:  # a __str__ that raises
        shelter.pass_on(broken)
        last = f"{type(error).__name__}: <{type(broken).__name__} in its __str__>"
    if isinstance(error, x.RayTaskError):
        last = error.traceback_str.rstrip("\n")
    chain = ""
    try:
        chain = _chain(error, set())
    except BaseException as broken:
        shelter.pass_on(broken)
        trace.swallowed(f"reading what the error of {name} was caused by", broken, logging.DEBUG)
    head = f"ray::{name}() (pid={pid}, ip=127.0.0.1{', ' if whose else ''}{whose})"
    wrapped = x.RayTaskError(name, "", cause, pid=pid, frames=frames, task_id=task_id)
    wrapped.__dict__["parts"] = (chain, head, last)
    packed = None
    for attempt in (cause, _without_state(error), None):
        wrapped.cause = attempt
        wrapped.args = (name, "", None)
        try:
            packed = pickling.pack(_Travelling(wrapped))
            if attempt is not None:
                pickling.unpack(packed.data, packed.buffers)
            break
        except BaseException as unpicklable:  # the next attempt says less of the error, the last one its text alone
            shelter.pass_on(unpicklable)
            if attempt is None:
                raise
            trace.swallowed(f"pickling the {type(inner).__name__} of {name}", unpicklable, logging.DEBUG)
    assert packed is not None
    shown = last if isinstance(error, x.RayTaskError) else _shown_traceback(chain, frames, last)
    return ("exc", pickling.in_band(packed)), (type(inner).__name__, shown), list(packed.contained)


def _shown_traceback(chain: str, frames: tuple[tuple[str, int, str, str], ...], last: str) -> str:
    """Returns the traceback that views show, long ones without their middle."""
    head = "Traceback (most recent call last):\n" if frames else ""
    text = f"{chain}{head}{format_frames(frames)}{last}"
    limit = TRACEBACK_MAX_CHARACTERS
    if len(text) <= limit:
        return text
    return f"{text[: limit // 4]}\n  … {len(text) - limit:,} characters …\n{text[-limit * 3 // 4 :]}"


def _without_state(error: BaseException) -> BaseException | None:
    try:
        return rebuild_exception(type(error), tuple(repr(a) for a in error.args), {})
    except Exception as broken:
        shelter.pass_on(broken)
        trace.swallowed(f"making a {type(error).__name__} without its state", broken, logging.DEBUG)
        return None


class _Travelling:
    """A `RayTaskError` on its way: cause and context of the cause travel too."""

    def __init__(self, error: x.RayTaskError) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        e = self.error
        chain = None
        if e.cause is not None:
            chain = _links(e.cause)
        return _arrive, (e.function_name, e.cause, chain, e.pid, e.frames, e.task_id, e.__dict__["parts"])


def _arrive(name: str, cause: Any, chain: Any, pid: int, frames: Any, task_id: str, parts: Any) -> x.RayTaskError:
    before, head, last = parts
    text = f"{before}{head}\n{format_frames(frames)}{last}"
    if cause is not None and chain is not None:
        _relink(cause, chain)
    return x.RayTaskError(name, text, cause, pid=pid, frames=frames, task_id=task_id)


# -- reading -----------------------------------------------------------------------------------
def load_error(value: Any) -> BaseException:
    """Returns the exception that an error value stands for, ready to be raised."""
    if value[0] == "exc":
        stream, buffers = pickling.unpack_in_band(value[1])
        return dual(pickling.unpack(stream, buffers))
    _, kind, *rest = value
    args = rest[0]
    if kind == "through":
        names, raised = args
        stream, buffers = pickling.unpack_in_band(raised[1])
        return dual(_through(names, pickling.unpack(stream, buffers)))
    if kind == "ActorDiedError":
        return _actor_died(args)
    if kind == "argument":
        name, inner = args
        cause = load_error(inner)
        text = f"ray::{name}()\n{OF_ARGUMENT}\n{type(cause).__name__}: {cause}"
        return dual(x.RayTaskError(name, text, cause, pid=0))
    if kind == "ActorUnavailableError":
        return x.ActorUnavailableError(args[1], bytes.fromhex(args[0]))
    cls = getattr(x, kind)
    if issubclass(cls, x.ObjectLostError):
        return cls(args[0], why="".join(args[1:]))  # type: ignore[no-any-return]
    return cls(*args)  # type: ignore[no-any-return]


def _through(names: tuple[str, ...], error: x.RayTaskError) -> x.RayTaskError:
    """Returns the error of a task, naming those that failed for it, the last one first."""
    way = "".join(f"ray::{name}()\n{OF_ARGUMENT}\n" for name in names)
    error.traceback_str = way + error.traceback_str
    return error


def _actor_died(args: Any) -> BaseException:
    actor_id, why, *more = args
    if why == "creation":
        cause = load_error(more[0])
        if isinstance(cause, x.ActorDiedError):
            return cause
        error = x.ActorDiedError(
            cause if isinstance(cause, x.RayTaskError) else None, actor_id=actor_id,
            error_msg=f"The actor died because of an error raised in its creation task, {cause}",
        )  # fmt: skip
        error.__cause__ = cause
        return error
    if why == "died":
        class_name, name, pid, text = more
        named = f" ({name!r})" if name else ""
        return x.ActorDiedError(
            actor_id=actor_id,
            error_msg=f"{x.ActorDiedError.BASE_ERROR_MSG}\n"
            f"\tclass_name: {class_name}{named}\n\tactor_id: {actor_id}\n\tpid: {pid}\n"
            f"The actor is dead because {text}.",
        )
    return x.ActorDiedError(actor_id=actor_id, error_msg="The actor is gone: all handles to it were dropped.")
