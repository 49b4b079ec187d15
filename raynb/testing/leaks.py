"""Finds what a piece of code left behind: threads, descriptors, processes, names and files.

Take a picture before, another one after, and compare::

    before = leaks.Held.now()
    ...
    leaks.check(before)          # AssertionError that names each thing left

`check` waits for the last things to go (a thread that is just ending), so it needs no sleeps
around it. Processes are found in two ways, because a process in a session of its own, whose
parent died, is nobody's child any more: by descent, and by a marker in the environment that
every process inherits from the one that `mark` was called in.

Linux reads ``/proc``. Elsewhere ``ps`` and ``/dev/fd`` stand in: descent only, no marker.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from raynb.base.process import shelter

#: Name of the environment variable that marks the processes of one test run.
MARKER = "RAYNB_LEAK_MARK"

#: Where the kernel keeps named shared memory, and the words by which ours would be known.
SHM = Path("/dev/shm")
OURS = ("raynb",)

_PROC = Path("/proc")
LINUX = sys.platform.startswith("linux")


@dataclass(slots=True)
class Process:
    """One process: who it is and whose child.

    Attributes:
        pid: its number.
        parent: its parent's number.
        command: its command line; the name in brackets if it has none.
        state: R, S, D, T or Z, as /proc spells them; "?" where that is unknown.
    """

    pid: int
    parent: int
    command: str
    state: str = "?"

    def __str__(self) -> str:
        return f"process {self.pid} (parent {self.parent}, state {self.state}): {self.command}"


# -- processes ---------------------------------------------------------------------------------


def mark(environ: dict[str, str] | None = None) -> str:
    """Marks an environment, so that every process started with it can be found again.

    Args:
        environ: the environment to mark; ``None`` marks this process's own for what it starts.

    Returns:
        The mark, for `marked`.
    """
    target = os.environ if environ is None else environ
    target[MARKER] = uuid.uuid4().hex
    return target[MARKER]


def _stat_of(pid: int) -> Process | None:
    """Reads one process from /proc; None when it is gone meanwhile."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
        # The name is in parentheses and may hold anything, spaces and parentheses too.
        name = text[text.index("(") + 1 : text.rindex(")")]
        state, parent = text[text.rindex(")") + 2 :].split()[:2]
        line = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError):
        return None
    return Process(pid, int(parent), line.strip() or f"[{name}]", state)


def all_processes() -> dict[int, Process]:
    """Returns every process of the machine that can be seen, by pid; zombies included."""
    if LINUX:
        found = (_stat_of(int(entry)) for entry in os.listdir(_PROC) if entry.isdigit())
        return {process.pid: process for process in found if process is not None}
    text = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split(None, 3) for line in text.splitlines())
    return {
        int(row[0]): Process(int(row[0]), int(row[1]), (row + [""])[3], row[2][:1])
        for row in rows
        if len(row) >= 3
    }


def descendants(of: int | None = None) -> dict[int, Process]:
    """Returns the children of a process, their children and so on, by pid.

    Args:
        of: the pid of the process; None: this one.
    """
    everyone = all_processes()
    family: dict[int, Process] = {}
    parents = {os.getpid() if of is None else of}
    while parents:
        children = {p.pid: p for p in everyone.values() if p.parent in parents and p.pid not in family}
        family.update(children)
        parents = set(children)
    return family


