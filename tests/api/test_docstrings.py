"""A public docstring has each argument, what is returned, and what is raised; times and sizes have their units."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import raynb
from raynb import actor
from raynb.api import remote_function
from raynb.testing import faults, leaks
from raynb.util import executor, kept_functions, metrics
from raynb.util.placement_group import PlacementGroup
from tests.api.test_examples import public

#: Public in what other public names return: name in the report → the thing.
RETURNED = (
    remote_function.RemoteFunction, remote_function.RemoteFunctionWithOptions, actor.ActorClass, actor.ActorMethod,
    type(raynb.remote(type("Idle", (), {})).options()), executor.Future, kept_functions.KeptFunction,
    PlacementGroup, metrics.Metric, actor.exit_actor,
)  # fmt: skip
TESTING = (leaks, faults)
#: Classes whose instances raynb makes: their constructor's arguments are nobody's.
MADE_BY_RAYNB = {
    "ActorClass", "ActorClassWithOptions", "ActorHandle", "ActorMethod", "AsyncResult", "DynamicObjectRefGenerator",
    "Future", "GroupBy", "IMapIterator", "KeptFunction", "ObjectRefGenerator", "PlacementGroup", "RemoteFunction",
    "RemoteFunctionWithOptions",
}  # fmt: skip
#: Errors that a helper raises, and that no call of the public one ends with.
CAUGHT = {"GroupBy.apply": {"TypeError"}, "KeptFunction.remote": {"Unsure"}}
SECONDS = re.compile(r"timeout|seconds|_s$|interval|pause|window$|grace|_warning$")
BYTES = re.compile(r"(^|_)memory$|_limit$")
NOT_BYTES = {"actor_death_limit"}
NOTHING = {None, "None", "NoReturn", "Never", inspect.Signature.empty}


class Callee(NamedTuple):
    """A function or class to look at, and the text that describes it."""

    name: str
    function: Any
    text: str
    is_class: bool = False


def callees() -> Iterator[Callee]:
    """Yields each public function and class, and the public methods that a public class has of its own."""
    found = [value for _, value in public()]
    found += [value for value in RETURNED if value not in found]
    for module in TESTING:
        ours = [value for name, value in vars(module).items() if name[0] != "_"]
        found += [value for value in ours if getattr(value, "__module__", "") == module.__name__ and callable(value)]
    for value in found:
        name = f"{value.__module__}.{value.__qualname__}"
        yield Callee(name, value, inspect.getdoc(value) or "", inspect.isclass(value))
        for own, method in vars(value).items() if inspect.isclass(value) else ():
            plain = method.__func__ if isinstance(method, (staticmethod, classmethod)) else method
            plain = plain.fget if isinstance(plain, property) else plain
            if own[0] != "_" and inspect.isfunction(plain):
                yield Callee(f"{name}.{own}", plain, inspect.getdoc(plain) or "")


def parameters(callee: Callee) -> list[str]:
    """Returns the names of what a caller may give."""
    if callee.is_class and (
        callee.function.__name__ in MADE_BY_RAYNB or issubclass(callee.function, BaseException)
        or callee.function.__init__ in (object.__init__, dict.__init__)
    ):  # fmt: skip
        return []
    try:
        found = list(inspect.signature(callee.function).parameters.values())
    except ValueError:
        return []
    if "the arguments of `init`" in callee.text:
        return []
    names = [one.name for one in found if one.name not in ("self", "cls") and one.name[0] != "_"]
    # `*args` of a call that is passed on to the user's function.
    variable = {one.name for one in found if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    return [name for name in names if not (name in variable and name in ("args", "kwargs", "given"))]


def described(name: str, text: str) -> str:
    """Returns what is said of an argument: its entry, or the sentence that has it in code marks; "" if nothing is."""
    entry = re.search(rf"^( *)(?=[^:\n]*(?<![\w.]){name}\b)[\w*, ]+:(.*(?:\n\1 +.*)*)", text, re.MULTILINE)
    if entry:
        return entry.group(2)
    marked = re.search(rf"[^.]*``[^`\n]*\b{name}\b[^`\n]*``[^.]*", text)
    return marked.group(0) if marked else ""


def missing_arguments(callee: Callee) -> list[str]:
    lacking = []
    for name in parameters(callee):
        said = described(name, callee.text)
        if not said.strip():
            lacking.append(name)
        elif SECONDS.search(name) and "second" not in said.lower() and "accepted for" not in said:
            lacking.append(f"{name} in seconds")
        elif BYTES.search(name) and name not in NOT_BYTES and "byte" not in said.lower() and "ccepted for" not in said:
            lacking.append(f"{name} in bytes")
    return lacking


def missing_returns(callee: Callee) -> list[str]:
    if callee.is_class or inspect.signature(callee.function).return_annotation in NOTHING:
        return []
    said = re.search(r"\b([Rr]eturns?|[Yy]ields?)\b|Raises `NotImplementedError`", callee.text)
    return [] if said else ["returns"]


@functools.cache
def helpers(module: str) -> dict[str, ast.AST]:
    """Returns the private functions and methods of a module: what a public one calls raises on its behalf."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name: node for node in ast.walk(tree) if isinstance(node, kinds) and node.name[0] == "_"}


