"""What a plain script shows of what its tasks print."""

from __future__ import annotations

import io
import re
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from raynb.api.terminal.console import Console
from raynb.base import interrupts
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


def test_ctrl_c_comes_through_where_a_stream_keeps_its_writer_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(io.StringIO):
        """Nobody reads what is written to it, until somebody presses Ctrl-C."""

        reader = False

        def write(self, text: str) -> int:
            assert until(interrupts._gc_isenabled)
            if not self.reader:
                self.reader = True
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    screen, other, done = Slow(), io.StringIO(), []
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", other)
    with interrupts.Critical():
        pass  # our handler is put in the place of Python's
    console = Console(SimpleNamespace(on_output=[]))
    console._thread = threading.main_thread()  # none of its own
    try:
        console.receive(Output("stdout", 1, 0, 1, 7, "f", text="one\n"))
        console.receive(Output("stderr", 1, 0, 1, 7, "f", text="two\n"))
        console.after(lambda: done.append(1))
        with pytest.raises(KeyboardInterrupt):
            console._write_now(final=False)  # `show` would have a thread of ours do it: pytest has a handler for alarms
        assert done == [1]  # somebody waits for that
        console.receive(Output("stdout", 1, 0, 1, 7, "f", text="three\n"))
        console.show()
    finally:
        console._thread = None
        console.close()
        interrupts.restore()
    assert screen.getvalue() == "(f pid=7) three\n"
    assert other.getvalue() == "(f pid=7) two\n"
