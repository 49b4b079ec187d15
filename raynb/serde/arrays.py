"""Arrays: each by a short reduction, and many in one value by one table and one range of memory.

numpy's own reduction of an array takes longer than copying a small one, and as long to read; a plain
array's letter and shape say all there is. Where a value has many, every one after the first few is
only taken down while the value is pickled; in the stream stands ``next(arrays)``. The table of their
types and shapes, and their bytes, are two out-of-band buffers, from which reading makes all arrays
at once. What is read is what numpy's own pickling gives. It is standard pickle, so nothing special
is needed to read it.
"""

from __future__ import annotations

import functools
import itertools
import marshal
import math
import operator
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

from raynb.base.buffers import Gathered, unit

#: So many arrays of a value go one by one: a table for fewer costs more than it saves.
TABLE_FROM_ARRAYS = 8
_SMALL_BYTES = 1 << 16  # bytes; larger arrays are copied one by one, the large ones without the GIL
_MAX_DIMENSIONS = 30  # numpy 1 allows 32; the runs below need one more than their arrays

_type_and_shape = operator.attrgetter("dtype", "shape")
_ONE_CALL_BYTES = 256 << 20  # copied in one call at most: Ctrl-C and other threads wait for it
_MAX_STREAMS = 512
_streams: dict[tuple[str, tuple[int, ...]], bytes] = {}  # letter and shape → how such an array begins
_types: dict[int, str] = {}  # id of numpy's own type objects, which live for ever → their letters


def array_type() -> Any:
    """Returns numpy's array class, None while nobody has imported numpy."""
    numpy = sys.modules.get("numpy")
    found = getattr(numpy, "ndarray", None)
    if found is not None and not _types:
        for letter in "?bBhHiIlLqQefdgFDG":
            dtype = numpy.dtype(letter)  # type: ignore[union-attr]
            if dtype is numpy.dtype(dtype.str):  # type: ignore[union-attr]  # another name is not kept by numpy either
                _types[id(dtype)] = letter
    return found


class Place:
    """Stands in a stream for what ``made`` makes of ``count`` out-of-band buffers, which `fill` gives later."""

    __slots__ = ("_at", "_buffers", "_count", "_made")

    def __init__(self, buffers: list[Any], made: Callable[..., object], count: int) -> None:
        self._buffers = buffers
        self._made = made
        self._count = count
        self._at = 0

    def __reduce__(self) -> tuple[Any, ...]:
        self._at = len(self._buffers)
        return self._made, tuple(pickle.PickleBuffer(bytearray(1)) for _ in range(self._count))

    def fill(self, *buffers: object) -> None:
        """Puts the buffers where they are read from, once all is pickled."""
        self._buffers[self._at : self._at + self._count] = buffers


class Arrays:
    """The arrays of one value that is being pickled.

    Thread contract: one thread.

    Args:
        buffers: the value's out-of-band buffers, to which two will be added.
    """

    __slots__ = ("_found", "_place", "_reduction", "_skipped")

    def __init__(self, buffers: list[Any]) -> None:
        self._found: list[Any] = []
        self._place = Place(buffers, made, 2)
        self._reduction = (next, (self._place,))  # always the same, so that pickle writes references to it
        self._skipped = 0

    def reduce(self, array: Any) -> Any:
        """Takes an array down and returns what stands for it; NotImplemented for one that numpy
        must pickle itself."""
        if id(array.dtype) in _types and array.flags.c_contiguous and array.size:
            if self._skipped == TABLE_FROM_ARRAYS:
                self._found.append(array)
                return self._reduction
            self._skipped += 1
            return viewed, (pickle.PickleBuffer(array), _types[id(array.dtype)], array.shape)
        if array.dtype.kind in "mM":
            # numpy copies dates and times into the stream, because they have no buffer; as whole
            # numbers they have one.
            numbers = array.view("i8")
            if array.dtype.metadata is None and array.flags.c_contiguous and array.size:
                return viewed, (pickle.PickleBuffer(numbers), array.dtype.str, array.shape)
            return _dates, (numbers, array.dtype)
        return NotImplemented

    def finish(self) -> None:
        """Once everything is pickled: puts the table and the bytes among the buffers."""
        if self._found:
            self._place.fill(*_table(self._found))


class _One:
    """Stands for an array of which only the stream is wanted."""

    __slots__ = ("_letter", "_shape")

    def __init__(self, letter: str, shape: tuple[int, ...]) -> None:
        self._letter = letter
        self._shape = shape

    def __reduce__(self) -> tuple[Any, ...]:
        return viewed, (pickle.PickleBuffer(bytearray(1)), self._letter, self._shape)


def pickle_array(array: Any, buffers: list[Any]) -> bytes | None:
    """Returns the stream of a plain array by itself, and adds its buffer to ``buffers``; None for another.

    Arrays of one type and shape have the same stream.
    """
    letter = _types.get(id(array.dtype))
    if letter is None or not array.flags.c_contiguous or not array.size:
        return None
    key = letter, array.shape
    stream = _streams.get(key)
    if stream is None:
        if len(_streams) >= _MAX_STREAMS:
            _streams.clear()
        stream = _streams[key] = pickle.dumps(_One(*key), 5, buffer_callback=lambda buffer: False)
    buffers.append(pickle.PickleBuffer(array).raw())
    return stream


