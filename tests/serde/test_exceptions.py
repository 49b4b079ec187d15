"""Exceptions keep what they carry: on their way to the driver, and when they are pickled again."""

from __future__ import annotations

import builtins
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from raynb.exceptions import RayTaskError
from raynb.serde import errors, pickling


class TwoArguments(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why


class KeywordsOnly(ValueError):
    def __init__(self, *, field: str) -> None:
        super().__init__("bad field")
        self.field = field


class Slotted(Exception):
    __slots__ = ("depth", "unset")

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth


class OwnOSError(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "No such file", path)
        self.tried = 3


class OwnSyntaxError(SyntaxError):
    def __init__(self, line: int) -> None:
        super().__init__("bad", ("cell.py", line, 1, "x ="))


class OwnDecodeError(UnicodeDecodeError):
    def __init__(self, at: int) -> None:
        super().__init__("utf-8", b"abc", at, at + 1, "because")


def _of(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class OwnMemoryError(MemoryError):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = code


class Both(ValueError, MemoryError):
    pass


CASES: list[tuple[BaseException, tuple[str, ...]]] = [
    (_of(lambda: open("/no/such/file")), ("errno", "strerror", "filename", "filename2")),  # noqa: SIM115
    (_of(lambda: b"a\xffb".decode()), ("encoding", "object", "start", "end", "reason")),
    (_of(lambda: "\ud800".encode()), ("encoding", "object", "start", "end", "reason")),
    (_of(lambda: compile("x = = 1", "cell.py", "exec")), ("msg", "filename", "lineno", "offset", "text")),
    (_of(lambda: __import__("no_such_module")), ("name", "path", "msg")),
    (_of(lambda: json.loads("{")), ("msg", "doc", "pos", "lineno", "colno")),
    (_of(lambda: no_such_name), ("name",)),  # type: ignore[name-defined]  # noqa: F821
    (StopIteration(7), ("value",)),
    (SystemExit(5), ("code",)),
    (TwoArguments(3, "x"), ("code", "why")),
    (KeywordsOnly(field="f"), ("field",)),
    (Slotted(4), ("depth",)),
    (OwnOSError("/a"), ("errno", "strerror", "filename", "tried")),
    (OwnSyntaxError(9), ("msg", "filename", "lineno", "text")),
    (OwnDecodeError(1), ("encoding", "object", "start", "end", "reason")),
]


def _arrived(raised: BaseException) -> Any:
    value, _, _ = errors.task_error(raised, "f", "")
    return errors.load_error(value)


@pytest.mark.parametrize(("raised", "fields"), CASES, ids=[type(raised).__name__ for raised, _ in CASES])
def test_fields_of_exceptions_arrive(raised: BaseException, fields: tuple[str, ...]) -> None:
    wanted = [getattr(raised, field) for field in fields]
    error = _arrived(raised)
    again = pickle.loads(pickle.dumps(error))
    second_hop = _arrived(again)
    for arrived in (error, again, second_hop, error.cause, again.cause):
        assert isinstance(arrived, type(raised))
        assert [getattr(arrived, field) for field in fields] == wanted
    for arrived in (error.cause, again.cause):
        assert str(arrived) == str(raised)
        assert arrived.args == raised.args
    assert str(again) == str(error)
    packed = pickling.pack([raised])  # as a value, not as a failure
    (value,) = pickling.unpack(packed.data, packed.buffers)
    assert [getattr(value, field) for field in fields] == wanted
    assert not hasattr(value, "unset")


def test_causes_survive_being_pickled_again() -> None:
    def chained() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise TwoArguments(1, "second") from error

    again = pickle.loads(pickle.dumps(_arrived(_of(chained))))
    assert isinstance(again.cause.__cause__, KeyError)


@pytest.mark.parametrize("kind", [
    *(kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    OwnMemoryError, Both, KeyboardInterrupt, SystemExit,
])  # fmt: skip
def test_a_task_error_is_one_of_every_class(kind: Any) -> None:
    if hasattr(kind, "split"):
        error = kind("why", [ValueError()])
    else:
        error = Both() if kind is Both else kind.__new__(kind)
    value, _, _ = errors.task_error(error, "f", "")
    read = errors.load_error(value)
    assert isinstance(read, kind)
    assert isinstance(read, RayTaskError)
