"""Options of the magics: splitting a line, ``--each x in xs``, and values that are Python.

The parsers themselves are IPython's ``magic_arguments``; what is here is what argparse can't do:
values like ``{"a": 1}`` and ``range(10)`` without quotes.
"""

from __future__ import annotations

import ast
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument

from raynb.base.process import shelter

_OPENING = {"(": ")", "[": "]", "{": "}"}
_EACH = re.compile(r"(?:^|(?<=\s))--each(?:\s+|=)")
_NEXT_OPTION = re.compile(r"\s--?[a-z]")

#: Task options: flag, Ray's name, what its value must be, help.
TASK_OPTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("--num-cpus", "num_cpus", "a number", "CPU slots that the task takes (default 1)."),
    ("--num-gpus", "num_gpus", "a number", "GPUs that the task takes (default 0)."),
    ("--memory", "memory", "a number", "Bytes of memory that the task may use."),
    ("--resources", "resources", "a dict", 'Custom resources, for example {"disk": 1}.'),
    ("--max-retries", "max_retries", "an integer", "Runs again if its worker dies (default 3)."),
    (
        "--retry-exceptions", "retry_exceptions", "True, False or a list of exception classes",
        "Run it again on these exceptions too.",
    ),
    ("--timeout", "timeout", "a number", "Seconds after which the task is stopped with TaskTimeoutError."),
    ("--runtime-env", "runtime_env", "a dict", 'The worker\'s environment: {"env_vars": {"A": "1"}}.'),
)  # fmt: skip

#: Actor options, beside CPUs, GPUs, memory and resources.
ACTOR_OPTIONS: tuple[tuple[str, str, str, str], ...] = (
    *TASK_OPTIONS[:4],
    ("--max-restarts", "max_restarts", "an integer", "How often to restart it when it dies (-1: for ever)."),
    ("--max-task-retries", "max_task_retries", "an integer", "How often to run a call again after that."),
    ("--max-concurrency", "max_concurrency", "an integer", "Calls that may run at the same time."),
    TASK_OPTIONS[7],
)

_CHECKS: dict[str, Callable[[Any], bool]] = {
    "a number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "an integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "a dict": lambda v: isinstance(v, dict),
    "True, False or a list of exception classes": lambda v: (
        isinstance(v, bool) or (isinstance(v, (list, tuple)) and all(_is_exception(item) for item in v))
    ),
}


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def with_options(options: tuple[tuple[str, str, str, str], ...]) -> Callable[[Any], Any]:
    """Returns a decorator that declares options for ``magic_arguments``."""

    def declare(function: object) -> Any:
        for flag, name, kind, text in reversed(options):
            metavar = flag[2:].split("-")[-1].upper()
            function = argument(flag, dest=name, metavar=metavar, help=f"{text} Takes {kind}.")(function)
        return function

    return declare


def _outside(text: str) -> tuple[list[bool], str]:
    """Returns for each character whether it stands outside of quotes and brackets, and what is left to be closed."""
    found = []
    closing: list[str] = []
    quote, escaped = "", False
    for char in text:
        found.append(not quote and not closing)
        if escaped:
            escaped = False
        elif quote:
            escaped = char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _OPENING:
            closing.append(_OPENING[char])
        elif closing and char == closing[-1]:
            closing.pop()
    return found, quote or (closing[-1] if closing else "")


def _words(text: str) -> list[str]:
    """Splits at spaces outside of quotes and brackets, keeping the quotes."""
    words = [""]
    for char, apart in zip(text, _outside(text)[0], strict=True):
        if apart and char.isspace():
            words.append("")
        else:
            words[-1] += char
    return [word for word in words if word]


def split_line(line: str) -> list[str]:
    """Splits a magic's line at spaces, but not inside quotes or brackets; drops outer quotes.

    Raises:
        UsageError: a quote or bracket is not closed.
    """
    lacks = _outside(line)[1]
    if lacks:
        raise UsageError(f"`{line.strip()}` lacks a closing {lacks}.")
    return [_unquoted(word) for word in _words(line)]


def _unquoted(word: str) -> str:
    if len(word) > 1 and word[0] in "'\"" and word[-1] == word[0] and word[0] not in word[1:-1]:
        return word[1:-1]
    return word