def marked(value: str, name: str = MARKER) -> dict[int, Process]:
    """Returns the processes whose environment was made with ``name=value``, by pid (Linux only).

    A process's environment is read as it was when it started, so forks are found too. This
    process itself, and zombies (which have no environment any more), are left out.
    """
    needle = f"{name}={value}".encode()
    found = {}
    for entry in os.listdir(_PROC) if LINUX else ():
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            variables = (_PROC / entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone meanwhile, or another user's
            continue
        if needle in variables:
            process = _stat_of(int(entry))
            if process is not None and process.state != "Z":
                found[process.pid] = process
    return found


def kill_all(processes: Iterable[Process]) -> None:
    """Sends SIGKILL to each of the ``processes``; those already gone are passed over."""
    for process in processes:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


# -- descriptors, threads, names ---------------------------------------------------------------


def descriptors(pid: int | None = None) -> dict[int, str]:
    """Returns a process's open descriptors and what each one is.

    Args:
        pid: of the process; None: this one.

    Sockets and pipes carry their inode, so a descriptor that was closed and whose number was
    used again counts as another one.
    """
    folder = _PROC / str(pid or os.getpid()) / "fd"
    result = {}
    if LINUX:
        for name in os.listdir(folder):
            try:
                result[int(name)] = os.readlink(folder / name)
            except OSError:  # the descriptor of the listing itself
                continue
        return result
    for name in os.listdir("/dev/fd"):
        try:
            info = os.fstat(int(name))
        except (OSError, ValueError):
            continue
        result[int(name)] = f"{stat.filemode(info.st_mode)} {info.st_dev}:{info.st_ino}"
    return result


def shared_names() -> frozenset[str]:
    """Returns the names in /dev/shm that are ours. There should never be any."""
    try:
        return frozenset(name for name in os.listdir(SHM) if any(word in name for word in OURS))
    except OSError:
        return frozenset()


def socket_names() -> frozenset[str]:
    """Returns the named and abstract Unix sockets of this machine that are ours, by path."""
    try:
        lines = (_PROC / "net" / "unix").read_text(errors="replace").splitlines()[1:]
    except OSError:
        return frozenset()
    paths = (line.split(None, 7)[7] for line in lines if len(line.split(None, 7)) == 8)
    return frozenset(path for path in paths if any(word in path for word in OURS))


def files_under(folder: str | os.PathLike[str]) -> frozenset[str]:
    """Returns every file and folder below ``folder``; empty when it is not there."""
    return frozenset(
        os.path.join(top, name) for top, dirs, names in os.walk(folder) for name in (*dirs, *names)
    )


def own_temporaries() -> frozenset[str]:
    """Returns the entries of the temporary folder that are ours and carry this process's number.

    The number keeps tests that run side by side in other processes out of the picture.
    """
    number = str(os.getpid())
    with os.scandir(tempfile.gettempdir()) as entries:
        return frozenset(
            entry.path
            for entry in entries
            if any(word in entry.name for word in OURS) and number in entry.name.replace("_", "-").split("-")
        )


# -- before and after --------------------------------------------------------------------------


@dataclass(slots=True)
class Held:
    """What this process holds at one moment. Make one with `Held.now`.

    Attributes:
        threads: ident → name.
        descriptors: number → what it is.
        processes: pid → process: the children, their children, and those with the mark.
        names: files of ours in /dev/shm and in the temporary folder.
    """

    threads: dict[int, str] = field(default_factory=dict)
    descriptors: dict[int, str] = field(default_factory=dict)
    processes: dict[int, Process] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    @classmethod
    def now(cls) -> Held:
        """Returns what is held now."""
        processes = descendants()
        value = os.environ.get(MARKER)
        if value:
            processes.update(marked(value))
        # The process that asks (`ps`, where there is no /proc) has ended by now.
        return cls(
            threads={t.ident or 0: t.name for t in threading.enumerate() if not shelter.stays(t)},
            descriptors=descriptors(),
            processes=processes,
            names=own_temporaries() | {str(SHM / name) for name in shared_names()},
        )

    def left(self, later: Held) -> list[str]:
        """Returns a sentence for each thing that ``later`` holds and this one did not."""
        news = [f"thread {name!r}" for ident, name in later.threads.items() if ident not in self.threads]
        news += [
            f"descriptor {number}: {what}"
            for number, what in later.descriptors.items()
            if self.descriptors.get(number) != what
        ]
        news += [str(process) for pid, process in later.processes.items() if pid not in self.processes]
        news += [f"file {name}" for name in sorted(later.names - self.names)]
        return news


def until(condition: Callable[[], object], timeout: float = 60.0, interval: float = 0.01) -> bool:
    """Waits for a condition; returns whether it came true within ``timeout`` seconds.

    Args:
        condition: called until it returns something true.
        timeout: seconds.
        interval: seconds between two calls.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)  # a cancel, or a Ctrl-C, in `Event.wait` may come out as a RuntimeError of its lock
    return True


def left(before: Held, timeout: float = 60.0) -> list[str]:
    """Returns what is still there beyond ``before``, after waiting up to ``timeout`` seconds for it to go."""
    news: list[str] = []

    def gone() -> bool:
        nonlocal news
        news = before.left(Held.now())
        return not news

    until(gone, timeout)
    return news


def check(before: Held, timeout: float = 60.0, what: str = "the code under test") -> None:
    """Fails when something beyond ``before`` is still held ``timeout`` seconds from now.

    Args:
        before: what was held, from `Held.now`.
        timeout: seconds to wait for the last things to go.
        what: the subject of the error's sentence.

    Raises:
        AssertionError: names each thread, descriptor, process and file that is left.
    """
    news = left(before, timeout)
    if news:
        raise AssertionError(f"{what} left {len(news)} thing(s) behind:\n  " + "\n  ".join(news))


def check_gone(value: str, timeout: float = 60.0, name: str = MARKER) -> float:
    """Waits until no process with the mark is alive. Returns how long that took, in seconds.

    Args:
        value: the mark, from `mark`.
        timeout: seconds to wait.
        name: the environment variable that has it.

    Raises:
        AssertionError: some live on; it lists them, and they are killed so that nothing piles up.
    """
    started = time.monotonic()
    if not until(lambda: not marked(value, name), timeout, 0.02):
        survivors = marked(value, name)
        if survivors:  # else they have ended since the last look
            kill_all(survivors.values())
            listing = "\n  ".join(map(str, survivors.values()))
            raise AssertionError(f"after {timeout} s, {len(survivors)} process(es) are still alive:\n  {listing}")
    return time.monotonic() - started
