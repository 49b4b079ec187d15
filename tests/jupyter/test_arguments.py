"""Lines of magics."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from raynb.jupyter.magics.arguments import (
    TASK_OPTIONS,
    call_arguments,
    evaluate,
    option_values,
    split_line,
    take_each,
)


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("", []),
        ("  a  b ", ["a", "b"]),
        ("--resources {'a': 1, 'b': 2} x", ["--resources", "{'a': 1, 'b': 2}", "x"]),
        ('--name "two words" x', ["--name", "two words", "x"]),
        ("--num-cpus=(1 + 1)", ["--num-cpus=(1 + 1)"]),
        ("f('a b)', [1, 2])", ["f('a b)', [1, 2])"]),
        (r"'it\'s'", [r"'it\'s'"]),
    ],
)
def test_splitting(line: str, tokens: list[str]) -> None:
    assert split_line(line) == tokens


@pytest.mark.parametrize("line", ["--name 'x", "f(x", "{'a': [1}"])
def test_what_is_not_closed_is_named(line: str) -> None:
    with pytest.raises(UsageError, match="closing"):
        split_line(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("score --wait", ("score --wait", "", "")),
        ("--each x in xs", ("", "x", "xs")),
        ("--each x in xs score", ("score", "x", "xs")),
        ("score --each x,y in zip(a, b) --chunk 4", ("score  --chunk 4", "x, y", "zip(a, b)")),
        ("--each 'x in range(10)' --get", ("--get", "x", "range(10)")),
        ("--each x in [i for i in range(3)] --wait", ("--wait", "x", "[i for i in range(3)]")),
        ("--each i, (a, b) in enumerate(pairs)", ("", "i, (a, b)", "enumerate(pairs)")),
        ("--each=x in xs[1 : -1]", ("", "x", "xs[1:-1]")),
    ],
)
def test_loops(line: str, expected: tuple[str, str, str]) -> None:
    rest, target, items = take_each(line)
    assert (rest.split(), target, items) == (expected[0].split(), expected[1], expected[2])


@pytest.mark.parametrize(
    "line", ["--each xs", "--each x of xs", "--each 'x in xs", "--each 3 in xs", "--each "]
)
def test_a_loop_that_is_none(line: str) -> None:
    with pytest.raises(UsageError, match="--each"):
        take_each(line)


class Given:
    def __init__(self, **given: str) -> None:
        self.__dict__.update(given)


def test_option_values_are_python_of_the_notebook() -> None:
    given = Given(
        num_cpus="n / 2",
        resources="{'a': 1}",
        retry_exceptions="ValueError",
        max_retries="-1",
        memory="2**20",
    )
    assert option_values(given, TASK_OPTIONS, {"n": 1}) == {
        "num_cpus": 0.5,
        "resources": {"a": 1},
        "retry_exceptions": [ValueError],
        "max_retries": -1,
        "memory": 1048576,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_cpus": "'two'"}, "--num-cpus takes a number, got 'two'"),
        ({"num_cpus": "nope"}, "--num-cpus nope: NameError"),
        ({"resources": "[1]"}, "--resources takes a dict"),
        ({"max_retries": "1.5"}, "--max-retries takes an integer"),
        ({"retry_exceptions": "[3]"}, "--retry-exceptions takes"),
        ({"timeout": "1 +"}, "--timeout 1 \\+: SyntaxError"),
    ],
)
def test_a_wrong_value_names_its_option(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        option_values(Given(**given), TASK_OPTIONS, {})


def test_constructor_arguments() -> None:
    assert call_arguments("", {}) == ((), {})
    assert call_arguments("1, b=x + 1", {"x": 2}) == ((1,), {"b": 3})
    assert call_arguments("'a b' [1, 2] k=3", {}) == (("a b", [1, 2]), {"k": 3})
    assert call_arguments("*xs, **kw", {"xs": [1], "kw": {"a": 2}}) == ((1,), {"a": 2})
    with pytest.raises(UsageError, match="constructor arguments"):
        call_arguments("1 +", {})
    with pytest.raises(UsageError, match="NameError"):
        call_arguments("unknown", {})


def test_evaluating_does_not_touch_the_notebook() -> None:
    namespace: dict[str, object] = {"x": 1}
    assert evaluate("[x for _ in range(2)]", "--each", namespace) == [1, 1]
    assert namespace == {"x": 1}
