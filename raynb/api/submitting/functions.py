"""Submits calls of remote functions."""

from __future__ import annotations

import inspect
from typing import Any

from raynb.api import definitions, measured, streams
from raynb.api import options as o
from raynb.api.checks.signature import Signature
from raynb.api.submitting.shown import ShownCalls, face, handed
from raynb.base.engine import Engine, current
from raynb.base.process import surroundings
from raynb.base.spec import TaskOptions, plain
from raynb.serde import pickling

#: (runtime, placement group) → the options of calls by tasks whose group captures their children, and
#: the surroundings that these were made in.
_Inside = dict[tuple[int, int], tuple[TaskOptions, surroundings.Mark]]


class Callee:
    """A function with what all calls of it share, whatever their options."""

    __slots__ = ("_face", "definition", "function", "generator", "name", "signature")

    def __init__(self, function: Any) -> None:
        self.function = function
        self.name: str = plain(getattr(function, "__name__", None) or type(function).__name__)
        self.signature = Signature(function)
        self.generator = inspect.isgeneratorfunction(function)
        self.definition: definitions.Definition | None = None
        self._face: Any = None

    @property
    def face(self) -> Any:
        """The function that `.remote` is shown as, with the user's signature and docstring."""
        if self._face is None:
            self._face = face(FunctionCalls.remote, self.function)
        return self._face

    def check_generator(self, given: dict[str, Any]) -> None:
        """Refuses ``num_returns="streaming"`` for a function that does not yield."""
        streams.check_generator(given.get("num_returns"), self.function, self.name)

    def prepare(self, engine: Engine, given: dict[str, Any], mark: surroundings.Mark) -> TaskOptions:
        """Sends the function and the surroundings to the engine if they are new; returns the call's options there."""
        self.definition = definitions.current(engine, self.function, self.name, self.definition, mark)
        env = o.env_for(engine, given.get("runtime_env"))
        return o.task_options(self.name, self.definition.key, given, self.generator, env, mark.key)

    def __getstate__(self) -> Any:
        # The pickled definition holds refs as bytes already; the live ones stay here.
        return self.function, self.name, self.signature, self.generator

    def __setstate__(self, state: Any) -> None:
        self.function, self.name, self.signature, self.generator = state
        self.definition = self._face = None


class FunctionCalls(ShownCalls):
    """Submits calls of one function with one set of options.

    Thread contract: any thread; defining the function twice for one engine at once is harmless.
    """

    __slots__ = ("_about", "_engine", "_given", "_inside", "_mark", "_options")

    def __init__(self, about: Callee, given: dict[str, Any]) -> None:
        self._about = about
        self._given = given
        self._engine: Engine | None = None
        self._options: TaskOptions | None = None
        self._mark: surroundings.Mark | None = None
        self._inside: _Inside | None = None

    @property
    def _face(self) -> Any:
        return self._about.face

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call; returns its ref, a list of refs, None, or a generator."""
        engine = current()
        about = self._about
        look = surroundings.look
        options: TaskOptions | None
        if engine.capture:
            options = self._captured(engine)
        else:
            mark = surroundings.mark if look is None else look(engine)
            options = self._options if engine is self._engine and mark is self._mark else None
            if options is None or (look is not None and self._is_stale(options)):
                options = about.prepare(engine, self._given, mark)
                self._engine, self._options, self._mark = engine, options, mark
        about.signature.check(args, kwargs)
        refs: Any
        if args or kwargs:
            packed = pickling.pack_args(args, kwargs, about.name)
            refs = engine.submit(options, packed)
            if packed.began:
                measured.stored((*args, *kwargs.values()), packed.began)
        else:
            refs = engine.submit(options, pickling.NO_ARGS)
        refs = refs[0] if options.num_returns == 1 else handed(options, refs)
        if look is not None:
            surroundings.submitted_at = surroundings.now()
        return refs

    def _is_stale(self, options: TaskOptions) -> bool:
        known = self._about.definition
        # Calls with other options may have defined it anew meanwhile.
        if known is None or options.function != known.key:
            return True
        return bool(known.watched) and definitions.is_stale(known)

    def _captured(self, engine: Engine) -> TaskOptions:
        place = (engine.nonce, engine.capture)
        mark = surroundings.in_force(engine)
        if self._inside is None:
            self._inside = {}
        found = self._inside.get(place)
        if found is None or found[1] is not mark:
            made = self._about.prepare(engine, o.captured(engine, self._given), mark)
            found = self._inside[place] = made, mark
        return found[0]

    def __reduce__(self) -> Any:
        return FunctionCalls, (self._about, self._given)
