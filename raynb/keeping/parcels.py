"""The form of a kept result at a shared place: one object that is whole, or is not what its checksum says. Pure.

The checksum comes first and is of the result's key and of all that follows, so a part, an exchange and a renamed object
are found before anything in it is used. What people see (`about`) can be read from the first bytes alone.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

_MAGIC = b"raynbk1\n"
_HEAD = struct.Struct(">8s32sII")  # magic, checksum, bytes of the facts, bytes of the layout
#: Bytes from which `about` can most often read what an object is.
HEAD_BYTES = 4_096
_CHUNK_BYTES = 16 << 20


class Damaged(Exception):
    """It isn't what was written under this key; the text says why."""


def header(secret: bytes, key: str, about: dict[str, Any], layout: object, bodies: Sequence[memoryview]) -> bytes:
    """Returns what comes before the bodies.

    Args:
        secret: of the checksum; empty: everybody can make it.
        key: of the result.
        about: what people see of it.
        layout: what the bodies are; anything that JSON takes.
    """
    facts, lengths = json.dumps(about).encode(), json.dumps([layout, [len(body) for body in bodies]]).encode()
    sizes = struct.pack(">II", len(facts), len(lengths))
    return _MAGIC + _checksum(secret, key, [sizes, facts, lengths, *bodies]) + sizes + facts + lengths


def opened(secret: bytes, key: str, block: memoryview) -> tuple[dict[str, Any], Any, list[memoryview]]:
    """Returns (about, layout, bodies) of an object.

    Raises:
        Damaged: it isn't what was written under this key with this secret.
    """
    if len(block) < _HEAD.size or bytes(block[: len(_MAGIC)]) != _MAGIC:
        raise Damaged("it is cut, or no kept result")
    _, checksum, facts, lengths = _HEAD.unpack(block[: _HEAD.size])
    if not hmac.compare_digest(checksum, _checksum(secret, key, [block[_HEAD.size - 8 :]])):
        raise Damaged("its checksum is another one: it is damaged, or was signed with another keep.key")
    start, middle = _HEAD.size, _HEAD.size + facts
    about = json.loads(bytes(block[start:middle]))
    layout, sizes = json.loads(bytes(block[middle : middle + lengths]))
    at, bodies = middle + lengths, []
    for size in sizes:
        bodies.append(block[at : at + size])
        at += size
    return about, layout, bodies


def about(start: bytes) -> dict[str, Any] | int | None:
    """Returns what people see of an object that starts so; a number: that many bytes are needed; None: it is none.

    Nothing is verified: show it, and do no more with it.
    """
    if len(start) < _HEAD.size or not start.startswith(_MAGIC):
        return None
    end = _HEAD.size + int(_HEAD.unpack(start[: _HEAD.size])[2])
    if len(start) < end:
        return end
    try:
        found = json.loads(start[_HEAD.size : end])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _checksum(secret: bytes, key: str, pieces: Iterable[bytes | memoryview]) -> bytes:
    total = hashlib.blake2b(key.encode() + b"\0", digest_size=32, key=secret)
    for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), _CHUNK_BYTES):
            total.update(view[at : at + _CHUNK_BYTES])
    return total.digest()
