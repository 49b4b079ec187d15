"""Kept results that several machines share: a folder on this one, and a place that all of them reach.

What is kept goes into the folder, and from there to the place; what the folder doesn't have is copied from the place,
once. So hits, leases and checksums are those of any folder, and the place needs nothing that changes: a result is one
object, and the objects are the index.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raynb.exceptions import ObjectLostError, OutOfDiskError
from raynb.keeping import parcels, values
from raynb.keeping.box import Box, BoxFull, Entry
from raynb.keeping.place import SharedPlace, is_url, secret
from raynb.keeping.values import Stored

#: Keys from which one listing of the place is cheaper than asking for each.
_LIST_FROM_KEYS = 8
_COPIES_AT_ONCE = 8
_TEXT_CHARACTERS = 200  # characters of a text that people see


def open_box(where: str, limit: Callable[[], int], say: Callable[[str], None]) -> Box:
    """Returns the box of a folder, or of a URL.

    Raises:
        FolderError: it can't be used.
    """
    return SharedBox(where, limit, say) if is_url(where) else Box(where, limit, say)


def folder_of(url: str) -> str:
    """Returns this machine's folder for a place."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "raynb", "kept", hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:32])


class SharedBox(Box):
    """A box whose results are at a place, too.

    Thread contract: as `Box`.

    Args:
        url: of the place.
        limit: of the bytes on this machine; the place has none.

    Raises:
        FolderError: the place's or this machine's folder can't be used.
    """

    def __init__(self, url: str, limit: Callable[[], int], say: Callable[[str], None]) -> None:
        self.place = SharedPlace(url)
        self._key = secret()
        self._said: set[str] = set()
        super().__init__(folder_of(url), limit, say)
        self.where = url

    def lookup(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Returns the kept results of these keys; those that only the place has are copied first."""
        found = super().lookup(keys)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing and (copied := self._copy(missing)):
            found |= super().lookup(copied)
        return found

    def add(self, entries: Sequence[Entry]) -> int:
        """Keeps results here, then at the place; what the place doesn't take now it gets with the next ones.

        Raises:
            BoxFull, OSError: as `Box.add`; then nothing is kept here, nor there.
        """
        count = super().add(entries)
        with self._change() as db:
            db.executemany("insert or ignore into unsent values (?)", [(entry.key,) for entry in entries])
        self._send()
        return count

    def entries(self) -> list[Entry]:
        """Returns all kept results, here and at the place, without their values, the newest first."""
        found = super().entries()
        here = {entry.key for entry in found}
        try:
            for key, about in self.place.about(sorted(self.place.keys() - here)):
                with contextlib.suppress(KeyError, TypeError, ValueError):  # somebody else's object
                    found.append(_shown(key, about))
        except OSError as error:
            self._say_once(f"Only what is kept on this machine is known: {error}.")
        return sorted(found, key=lambda entry: entry.created, reverse=True)

    def remove(self, entries: Sequence[Entry]) -> None:
        """Removes results here and at the place. Other machines keep the copies that they have."""
        for entry in entries:
            self.place.remove(entry.key)
        super().remove(entries)

    # -- to the place --------------------------------------------------------------------------
    def _send(self) -> None:
        with self._change() as db:
            rows = db.execute(
                "select unsent.key, entry.* from unsent left join entry on unsent.key = entry.key"
            ).fetchall()
        for key, *row in rows:
            entry, _ = self._entry(row) if row[0] is not None else (None, "")
            if entry is not None:
                try:
                    self.place.send(key, self._packed(entry))
                except ObjectLostError:  # it went meanwhile
                    pass
                except OSError as error:
                    self._say_once(f"Results are kept on this machine only: {error}. The next ones will try again.")
                    return
            with self._change() as db:
                db.execute("delete from unsent where key = ?", (key,))

    def _packed(self, entry: Entry) -> list[bytes | memoryview]:
        layout, bodies = [], [memoryview(entry.output)]
        for name, stored in entry.values.items():
            layout.append([name, list(stored.segments) if stored.name else None])
            bodies.append(values.block(self.folder, stored) if stored.name else memoryview(stored.data))
        about = {
            "title": entry.title[:_TEXT_CHARACTERS], "line": entry.line[:_TEXT_CHARACTERS],
            "created": entry.created, "took": entry.took,
            "names": list(entry.values), "size": entry.total(),
        }  # fmt: skip
        return [parcels.header(self._key, entry.key, about, layout, bodies), *bodies]

    # -- from the place ------------------------------------------------------------------------
    def _copy(self, keys: list[str]) -> list[str]:
        """Copies results from the place; returns the keys of those that are here now."""
        try:
            if len(keys) >= _LIST_FROM_KEYS:
                there = self.place.keys()
                keys = [key for key in keys if key in there]
        except OSError as error:
            self._say_once(f"Only what is kept on this machine is used: {error}.")
            return []
        if len(keys) == 1:
            fetched = [self._fetched(keys[0])]
        else:
            pool = ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="raynb-keep")
            try:
                fetched = list(pool.map(self._fetched, keys))
            finally:
                pool.shutdown(cancel_futures=True)
        copied = []
        for why in dict.fromkeys(each for each in fetched if isinstance(each, str)):
            self.say(why)
        for entry in fetched:
            if isinstance(entry, Entry):
                try:
                    super().add([entry])
                    copied.append(entry.key)
                except (BoxFull, OSError) as error:
                    self.discard(list(entry.values.values()))
                    self._say_once(f"The kept result of {entry.title} cannot be used ({error}); it is made anew.")
        return copied

    def _fetched(self, key: str) -> Entry | str | None:
        """Returns a result whose values' files are here now, why it can't be used, or None: it isn't at the place."""
        part = os.path.join(self._home.path, f"{secrets.token_hex(8)}.part")
        written: list[Stored] = []
        try:
            if not self.place.fetch(key, part):
                return None
            with open(part, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                block = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
            about, layout, bodies = parcels.opened(self._key, key, block)
            for (_, segments), body in zip(layout, bodies[1:], strict=True):
                small = segments is None
                written.append(Stored(bytes(body)) if small else values.write_block(self.folder, body, segments))
            entry = _shown(key, about)
            entry.values = {name: stored for (name, _), stored in zip(layout, written, strict=True)}
            entry.output = bytes(bodies[0])
        except parcels.Damaged as why:
            self.discard(written)
            return f"A kept result at {self.place.url} cannot be used ({key}: {why}); it is made anew."
        except (OSError, OutOfDiskError) as error:
            self.discard(written)
            return f"A kept result cannot be copied to this machine, and is made anew: {error}."
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)
        return entry

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)


def _shown(key: str, about: dict[str, Any]) -> Entry:
    return Entry(
        key, str(about["title"]), str(about["line"]), created=float(about["created"]), took=float(about["took"]),
        size=int(about["size"]), names=tuple(map(str, about["names"])),
    )  # fmt: skip
