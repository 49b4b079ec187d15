"""What a plain script shows of what its tasks print."""

from __future__ import annotations

import io
import re
import signal
import sys
import threading
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.api.terminal.console import Console
from raynb.base import interrupts
from raynb.base.process import trace
from raynb.base.rows import Output
from raynb.testing.leaks import until

from .scripts import run, script


def test_lines_come_with_their_task_and_stderr_apart(tmp_path: Path) -> None:
    code = """
class Shown:
    def __init__(self, index):
        self.index = index
    def __repr__(self):
        return f"Shown(index={self.index})"
    def speak(self):
        print("from an actor")
        os.write(1, b"from a descriptor\\n")

@ray.remote
def speak():
    print("half", end="")
    print(" and half")
    print("trouble", file=sys.stderr)
    print("no end of line", end="")

from raynb.api.terminal import console
console.IDLE_SECONDS = 100  # a line whose two halves come far apart is one all the same
console.PATIENCE_SECONDS = console.CLOSE_SECONDS = 60  # the thread that writes may find no processor for long
ray.get(speak.remote())
shown = ray.remote(Shown).remote(1.5)
ray.get(shown.speak.remote())
sys.stdout.write("the driver's own\\n")  # print() writes the end of the line apart when unbuffered
ray.shutdown()
print("after the shutdown")
"""
    with script(code, tmp_path) as process:
        out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    lines = re.sub(r"pid=\d+", "pid=N", out).splitlines()
    # Whose line comes first is open between processes, not within one.
    assert [line for line in lines if "speak pid" in line] == [
        "(speak pid=N) half and half", "(speak pid=N) no end of line"]  # fmt: skip
    assert [line for line in lines if "Shown" in line] == [
        "(Shown(index=1.5) pid=N) from an actor", "(Shown(index=1.5) pid=N) from a descriptor"]  # fmt: skip
    assert "the driver's own" in lines
    assert lines[-1] == "after the shutdown"
    assert re.sub(r"pid=\d+", "pid=N", err) == "(speak pid=N) trouble\n"


def test_silent_when_told_so_and_where_somebody_else_shows_it(tmp_path: Path) -> None:
    code = """
@ray.remote
def speak():
    print("not to be seen")

ray.init(num_cpus=1, log_to_driver=False)
ray.get(speak.remote())
ray.shutdown()
heard = []
with ray.Runtime(num_cpus=1) as isolated:
    isolated.engine.on_output.append(lambda output: heard.append(output.text))
    ray.get(speak.remote())
print("".join(heard).replace("not to be", "was"), end="")
"""
    assert run(code, tmp_path) == "was seen\n"


def test_what_is_printed_in_isolation_comes_before_its_end(tmp_path: Path) -> None:
    code = """
@ray.remote
def speak(number):
    print("\\n".join(f"line {number} {i}" for i in range(500)))

from raynb.api.terminal import console
console.IDLE_SECONDS = 100  # a line and its end, which print() writes apart, are one all the same
console.PATIENCE_SECONDS = console.CLOSE_SECONDS = 60  # the thread that writes may find no processor for long
with ray.Runtime(num_cpus=2):
    ray.get([speak.remote(number) for number in range(4)])
print("end")
"""
    lines = re.sub(r"\(speak pid=\d+\) ", "", run(code, tmp_path)).splitlines()
    assert lines.pop() == "end"
    assert sorted(lines) == sorted(f"line {number} {i}" for number in range(4) for i in range(500))


