"""Messages to frames and back: bytes in, messages out, no sockets.

A frame is a header (magic, length twice) and a marshalled list: tuples ``(code, *fields)``, then the
frame's number; marshal because it is the fastest coder in the standard library for plain values,
and both ends are the same interpreter. A frame that is not ours raises `BadFrame` before anything
is decoded. So does one whose number is not the next: one was lost, came twice, or too early. The
number is at the end, so that a frame that lost its tail, and got the head of the next one in its
place, is found out as well.
"""

from __future__ import annotations

import io
import marshal
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from raynb.base.spec import plain
from raynb.wire import messages as w
from raynb.wire.messages import ALL

_HEADER = struct.Struct("<4sII")
_LIST = struct.Struct("<cI")  # how marshal begins a list: its letter, and how many items
_MAGIC = b"rnb\x02"
HEADER_SIZE = _HEADER.size
#: A frame may not be longer than this (bytes): what is larger goes through the store.
FRAME_MAX_BYTES = 1 << 30
#: The length stands in the header twice, the second time with all bits turned: nobody waits for the
#: rest of a frame whose length was put together from two headers.
_TURNED = 0xFFFFFFFF

_code: dict[type, tuple[int]] = {cls: (code,) for code, cls in enumerate(ALL)}
#: Most messages are of these kinds; what reads them looks their ids up, and meets nonsense there. Of `Done` the
#: results are looked at, in `_messages`: without that exception from the rule "1,000 tasks" takes 1 % longer.
_UNCHECKED = frozenset((w.Run, w.Submit, w.Reply, w.Done))
_TYPES: dict[str, Any] = {"int": int, "bool": int, "str": str, "bytes": bytes, "float": (int, float)}


_DONE = w.Done
_RESULTS = 2  # place of the results in a coded `Done`
_FIELDS = slice(1, None)  # of a coded message; made once, not for each


def _typed_fields(kind: type) -> tuple[tuple[int, Any, bool], ...]:
    """Returns (place in the coded tuple, type, are its items whole numbers?) of each field that is to be checked."""
    if kind in _UNCHECKED:
        return ()
    found: list[tuple[int, Any, bool]] = []
    for place, annotation in enumerate(kind.__annotations__.values(), 1):
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", "")
        if text in _TYPES:
            found.append((place, _TYPES[text], False))
        elif text.startswith("tuple["):
            found.append((place, tuple, text == "tuple[int, ...]"))
    return tuple(found)


#: (class, length of its coded tuple, fields to check) by code.
_kinds: list[tuple[type, int, tuple[tuple[int, Any, bool], ...]]] = [
    (cls, len(cls._fields) + 1, _typed_fields(cls)) for cls in ALL  # type: ignore[attr-defined]
]
_new: Callable[[type, Iterable[Any]], Any] = tuple.__new__
_BAD = (ValueError, EOFError, TypeError, IndexError, KeyError, AttributeError)
_dumps = marshal.dumps
_loads = marshal.loads


class BadFrame(Exception):
    """Raised when the peer has sent something that is no frame of raynb's."""


def code_of(kind: type) -> int:
    """Returns the code of a class of messages."""
    return _code[kind][0]


def encode(messages: Iterable[Any], number: int = 0) -> bytes:
    """Returns one frame with all the messages; ``number`` frames went before it.

    A message may also be given as it is coded: a plain tuple of its code (`code_of`) and its fields.
    """
    items: list[Any] = [m if type(m) is tuple else _code[type(m)] + m for m in messages]
    items.append(number)
    try:
        body = _dumps(items)
    except ValueError:  # a string or number of a class of the user's: what a `__repr__` returns, say
        body = _dumps(plain(items))
    return _framed(body)


def encode_coded(coded: Sequence[bytes], number: int) -> bytes:
    """Returns one frame with messages that `encode_one` has made already: their list, as `encode` would write it in
    the older format."""
    return _framed(b"".join((_LIST.pack(b"[", len(coded) + 1), *coded, _dumps(number, 2))))


def _framed(body: bytes) -> bytes:
    if len(body) > FRAME_MAX_BYTES:
        raise ValueError(
            f"a frame of {len(body)} bytes is longer than {FRAME_MAX_BYTES}; large values go through the store"
        )
    return _HEADER.pack(_MAGIC, len(body), len(body) ^ _TURNED) + body


