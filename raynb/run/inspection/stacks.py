"""The Python stacks of this process's threads and coroutines, as plain values that can travel.

`capture` reads `sys._current_frames` from another thread, so nothing stops for it. It reads each thread's
innermost frame a few times within milliseconds: one that stays at the same instruction while the system
says that the thread computes is in native code.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from raynb.base.process.waits import time

#: (file, line, function). Whoever shows it looks for the source.
Place = tuple[str, int, str]

LOOKS_PER_THREAD = 3  # at the innermost frame of each thread
LOOK_SECONDS = 0.002  # between two looks
MAX_FRAMES = 200  # frames of a stack, the innermost ones

PYTHON, NATIVE, SLEEPING = "python", "native", "sleeping"


@dataclass(slots=True)
class Coroutine:
    """An asyncio task. ``frames`` go from the outermost coroutine to the one that is suspended or runs."""

    name: str
    frames: list[Place]
    awaits: str = ""  # what the innermost one is suspended on
    task: int = 0
    task_name: str = ""


@dataclass(slots=True)
class Stack:
    """A thread. ``frames`` go from the outermost to the innermost.

    Attributes:
        state: `PYTHON`, `NATIVE` (computes in C code) or `SLEEPING` (waits in C code: a lock, a sleep, I/O).
        task: the id of the raynb task that runs there, or 0.
        waits_for: ids of the objects that a blocked ``get`` or ``wait`` lacks.
        waited: seconds since that wait began.
    """

    thread: str
    main: bool
    frames: list[Place]
    state: str = PYTHON
    task: int = 0
    task_name: str = ""
    waits_for: tuple[int, ...] = ()
    waited: float = 0.0
    coroutines: list[Coroutine] = field(default_factory=list)


@dataclass(slots=True)
class Owner:
    """A thread or coroutine beyond its frames: its task, and what it waits for."""

    task: int = 0
    task_name: str = ""
    waits_for: tuple[int, ...] = ()
    waited: float = 0.0


#: (innermost frame of a thread or the frames of a coroutine, whether it is the main thread) → its owner.
FindOwner = Callable[[list[FrameType], bool], Owner]


def place_of(frame: FrameType) -> Place:
    """Returns where a frame is."""
    code = frame.f_code
    return code.co_filename, frame.f_lineno or 0, code.co_name


def chain(frame: FrameType | None) -> list[FrameType]:
    """Returns the frames of a stack, outermost first."""
    found: list[FrameType] = []
    while frame is not None and len(found) < MAX_FRAMES:
        found.append(frame)
        frame = frame.f_back
    return found[::-1]


def capture(find_owner: FindOwner, leave_out: frozenset[int] = frozenset()) -> list[Stack]:
    """Returns the stacks of this process's threads, the main one first.

    Args:
        find_owner: names the task of a stack.
        leave_out: identities of threads that nobody asks about; the calling one is left out anyway.
    """
    leave_out |= {threading.get_ident()}
    states = _states(leave_out)
    main = threading.main_thread().ident
    named = {thread.ident: thread for thread in threading.enumerate()}
    stacks = []
    for ident, frame in sys._current_frames().items():
        if ident in leave_out:
            continue
        frames = chain(frame)
        owner = find_owner(frames, ident == main)
        thread = named.get(ident)
        stack = Stack(
            thread.name if thread is not None else f"thread {ident}", ident == main, [place_of(f) for f in frames],
            states.get(ident, PYTHON), owner.task, owner.task_name, owner.waits_for, owner.waited,
        )  # fmt: skip
        loop = _loop_of(frames)
        if loop is not None:
            stack.coroutines = list(_coroutines(loop, find_owner))
        stacks.append(stack)
    return sorted(stacks, key=lambda stack: not stack.main)


def capture_kernel() -> list[Stack]:
    """Returns the stacks of the calling process's threads without raynb's own, for a process that is no worker."""
    ours = frozenset(t.ident or 0 for t in threading.enumerate() if t.name.startswith("raynb-"))
    return capture(lambda frames, main: Owner(), ours)


def _states(leave_out: frozenset[int]) -> dict[int, str]:
    """Returns what each thread does, by several looks at it."""
    looks = []
    for number in range(LOOKS_PER_THREAD):
        if number:
            time.sleep(LOOK_SECONDS)
        looks.append({i: (id(f), f.f_lasti) for i, f in sys._current_frames().items() if i not in leave_out})
    native = {thread.ident: thread.native_id for thread in threading.enumerate()}
    native[threading.main_thread().ident] = os.getpid()  # after a fork, Python still has its parent's
    states = {}
    for ident, last in looks[-1].items():
        if any(look.get(ident) != last for look in looks):
            states[ident] = PYTHON
        else:
            states[ident] = _system_state(native.get(ident))
    return states


def _system_state(thread: int | None) -> str:
    """Returns `NATIVE` or `SLEEPING` of a thread that stays at one instruction (Linux; elsewhere `NATIVE`)."""
    try:
        with open(f"/proc/self/task/{thread}/stat", "rb") as file:
            return NATIVE if file.read().rpartition(b")")[2].split()[0] == b"R" else SLEEPING
    except (OSError, IndexError):
        return NATIVE


# -- coroutines ----------------------------------------------------------------------------------
def _loop_of(frames: list[FrameType]) -> Any:
    """Returns the event loop that a thread runs, or None."""
    for frame in frames:
        if frame.f_code.co_name == "run_forever" and frame.f_code.co_filename.endswith("asyncio/base_events.py"):
            return frame.f_locals.get("self")
    return None


def _coroutines(loop: object, find_owner: FindOwner) -> Iterator[Coroutine]:
    asyncio = sys.modules["asyncio"]  # it runs the loop; a driver that has none need not import it
    for _ in range(5):  # a task that is made or ends meanwhile changes the set that is read
        try:
            tasks = asyncio.all_tasks(loop)
            break
        except RuntimeError:
            continue
    else:
        return
    for task in sorted(tasks, key=lambda task: task.get_name()):
        frames, last = _await_chain(task.get_coro())
        if not frames:
            continue
        owner = find_owner(frames, False)
        yield Coroutine(task.get_name(), [place_of(f) for f in frames], _shown(last), owner.task, owner.task_name)


def _await_chain(coroutine: object) -> tuple[list[FrameType], Any]:
    """Returns the frames of a coroutine and those that it awaits, and what the last one is suspended on."""
    frames: list[FrameType] = []
    at = coroutine
    while at is not None and len(frames) < MAX_FRAMES:
        frame = getattr(at, "cr_frame", None) or getattr(at, "gi_frame", None) or getattr(at, "ag_frame", None)
        if type(frame) is FrameType:  # coroutines that Cython compiled have none
            frames.append(frame)
        inner = getattr(at, "cr_await", None) or getattr(at, "gi_yieldfrom", None) or getattr(at, "ag_await", None)
        if type(at).__name__ == "coroutine_wrapper":  # what `__await__` of a coroutine returns
            inner = next((found for found in gc.get_referents(at) if hasattr(found, "cr_frame")), None)
        if frame is None and inner is None:
            break
        at = inner
    return frames, at


def _shown(awaited: object) -> str:
    """Returns in a few words what a coroutine is suspended on, without running the user's code."""
    if awaited is None:
        return ""
    kind = type(awaited)
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(awaited, asyncio.Task):
        return f"the asyncio task {awaited.get_name()}"
    return {"FutureIter": "a future", "_asyncio.FutureIter": "a future"}.get(kind.__name__, f"{kind.__name__}")

