"""A folder of kept results: look up, add, list, forget. The index is SQLite, the large values are files.

A value's file is whole and in place before its row is committed, and a row is gone before its files are: a process
that is killed in between leaves a file that nobody names, which a later start removes. Rows are signed, so a damaged
index is a miss, never a wrong value.

Thread contract: every method of `Box` may be called from any thread. Several processes may have one folder open.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from raynb.keeping import values
from raynb.keeping.folder import FolderError, Lease, alone, home_of
from raynb.keeping.policy import KeptEntry, to_evict
from raynb.keeping.values import Stored, Stub
from raynb.store.directory import file_system_of

#: Seconds after which a file that no row names is a dead process's.
STRAY_SECONDS = 3_600.0
_BUSY_SECONDS = 30.0
_NETWORKED = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "lustre", "beegfs")
_TABLES = """
create table if not exists entry (
    key text primary key, title text, line text, names text, created real, took real, used real, size integer,
    record blob, mac blob);
create table if not exists file (name text primary key, key text);
create table if not exists lease (key text, kernel text, primary key (key, kernel));
create table if not exists doomed (name text, kernel text);
create table if not exists content (path text primary key, version text, digest text);
create table if not exists unsent (key text primary key);
create table if not exists user (key text, notebook text, primary key (key, notebook));
create index if not exists file_key on file (key);
"""


def _is_damage(error: Exception) -> bool:
    """Returns whether SQLite says that the index is damaged; its other errors are of subclasses."""
    return type(error) is sqlite3.DatabaseError


class BoxFull(Exception):
    """The limit is reached and nothing may go; the text says so."""


class IndexDamaged(OSError):
    """The index was damaged and is put aside; there is a new, empty one by now."""


@dataclass(slots=True)
class Entry:
    """One kept result.

    Attributes:
        key: digest of all that it depends on.
        title: the cell or function that made it.
        line: its first line of code.
        values: name → value.
        output: what it printed and displayed, pickled.
        created: when it was kept, seconds since the epoch.
        took: seconds that making it took.
        used: when it was made or used last.
        notebooks: paths of those that have made or used it, as far as they are known.
    """

    key: str
    title: str = ""
    line: str = ""
    values: dict[str, Stored] = field(default_factory=dict)
    output: bytes = b""
    created: float = 0.0
    took: float = 0.0
    used: float = 0.0
    size: int = 0
    names: tuple[str, ...] = ()
    notebooks: frozenset[str] = frozenset()

    def total(self) -> int:
        """The bytes of all values and the output."""
        return sum(stored.bytes for stored in self.values.values()) + len(self.output)


class Box:
    """Kept results in a folder.

    Args:
        folder: its path; made if it isn't there.
        limit: returns the bytes that may be kept.
        say: shows the user a sentence about what is damaged.

    Attributes:
        notebook: the path of the notebook that uses it; empty: nobody knows.

    Raises:
        FolderError: it can't be used.
    """

    notebook = ""

    def __init__(self, folder: str, limit: Callable[[], int], say: Callable[[str], None]) -> None:
        self.folder = self.where = os.path.abspath(folder)  # the latter as a user names it
        self.limit = limit
        self.say = say
        self._home = home_of(self.folder)
        self._lease = Lease(self.folder)
        self._lock = threading.RLock()
        self._closed = False
        self._inode = 0  # of the index
        self._after_commit: list[Stored] = []  # whose files go when no row names them any more
        self._index = os.path.join(self.folder, "index.sqlite")
        try:
            self._db = self._open()
            try:
                self._sweep()
            except IndexDamaged:
                self._sweep()
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            self._lease.close()
            raise

    def close(self) -> None:
        """Gives the folder up; what this kernel's refs named may be removed from now on. Later calls are refused."""
        with self._lock:
            if self._closed:
                return
            with contextlib.suppress(sqlite3.Error, OSError), self._change() as db:
                self._after_commit += _end_leases(db, self._lease.living() - {self._lease.name})
            self._closed = True
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._lease.close()
            values.let_go(self.folder)

    def is_there(self) -> bool:
        """Returns whether the folder's index is the one that was opened: people remove folders."""
        try:
            return os.stat(self._index).st_ino == self._inode
        except OSError:
            return False

    # -- using ---------------------------------------------------------------------------------
    def lookup(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Returns the kept results of these keys whose files are all there and as they were written.

        What is returned stays on disk as long as this box is open. What is damaged is removed, and said.
        """
        try:
            return self._lookup(keys)
        except IndexDamaged:  # which is said
            return {}

    def _lookup(self, keys: Sequence[str]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        damaged: list[tuple[str, str, str]] = []
        with self._change() as db:
            for key in keys:
                row = db.execute("select * from entry where key = ?", (key,)).fetchone()
                if row is None:
                    continue
                entry, why = self._entry(row)
                if entry is None or why:
                    damaged.append((key, str(row[1]), why))
                    db.execute("delete from lease where key = ?", (key,))
                    self._remove(db, key)
                    continue
                found[key] = entry
                db.execute("update entry set used = ? where key = ?", (time.time(), key))
                self._uses(db, key)
        for _, title, why in damaged:
            self.say(f"The kept result of {title} cannot be used ({why}); it is made anew.")
        return found

    def stub(self, stored: Stored) -> Stub:
        """Returns what is put into the object store for a kept value."""
        return Stub(self.folder, stored)

    def add(self, entries: Sequence[Entry]) -> int:
        """Keeps results whose values are written; returns how many were kept.

        Raises:
            BoxFull: the limit is reached, and what is there is in use.
            OSError: the disk failed or is full.
        """
        with self._change() as db:
            for entry in entries:
                self._make_room(db, entry)
                self._remove(db, entry.key)
                record = pickle.dumps((entry.values, entry.output), 5)
                mac = values.signature(self._home.key, entry.key, record)
                now = time.time()
                db.execute(
                    "insert into entry values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (entry.key, entry.title, entry.line, ",".join(entry.values), entry.created or now, entry.took, now,
                     entry.total(), record, mac),
                )  # fmt: skip
                names = [(stored.name, entry.key) for stored in entry.values.values() if stored.name]
                db.executemany("insert or replace into file values (?, ?)", names)
                self._uses(db, entry.key)
        return len(entries)

    def entries(self) -> list[Entry]:
        """Returns all kept results, without their values, the newest first."""
        with self._change() as db:
            rows = db.execute(
                "select key, title, line, names, created, took, used, size from entry order by created desc"
            ).fetchall()
            users: dict[str, set[str]] = {}
            for key, notebook in db.execute("select key, notebook from user"):
                users.setdefault(key, set()).add(notebook)
        return [
            Entry(key, title, line, created=created, took=took, used=used, size=size,
                  names=tuple(filter(None, names.split(","))), notebooks=frozenset(users.get(key, ())))
            for key, title, line, names, created, took, used, size in rows
        ]  # fmt: skip

    def forget(self, wanted: Callable[[Entry], bool]) -> tuple[int, int]:
        """Removes results; returns (how many, bytes).

        The files of those that refs of a living kernel may still read go when that kernel ends.
        """
        chosen = [entry for entry in self.entries() if wanted(entry)]
        self.remove(chosen)
        return len(chosen), sum(entry.size for entry in chosen)

    def remove(self, entries: Sequence[Entry]) -> None:
        """Removes results, as `forget` does."""
        with self._change() as db:
            for entry in entries:
                self._remove(db, entry.key)

    def discard(self, stored: Sequence[Stored]) -> None:
        """Removes the files of values that were written and will not be kept."""
        for each in stored:
            if each.name:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self._home.path, each.name))

    # -- inside --------------------------------------------------------------------------------
    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            return self._anew(error)

    def _connect(self) -> sqlite3.Connection:
        # SQLite gives the files that it makes beside an index the index's own mode.
        # One that is there is not opened here: its close would drop the locks of this process's other connections.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._index, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        # One process at a time: of two that turn a new index to WAL at once, SQLite refuses one without waiting.
        with alone(self.folder):
            db = sqlite3.connect(self._index, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
            try:
                networked = file_system_of(self.folder) in _NETWORKED
                db.execute(f"pragma journal_mode = {'delete' if networked else 'wal'}")
                db.execute("pragma synchronous = normal")
                db.executescript(_TABLES)
                self._inode = os.stat(self._index).st_ino
            except BaseException:
                db.close()
                raise
        return db

    def _anew(self, error: Exception) -> sqlite3.Connection:
        """Puts a damaged index aside and begins an empty one."""
        if not _is_damage(error):  # locked, no room, no permission
            raise FolderError(
                f"The index of kept results {self._index} cannot be used: {error}. If that stays so, remove it."
            ) from error
        self.say(f"The index of kept results {self._index} is damaged ({error}); nothing that was kept is used.")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.replace(self._index + suffix, f"{self._index}.damaged{suffix}")
        return self._connect()

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction; a damaged index is put aside, and it runs on the new, empty one next time."""
        with self._lock:
            if self._closed:
                raise OSError(f"the folder {self.folder} is closed")
            try:
                self._db.execute("begin immediate")
                try:
                    yield self._db
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("rollback")
                    raise
                self._db.execute("commit")
                self.discard(self._after_commit)
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("rollback")
                if not _is_damage(error):
                    raise OSError(f"the index {self._index}: {error}") from error
                with contextlib.suppress(sqlite3.Error):
                    self._db.close()
                try:
                    self._db = self._anew(error)
                except (sqlite3.Error, FolderError) as again:
                    raise OSError(f"the index {self._index} is damaged, and no new one can be made: {again}") from error
                raise IndexDamaged(f"the index {self._index} was damaged: {error}") from error
            finally:
                self._after_commit = []

    def _entry(self, row: Sequence[Any]) -> tuple[Entry | None, str]:
        """Returns (the entry, why it can't be used)."""
        key, title, line, _, created, took, _, _, record, mac = row
        if not isinstance(record, bytes) or not isinstance(mac, bytes):
            return None, "its row in the index is damaged"
        if not hmac.compare_digest(values.signature(self._home.key, key, record), mac):
            return None, "its row in the index is damaged"
        stored, output = pickle.loads(record)
        for each in stored.values():
            why = values.check(self.folder, each)
            if why:
                return None, why
        return Entry(key, str(title), str(line), stored, output, float(created or 0.0), float(took or 0.0)), ""

    def content(self, path: str, version: str, compute: Callable[[], str]) -> str:
        """Returns the digest of a file's content, computed only if its size or time is another than last time."""
        with self._change() as db:
            row = db.execute("select digest from content where path = ? and version = ?", (path, version)).fetchone()
        if row is not None:
            return str(row[0])
        found = compute()
        with self._change() as db:
            db.execute("insert or replace into content values (?, ?, ?)", (path, version, found))
        return found

    def _uses(self, db: sqlite3.Connection, key: str) -> None:
        db.execute("insert or ignore into lease values (?, ?)", (key, self._lease.name))
        if self.notebook:
            db.execute("insert or ignore into user values (?, ?)", (key, self.notebook))

    def _remove(self, db: sqlite3.Connection, key: str) -> None:
        names = [name for (name,) in db.execute("select name from file where key = ?", (key,))]
        if names:
            living = self._lease.living()
            leases = db.execute("select kernel from lease where key = ?", (key,))
            users = [kernel for (kernel,) in leases if kernel in living]
            if users:
                db.executemany("insert into doomed values (?, ?)", [(name, user) for name in names for user in users])
                names = []
        for table in ("file", "entry", "lease", "user"):
            db.execute(f"delete from {table} where key = ?", (key,))
        self._after_commit += [Stored(name=name) for name in names]

    def _make_room(self, db: sqlite3.Connection, entry: Entry) -> None:
        limit, needed = self.limit(), entry.total()
        (total,) = db.execute("select coalesce(sum(size), 0) from entry").fetchone()
        if total + needed <= limit:
            return
        living = self._lease.living()
        leased = {key for key, kernel in db.execute("select key, kernel from lease") if kernel in living}
        rows = db.execute("select key, size, used from entry where key != ?", (entry.key,)).fetchall()
        going = to_evict([KeptEntry(key, size, used, key in leased) for key, size, used in rows], needed, limit)
        if going is None:
            raise BoxFull(
                f"it has {needed:,} bytes, the limit Raynb.keep_limit is {limit:,}, and what is kept is in use"
            )
        for key in going:
            self._remove(db, key)

    def _sweep(self) -> None:
        """Removes what dead processes left: leases, files half written, files that no row names."""
        with self._change() as db:
            self._after_commit += _end_leases(db, self._lease.living())
            known = {name for (name,) in db.execute("select name from file union select name from doomed")}
            for name in os.listdir(self._home.path):
                path = os.path.join(self._home.path, name)
                with contextlib.suppress(OSError):
                    if name not in known and time.time() - os.stat(path).st_mtime > STRAY_SECONDS:
                        os.unlink(path)


def _end_leases(db: sqlite3.Connection, living: set[str]) -> list[Stored]:
    """Forgets the leases of kernels that are gone; returns the files that only they could still read."""
    for (kernel,) in db.execute("select distinct kernel from lease").fetchall():
        if kernel not in living:
            db.execute("delete from lease where kernel = ?", (kernel,))
    before = {name for (name,) in db.execute("select name from doomed")}
    for (kernel,) in db.execute("select distinct kernel from doomed").fetchall():
        if kernel not in living:
            db.execute("delete from doomed where kernel = ?", (kernel,))
    after = {name for (name,) in db.execute("select name from doomed")}
    return [Stored(name=name) for name in before - after]
