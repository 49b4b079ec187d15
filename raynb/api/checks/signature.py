"""Checks a call against a signature without the cost of binding it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

#: What a docstring says in the source, where editors read it; `with_keywords` puts the keywords in its place.
KEYWORDS = "**options: the keywords that the reference describes under Options."


def with_keywords(
    function: Callable[..., Any], names: Mapping[str, Any], texts: Mapping[str, str] | None = None
) -> None:
    """Gives a function with ``**given`` a signature that names what may be given: for completion and help.

    Args:
        names: keyword → its default.
        texts: keyword → its description, in place of the docstring's line `KEYWORDS`.
    """
    if texts is not None and function.__doc__:  # there is none under `python -OO`
        entries = [f"{name}: {texts[name]}" for name in names if not name.startswith("_")]
        before, _, after = function.__doc__.partition(KEYWORDS)
        indent = before.rpartition("\n")[2]
        function.__doc__ = before + f"\n{indent}".join(entries) + after
    found = inspect.signature(function)
    plain = [p for p in found.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    known = {p.name for p in plain}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in names.items()
        if name not in known
    ]
    variable = [p for p in found.parameters.values() if p.kind is p.VAR_POSITIONAL]
    last = [p for p in plain if p.kind is p.KEYWORD_ONLY]
    first = [p for p in plain if p.kind is not p.KEYWORD_ONLY]
    setattr(function, "__signature__", found.replace(parameters=[*first, *variable, *last, *added]))  # noqa: B010


class Signature:
    """Raises `TypeError` at ``.remote()`` when the arguments don't fit, as Ray does.

    Keeps names and kinds only, so that handles, which carry it, pickle whatever the defaults are.
    """

    __slots__ = ("_least", "_most", "_parameters", "_whole_signature", "face", "of")

    def __init__(self, function: Any, skip_first: bool = False) -> None:
        self._parameters: tuple[tuple[str, int, bool], ...] | None = None
        self._least, self._most = 0, -1
        self._whole_signature: inspect.Signature | None = None
        self.of: Any = function
        self.face: Any = None  # `remote` of the method, as help sees it, once it was asked for
        try:
            found = inspect.signature(function)
        except (TypeError, ValueError):  # builtins without one: anything goes
            return
        parameters = list(found.parameters.values())
        if skip_first and parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            parameters = parameters[1:]
        self._whole_signature = found.replace(parameters=parameters)
        self._parameters = tuple((p.name, int(p.kind), p.default is not p.empty) for p in parameters)
        self._least = sum(
            1 for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        )  # fmt: skip
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            self._most = 1 << 30
        else:
            self._most = sum(1 for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
        if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
            self._least = 1 << 30  # never right by count alone

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raises `TypeError` when the call could not be made."""
        if not kwargs and self._least <= len(args) <= self._most:
            return
        if self._parameters is None:
            return
        signature = self._whole()
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{error}. The function signature is {signature}.") from None

    @property
    def takes_nothing(self) -> bool:
        """Returns whether a call without arguments can be made."""
        return self._least == 0

    @property
    def shown(self) -> inspect.Signature | None:
        """The signature as help shows it: where it was pickled, with names and kinds only."""
        if self._whole_signature is None and self._parameters is not None:
            return self._whole()
        return self._whole_signature

    def _whole(self) -> inspect.Signature:
        kinds = {int(kind): kind for kind in inspect._ParameterKind}
        assert self._parameters is not None
        return inspect.Signature([
            inspect.Parameter(name, kinds[kind], default=None if optional else inspect.Parameter.empty)
            for name, kind, optional in self._parameters
        ])  # fmt: skip

    def __getstate__(self) -> Any:
        return self._parameters, self._least, self._most

    def __setstate__(self, state: Any) -> None:
        self._parameters, self._least, self._most = state
        self._whole_signature = self.of = self.face = None
