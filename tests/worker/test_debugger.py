"""pdb in a worker, with a list of answers in the notebook's place."""

from __future__ import annotations

import asyncio
import builtins
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from raynb.base import engine, ids
from raynb.exceptions import RayTaskError
from raynb.serde.errors import BaseExceptionGroup_
from raynb.worker import questions
from raynb.worker.inspection.desk import LATER, Desk
from raynb.worker.inspection.session import Debuggable

SECONDS = 120


class Running:
    task = 7
    scope = 1
    name = "task"
    interrupted = False
    future: Any = None


class Notebook(Desk):
    """A desk whose questions come from the test."""

    def __init__(self) -> None:
        super().__init__()
        self.task = Running()
        self.session = 0
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.announced: queue.SimpleQueue[int] = queue.SimpleQueue()

    def answer(self, request: int, ok: bool, result: Any) -> None:
        self._answers.put(result)

    def announce(self, session: int, task: Debuggable, frame: FrameType) -> None:
        self.announced.put(session)

    def running(self) -> Debuggable:
        return self.task

    def open(self) -> Any:
        self.session = self.announced.get(timeout=SECONDS)
        return self.ask("open", {})

    def ask(self, command: str, payload: Any = None) -> Any:
        """Returns (text, next prompt)."""
        found = self.debugging.command(1, self.session, command, payload)
        return self._answers.get(timeout=SECONDS) if found is LATER else found

    def say(self, line: str) -> str:
        text, prompt = self.ask("line", line)
        assert prompt == "(Pdb) ", (text, prompt)
        return str(text)


