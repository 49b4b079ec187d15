"""Advice for where the system refuses memory, files or folders. Pure but for a look at this process's limits."""

from __future__ import annotations

import errno
import resource

_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
_ROOM = (errno.ENOSPC, errno.EDQUOT)


NO_THREAD = (
    "cannot start a thread of the runtime: {}. The limit of threads and processes (`ulimit -u`, or the container's "
    "pids) or of memory is reached: end other programs or raise it, then start again."
)


def remedy(error: OSError) -> str:
    """Returns an error of the system as a sentence, with what can be done about it."""
    code = error.errno
    if code == errno.EMFILE:
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"{error}: this process may open {allowed} files (`ulimit -n`); close some, or raise the limit."
    if code == errno.ENFILE:
        return f"{error}: all programs of this machine together have too many files open; end some."
    if code == errno.EFBIG:
        allowed = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        return (
            f"{error}: files, and shared memory with them, may have {allowed:,} bytes here (`ulimit -f`); raise the "
            "limit where the kernel is started."
        )
    if code == errno.ENOMEM:
        return (
            f"{error}: no memory or address space is left (`ulimit -v`, or the container's limit); free some, or raise "
            "the limit."
        )
    if code in _ROOM:
        return f"{error}: make room there, or name another folder in the environment variable TMPDIR."
    if code in _FOLDER:
        return f"{error}: name a folder that you can write to in the environment variable TMPDIR."
    return f"{error}."
