"""A shared place of kept results, named by a URL that fsspec knows (``s3://…``, ``gs://…``, ``file://…``).

An object appears there whole: object stores do that by themselves, elsewhere it is written beside and moved.
Listing the place is reading its index: there is nothing else that could disagree with the objects.

Whoever can write there can run code here, because reading a result runs its pickle. With a key of this user's
(``~/.config/raynb/keep.key``, the same on each machine), what was not signed with it is never unpickled.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from typing import Any

from raynb.keeping import parcels
from raynb.keeping.folder import FolderError

#: Ends the name of each object, after its key.
SUFFIX = ".kept"
_PART = ".part-"
_PART_SECONDS = 86_400.0  # after which what was written beside is a dead process's
#: Where an object appears when its last byte is there, and moving would copy it.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "r2"})
_CHUNK_BYTES = 16 << 20
_KEY_BYTES = (16, 64)

_log = logging.getLogger("raynb.keeping")


def is_url(path: str) -> bool:
    """Returns whether a folder of kept results is an address, not a path of this machine."""
    return "://" in path


def secret() -> bytes:
    """Returns this user's key of shared places; empty: there is none.

    Raises:
        FolderError: others could read or change it, or it has an odd length.
    """
    path = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "raynb", "keep.key")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror}).") from error
    with open(fd, "rb") as file:
        facts, found = os.fstat(fd), file.read(_KEY_BYTES[1] + 1)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise FolderError(f"{path} is another user's, or others may read it; `chmod 600 {path}` mends the latter.")
    if not _KEY_BYTES[0] <= len(found) <= _KEY_BYTES[1]:
        raise FolderError(f"{path} must have 16 to 64 bytes, such as of `head -c 32 /dev/urandom`.")
    return found


class SharedPlace:
    """Thread contract: every method may be called from any thread.

    Args:
        url: of the folder; the store's own settings (credentials) are where fsspec looks for them.

    Raises:
        FolderError: fsspec, or its part for this store, isn't installed; or the address is of no kind it knows.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise FolderError(
                f'{url} needs fsspec, which is not installed here: pip install "raynb[fsspec]".'
            ) from error
        try:
            self._files, root = url_to_fs(url)
        except ImportError as error:  # of the store's own package; fsspec's text says which
            raise FolderError(f"{url} cannot be used: {error}.") from error
        except Exception as error:  # each store has its own
            raise FolderError(f"{url} cannot be used: {type(error).__name__}: {error}.") from error
        self._root = root.rstrip("/")
        kinds = self._files.protocol
        self._appears_whole = bool(_OBJECT_STORES.intersection([kinds] if isinstance(kinds, str) else kinds))
        self._cleaned = False

    def keys(self) -> set[str]:
        """Returns the keys of all that is there.

        Raises:
            OSError: the store failed.
        """
        return {name[: -len(SUFFIX)] for name in self._names() if name.endswith(SUFFIX)}

    def fetch(self, key: str, path: str) -> bool:
        """Copies an object into a file; returns False if it isn't there.

        Raises:
            OSError: the store or the disk failed.
        """
        try:
            with self._errors("reading"):
                self._files.get_file(self._path(key), path)
        except FileNotFoundError:
            return False
        return True

    def send(self, key: str, pieces: Sequence[bytes | memoryview]) -> None:
        """Writes an object; it is there whole, or not at all.

        Raises:
            OSError: the store failed.
        """
        target = self._path(key)
        beside = target if self._appears_whole else f"{self._root}/{_PART}{time.time():.0f}-{secrets.token_hex(8)}"
        with self._errors("writing"):
            if not self._appears_whole:
                self._files.makedirs(self._root, exist_ok=True)
                self._clean()
            try:
                with self._files.open(beside, "wb") as file:
                    for piece in pieces:
                        for at in range(0, len(piece), _CHUNK_BYTES):
                            file.write(bytes(piece[at : at + _CHUNK_BYTES]))
                if beside != target:
                    self._files.mv(beside, target)
            except BaseException:
                with contextlib.suppress(Exception):  # the first error is the one that is told
                    self._files.rm_file(beside)
                raise

    def remove(self, key: str) -> None:
        """Removes an object, if it is there.

        Raises:
            OSError: the store failed.
        """
        with contextlib.suppress(FileNotFoundError), self._errors("removing"):
            self._files.rm_file(self._path(key))

    def about(self, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (key, what people see) of objects, read from their first bytes; what can't be read is left out.

        Raises:
            OSError: the store failed.
        """
        paths = [self._path(key) for key in keys]
        with self._errors("listing"):
            starts = self._files.cat_ranges(paths, 0, parcels.HEAD_BYTES, on_error="return")
        for key, path, start in zip(keys, paths, starts, strict=True):
            found = parcels.about(start) if isinstance(start, bytes) else None
            if isinstance(found, int):
                with contextlib.suppress(FileNotFoundError), self._errors("listing"):
                    found = parcels.about(self._files.cat_file(path, 0, found))
            if isinstance(found, dict):
                yield key, found

    # -- inside --------------------------------------------------------------------------------
    def _path(self, key: str) -> str:
        return f"{self._root}/{key}{SUFFIX}"

    def _names(self) -> list[str]:
        try:
            with self._errors("listing"):
                self._files.invalidate_cache()  # others write there, too
                return [path.rsplit("/", 1)[-1] for path in self._files.find(self._root, maxdepth=1)]
        except FileNotFoundError:
            return []

    def _clean(self) -> None:
        """Removes what processes left that died while they wrote."""
        if self._cleaned:
            return
        self._cleaned = True
        for name in self._names():
            began = name[len(_PART) :].partition("-")[0] if name.startswith(_PART) else ""
            if began.isdigit() and time.time() - int(began) > _PART_SECONDS:
                with contextlib.suppress(FileNotFoundError):
                    self._files.rm_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Makes the store's own errors `OSError`; not there stays `FileNotFoundError`."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # each store has its own
            _log.info("%s %s failed", doing, self.url, exc_info=True)
            raise OSError(f"{doing} {self.url} failed: {type(error).__name__}: {error}") from error
