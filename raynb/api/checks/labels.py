"""Checks of ``label_selector`` and ``fallback_strategy``, by Ray's rules.

One machine has no labels to choose by; but a program that will move to a cluster learns of a mistake now.
"""

from __future__ import annotations

import re
from typing import Any

_NAME = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_KEY = re.compile(_NAME)
_PREFIX = re.compile(rf"(?:{_NAME})?(?:\.(?:{_NAME})?)*")
_CONDITION = re.compile(rf"!?(?:in)?\({_NAME}(?:, ?{_NAME})*\)|!?{_NAME}")
_RULE = (
    "63 characters or less, beginning and ending with a letter or digit, with dashes (-), underscores (_), "
    "dots (.), letters and digits between"
)


def selector(value: Any) -> str | None:
    """Returns what is wrong with a ``label_selector``, None: nothing."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return f"The type of keyword 'label_selector' must be dict, but received type {type(value)}."
    for key, condition in value.items():
        problem = _key(key) or _condition(key, condition)
        if problem:
            return problem
    return None


def _key(key: Any) -> str | None:
    if not isinstance(key, str):
        return f"The type of keyword 'label_selector' must be dict of str to str, but the key {key!r} is {type(key)}."
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _PREFIX.fullmatch(prefix)):
        return (
            f"Invalid label key prefix `{prefix}`. Prefix must be a series of DNS labels separated by dots (.), "
            "not longer than 253 characters in total."
        )
    return None if _KEY.fullmatch(name) else f"Invalid label key name `{name}`. Name must be {_RULE}."


def _condition(key: str, condition: Any) -> str | None:
    if condition is None or condition == "":
        return None
    if not isinstance(condition, str):
        return (
            "The type of keyword 'label_selector' must be dict of str to str, "
            f"but the value of {key!r} is {condition!r} of type {type(condition)}."
        )
    if _CONDITION.fullmatch(condition):
        return None
    return (
        f"Invalid label selector value `{condition}`. The label selector value should contain optional operators "
        f"and a label value: 'a', '!a', 'in(a, b)' or '!in(a, b)'. Value must be {_RULE}."
    )


def fallback(value: Any) -> str | None:
    """Returns what is wrong with a ``fallback_strategy``, None: nothing."""
    if value is None:
        return None
    if not isinstance(value, list):
        return f"The type of keyword 'fallback_strategy' must be list, but received type {type(value)}."
    for choice in value:
        if not isinstance(choice, dict):
            return f"Each element in fallback_strategy must be a dictionary, got {choice!r}."
        if not choice:
            return "Empty dictionary found in `fallback_strategy`."
        for name, given in choice.items():
            if name != "label_selector":
                return f"Unsupported option found: {name!r}. Only ['label_selector'] is currently supported."
            if not isinstance(given, (dict, type(None))):
                return f'The value of "label_selector" must be a dictionary, got {given!r}.'
            problem = selector(given)
            if problem:
                return f"fallback_strategy: {problem}" if problem.startswith("Invalid") else problem
    return None
