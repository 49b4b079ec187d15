"""Values to bytes and back.

Exact builtin scalars go straight to `pickle`; everything else through cloudpickle, protocol 5,
with buffers out of band. While a value is pickled, the refs inside it are collected, so the
engine knows what the value names.
"""

from __future__ import annotations

import io
import linecache
import logging
import pickle
from collections.abc import Callable, Sequence
from types import CodeType, MethodType
from typing import Any

import cloudpickle

from raynb.base.buffers import flat
from raynb.base.engine import Packed
from raynb.base.process import headroom, shelter
from raynb.base.process.waits import time
from raynb.base.ref import ObjectRef, foreign, is_ref, ours
from raynb.serde import arrays, culprits, frames, notebook_objects, tables
from raynb.serde.refs import PickledRefs, collecting
from raynb.serde.refs import pickle_list as pickle_refs

_SCALARS = frozenset((int, float, bool, str, bytes, type(None), complex))
_PLAIN = ord("P")  # begins a stream without buffers
_SHORT_BYTES = 4096  # bytes of which a copy is cheaper than a view
_SMALL_ITEMS = 16  # containers up to this many items are looked through for plain scalars
#: Out-of-band from this size on (bytes). In band, numpy makes arrays that can be written to; as in Ray,
#: what `get` returns is read-only, however small.
OUT_OF_BAND_MIN_BYTES = 1
#: Characters of a cell up to which its source travels with its functions.
SOURCE_MAX_CHARACTERS = 200_000
EMPTY = pickle.dumps(((), {}, ()), 5)

_now = time.monotonic

#: Bytes of a stream from which on storing it is timed, however quickly it was pickled.
LARGE_BYTES = 50_000
_dumps = pickle.dumps
_loads = pickle.loads


_custom: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}


def register_serializer(cls: type, serializer: Callable[[Any], object], deserializer: Callable[[Any], object]) -> None:
    """Sets how instances of exactly ``cls`` travel, from this process on (``ray.util.register_serializer``).

    Args:
        cls: the class; its subclasses are not meant.
        serializer: called with an instance; returns a value that can be pickled.
        deserializer: called with that value; returns the instance. It travels with each value.
    """
    _custom[cls] = (serializer, deserializer)


def deregister_serializer(cls: type) -> None:
    """Removes what `register_serializer` set for ``cls``, if anything."""
    _custom.pop(cls, None)


def _call(function: Callable[[Any], object], state: object) -> Any:
    return function(state)


_reduce_code: Callable[[CodeType], tuple[Any, ...]] = cloudpickle.Pickler.dispatch_table[CodeType]
_reduce_plain_method: Callable[[MethodType], tuple[Any, ...]] = cloudpickle.Pickler.dispatch_table[MethodType]


def _reduce_method(method: MethodType) -> tuple[Any, ...]:
    own = getattr(type(method.__self__), "reduce_bound", None)  # a `.remote` that looks like what it calls
    return _reduce_plain_method(method) if own is None else own(method.__self__)


def _reduce_located_code(code: CodeType) -> tuple[Any, ...]:
    """Keeps the name of the file or cell, by which errors find the source: cloudpickle 3.1.3 and later drop it.

    The source of a cell goes along: where the code arrives, `inspect` and tracebacks find it, as in the notebook.
    """
    build, args = _reduce_code(code)[:2]
    name = code.co_filename
    known: Any = linecache.cache.get(name)
    if known is None or len(known) != 4 or known[1] is not None or known[0] > SOURCE_MAX_CHARACTERS:
        return _located_code, (build, args, name)
    return _located_code, (build, args, name, known[2])


def _located_code(
    build: Callable[..., CodeType], args: tuple[object, ...], filename: str, lines: list[str] | None = None
) -> CodeType:
    if lines is not None and filename not in linecache.cache:
        linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)
    return build(*args).replace(co_filename=filename)


