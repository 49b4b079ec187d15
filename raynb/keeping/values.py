"""Kept values on disk and back: small ones inside the index's row, large ones in files that are mapped in place.

A hit puts a stub into the object store instead of the value: reading the stub, in whatever process, maps the file. So a
ref is ready at once however large its value is, and nothing passes through the kernel.

Thread contract: every function may be called from any thread.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raynb.base.process import shelter
from raynb.exceptions import ObjectLostError
from raynb.keeping.digest import digest
from raynb.keeping.folder import FolderError, home_of
from raynb.keeping.versions import Unsure
from raynb.serde import pickling
from raynb.store.disk import HEADER_BYTES, GuestDiskTier, version_of
from raynb.store.layout import split
from raynb.store.memory import Borrowed

#: Bytes up to which a value is kept inside the index.
INLINE_MAX_BYTES = 32_768
#: Bytes up to which a file is compared with its checksum in each process that reads it, even if the system says
#: that nobody has changed it since it was written.
ALWAYS_COMPARED_MAX_BYTES = 64 << 20


@dataclass(slots=True, frozen=True)
class Stored:
    """One kept value, as the box's rows hold it (pickled by this name: it must not change).

    Attributes:
        data: the value itself, if it is small; else empty.
        name: of its file.
        size: of the file's object, bytes.
        segments: as `raynb.store.layout.place` takes them.
        version: what the system said of the file when it was written.
    """

    data: bytes = b""
    name: str = ""
    size: int = 0
    segments: tuple[int, ...] = ()
    version: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        """The bytes that the value takes."""
        return self.size or len(self.data)


_tiers: dict[str, GuestDiskTier] = {}


def tier_of(folder: str) -> GuestDiskTier:
    """Returns this process's reader and writer of a folder's files.

    Raises:
        FolderError: the folder can't be used.
    """
    found = _tiers.get(folder)
    if found is None or not _same(found):
        found = _tiers[folder] = GuestDiskTier(home_of(folder), (os.getpid() << 40) | secrets.randbits(40))
    return found


def _same(tier: GuestDiskTier) -> bool:
    """Returns whether the folder is the one that was opened, and this process the one that opened it."""
    if tier.writer >> 40 != os.getpid():
        return False
    try:
        facts = os.stat(tier.home.path)
    except OSError:
        return False
    return (facts.st_dev, facts.st_ino) == (tier.home.device, tier.home.inode)


def let_go(folder: str) -> None:
    """Closes this process's descriptor of a folder; it is opened again when it is needed."""
    found = _tiers.pop(folder, None)
    if found is not None:
        found.close()


def write(folder: str, value: object) -> Stored:
    """Writes a value, after a look whether it comes back equal.

    Raises:
        Unsure: it can't be pickled, holds refs, or is another one when it is read back.
        OutOfDiskError: no room.
        FolderError: the folder can't be used.
    """
    try:
        packed = pickling.pack(value)
    except Exception as error:
        shelter.pass_on(error)
        raise Unsure(f"it cannot be pickled ({error})") from error
    if packed.contained:
        raise Unsure("it holds refs, which do not outlive the kernel")
    if not _comes_back(value, packed):
        raise Unsure("it is another value when it is read back")
    if pickling.nbytes(packed) <= INLINE_MAX_BYTES:
        return Stored(pickling.in_band(packed))
    return _written(folder, packed.data, packed.buffers)


def _written(folder: str, data: object, buffers: Sequence[object]) -> Stored:
    _, path, size, segments = tier_of(folder).write(data, buffers)
    return Stored(b"", os.path.basename(path), size, tuple(segments), version_of(os.stat(path)))


def _comes_back(value: Any, packed: Any) -> bool:
    """Returns whether a pickle makes an equal value: the same pickle again, or one that says it is equal."""
    if pickling.is_plain(value):
        return True
    try:
        copy = pickling.unpack(packed.data, [_flat(buffer) for buffer in packed.buffers])
        again = pickling.pack(copy)
        # A set may come back in another order, and is the same all the same.
        return _equal(packed, again) or digest(copy) == digest(value)
    except Exception as error:  # whatever the user's class raises says: not equal
        shelter.pass_on(error)
        return False