def test_a_reader_that_went_away_ends_nothing(tmp_path: Path) -> None:
    code = """
@ray.remote
def speak():
    print("x" * 100_000)
    return 5

assert ray.get(speak.remote()) == 5
ray.shutdown()
print("done", file=sys.stderr)
os._exit(0)
"""
    with script(code, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert said.endswith("done\n"), said


class Held(io.StringIO):
    """A stream that takes nothing before it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.released.wait(60)
        assert until(interrupts._gc_isenabled)
        return super().write(text)


def held_in(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Puts one in place. Not a fixture: pytest puts its own streams there after those."""
    monkeypatch.setattr("raynb.api.terminal.console.CLOSE_SECONDS", 60.0)
    screen = Held()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    return screen


def said(stream: str, text: str) -> Output:
    return Output(stream, 1, 0, 1, 7, "f", text=text)


def test_ctrl_c_comes_through_where_a_stream_keeps_its_writer_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    held = held_in(monkeypatch)
    other, done, main = sys.stderr, [], threading.get_ident()
    console = Console(SimpleNamespace(on_output=[]))

    def press() -> None:
        frame: Any = None
        while frame is None:
            frame = sys._current_frames()[main]
            while frame is not None and frame.f_code is not Console.show.__code__:
                frame = frame.f_back
        signal.pthread_kill(main, signal.SIGINT)

    pressing = threading.Thread(target=press)
    try:
        console.receive(said("stdout", "one\n"))
        assert held.entered.wait(60)
        console.receive(said("stderr", "two\n"))
        console.after(lambda: done.append(1))
        with pytest.raises(KeyboardInterrupt):
            pressing.start()
            console.show()
    finally:
        held.released.set()
        pressing.join(60)
        assert console.close()
    assert done == [1]  # somebody waits for that
    assert held.getvalue() == "(f pid=7) one\n"  # what an interrupt kept from being seen comes later
    assert other.getvalue() == "(f pid=7) two\n"  # type: ignore[attr-defined]


def test_a_stream_that_wants_a_lock_of_who_waits_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    held = held_in(monkeypatch)
    monkeypatch.setattr("raynb.api.terminal.console.PATIENCE_SECONDS", 0.1)
    console = Console(SimpleNamespace(on_output=[]))
    kept: deque[trace.Swallowed] = deque()
    monkeypatch.setattr(trace, "ring", kept)
    try:
        for text in ("one\n", "two\n"):
            console.receive(said("stdout", text))
            console.show()
        assert not held.getvalue()
        said_once = [error.error for error in list(kept) if "the output of tasks is written" in error.where]
        assert said_once == ["TimeoutError: sys.stdout or sys.stderr has taken nothing for 0.1 s"]
    finally:
        held.released.set()
        assert console.close()
    assert held.getvalue() == "(f pid=7) one\n(f pid=7) two\n"


def test_a_future_comes_although_a_stream_wants_a_lock_of_who_waits_for_it(tmp_path: Path) -> None:
    out = run(
        """
import io
from raynb.base import unshown
unshown.PATIENCE_SECONDS = 0.1
lock, real = threading.Lock(), sys.stdout
class Locked(io.StringIO):
    def write(self, text):
        with lock:
            return real.write(text)
ray.init(num_cpus=1)
sys.stdout = Locked()
with lock:
    assert ray.remote(lambda: print("said")).remote().future().result(60) is None
ray.shutdown()
sys.stdout = real
""",
        tmp_path,
    )
    assert out.endswith(" said\n")


def test_an_action_that_asks_for_more_output_does_not_wait_for_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    held = held_in(monkeypatch)
    seen: list[str] = []
    console = Console(SimpleNamespace(on_output=[]))

    def action() -> None:
        console.receive(said("stdout", "two\n"))
        console.show()  # as `get` in a callback of the user's does
        seen.append(held.getvalue())

    try:
        console.receive(said("stdout", "one\n"))
        assert held.entered.wait(60)
        console.after(action)
        held.released.set()
        assert until(lambda: seen)
    finally:
        held.released.set()
        assert console.close()
    assert seen == ["(f pid=7) one\n(f pid=7) two\n"]


def test_a_stream_that_was_closed_or_ends_its_thread_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaves(io.StringIO):
        def write(self, text: str) -> int:
            raise SystemExit(text)

    monkeypatch.setattr("raynb.api.terminal.console.PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr("raynb.api.terminal.console.CLOSE_SECONDS", 60.0)
    console = Console(SimpleNamespace(on_output=[]))
    closed, last = io.StringIO(), io.StringIO()
    closed.close()
    for screen in (closed, Leaves(), last):
        monkeypatch.setattr("sys.stdout", screen)
        console.receive(said("stdout", "one\n"))
        console.show()
    assert console.close()
    assert last.getvalue() == "(f pid=7) one\n"


def test_what_has_come_in_the_parent_is_not_shown_by_its_child(tmp_path: Path) -> None:
    code = """
from types import SimpleNamespace
from raynb.api.terminal import console
from raynb.base import unshown
from raynb.base.rows import Output
shown = console.Console(SimpleNamespace(on_output=[]))
shown._turn.take(lambda: None)
shown._queue.append(Output("stdout", 1, 0, 1, 7, "f", text="once\\n"))
unshown.mark()
if not (child := os.fork()):
    assert not unshown.pending
    unshown.show()
    os._exit(0)
os.waitpid(child, 0)
assert unshown.pending
unshown.show()
"""
    assert run(code, tmp_path) == "(f pid=7) once\n"


NOBODY_READS = """
from raynb.api import session
from raynb.api.terminal import console
from raynb.base import engine
console.CLOSE_SECONDS = 0.5

@ray.remote
def speak():
    for number in range(3000):
        print(f"line {number} " + "x" * 50)

ray.init(num_cpus=1)
shown, = session._consoles.values()
spoken = speak.remote()
assert leaks.until(lambda: shown._waits_for_reader and engine.driver().snapshot().tasks[0].ended)
print("nobody reads", file=sys.stderr, flush=True)
"""


def test_a_shutdown_waits_for_no_reader_and_the_end_of_the_program_does(tmp_path: Path) -> None:
    code = NOBODY_READS + """
ray.shutdown()
console.CLOSE_SECONDS = 60  # a busy machine may take longer from one write to the next
print('down', file=sys.stderr, flush=True)
"""
    with script(code, tmp_path) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "nobody reads\n"
        assert process.stderr.readline() == "down\n"
        out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    lines = re.findall(r"line (\d+) x{50}\n", out)
    assert lines == list(map(str, range(3000)))


def test_ctrl_c_ends_a_program_whose_output_nobody_reads(tmp_path: Path) -> None:
    with script(NOBODY_READS + "ray.get(spoken)", tmp_path) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "nobody reads\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(110) == -signal.SIGINT, process.stderr.read()