#: Where a class comes from → what reduces its instances better than they do; None: their own way.
_BY_MODULE: dict[str, Callable[[Any], Any]] = {
    "numpy.dtypes": arrays.reduce_dtype,
    tables.MODULE: tables.reduce,
    "loguru._logger": notebook_objects.reduce_loguru,
    "multiprocessing.managers": notebook_objects.reduce_proxy,
    **dict.fromkeys(("typing", "typing_extensions"), notebook_objects.reduce_typing),
    **dict.fromkeys(frames.MODULES, frames.reduce),
    "IPython.core.autocall": notebook_objects.reduce_exit,
    **dict.fromkeys(
        ("ipykernel.zmqshell", "IPython.core.interactiveshell", "IPython.terminal.interactiveshell"),
        notebook_objects.reduce_shell,
    ),
}


class _StandIn(bytearray):
    """Goes through pickle's door for buffers in place of a view, over which no PickleBuffer is made: see
    `raynb.base.buffers`."""

    __slots__ = ("view",)

    def __init__(self, view: memoryview) -> None:
        super().__init__(1)
        self.view = view


def _reduce_view(view: memoryview) -> tuple[Any, ...]:
    """A memoryview stays one, of the same shape and read-only; its bytes travel out of band.

    A format that `memoryview.cast` doesn't take (records, foreign byte orders) arrives as plain bytes.
    """
    form, shape = view.format, view.shape
    if len(form) > 1 or not shape:
        form, shape = "B", (view.nbytes,)
    if not view.nbytes:
        return _rebuild_view, (b"", form, shape)
    raw = flat(view) if view.c_contiguous else memoryview(view.tobytes())
    return _rebuild_view, (pickle.PickleBuffer(_StandIn(raw)), form, shape)


