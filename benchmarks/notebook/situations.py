"""The situations. Each takes a kernel whose engine is running and returns what was seen."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import procs
from benchmarks.notebook.idioms import BEAT, Idiom
from benchmarks.notebook.kernel import Cell, Kernel

Seen = dict[str, str]
FAIL = """
def outer(x):
    return inner(x)
"""
INNER = "def inner(x):\n    return 1 / x  # the mistake\n"


def first_cell(idiom: Idiom) -> str:
    """Returns the notebook's first cell: start the engine and have one result."""
    result = idiom.get.format(x=idiom.call("first"))
    code = f"{idiom.setup}\n{idiom.define('def first(): return 1')}print({result})"
    return idiom.cell("first", code)


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Looks again and again; returns whether it became true in time."""
    end = time.perf_counter() + seconds
    while not true():
        if time.perf_counter() > end:
            return False
        time.sleep(0.02)
    return True


def start(kernel: Kernel, idiom: Idiom) -> Seen:
    """From the first cell's start to its result."""
    cell = kernel.run(first_cell(idiom))
    return {"start to first result": f"{cell.seconds:.2f} s" if cell.status == "ok" else describe(cell)}


def eight_prints(kernel: Kernel, idiom: Idiom) -> Seen:
    """One task prints eight lines: are all there, and where?"""
    usual = (
        idiom.define("def talk():\n    for i in range(8): print('line', i)")
        + f"x = {idiom.call('talk')}\n{idiom.get.format(x='x')}\n"
    )
    cell = kernel.run(idiom.cell("prints", usual))
    wait_until(lambda: lines(kernel.text(cell), r"line \d") >= 8, 2)
    own = lines(kernel.text(cell), r"line \d")
    everywhere = lines(kernel.text(None), r"line \d")
    return {"eight prints of a task": f"{own} of 8 in the cell, {everywhere - own} elsewhere"}


def late_output(kernel: Kernel, idiom: Idiom) -> Seen:
    """A task prints after its cell has ended, while another cell runs."""
    usual = (
        idiom.define("def late():\n    import time\n    time.sleep(1)\n    print('late line')")
        + f"late_ref = {idiom.call('late')}\n"
    )
    submitted = kernel.run(idiom.cell("late", usual))
    other = kernel.run("import time; time.sleep(2.5)")
    wait_until(lambda: "late line" in kernel.text(None), 1)
    if "late line" in kernel.text(submitted):
        where = "in the submitting cell"
    elif "late line" in kernel.text(other):
        where = "in the wrong cell"
    else:
        where = "nowhere" if "late line" not in kernel.text(None) else "with no cell"
    return {"late output": where}


def interrupt(kernel: Kernel, idiom: Idiom) -> Seen:
    """The stop button while a cell waits for its tasks; another cell's task is running too."""
    paths = [str(kernel.folder / f"mine{i}") for i in range(3)]
    other_path = str(kernel.folder / "other")
    kernel.run(f"paths = {paths!r}\nother_path = {other_path!r}")
    kernel.run(idiom.cell("define_beat", idiom.define(BEAT)))
    kernel.run(idiom.cell("other", f"other = {idiom.call('beat', 'other_path, 8')}"))
    wait_until(lambda: beats(other_path) > 0, 15)
    usual = f"mine = [{idiom.call('beat', 'path, 8')} for path in paths]\n{idiom.get_all.format(x='mine')}\n"
    cell = kernel.begin(idiom.cell("wait", usual))
    running = wait_until(lambda: beats(paths[0]) > 3, 20)
    kernel.interrupt()
    pressed = time.perf_counter()
    kernel.end(cell, 30)
    ended = time.perf_counter() - pressed
    time.sleep(1.0)
    before = [beats(path) for path in paths]
    other_before = beats(other_path)
    time.sleep(1.0)
    alive = sum(beats(path) > count for path, count in zip(paths, before, strict=True))
    other_alive = beats(other_path) > other_before or finished(other_path)
    fresh = kernel.begin(
        idiom.cell(
            "fresh",
            idiom.define("def fresh_task(): return 2")
            + f"print({idiom.get.format(x=idiom.call('fresh_task'))})",
        )
    )
    kernel.end(fresh, 40)
    time.sleep(8)
    later = sum(finished(path) for path in paths)
    return {
        "interrupt: the waiting cell": f"{describe(cell)} after {ended:.2f} s"
        + ("" if running else " (its task never ran)"),
        "interrupt: its 3 tasks": f"{alive} still running 1 s later, {later} ran to their end",
        "interrupt: another cell's task": "undisturbed"
        if other_alive and finished(other_path)
        else "stopped",
        "interrupt: a new task after it": f"{describe(fresh)}, {fresh.seconds:.1f} s",
    }


