"""Objects that Python sends by name only travel by value, if a notebook made them."""

from __future__ import annotations

import contextvars
import functools
import logging
import sys
import threading
import typing
import weakref
from typing import Any

import pytest

from raynb.serde import functions, pickling


def there(value: Any) -> Any:
    packed = pickling.pack(value)
    return pickling.unpack(packed.data, packed.buffers)


def test_caches_arrive_empty_with_their_settings_and_call_themselves() -> None:
    @functools.lru_cache(maxsize=7, typed=True)
    def fib(n: int) -> int:
        """Known."""
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    fib(3)
    fib.note = "kept"  # type: ignore[attr-defined]
    made = there(fib)
    assert made is not fib
    assert made.cache_info().currsize == 0
    assert (made(20), made.cache_parameters(), made.__doc__, made.note) == (
        6765, {"maxsize": 7, "typed": True}, "Known.", "kept")  # fmt: skip
    assert there(functools.lru_cache) is functools.lru_cache


def test_dispatching_functions_and_methods() -> None:
    @functools.singledispatch
    def kind(x: object) -> str:
        return "object"

    @kind.register(int)
    def _(x: int) -> str:
        return "int"

    class Holder:
        @functools.singledispatchmethod
        def kind(self, x: Any) -> str:
            return "object"

        @kind.register(int)
        def _(self, x: int) -> str:
            return "int"

        @functools.cached_property
        def once(self) -> int:
            return 7

        def add(self, a: int, b: int) -> int:
            return a + b

        add_five = functools.partialmethod(add, 5)

        @functools.lru_cache
        def cached(self, x: int) -> int:
            return x

    assert kind(1) == "int"
    made, holder = there(kind), there(Holder)()
    assert (made(1), made("")) == ("int", "object")
    assert (holder.kind(1), holder.kind(""), holder.once, holder.add_five(6), holder.cached(3)) == (
        "int", "object", 7, 11, 3)  # fmt: skip
    assert "once" in vars(holder)
    key = Holder()
    table, key = there([weakref.WeakKeyDictionary({key: 1}), key])
    assert table[key] == 1


def test_types() -> None:
    UserId = typing.NewType("UserId", int)
    P = typing.ParamSpec("P")
    Fields = typing.TypedDict("Fields", {"a": int}, total=False)  # noqa: UP013
    user, parameters, fields = there([UserId, P, Fields])
    assert (user(3), user.__name__, user.__supertype__) == (3, "UserId", int)
    assert parameters.__name__ == "P"
    assert (fields(a=1), fields.__total__, fields.__annotations__) == ({"a": 1}, False, {"a": int})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the statement is Python 3.12's")
def test_aliases_and_type_parameters() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "type Json = dict[str, Json] | int\ntype Pair[T] = tuple[T, T]\n"
        "def call[**P, R](f, *args: P.args) -> R:\n    return f(*args)\n"
        "class Box[T]:\n    def get(self) -> T: return 1",
        names,
    )
    json, pair, call, box = there([names[name] for name in ("Json", "Pair", "call", "Box")])
    assert typing.get_args(typing.get_args(json.__value__)[0])[1] is json
    assert pair[int].__args__ == (int,)
    assert call(max, 1, 2) == 2
    assert box[int]().get() == 1


def test_context_variables_are_one_a_name() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable_of_a_notebook", default=5)
    bare: contextvars.ContextVar[int] = contextvars.ContextVar("bare_variable_of_a_notebook")
    variable.set(8)
    made, again, empty = there([variable, [variable], bare])
    assert made is again[0]
    assert made.get() == 5
    with pytest.raises(LookupError):
        empty.get()


def test_loggers_of_a_class_of_their_own() -> None:
    class Mine(logging.Logger):
        def shout(self) -> str:
            return self.name.upper()

    alone = Mine("alone.of.a.notebook")
    alone.setLevel(30)
    made = there(alone)
    assert (made.shout(), made.level, type(made).__name__) == ("ALONE.OF.A.NOTEBOOK", 30, "Mine")
    assert there(logging.getLogger("plain")) is logging.getLogger("plain")


def test_logurus_logger_is_the_processes_own() -> None:
    loguru = pytest.importorskip("loguru")
    bound = there(loguru.logger.bind(task=1))
    assert bound._core is loguru.logger._core
    assert bound._options[-1] == {"task": 1}


def test_what_cannot_travel_is_named_with_its_user() -> None:
    names: dict[str, Any] = {"__name__": "__main__", "lock": threading.Lock()}
    exec(
        "def deep():\n    return lock\ndef outer():\n    return deep()\n"
        "class Uses:\n    def go(self):\n        return lock\n"
        "class Has:\n    held = lock\ndef makes():\n    return Has()",
        names,
    )
    for name, words in {
        "outer": "the global 'lock' (used by deep), needed by outer", "Uses": "the global 'lock' (used by Uses.go)",
        "makes": "the attribute 'held' of class Has, needed by makes",
    }.items():  # fmt: skip
        with pytest.raises(TypeError) as caught:
            functions.definition(names[name], name)
        assert words in str(caught.value)
        assert "make it where it is used" in str(caught.value)