def _rebuild_view(buffer: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    whole = memoryview(buffer).toreadonly()
    if 0 in shape or (form == "B" and len(shape) == 1):
        return whole
    return whole.cast("B").cast(form, shape)  # type: ignore[call-overload, no-any-return]


_BY_BASE = (BaseException, logging.Logger)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(
        {
            CodeType: _reduce_located_code,
            MethodType: _reduce_method,
            memoryview: _reduce_view,
            **notebook_objects.REDUCTIONS,
        }
    )

    def __init__(self, file: io.BytesIO, buffers: list[Any], out_of_band: Callable[[Any], bool]) -> None:
        super().__init__(file, 5, buffer_callback=out_of_band)
        self.array_type = arrays.array_type()
        self.arrays = arrays.Arrays(buffers)
        self.reduce_array = self.arrays.reduce
        self.refs = PickledRefs(buffers)
        self.reduce_ref = self.refs.reduce

    def reducer_override(self, obj: Any) -> Any:
        """Returns how a value is pickled: refs, arrays and registered classes raynb's way, else cloudpickle's."""
        kind = type(obj)
        if kind is self.array_type and kind not in _custom:
            return self.reduce_array(obj)  # none of cloudpickle's business
        if issubclass(kind, ObjectRef):
            return self.reduce_ref(obj)
        special = _BY_MODULE.get(kind.__module__)
        if special is not None:
            reduced = special(obj)
            if reduced is not None:
                return reduced
        if _custom:
            custom = _custom.get(kind)
            if custom is not None:
                return _call, (custom[1], custom[0](obj))
        if issubclass(kind, _BY_BASE):
            from raynb.serde.errors import reduce_exception

            reduced = (reduce_exception if issubclass(kind, BaseException) else notebook_objects.reduce_logger)(obj)
            if reduced is not None:
                return reduced
        return super().reducer_override(obj)


def _plain(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list or kind is tuple:
        if len(value) <= _SMALL_ITEMS:
            for item in value:  # noqa: SIM110  twice as fast as all(...) for the usual few
                if type(item) not in _SCALARS:
                    return False
            return True
    elif kind is dict and len(value) <= _SMALL_ITEMS:
        for key, item in value.items():  # noqa: SIM110  as above
            if type(key) not in _SCALARS or type(item) not in _SCALARS:
                return False
        return True
    return False


def is_plain(value: object) -> bool:
    """Returns whether a value is a scalar, or a small container of scalars, that any pickler treats alike."""
    return _plain(value)


def _quick_stream(value: Any, buffers: list[Any], out_of_band: Callable[[Any], bool]) -> bytes | None:
    """Returns the stream of an array, or of a list of arrays or of refs, if they are plain; adds to ``buffers``."""
    kind = type(value)
    many = kind is list and bool(value)
    if many:
        kind = type(value[0])
        if issubclass(kind, ObjectRef):
            return pickle_refs(value, buffers, out_of_band)
    if kind is not arrays.array_type() or kind in _custom:
        return None
    if many:
        return arrays.pickle_list(value, buffers, out_of_band)
    return arrays.pickle_array(value, buffers)


def _dump(value: object) -> tuple[bytes, list[Any], list[ObjectRef[object]]]:
    buffers: list[Any] = []

    def out_of_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = flat(buffer)
        except BufferError:  # not contiguous: goes in band
            return True
        if raw.nbytes < OUT_OF_BAND_MIN_BYTES:
            return True
        buffers.append(raw.obj.view if type(raw.obj) is _StandIn else raw)
        return False

    outer = collecting.refs
    refs: list[ObjectRef[object]] = []
    collecting.refs = refs
    try:
        data = _quick_stream(value, buffers, out_of_band)
        if data is None:
            with io.BytesIO() as file:
                pickler = _Pickler(file, buffers, out_of_band)
                pickler.dump(value)
                data = file.getvalue()
            pickler.arrays.finish()
            pickler.refs.finish()
    finally:
        collecting.refs = outer
    return data, buffers, refs


def pack(value: object) -> Packed:
    """Pickles a value for `put` or a result."""
    if _plain(value):
        quick = _dumps(value, 5)
        return Packed(quick) if len(quick) < LARGE_BYTES else Packed(quick, began=_now())
    if type(value) is bytearray:
        value = _Bytes(value)
    began = _now()
    data, buffers, refs = _dump(value)
    return Packed(data, buffers, (), refs, began)


class _Bytes:
    """A bytearray that travels out of band."""

    def __init__(self, value: bytearray) -> None:
        self.value = value

    def __reduce_ex__(self, protocol: object) -> Any:
        return bytearray, (pickle.PickleBuffer(self.value),)


def pack_args(args: tuple[Any, ...], kwargs: dict[str, Any], owner: str) -> Packed:
    """Pickles the arguments of a call to ``owner`` (its name, for errors).

    Refs at the top level are taken out (`Packed.deps`); their places are kept in the stream.

    Raises:
        TypeError: an argument cannot be pickled; the text names it.
    """
    if not args and not kwargs:
        return NO_ARGS
    if foreign:  # plain Ray's refs are refs here, too
        args, kwargs = tuple(map(ours, args)), {key: ours(value) for key, value in kwargs.items()}
    deps: list[ObjectRef[object]] = []
    places: list[int | str] = []
    plain = True
    for position, value in enumerate(args):
        if type(value) not in _SCALARS:
            if is_ref(value):
                deps.append(value)
                places.append(position)
            elif plain and not _plain(value):
                plain = False
    for key, value in kwargs.items():
        if type(value) not in _SCALARS:
            if is_ref(value):
                deps.append(value)
                places.append(key)
            elif plain and not _plain(value):
                plain = False
    if deps:
        args = tuple(None if is_ref(a) else a for a in args)
        kwargs = {k: None if is_ref(v) else v for k, v in kwargs.items()}
    whole = (args, kwargs, tuple(places))
    if plain:
        quick = _dumps(whole, 5)
        return Packed(quick, (), deps) if len(quick) < LARGE_BYTES else Packed(quick, (), deps, began=_now())
    began = _now()
    try:
        data, buffers, refs = _dump(whole)
    except MemoryError:
        raise
    except Exception as error:
        if struck(whole, error):
            raise
        if is_too_deep(error):
            raise TypeError(f"Could not serialize the arguments for {owner}: nested too deeply to be pickled") from None
        raise _blame(args, kwargs, owner, str(error)) from error
    return Packed(data, buffers, deps, refs, began)


def _blame(args: tuple[object, ...], kwargs: dict[str, Any], owner: str, why: str) -> TypeError:
    """Finds which argument cannot travel and says where it sits."""
    named = [(f"argument {i}", v) for i, v in enumerate(args)]
    named += [(f"argument '{k}'", v) for k, v in kwargs.items()]
    for name, value in named:
        if not can_pickle(value):
            path = _culprit(value, name)
            return TypeError(
                f"Could not serialize {path} (of type {type(value).__qualname__}) for {owner}: {why}"
            )
    return TypeError(f"Could not serialize the arguments for {owner}: {why}")


def can_pickle(value: object) -> bool:
    """Returns whether the value can be pickled.

    Raises:
        Exception: what fell in from outside meanwhile.
        MemoryError, RecursionError: there was no room for it.
    """
    error = _refusal(value)
    if error is None:
        return True
    if struck(value, error):
        raise error
    return False


def _refusal(value: object) -> Exception | None:
    """Returns why a value cannot be pickled; None: it can be."""
    try:
        _dump(value)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, (RecursionError, pickle.PicklingError)):
            is_too_deep(error)
        return error
    return None


def is_too_deep(error: Exception) -> bool:
    """Returns whether an error of pickling says that a value is nested too deeply.

    Raises:
        RecursionError: it may be that the caller's stack was full.
    """
    told = isinstance(error, RecursionError) or "recursion" in str(error)
    if told:
        headroom.check(headroom.PICKLING_FRAMES)
    return told


def struck(value: object, error: Exception) -> bool:
    """Returns whether what was raised while this was pickled fell in from outside: the handler of a signal
    raised it, say. An asynchronous exception does not tell; it may strike the attempts that find out, too."""
    return shelter.was_sent(error) or (shelter.fell_in(error) and any(_refusal(value) is None for _ in range(3)))


def _culprit(value: object, path: str) -> str:
    """Returns where in a value the part sits that cannot be pickled."""
    return culprits.find(value, path, can_pickle)


def unpack(data: Any, buffers: Sequence[Any] = ()) -> Any:
    """The inverse of `pack`."""
    return _loads(data, buffers=buffers) if buffers else _loads(data)


def unpack_args(data: Any, buffers: Sequence[Any], values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Returns (args, kwargs) with the values of the top-level refs in their places."""
    args, kwargs, places = _loads(data, buffers=buffers) if buffers else _loads(data)
    if places:
        args = list(args)
        for place, value in zip(places, values, strict=True):
            if type(place) is int:
                args[place] = value
            else:
                kwargs[place] = value
    return args, kwargs


def nbytes(packed: Packed) -> int:
    """Returns how many bytes the packed value has."""
    size = len(packed.data)
    for buffer in packed.buffers:
        size += buffer.nbytes
    return size


def in_band(packed: Packed) -> bytes:
    """Returns one stream that `unpack_in_band` reads: for values that travel inside messages."""
    if not packed.buffers:
        return b"P" + packed.data
    return b"B" + _dumps((packed.data, [bytes(b) for b in packed.buffers]), 5)


#: No arguments at all: one object for all such calls, and as it travels.
NO_ARGS = Packed(EMPTY)
EMPTY_IN_BAND = in_band(NO_ARGS)


def load_in_band(data: bytes) -> Any:
    """Returns the value of what `in_band` made."""
    if len(data) < _SHORT_BYTES and data[0] == _PLAIN:
        return _loads(data[1:])
    return unpack(*unpack_in_band(data))


def unpack_in_band(data: bytes) -> tuple[Any, Sequence[Any]]:
    """Returns (stream, buffers) of what `in_band` made."""
    view = memoryview(data)
    if data[:1] == b"P":
        return view[1:], ()
    stream, buffers = _loads(view[1:])
    return stream, buffers
