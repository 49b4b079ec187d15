"""Stacks of running tasks as text: the user's frames with their source, everything else in one line."""

from __future__ import annotations

import concurrent.futures
import itertools
import linecache
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from raynb.base import engine as engines
from raynb.base import ids
from raynb.base.interfaces import DriverEngine, Inspection
from raynb.base.text import printable
from raynb.exceptions import RayError
from raynb.jupyter.formatting import format_seconds
from raynb.jupyter.inspection.targets import Target, inspection_of
from raynb.jupyter.output.frames import Frame, folded, is_users, library_of
from raynb.jupyter.output.tracebacks import Renderer
from raynb.run.inspection.silence import HOLDS_LOCK, STOPPED
from raynb.run.inspection.stacks import capture_kernel

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

LOOK_SECONDS = 0.012  # between two looks at a worker that has not answered yet

_STATES = {"native": "computes in native code (C)", "sleeping": "waits in native code (a lock, sleep or I/O)"}


def of_targets(renderer: Renderer, engine: DriverEngine, targets: list[Target]) -> str:
    """Returns the stacks of what runs on some workers, asked all at once."""
    inspection = inspection_of(engine, "%raynb stack")
    asked = [(target, inspection.ask(target.worker, "stack")) for target in targets]
    end = time.monotonic() + inspection.patience
    parts = []
    for target, future in asked:
        try:
            why = _wait(inspection, target, future, end)
            dumped = inspection.dump(target.worker) if why is not None else []
            if future.done():
                parts.append("\n".join(_worker(renderer, engine, target, future.result())))
            else:
                parts.append(_silent(renderer, target, why or "", dumped))
        except RayError as error:
            parts.append(str(error))
    return "\n\n".join(parts)


def _wait(inspection: Inspection, target: Target, answer: concurrent.futures.Future[object], end: float) -> str | None:
    """Waits for an answer; returns why there is none ("": it is not known), or None if there is one."""
    why: Callable[[], str] | None = None
    while True:
        left = end - time.monotonic()
        concurrent.futures.wait([answer], max(0.0, min(left, LOOK_SECONDS)))
        if answer.done():
            return None
        why = why or inspection.silence(target.worker)
        found = why()
        if found or left <= 0:
            return found


def _silent(renderer: Renderer, target: Target, why: str, stacks: list[Any]) -> str:
    """Returns the text about a worker that does not answer."""
    who = f"Worker {target.worker} (pid {target.pid}) does not answer: "
    if why == STOPPED:
        return f"{who}the process is stopped, by a signal or a debugger. `kill -CONT {target.pid}` lets it go on."
    if not stacks:
        return (f"{who}{HOLDS_LOCK}, or the process is stopped. "
                f"`py-spy dump --native --pid {target.pid}` shows where.")  # fmt: skip
    lines = [line for stack in stacks if _users(stack.frames)
             for line in _thread(renderer, None, f"worker {target.worker}, pid {target.pid}", stack)]  # fmt: skip
    return "\n".join([f"{who}{HOLDS_LOCK}. It was called here:", *lines])


def name_cells_in_warnings(shell: InteractiveShell) -> Callable[[], None]:
    """Makes the engine's own warnings name cells in their stacks; returns a function that undoes it."""
    renderer = Renderer(shell)
    renderer.coloured = False
    before = engines.show_stack

    def undo() -> None:
        engines.show_stack = before

    engines.show_stack = lambda frames: list(_frames(renderer, frames))
    return undo


def of_kernel(renderer: Renderer) -> str:
    """Returns the stacks of the kernel's threads, also from a thread that answers while a cell hangs."""
    stacks = [stack for stack in capture_kernel() if stack.main or _users(stack.frames)]
    lines = [line for stack in stacks for line in _thread(renderer, None, "kernel", stack)]
    return "\n".join(lines) or "The kernel runs nothing but this."


def _worker(renderer: Renderer, engine: DriverEngine, target: Target, stacks: list[Any]) -> Iterator[str]:
    wanted = set(target.tasks)
    shown = False
    for stack in stacks:
        # A call may wait for asyncio tasks that it started, which are not known to be its own.
        coroutines = [c for c in stack.coroutines
                      if c.task in wanted or (not c.task and _users(c.frames)) or (c.task and not wanted)]  # fmt: skip
        if stack.task in wanted or (not wanted and (stack.task or _users(stack.frames))) or coroutines \
                or (shown and not stack.main and _users(stack.frames)):  # fmt: skip
            shown = True
            where = f"worker {target.worker}, pid {target.pid}"
            stack.coroutines = coroutines
            yield from _thread(renderer, engine, where, stack)
    if not shown:
        yield f"Worker {target.worker} (pid {target.pid}) runs no code of yours at the moment."


def _users(frames: list[Any]) -> bool:
    return any(_is_users(file) for file, _, _ in frames)


def _is_users(file: str) -> bool:
    return is_users(file) and file != "<string>"  # what a process begins with


def _thread(renderer: Renderer, engine: DriverEngine | None, where: str, stack: Any) -> Iterator[str]:
    name = f"{renderer.green(printable(stack.task_name))}, " if stack.task_name else ""
    state = _STATES.get(stack.state, "")
    told = f"; {state}" if state and not stack.waits_for and not stack.coroutines else ""
    yield f"{name}thread {printable(stack.thread)} ({where}{told}):"
    if stack.waits_for:
        yield f"  waits for {_objects(engine, stack.waits_for)}, since {format_seconds(max(stack.waited, 0.001))}"
    yield from _frames(renderer, stack.frames)
    for coroutine in stack.coroutines:
        task = f"{renderer.green(printable(coroutine.task_name))}, " if coroutine.task_name else ""
        awaits = f", awaits {coroutine.awaits}" if coroutine.awaits else ""
        yield f"  {task}coroutine {printable(coroutine.name)}{awaits}:"
        yield from _frames(renderer, coroutine.frames)


def _frames(renderer: Renderer, frames: list[Any]) -> Iterator[str]:
    """Returns the lines of frames, innermost last; consecutive frames of libraries are one line."""
    kept = [Frame(file, line, function, linecache.getline(file, line).strip()) for file, line, function in frames]
    for ours, run in itertools.groupby(kept, lambda f: not _is_users(f.filename)):
        group = list(run)
        theirs = [frame for frame in group if library_of(frame.filename)]
        if not ours:
            for f in group:
                inside = "" if f.function == "<module>" else f", in {renderer.green(f.function)}"
                yield f"    {renderer.place(f.filename, f.line)}{inside}"
                if f.source:
                    yield f"        {f.source}"
        elif theirs:
            yield f"    {folded(theirs)}: {theirs[-1].function}"


def _objects(engine: DriverEngine | None, wanted: tuple[int, ...]) -> str:
    """Returns the objects a wait lacks, by the tasks that make them, with their states."""
    tasks = [ids.task_of(identity) for identity in wanted]
    rows = {row.id: row for row in engine.rows(tasks=tasks[:1000]).tasks} if engine is not None else {}
    open_ones = [rows[task] for task in tasks if task in rows and not rows[task].ended]
    if not open_ones:
        return f"{len(wanted):,} object{'s' if len(wanted) > 1 else ''}"
    first = open_ones[0]
    more = f" and {len(open_ones) - 1:,} more" if len(open_ones) > 1 else ""
    return f"{printable(first.name)} ({first.state}{f', worker {first.worker}' if first.worker else ''}){more}"
