"""Ends processes for certain: by descent, and by the marker in their environment.

The supervisor buries what is below it. If it is killed or stopped, the driver does so (`end`); if the
kernel is gone at the same time, the watcher does: a fork of the supervisor that waits for nothing else.
Every look goes once through /proc, however many processes there are to end.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import shutil
import signal
from collections.abc import Callable, Collection

from raynb.base.process.waits import time

MARKER = "RAYNB_RUNTIME"
END_SECONDS = 10.0  # processes that not even SIGKILL ends (they wait for a disk) are left after that
STOPPED_SECONDS = 3.0  # the watcher lets a supervisor work for so long after the kernel's death
LATE_SECONDS = 2.0  # and waits so long for the kernel's death after the supervisor's
PAUSE_SECONDS = 0.005
EXEC_LOOKS = 10  # a process in the middle of an exec gets so many looks, a pause apart
PROC = "/proc"


def _relations() -> dict[int, list[int]]:
    """Returns parent → children of every process that is not a zombie (Linux; elsewhere nothing)."""
    children: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")
    except OSError:
        return children
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state not in (b"Z", b"X"):
            children.setdefault(int(parent), []).append(int(name))
    return children


def descendants(*roots: int) -> list[int]:
    """Returns the pids below some processes, parents first, by one look through /proc."""
    children = _relations()
    found: list[int] = []
    todo = list(roots)
    while todo:
        below = children.get(todo.pop(), ())
        found += below
        todo += below
    return found


def children_of(pid: int) -> list[int]:
    """Returns a process's children, zombies too, without a look at any other process (Linux)."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(text) for text in file.read().split()]
    except (OSError, ValueError):
        pass
    return found


def marked(marker: str) -> list[int]:
    """Returns the pids whose environment carries this runtime's marker (Linux)."""
    wanted = f"{MARKER}={marker}".encode()
    try:
        names = [name for name in os.listdir(PROC) if name.isdigit()]
    except OSError:
        return []
    found: list[int] = []
    for look in range(EXEC_LOOKS):
        if look:
            time.sleep(PAUSE_SECONDS)
        bare = []
        for name in names:
            try:
                with open(f"{PROC}/{name}/environ", "rb") as file:
                    environment = file.read()
                if wanted in environment.split(b"\0"):
                    found.append(int(name))
                elif not environment and _in_exec(name):
                    bare.append(name)
            except OSError:
                continue
        names = bare
        if not names:
            break
    return found


def _in_exec(name: str) -> bool:
    """Returns whether a process without an environment is about to have one: in the middle of an exec it has a
    program, but neither arguments nor environment. Zombies and threads of the kernel have no program."""
    os.readlink(f"{PROC}/{name}/exe")
    with open(f"{PROC}/{name}/cmdline", "rb") as file:
        return not file.read()


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal; a process that is gone, or another user's, is left."""
    try:
        os.kill(pid, number)
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EPERM):
            raise


def _kill_until_none(find: Callable[[], list[int]], spared: Collection[int], deadline: float) -> None:
    while True:
        left = [pid for pid in find() if pid not in spared]
        if not left or time.monotonic() > deadline:
            return
        for pid in left:
            kill(pid)
        time.sleep(PAUSE_SECONDS)


def end(root: int, marker: str, spared: Collection[int] = (), and_root: bool = True) -> None:
    """Kills everything below a process, then the process itself, then whatever carries the marker.

    Looks again until nothing is found, at most `END_SECONDS`: what is killed may have forked before.

    Args:
        root: the supervisor, which may be stopped or gone.
        spared: pids that are left alone, beside the caller's own.
        and_root: False: the caller is the root, or it is dead and its number may be another process's.
    """
    alone = {os.getpid(), *spared}
    deadline = time.monotonic() + END_SECONDS
    if and_root or root == os.getpid():
        _kill_until_none(lambda: descendants(root), alone, deadline)
    if and_root:
        kill(root)
    _kill_until_none(lambda: marked(marker), alone, deadline)


def start_watcher(kernel: int, marker: str, folder: str) -> int:
    """Forks the watcher of the calling process, the supervisor; returns its pid, 0 where there can be none.

    Args:
        kernel: the pid that both serve.
        folder: the spill folder, to be removed when the kernel is gone; empty: none.
    """
    supervisor = os.getpid()
    try:
        watched = os.pidfd_open(supervisor), os.pidfd_open(kernel)
    except (AttributeError, OSError):
        return 0
    try:
        pid = os.fork()
    except OSError:  # the supervisor buries alone
        pid = 0
    else:
        if not pid:
            _watch(supervisor, kernel, watched, marker, folder)
    for fd in watched:
        os.close(fd)
    return pid


def _watch(supervisor: int, kernel: int, watched: tuple[int, int], marker: str, folder: str) -> None:
    """The watcher: waits for two deaths, of which the supervisor's own burial covers one."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        low, high = sorted(watched)
        os.closerange(3, low)  # sockets above all: their other ends are to see the supervisor's death
        os.closerange(low + 1, high)
        os.closerange(high + 1, os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else 4096)
        supervisor_fd, kernel_fd = watched
        first = _wait_for((supervisor_fd, kernel_fd), None)
        if kernel_fd in first:
            _wait_for((supervisor_fd,), STOPPED_SECONDS)
        end(supervisor, marker, and_root=not _wait_for((supervisor_fd,), 0))
        if kernel_fd in _wait_for((kernel_fd,), LATE_SECONDS) and folder:
            remove_folder(folder)
    finally:
        os._exit(0)


def _wait_for(fds: tuple[int, ...], seconds: float | None) -> list[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)]


def is_abandoned(folder: str) -> bool:
    """Returns whether the kernel's lock on its spill folder is free: the kernel no longer lives."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def remove_folder(folder: str) -> None:
    """Removes the spill folder; the processes that wrote there have been killed."""
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