def twice(kernel: Kernel, idiom: Idiom) -> Seen:
    """The first cell again, a redefined function, the cell of a named actor again."""
    time.sleep(1.0)  # what the first cell started is there by now
    before = len(procs.marked(kernel.mark))
    again = kernel.run(idiom.setup)
    time.sleep(0.5)
    after = len(procs.marked(kernel.mark))
    extra = f", {after - before} more processes" if after > before else ""
    for number in (1, 2):
        kernel.run(idiom.define(f"def changing(): return {number}"))
        kernel.run(f"now = {idiom.get.format(x=idiom.call('changing'))}")
    code = kernel.value("now")
    seen = {
        "cell run twice: the start": f"{describe(again)}, {again.seconds:.2f} s{extra}",
        "cell run twice: changed function": "the new code"
        if code == "2"
        else f"the old code or an error ({code})",
    }
    actor = idiom.cell("actor", idiom.actor)
    if actor:
        kernel.run(actor)
        seen["cell run twice: a named actor"] = describe(kernel.run(actor))
    return seen


def error(kernel: Kernel, idiom: Idiom) -> Seen:
    """A task fails two notebook functions deep: what does the person see?"""
    kernel.run(idiom.cell("define_fail", INNER))
    kernel.run(idiom.define(FAIL))
    cell = kernel.run(idiom.cell("fail", f"x = {idiom.call('outer', '0')}\n{idiom.get.format(x='x')}"))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(cell.traceback))
    frames = len(re.findall(r"^\s*(?:File |Cell In|ipython-input)|^\S+\.py:\d+|^\[.*\] in ", shown, re.M))
    library = len(re.findall(r"site-packages|/raynb/", shown))
    caught = kernel.run(
        f"try:\n    x = {idiom.call('outer', '0')}\n    {idiom.get.format(x='x')}\n"
        "except ZeroDivisionError:\n    print('caught by its type')"
    )
    source = "1 / x  # the mistake" in shown
    count = len(shown.splitlines())
    return {
        "error: what is shown": f"{cell.error}: {count} lines, {frames} frames, {library} of libraries",
        "error: the failing source line": "shown" if source else "not shown",
        "error: caught by its own type": "yes" if "caught by its type" in kernel.text(caught) else "no",
        "_traceback": shown,
    }


def killed(kernel: Kernel, idiom: Idiom) -> Seen:
    """The kernel is killed: what is left, and how long?"""
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    count = len(procs.marked(kernel.mark)) - 1
    kernel.kill()
    begin = time.perf_counter()
    at_two = -1
    while (left := len(procs.marked(kernel.mark))) and time.perf_counter() - begin < 30:
        if at_two < 0 and time.perf_counter() - begin >= 2:
            at_two = left
        time.sleep(0.02)
    took = time.perf_counter() - begin
    names = sorted(procs_names(kernel.mark))
    files = sum(len(found) for _, _, found in os.walk(kernel.temporary))
    shared = len((before - kernel.shared_before) & marked_shared()) if before else 0
    ended = (
        f"all {count} processes gone after {took:.2f} s"
        if not left
        else f"{left} of {count} left after 30 s: {', '.join(names)[:60]}"
    )
    two = f" ({at_two} at 2 s)" if at_two > 0 else ""
    return {
        "kernel killed: processes": ended + two,
        "kernel killed: temporary files left": f"{files}" + (f", {shared} in /dev/shm" if shared else ""),
    }


def marked_shared() -> set[str]:
    """Returns the names in /dev/shm that an engine under measurement makes (plasma, torch-like)."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(("plasma", "psm_", "sem."))}


def procs_names(mark: str) -> set[str]:
    """Returns the command names of the marked processes."""
    found = set()
    for pid in procs.marked(mark):
        try:
            found.add(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue
    return found


def describe(cell: Cell) -> str:
    """Says how a cell ended."""
    return {"ok": "works", "hangs": "hangs"}.get(
        cell.status, f"fails with {cell.error}" if cell.error else cell.status
    )


def lines(text: str, pattern: str) -> int:
    """Returns how often a pattern occurs."""
    return len(re.findall(pattern, text))


def beats(path: str) -> int:
    """Returns how often a task has written to its file."""
    try:
        return Path(path).read_text().count("beat")
    except FileNotFoundError:
        return 0


def finished(path: str) -> bool:
    """Returns whether a task has come to its end."""
    try:
        return "done" in Path(path).read_text()
    except FileNotFoundError:
        return False


#: Which of them share a kernel, in order. What disturbs the engine has one of its own.
KERNELS = (("start", "prints", "late", "error", "killed"), ("interrupt",), ("twice",))

SITUATIONS: dict[str, Callable[[Kernel, Idiom], Seen]] = {
    "start": start,
    "prints": eight_prints,
    "late": late_output,
    "error": error,
    "interrupt": interrupt,
    "twice": twice,
    "killed": killed,
}
