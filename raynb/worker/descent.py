"""A task owns what it starts and leaves behind: threads, work in pools of threads, child processes.

Python's threads don't inherit the context of the thread that starts them, and a child process has nothing but
the descriptors. So starting a thread takes down the task that did it, and starting a process leaves
word that the task's pipes may outlive it. Only output asks for this; it costs nothing until something is started.
"""

from __future__ import annotations

import concurrent.futures.thread
import functools
import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from raynb.worker import state

_local = threading.local()
_installed = False

#: A child process was started since this was last reset.
has_children = False


def owner() -> state.RunningTask | None:
    """Returns the task that the calling code's output belongs to."""
    found = state.running.get()
    if found is not None:
        return found
    work: state.RunningTask | None = getattr(_local, "work", None)
    if work is not None:
        return work
    if threading.get_ident() == threading.main_thread().ident:
        return state.main_running
    # Not of Python's own making (a C library's): whatever runs in the main thread has started it, probably.
    return getattr(threading.current_thread(), "_raynb_task", None) or state.main_running


def install() -> None:
    """Makes threads and processes that are started from now on belong to their tasks."""
    global _installed
    if _installed:
        return
    _installed = True
    _follow_threads()
    _follow_processes()


class _Owned:
    """A function that runs as a given task's, wherever it is called."""

    __slots__ = ("function", "task")

    def __init__(self, task: state.RunningTask, function: Callable[..., object]) -> None:
        self.task = task
        self.function = function

    def __call__(self, *args: object, **kwargs: object) -> Any:
        before = getattr(_local, "work", None)
        _local.work = self.task
        try:
            return self.function(*args, **kwargs)
        finally:
            _local.work = before


def _follow_threads() -> None:
    begin: Any = threading.Thread.start
    submit: Any = concurrent.futures.thread.ThreadPoolExecutor.submit

    @functools.wraps(begin)
    def start(self: Any) -> None:
        self._raynb_task = owner()
        begin(self)

    @functools.wraps(submit)
    def submit_owned(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        task = owner()
        return submit(self, fn if task is None else _Owned(task, fn), *args, **kwargs)

    threading.Thread.start = start  # type: ignore[method-assign]
    concurrent.futures.thread.ThreadPoolExecutor.submit = submit_owned  # type: ignore[method-assign]


def _follow_processes() -> None:
    import _posixsubprocess

    spawn = _noting(_posixsubprocess.fork_exec)
    _posixsubprocess.fork_exec = spawn  # `multiprocessing` looks it up here
    if hasattr(subprocess, "_fork_exec"):  # since 3.11 it has a name of its own there
        subprocess._fork_exec = spawn
    for name in ("posix_spawn", "posix_spawnp", "system"):
        setattr(os, name, _noting(getattr(os, name)))
    os.register_at_fork(before=record_child)


def record_child() -> None:
    """Records that this process has started another one."""
    global has_children
    has_children = True


def _noting(function: Any) -> Any:
    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        record_child()
        return function(*args, **kwargs)

    return noting