def raised(tree: ast.AST, known: dict[str, ast.AST], seen: set[str]) -> Iterator[str]:
    """Yields the names of the classes that code raises, with the private helpers of its module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            made = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")
            if name[:1].isupper():
                yield name
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            own = not isinstance(node.func, ast.Attribute) or getattr(node.func.value, "id", "") == "self"
            if own and name in known and name not in seen:
                seen.add(name)
                yield from raised(known[name], known, seen)


def missing_raises(callee: Callee) -> list[str]:
    function = callee.function
    if callee.is_class:
        function = vars(function).get("__init__")
        if callee.function.__name__ in MADE_BY_RAYNB or not inspect.isfunction(function):
            return []
    function = inspect.unwrap(function)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except OSError:
        return []  # written by a dataclass
    caught = CAUGHT.get(function.__qualname__, set())
    found = set(raised(tree, helpers(function.__module__), set())) - caught
    return sorted(name for name in found if name not in callee.text)


def test_every_argument_result_and_error_is_in_the_docstring() -> None:
    lacking = {
        callee.name: problems
        for callee in callees()
        if (problems := missing_arguments(callee) + missing_returns(callee) + missing_raises(callee))
    }
    assert not lacking, "\n".join(f"{name}: {', '.join(problems)}" for name, problems in lacking.items())


def test_the_columns_of_rows_are_described() -> None:
    from raynb.util.state import common

    for kind in vars(common).values():
        if inspect.isclass(kind) and issubclass(kind, common.StateRow):
            text = inspect.getdoc(kind) or ""
            assert [name for name in kind.columns() if not described(name, text)] == [], kind.__name__


def sample(first: int, timeout: float, *rest: int, memory: int = 0) -> int:
    """Adds.

    Args:
        first: a number.
        timeout: seconds.
        rest: more of them.
        memory: bytes.

    Returns:
        The sum.

    Raises:
        ValueError: it is 0.
        OverflowError: it is large.
    """
    if not first:
        raise ValueError
    return _helper(first)


def _helper(n: int) -> int:
    if n > 9:
        raise OverflowError
    return n


@pytest.mark.parametrize(
    ("removed", "told"),
    [("", []), ("first: a number.", ["first"]), ("rest: more of them.", ["rest"]), ("seconds", ["timeout in seconds"]),
     ("bytes", ["memory in bytes"]), ("Returns", ["returns"]), ("ValueError", ["ValueError"]),
     ("OverflowError", ["OverflowError"])],
)  # fmt: skip
def test_what_lacks_is_found(removed: str, told: list[str]) -> None:
    text = inspect.cleandoc(sample.__doc__ or "")
    callee = Callee("sample", sample, text.replace(removed, "much") if removed else text)
    assert missing_arguments(callee) + missing_returns(callee) + missing_raises(callee) == told


def test_entries_of_several_names_and_marked_words_describe_arguments() -> None:
    text = "    *rest, other: words\n"
    assert [bool(described(name, text)) for name in ("rest", "other", "est", "words")] == [True, True, False, False]
    assert not described("plain", "A plain word.")
    assert described("name", "Opens ``name`` for good.")