def without_comment(line: str) -> str:
    """Returns a magic's line without ``# …`` at its end."""
    quote = ""
    for place, char in enumerate(line):
        if quote:
            quote = "" if char == quote and line[place - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (not place or line[place - 1].isspace()):
            return line[:place].rstrip()
    return line


def parse(function: Any, line: str) -> Namespace:
    """Parses a magic's line with the parser of its ``magic_arguments``; a comment at its end is none of it.

    Raises:
        UsageError: names the option and says what is right.
    """
    parsed: Namespace = function.parser.parse_args(split_line(without_comment(line)))
    return parsed


def take_each(line: str) -> tuple[str, str, str]:
    """Takes ``--each TARGET in EXPRESSION`` out of a line.

    Returns:
        (the line without it, target, expression); the last two are empty when there is none.

    Raises:
        UsageError: the loop is not a loop.
    """
    found = _EACH.search(line)
    if found is None:
        return line, "", ""
    before, rest = line[: found.start()], line[found.end() :]
    after = ""
    if rest.startswith(("'", '"')):
        end = rest.find(rest[0], 1)
        if end < 0:
            raise UsageError(f"--each {rest.strip()} lacks a closing {rest[0]}.")
        rest, after = rest[1:end], rest[end + 1 :]
    else:
        option = _NEXT_OPTION.search(rest)
        if option is not None:
            rest, after = rest[: option.start()], rest[option.start() :]
    words = rest.split(" ")
    for count in range(len(words), 0, -1):
        loop = _as_loop(" ".join(words[:count]))
        if loop is not None:
            return f"{before} {' '.join(words[count:])} {after}".strip(), *loop
    raise UsageError(f"--each takes `NAME in ITERABLE`, for example `--each x in xs`; got `{rest.strip()}`.")


def _as_loop(text: str) -> tuple[str, str] | None:
    try:
        tree = ast.parse(f"for {text}: pass")
    except SyntaxError:
        return None
    loop = tree.body[0]
    if len(tree.body) != 1 or not isinstance(loop, ast.For):
        return None
    target = ast.unparse(loop.target)
    return target[1:-1] if isinstance(loop.target, ast.Tuple) else target, ast.unparse(loop.iter)


def evaluate(text: str, what: str, namespace: Mapping[str, object]) -> Any:
    """Returns the value of a Python expression of the notebook.

    Raises:
        UsageError: it isn't one, or it fails; names ``what``.
    """
    try:
        return eval(compile(text.strip(), f"<{what}>", "eval"), dict(namespace))
    except Exception as error:
        shelter.pass_on(error)
        raise UsageError(f"{what} {text}: {type(error).__name__}: {error}") from None


def option_values(
    args: Namespace, options: tuple[tuple[str, str, str, str], ...], namespace: Mapping[str, object]
) -> dict[str, Any]:
    """Returns the options that were given, as arguments for Ray's ``.options()``.

    Raises:
        UsageError: a value is not what the option takes.
    """
    given: dict[str, Any] = {}
    for flag, name, kind, _ in options:
        text = getattr(args, name, None)
        if text is None:
            continue
        value = evaluate(text, flag, namespace)
        if name == "retry_exceptions" and _is_exception(value):
            value = [value]
        if not _CHECKS[kind](value):
            raise UsageError(f"{flag} takes {kind}, got {text}.")
        given[name] = list(value) if isinstance(value, tuple) else value
    return given


def call_arguments(text: str, namespace: Mapping[str, object]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns (args, kwargs) of constructor arguments written as in a call: ``3, name="x"``.

    Arguments that are separated by spaces alone (``3 name="x"``) work too.

    Raises:
        UsageError: they aren't Python.
    """
    text = text.strip()
    if not text:
        return (), {}
    attempts = [text, ", ".join(_words(text))]
    for attempt in attempts:
        try:
            ast.parse(f"_({attempt})", mode="eval")
        except SyntaxError:
            continue
        spread = evaluate(f"(lambda *a, **k: (a, k))({attempt})", "constructor arguments", namespace)
        return spread[0], spread[1]
    raise UsageError(f"constructor arguments `{text}` are not Python expressions.")