def _flat(buffer: object) -> memoryview:
    from raynb.base.buffers import Gathered, flat

    if type(buffer) is Gathered:
        return memoryview(b"".join(bytes(piece) for piece in buffer.pieces()))
    return flat(buffer)


def _equal(one: Any, other: Any) -> bool:
    if bytes(one.data) != bytes(other.data) or len(one.buffers) != len(other.buffers):
        return False
    return all(_same_bytes(_flat(a), _flat(b)) for a, b in zip(one.buffers, other.buffers, strict=True))


def _same_bytes(one: memoryview, other: memoryview) -> bool:
    if len(one) != len(other):
        return False
    if not len(one):
        return True
    with Borrowed(one) as here, Borrowed(other) as there:
        if here == there:  # made of the very same memory, as arrays are: a gigabyte is not compared with itself
            return True
    step = 4 << 20
    return all(bytes(one[at : at + step]) == bytes(other[at : at + step]) for at in range(0, len(one), step))


def check(folder: str, stored: Stored) -> str:
    """Returns why a kept value can't be used, empty if it can; reads the file only if it has changed since."""
    if not stored.name:
        return ""
    try:
        tier = tier_of(folder)
        path = os.path.join(tier.path, stored.name)
        if version_of(os.stat(path)) != stored.version:
            tier.map(("file", path, stored.size, stored.segments))
    except FileNotFoundError:
        return "its file is gone"
    except (ObjectLostError, OSError) as error:
        return str(error)
    return ""


def read(folder: str, stored: Stored) -> Any:
    """Returns a kept value; arrays lie in the mapped file and are read-only.

    Raises:
        ObjectLostError: the file is gone, or isn't what was written.
    """
    if not stored.name:
        return pickling.load_in_band(stored.data)
    try:
        tier = tier_of(folder)
    except FolderError as error:
        raise ObjectLostError("", why=f"A kept result cannot be read: {error}") from error
    if stored.size > ALWAYS_COMPARED_MAX_BYTES:
        tier.trust(os.path.join(tier.path, stored.name), stored.version)
    try:
        found = block(folder, stored)
    except ObjectLostError as error:
        raise ObjectLostError(
            "", why=f"A kept result is damaged or gone, run its cell again to have it made anew: {error}"
        ) from error
    return pickling.unpack(*split(found, stored.segments))


def block(folder: str, stored: Stored) -> memoryview:
    """Returns the bytes of a value that is in a file, mapped.

    Raises:
        ObjectLostError: the file is gone, or isn't what was written.
        FolderError: the folder can't be used.
    """
    tier = tier_of(folder)
    mapping = tier.map(("file", os.path.join(tier.path, stored.name), stored.size, stored.segments))
    return mapping.writable_view().toreadonly()[HEADER_BYTES : HEADER_BYTES + stored.size]


def write_block(folder: str, found: memoryview, segments: Sequence[int]) -> Stored:
    """Writes what `block` returned, on this machine or another one.

    Raises:
        OutOfDiskError: no room.
        FolderError: the folder can't be used.
    """
    return _written(folder, *split(found, segments))


class Stub:
    """Stands for a kept value in the object store; unpickling it gives the value.

    Args:
        folder: of the kept results.
        stored: the value.
    """

    __slots__ = ("folder", "stored")

    def __init__(self, folder: str, stored: Stored) -> None:
        self.folder = folder
        self.stored = stored

    def __reduce_ex__(self, protocol: object) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return read, (self.folder, self.stored)


def signature(secret: bytes, key: str, data: bytes) -> bytes:
    """Returns what shows that a row of the index was written by this folder's owner and belongs to this key."""
    return hmac.new(secret, key.encode() + b"\0" + data, "sha256").digest()
