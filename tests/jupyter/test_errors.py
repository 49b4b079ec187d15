"""How errors of tasks are shown."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from raynb.exceptions import RayTaskError, TaskCancelledError
from raynb.jupyter.output.frames import is_users
from raynb.jupyter.output.tracebacks import Renderer, hints, install, uninstall
from raynb.serde.errors import format_frames


class Compiler:
    def format_code_name(self, name: str) -> tuple[str, str] | None:
        return ("Cell", "In[4]") if name == "<cell 4>" else None


class Shell:
    colors = "nocolor"
    compile = Compiler()


@pytest.fixture
def shell() -> Iterator[Any]:
    source = "%%remote\ndef f(x):\n    y = 0\n    return x / y\n\nf(1)\n"
    linecache.cache["<cell 4>"] = (len(source), None, source.splitlines(True), "<cell 4>")
    yield Shell()
    del linecache.cache["<cell 4>"]


TRACE = """ray::f() (pid=123, ip=127.0.0.1)
  File "<cell 4>", line 6, in <module>
    f(1)
  File "<cell 4>", line 4, in f
    return x / y
ZeroDivisionError: division by zero
with a second line"""


def test_a_recursion_is_counted(shell: Any) -> None:
    frames = (("<cell 4>", 6, "<module>", "f(1)"), *[("<cell 4>", 4, "f", "return x / y")] * 900)
    text = f"ray::f() (pid=123, ip=127.0.0.1)\n{format_frames(frames)}RecursionError: too deep"
    lines = "\n".join(Renderer(shell).render(RayTaskError("f", text, RecursionError("too deep"), pid=123))).splitlines()
    assert lines.count("----> 4     return x / y") == 3
    assert lines[-2:] == ["  [Previous line repeated 897 more times]", "RecursionError: too deep"]
    assert "repeated 1 more time]" in format_frames(frames[1:5])
    assert "repeated" not in format_frames(frames[:4])


def test_remote_frames_show_cell_line_and_source(shell: Any) -> None:
    error = RayTaskError("f", TRACE, ZeroDivisionError("division by zero\nwith a second line"), pid=123)
    lines = "\n".join(Renderer(shell).render(error)).splitlines()
    assert lines[1].split() == ["ZeroDivisionError", "Traceback", "(most", "recent", "call", "last)"]
    assert lines[2:] == [
        "In task f (pid 123):",
        "Cell In[4], line 6",
        "      4     return x / y",
        "      5",
        "----> 6 f(1)",
        "",
        "Cell In[4], line 4, in f",
        "      2 def f(x):",
        "      3     y = 0",
        "----> 4     return x / y",
        "      5",
        "      6 f(1)",
        "",
        "ZeroDivisionError: division by zero",
        "with a second line",
    ]


def test_frames_of_a_file_that_is_not_here_show_the_workers_source(shell: Any) -> None:
    text = 'ray::g() (pid=1, ip=127.0.0.1)\n  File "/nowhere/a.py", line 3, in g\n    boom()\nValueError: no'
    lines = "\n".join(Renderer(shell).render(RayTaskError("g", text, ValueError("no")))).splitlines()
    assert "File /nowhere/a.py:3, in g" in lines
    assert "----> 3 boom()" in lines
    assert lines[-1] == "ValueError: no"


def test_the_local_part_leaves_out_frames_that_are_not_the_users(shell: Any) -> None:
    namespace: dict[str, Any] = {"error": RayTaskError("f", TRACE, ZeroDivisionError("x"))}
    try:
        exec(compile("\n\n\nraise error", "<cell 4>", "exec"), namespace)
    except RayTaskError as error:
        text = "\n".join(Renderer(shell).render(error))
    assert text.index("Cell In[4], line 4\n") < text.index("In task f")


def test_errors_without_a_remote_part(shell: Any) -> None:
    lines = Renderer(shell).render(TaskCancelledError(error_message="Stopped."))
    assert lines[-1] == "TaskCancelledError: Stopped."


def test_whose_files() -> None:
    import IPython

    import raynb

    assert not is_users(linecache.__file__)
    assert not is_users(IPython.__file__)
    assert not is_users(str(raynb.__file__))
    assert is_users("/home/me/work.py")
    assert is_users("<cell 4>")


def test_hints_say_what_to_do() -> None:
    lost = ModuleNotFoundError("No module named 'linecache'", name="linecache")
    assert "py_modules" in hints(RayTaskError("f", "", lost))[0]  # its folder is on the path, here
    made = sys.modules["made_in_the_kernel"] = ModuleType("made_in_the_kernel")
    try:
        hint = hints(RayTaskError("f", "", ModuleNotFoundError("no", name=made.__name__)))[0]
        made.__file__ = "/nowhere/made_in_the_kernel.py"
        other = hints(RayTaskError("f", "", ModuleNotFoundError("no", name=made.__name__)))[0]
    finally:
        del sys.modules["made_in_the_kernel"]
    assert "no file" in hint
    assert "/nowhere is not on sys.path" in other
    assert hints(RayTaskError("f", "", ModuleNotFoundError("no", name="never_heard_of"))) == []
    assert "copy" in hints(RayTaskError("f", "", ValueError("assignment destination is read-only")))[0]


class FakeShell(Shell):
    """A shell that shows what it is asked to, as IPython does."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def showtraceback(self, exc_tuple: Any = None) -> None:
        error = sys.exc_info()[1] if exc_tuple is None else exc_tuple[1]
        render = getattr(error, "_render_traceback_", lambda: ["as Python shows it"])
        self.shown.append("\n".join(render()))


def _interrupted(code: str, **names: Any) -> BaseException:
    try:
        exec(compile(code, "<cell 4>", "exec"), names)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_interrupt_of_a_wait_shows_the_users_frames_only(shell: Any) -> None:
    def pressed() -> None:
        raise KeyboardInterrupt

    def in_raynb(function: Any) -> None:
        waits: dict[str, Any] = {"function": function}
        exec(compile("def get():\n    function()", is_users.__code__.co_filename, "exec"), waits)
        waits["get"]()

    fake = FakeShell()
    install(fake)
    try:
        ours = _interrupted("\n\n\nwait(pressed)", wait=in_raynb, pressed=pressed)
        fake.showtraceback((type(ours), ours, ours.__traceback__))
        assert "Cell In[4], line 4\n" in fake.shown[-1]
        assert ", in get" not in fake.shown[-1]
        assert "jupyter/output/tracebacks.py" not in fake.shown[-1]
        assert fake.shown[-1].endswith("\nKeyboardInterrupt")
        assert not hasattr(ours, "_render_traceback_")
        own = _interrupted("pressed()", pressed=pressed)
        fake.showtraceback((type(own), own, own.__traceback__))
        assert fake.shown[-1] == "as Python shows it"
    finally:
        uninstall(fake)
    assert "showtraceback" not in vars(fake)
    assert not hasattr(RayTaskError("f", TRACE, None), "_render_traceback_")