def encode_one(message: Any) -> bytes:
    """Returns a message by itself. Several of them in a row are taken apart by `decode_all`."""
    coded = _code[type(message)] + message
    try:
        return _dumps(coded, 2)  # for one of them the older format takes half the time
    except ValueError:  # see `encode`
        return _dumps(plain(coded), 2)


def decode_all(data: bytes) -> list[Any]:
    """Returns messages that `encode_one` made, one behind the other.

    Raises:
        BadFrame: something else is among them.
    """
    items = []
    file = io.BytesIO(data)
    try:
        while file.tell() < len(data):
            items.append(marshal.load(file))
        return _messages(items)
    except _BAD as error:
        raise BadFrame(f"{len(data)} bytes of messages cannot be read: {error}") from error


def decode_body(body: Any, number: int) -> list[Any]:
    """Returns the messages of the body of a frame that must have this number."""
    try:
        items = _loads(body)
        found = items.pop()
        if found != number:
            raise BadFrame(f"frame {found!r:.20} came where frame {number} was to come")
        return _messages(items)
    except _BAD as error:
        raise BadFrame(f"a frame of {len(body)} bytes cannot be read: {error}") from error


def _messages(items: list[Any]) -> list[Any]:
    """Turns coded tuples into messages, in place: a coded tuple is gone as soon as its message is there, so that
    the garbage collector has fewer to look through."""
    new = _new
    for at, item in enumerate(items):
        kind, size, typed = _kinds[item[0]]
        if len(item) != size:
            raise ValueError(f"{kind.__name__} with {len(item) - 1} fields")
        if typed:
            _check(kind, item, typed)
        elif kind is _DONE and type(item[_RESULTS]) is not tuple:
            raise TypeError(f"{kind.__name__} with {type(item[_RESULTS]).__name__} in field {_RESULTS}")
        items[at] = new(kind, item[_FIELDS])
    return items


def _check(kind: type, item: Any, typed: tuple[tuple[int, Any, bool], ...]) -> None:
    for place, expected, of_ints in typed:
        value = item[place]
        if not isinstance(value, expected) or (of_ints and value and set(map(type, value)) != {int}):
            raise TypeError(f"{kind.__name__} with {type(value).__name__} in field {place}")


class Decoder:
    """Turns bytes, as they come, into whole messages.

    Thread contract: one thread at a time.
    """

    __slots__ = ("_buffer", "frames")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.frames = 0  # that came whole so far

    def feed(self, data: bytes) -> list[Any]:
        """Returns the messages that are whole now.

        Raises:
            BadFrame: wrong magic, too long, a body that cannot be read, or not the next frame.
        """
        buffer = self._buffer
        if not buffer:  # the usual case: what came is whole frames, most often one
            if len(data) >= HEADER_SIZE:
                magic, length, _ = _HEADER.unpack_from(data)
                if magic == _MAGIC and length == len(data) - HEADER_SIZE:
                    messages = decode_body(memoryview(data)[HEADER_SIZE:], self.frames)
                    self.frames += 1
                    return messages
            messages, at = self._whole(data)
            if at < len(data):
                buffer += data[at:]
            return messages
        buffer += data
        messages, at = self._whole(buffer)
        del buffer[:at]
        return messages

    def _whole(self, data: bytes | bytearray) -> tuple[list[Any], int]:
        """Returns the messages of the frames that are whole, and where the rest begins."""
        messages: list[Any] = []
        at = 0
        size = len(data)
        with memoryview(data) as view:
            while size - at >= HEADER_SIZE:
                magic, length, turned = _HEADER.unpack_from(data, at)
                if magic != _MAGIC or length > FRAME_MAX_BYTES or turned != length ^ _TURNED:
                    raise BadFrame(f"not a frame: starts with {bytes(data[at:at + 8])!r}")
                end = at + HEADER_SIZE + length
                if size < end:
                    break
                with view[at + HEADER_SIZE : end] as body:
                    messages += decode_body(body, self.frames)
                self.frames += 1
                at = end
        return messages, at

    @property
    def pending(self) -> int:
        """Returns how many bytes of an unfinished frame are held."""
        return len(self._buffer)
