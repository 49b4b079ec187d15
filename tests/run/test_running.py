"""What workers, the inline engine and the cluster's runner share when they run a task."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from raynb.base.spec import FailedReturn, TaskOptions
from raynb.run import environment, failures, methods, returns


def options(num_returns: int, retry: bool | bytes = False) -> TaskOptions:
    return TaskOptions("f", num_returns=num_returns, retry_exceptions=retry)


def picky(value: Any) -> str:
    if value == "bad":
        raise TypeError("cannot be pickled")
    return f"kept {value}"


def test_one_value_is_kept_as_it_is_and_its_error_is_the_tasks() -> None:
    assert returns.each([1, 2], options(1), repr, repr) == ["[1, 2]"]
    assert returns.each("anything", options(0), repr, repr) == []
    with pytest.raises(TypeError, match="cannot be pickled"):
        returns.each("bad", options(1), picky, str)


def test_of_several_values_one_that_cannot_travel_fails_alone() -> None:
    assert returns.each(["a", "bad", "c"], options(3), picky, str) == ["kept a", "cannot be pickled", "kept c"]


def test_wrong_numbers_of_values_say_which() -> None:
    with pytest.raises(ValueError, match="returned 2 objects, but num_returns=3"):
        returns.each((1, 2), options(3), picky, str)
    with pytest.raises(ValueError, match="returned int, but num_returns=2"):
        returns.each(5, options(2), picky, str)
    with pytest.raises(TypeError, match="f has num_returns='streaming' but returned int"):
        returns.items_of(5, "f", "streaming")


def failing_after_one() -> Any:
    yield 1
    raise KeyError("second")


def test_an_error_in_the_middle_of_a_generator_is_what_the_rest_raises_unless_it_is_retried() -> None:
    first, *rest = returns.split(failing_after_one(), 3)
    assert first == 1
    assert all(type(one) is FailedReturn for one in rest)
    with pytest.raises(KeyError):
        returns.split(failing_after_one(), 3, pickle.dumps((KeyError,)))
    assert returns.dynamic(failing_after_one(), options(-1), str, repr) == ["1", "KeyError('second')"]
    with pytest.raises(KeyError):
        returns.dynamic(failing_after_one(), options(-1, True), str, repr)


class Counter:
    def add(self, n: int) -> int:
        return n + 1


def test_methods_of_every_actor_are_found_beside_the_classes_own() -> None:
    left: list[str] = []
    actor = Counter()
    assert methods.bound(actor, "add", lambda: None)(2) == 3
    assert methods.bound(actor, "__ray_ready__", lambda: None)() is True
    assert methods.bound(actor, "__ray_call__", lambda: None)(lambda self, n: (self, n), 4) == (actor, 4)
    methods.bound(actor, "__ray_terminate__", lambda: left.append("left"))()
    assert left == ["left"]


def test_why_a_process_was_left() -> None:
    assert failures.why_left(SystemExit(3)) == "it called sys.exit(3)"
    assert failures.why_left(SystemExit()) == "it called sys.exit(0)"
    assert failures.why_left(GeneratorExit()) == "exit_actor() was called"


def test_an_interrupt_that_python_makes_an_error_of_a_lock_of_is_one() -> None:
    lock = threading.Lock()
    with pytest.raises(RuntimeError) as caught, lock:  # as in `Event.wait`
        lock.release()
        raise KeyboardInterrupt
    assert failures.is_interrupt(caught.value)
    assert failures.is_interrupt(KeyboardInterrupt())
    assert not failures.is_ended_by(TimeoutError, caught.value), "another handler raised it"
    with pytest.raises(RuntimeError) as caught:
        lock.release()
    assert not failures.is_interrupt(caught.value)


def test_a_temporary_environment_is_taken_back_also_after_an_error(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("RAYNB_TEST_KEPT", "before")
    monkeypatch.delenv("RAYNB_TEST_NEW", raising=False)
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    folder, path = os.getcwd(), list(sys.path)
    env = (
        ("env_vars", (("RAYNB_TEST_KEPT", "within"), ("RAYNB_TEST_NEW", "1"))),
        ("working_dir", str(tmp_path)),
        ("py_modules", (str(package),)),
    )
    with pytest.raises(ZeroDivisionError), environment.temporary(env):
        assert os.environ["RAYNB_TEST_KEPT"] == "within"
        assert os.environ["RAYNB_TEST_NEW"] == "1"
        assert os.path.samefile(os.getcwd(), tmp_path)
        assert str(tmp_path) in sys.path
        raise ZeroDivisionError
    assert (os.environ["RAYNB_TEST_KEPT"], os.environ.get("RAYNB_TEST_NEW")) == ("before", None)
    assert (os.getcwd(), sys.path) == (folder, path)