def apart(buffer: Any) -> pickle.PickleBuffer:
    """Returns what pickle puts out of band. A view goes through numpy, whose arrays the garbage collector
    doesn't look into, so that it never clears a view that is still exported (see `raynb.base.buffers`)."""
    if type(buffer) is memoryview:
        array_of = getattr(sys.modules.get("numpy"), "frombuffer", None)
        buffer = array_of(buffer, "u1") if array_of is not None and len(buffer) else bytes(buffer)
    return pickle.PickleBuffer(buffer)


def reduce_dtype(dtype: Any) -> Any:
    """Returns a short reduction of a type of numbers or times, NotImplemented for another."""
    if dtype.metadata is None and (id(dtype) in _types or (dtype.kind in "mM" and dtype.isnative)):
        return sys.modules["numpy"].dtype, (dtype.str,)
    return NotImplemented


def viewed(buffer: object, dtype: str, shape: tuple[int, ...]) -> Any:
    """Makes an array of its buffer."""
    try:
        return sys.modules["numpy"].ndarray(shape, dtype, buffer)
    except KeyError:
        import numpy

        return numpy.ndarray(shape, dtype, buffer)


class _List:
    """Stands in a stream for a list of nothing but arrays."""

    __slots__ = ("_arrays",)

    def __init__(self, arrays: Place) -> None:
        self._arrays = arrays

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self._arrays,)


def pickle_list(values: list[Any], buffers: list[Any], out_of_band: Callable[[Any], bool]) -> bytes | None:
    """Returns the stream of a list of plain arrays, which the pickler then has not to look at one by one;
    None if one of them is something else, or stands in it twice."""
    kind = array_type()
    if len(values) <= TABLE_FROM_ARRAYS or set(map(type, values)) != {kind} or len(set(map(id, values))) != len(values):
        return None
    try:
        table, block = _table(values)
    except (KeyError, BufferError):
        return None
    place = Place(buffers, made, 2)
    stream = pickle.dumps(_List(place), 5, buffer_callback=out_of_band)
    place.fill(table, block)
    return stream


def _table(found: list[Any]) -> tuple[memoryview, Gathered]:
    """Returns what says how the arrays lie, and their bytes.

    Raises:
        KeyError, BufferError: one of them isn't plain.
    """
    runs = []
    starts: list[int] = []
    at = before = 0
    kinds = list(map(_type_and_shape, found))
    alike = kinds.count(kinds[0]) == len(kinds)  # by far the most usual, and seen in half the time
    groups = [(kinds[0], len(kinds))] if alike else [(key, len(list(same))) for key, same in itertools.groupby(kinds)]
    for (dtype, shape), count in groups:
        rows = found[before : before + count] if len(shape) > 1 else ()
        if not math.prod(shape) or not all(array.flags.c_contiguous for array in rows):
            raise BufferError("an empty array, or one whose rows don't follow each other")
        before += count
        runs.append((count, _types[id(dtype)], shape))
        first, pitch, at = _lay(at, count, dtype, shape)
        starts += range(first, first + count * pitch, pitch)
    table = memoryview(marshal.dumps(runs))
    views = functools.partial(_views, found)
    if alike and len(found) > 1:
        pitch = starts[1] - starts[0]
        if pitch <= _SMALL_BYTES and at <= _ONE_CALL_BYTES and not pitch % dtype.itemsize:
            return table, Gathered(views, starts, functools.partial(_copy_rows, found, dtype, pitch), at)
    return table, Gathered(views(), starts)


def _views(found: list[Any]) -> list[memoryview]:
    return [pickle.PickleBuffer(array).raw() for array in found]


def _copy_rows(found: list[Any], dtype: Any, pitch: int, into: memoryview) -> None:
    """Copies arrays of one kind behind each other, each at a multiple of ``pitch`` bytes: numpy does it in one call."""
    numpy: Any = sys.modules["numpy"]
    gap = numpy.zeros(pitch // dtype.itemsize - found[0].size, dtype)
    rows = [gap] * (2 * len(found) - 1)
    rows[::2] = found
    numpy.concatenate(rows, axis=None, out=numpy.frombuffer(into, dtype))


def _lay(end: int, count: int, dtype: Any, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Returns (start of the first, from one to the next, end of the last) of a run behind ``end``."""
    n = dtype.itemsize * math.prod(shape)
    step = unit(n)
    first = (end + step - 1) & -step
    pitch = (n + step - 1) & -step
    return first, pitch, first + (count - 1) * pitch + n


def _dates(array: Any, dtype: Any) -> Any:
    return array.view(dtype)


def made(table: Any, block: Any) -> Iterator[Any]:
    """Gives the arrays again, as views of the block."""
    import numpy

    if type(block) is Gathered:  # not stored at all
        block = bytes(block)
    arrays: list[Any] = []
    at = 0
    for count, letter, shape in marshal.loads(table):
        dtype = numpy.dtype(letter)
        first, pitch, at = _lay(at, count, dtype, shape)
        if count > 1 and 0 < len(shape) <= _MAX_DIMENSIONS:
            strides = [dtype.itemsize] * (len(shape) + 1)
            for axis in range(len(shape) - 1, 0, -1):
                strides[axis] = strides[axis + 1] * shape[axis]
            strides[0] = pitch
            arrays.extend(numpy.ndarray((count, *shape), dtype, block, first, strides))
        else:
            arrays += [numpy.ndarray(shape, dtype, block, first + i * pitch) for i in range(count)]
    return iter(arrays)