class Thread(threading.Thread):
    """Runs a task; keeps what it raised."""

    def __init__(self, task: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._task, self.raised = task, None
        self.start()

    def run(self) -> None:
        before = sys.gettrace()
        try:
            self._task()
        except BaseException as error:
            self.raised: BaseException | None = error
        finally:
            sys.settrace(before)

    def end(self) -> BaseException | None:
        self.join(SECONDS)
        assert not self.is_alive()
        return self.raised


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    made = Notebook()
    monkeypatch.setattr(questions, "_desk", made)
    monkeypatch.setattr(questions, "_stdin", sys.stdin)
    monkeypatch.setattr(builtins, "input", questions._input)
    yield made
    assert made.announced.empty()
    assert not made.debugging._sessions
    assert not made.debugging._of_thread


def stop() -> None:
    questions._stop(sys._getframe(1))


def parsed(text: str) -> int:
    where = text * 2
    return int(where)


def from_another(text: str) -> None:
    try:
        parsed(text)
    except ValueError as error:
        raise KeyError(text) from error


def while_handling(text: str) -> None:
    try:
        from_another(text)
    except KeyError:
        raise RuntimeError from LookupError("never raised")


def from_none(text: str) -> None:
    try:
        parsed(text)
    except ValueError:
        raise KeyError(text) from None


def of_another_task(text: str) -> None:
    try:
        raise RayTaskError("f", "", None, pid=5, task_id=text) from ZeroDivisionError()
    except RayTaskError as error:
        raise KeyError(text) from error


def as_a_group(text: str) -> None:
    failed: list[Exception] = []
    for part in (text, text * 2):
        try:
            from_another(part)
        except KeyError as error:
            failed.append(error)
    raise BaseExceptionGroup_("both", failed)


class Unprintable(Exception):
    def __repr__(self) -> str:
        raise ZeroDivisionError


def in_a_circle(text: str) -> None:
    try:
        from_another(text)
    except KeyError as error:
        cause: Any = error.__cause__
        cause.__cause__ = error
        raise Unprintable from error


def enter(notebook: Notebook, fails: Callable[[str], None]) -> str:
    """Opens the post-mortem of a failure; returns the first text."""
    try:
        fails("ab")
    except Exception as error:
        notebook.keep(7, 1, error, 3)
        error.with_traceback(None)  # as the executor does
    notebook.session = notebook.debugging.post_mortem(7, {})
    text, prompt = notebook.ask("open")
    assert prompt == "(Pdb) "
    return str(text)


def test_the_frames_of_causes_can_be_entered(notebook: Notebook) -> None:
    assert "2 chained exceptions: `exceptions` lists them" in enter(notebook, from_another)
    assert notebook.say("p text") == "'ab'\n"
    first, second = notebook.say("exceptions").splitlines()
    assert first == """    0 ValueError("invalid literal for int() with base 10: 'abab'")"""
    assert second == ">   1 KeyError('ab')"
    assert "-> return int(where)" in notebook.say("exceptions 0")
    assert notebook.say("p where") == "'abab'\n"
    assert "-> parsed(text)" in notebook.say("up")
    if sys.version_info >= (3, 12):
        assert notebook.say("p type($_exception)") == "<class 'ValueError'>\n"
    assert notebook.say("exceptions").startswith(">   0 ")
    assert "raise KeyError(text) from error" in notebook.say("exceptions 1")
    assert "NameError" in notebook.say("p where")
    for wrong in ("2", "-1", "x"):
        assert notebook.say(f"exceptions {wrong}") == "*** No exception with that number: 0 to 1.\n"
    assert "the oldest first" in notebook.say("help exceptions")
    assert notebook.ask("line", "q")[1] is None


def test_what_counts_as_a_cause(notebook: Notebook) -> None:
    enter(notebook, while_handling)
    assert notebook.say("exceptions").splitlines()[0] == "    - LookupError('never raised')"
    assert "does not have a traceback" in notebook.say("exceptions 0")
    notebook.ask("line", "q")
    assert "chained" not in enter(notebook, from_none)
    assert notebook.say("exceptions") == ">   0 KeyError('ab')\n"
    notebook.ask("line", "q")
    assert "2 chained exceptions" in enter(notebook, of_another_task)  # whose own causes are in its process
    assert notebook.debugging.origin(notebook.session) is None
    assert "-> raise RayTaskError" in notebook.say("exceptions 0")
    assert notebook.debugging.origin(notebook.session) == ("ab", 5)
    notebook.ask("line", "q")
    assert "3 chained exceptions" in enter(notebook, in_a_circle)
    assert "2 <Unprintable; ZeroDivisionError in its __repr__>" in notebook.say("exceptions")
    assert notebook.ask("quit")[1] is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no groups of exceptions")
def test_the_members_of_a_group_can_be_entered(notebook: Notebook) -> None:
    assert "5 chained exceptions" in enter(notebook, as_a_group)
    shown = [line.split("(")[0].split()[-2:] for line in notebook.say("exceptions").splitlines()]
    assert shown == [["0", "ValueError"], ["1", "KeyError"], ["2", "ValueError"], ["3", "KeyError"],
                     ["4", "ExceptionGroup"]]  # fmt: skip
    for number, text in (("1", "ab"), ("3", "abab")):
        notebook.say(f"exceptions {number}")
        assert notebook.say("p text") == f"{text!r}\n"
    assert notebook.ask("line", "q")[1] is None


def error_of(text: str) -> Exception:
    try:
        parsed(text)
    except ValueError as error:
        return error
    raise AssertionError


def test_one_of_several_failures_of_a_task_is_found(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "failures_kept", 3)
    errors = [error_of("ab")] * 2 + [error_of("cd")] * 2  # of two returns each
    kept = [notebook.keep_part(7, 1, 9, error) for error in errors]
    assert [name.partition(":")[2] for name in kept] == ["1", "1", "2", "2"]
    assert ids.from_hex(kept[0].partition(":")[0])[1] == 7
    assert notebook.keep_part(7, 1, 9, NameError("no code has raised it")) == ""
    monkeypatch.setattr(engine, "failures_kept", 0)
    assert notebook.keep_part(7, 1, 9, error_of("ef")) == ""
    for number, text in ((1, "abab"), (2, "cdcd"), (0, "cdcd")):
        notebook.session = notebook.debugging.post_mortem(7, {}, number)
        notebook.ask("open")
        assert notebook.say("p where") == f"{text!r}\n"
        assert notebook.ask("line", "q")[1] is None
    assert notebook.debugging.post_mortem(7, {}, 3) is None


@pytest.mark.parametrize("given", [lambda: None, lambda: sys.exc_info()[1], lambda: sys.exc_info()[2]])
def test_post_mortem_in_a_task_has_the_causes(notebook: Notebook, given: Callable[[], Any]) -> None:
    def task() -> None:
        try:
            from_another("ab")
        except KeyError:
            questions._post_mortem(given())

    thread = Thread(task)
    assert "2 chained exceptions" in notebook.open()[0]
    notebook.say("exceptions 0")
    assert notebook.say("p where") == "'abab'\n"
    notebook.ask("line", "c")
    assert thread.end() is None


def test_a_task_that_was_let_go_stops_no_more(notebook: Notebook) -> None:
    done = []

    def task() -> None:
        for number in range(3):
            stop()
            done.append(number)

    for way in ([], ["b parsed"], ["interact", "1 + 1"]):
        notebook.task.task += 1
        thread = Thread(task)
        assert notebook.open()[1] == "(Pdb) "
        for line in way:
            notebook.ask("line", line)
        assert notebook.ask("release")[1] is None
        assert thread.end() is None
    assert done == [0, 1, 2] * 3


def test_quitting_inside_a_command_ends_the_task(notebook: Notebook) -> None:
    def task() -> None:
        stop()
        raise AssertionError

    thread = Thread(task)
    notebook.open()
    assert notebook.ask("line", "interact")[1] == ">>> "
    assert notebook.ask("quit")[1] is None
    assert isinstance(thread.end(), KeyboardInterrupt)
    assert notebook.task.interrupted
    notebook.task.interrupted = False
    thread = Thread(task)
    notebook.open()
    notebook.task.interrupted = True  # a cancel that a command has swallowed
    assert notebook.ask("line", "!1")[1] is None
    assert isinstance(thread.end(), KeyboardInterrupt)
    notebook.task.interrupted = False
    thread = Thread(task)
    notebook.open()
    assert notebook.ask("line", "p 1;;q")[1] is None
    assert isinstance(thread.end(), KeyboardInterrupt)
    assert notebook.task.interrupted
    notebook.task = Running()
    notebook.task.future = object()  # in a coroutine, where a KeyboardInterrupt would end the loop
    thread = Thread(task)
    notebook.open()
    assert notebook.ask("quit")[1] is None
    assert isinstance(thread.end(), asyncio.CancelledError)


def test_a_breakpoint_inside_a_command_is_passed(notebook: Notebook) -> None:
    def stops_too() -> int:
        stop()
        return 5

    def task() -> None:
        known = stops_too
        stop()
        assert known() == 5

    thread = Thread(task)
    notebook.open()
    shown = notebook.say("p known() + 2")
    assert shown.startswith("A breakpoint inside a command is passed")
    assert shown.endswith("7\n")
    while notebook.ask("line", "n")[1] is not None:  # on over its line, where it stops for good
        pass
    notebook.open()
    notebook.ask("line", "c")
    assert thread.end() is None
