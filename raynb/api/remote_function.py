"""Remote functions: `@raynb.remote` on a function."""

from __future__ import annotations

import functools
import inspect
import time
from typing import Any

from raynb.api import definitions, measured, streams
from raynb.api import options as o
from raynb.api.checks.signature import Signature, with_keywords
from raynb.base.engine import Engine, current
from raynb.base.process import surroundings
from raynb.base.spec import TaskOptions
from raynb.serde import pickling

_now = time.monotonic

#: (runtime, placement group) → the options of calls by tasks whose group captures their children, and
#: the surroundings that these were made in.
_Inside = dict[tuple[int, int], tuple[TaskOptions, surroundings.Mark]]


def _captured(known: _Inside, function: RemoteFunction, engine: Engine, given: dict[str, Any]) -> TaskOptions:
    place = (engine.nonce, engine.capture)
    mark = surroundings.in_force(engine)
    found = known.get(place)
    if found is None or found[1] is not mark:
        found = known[place] = function._prepare(engine, o.captured(engine, given), mark), mark
    return found[0]


class RemoteFunction:
    """A function whose calls run on workers (Ray's term). Call it with ``.remote(...)``.

    Thread contract: any thread; defining it twice for one engine at once is harmless.
    """

    def __init__(self, function: Any, given: dict[str, Any]) -> None:
        if inspect.isasyncgenfunction(function):
            raise ValueError(
                "'async def' with 'yield' should not be used for remote tasks. Write a plain generator, "
                "or make it a method of an actor, where async generators stream."
            )
        if inspect.iscoroutinefunction(function):
            raise ValueError(
                "'async def' should not be used for remote tasks. You can wrap the async function with "
                "`asyncio.run(f())`. See more at: https://docs.ray.io/en/latest/ray-core/actors/async_api.html"
            )
        self._function = function
        self._given = o.check(given, o.TASK)
        if given.get("num_gpus") and given.get("max_calls") is None:
            # As in Ray: libraries keep the memory of a GPU until their process ends.
            self._given = {**given, "max_calls": 1}
        self._name = getattr(function, "__name__", None) or type(function).__name__
        self._signature = Signature(function)
        self._engine: Engine | None = None
        self._options: TaskOptions | None = None
        self._mark: surroundings.Mark | None = None
        self._inside: _Inside = {}
        self._definition: definitions.Definition | None = None
        self._generator = inspect.isgeneratorfunction(function)
        o.units(given, 1)  # errors are raised where the function is defined
        self._check_generator(given)
        functools.update_wrapper(self, function, updated=())

    def _check_generator(self, given: dict[str, Any]) -> None:
        streams.check_generator(given.get("num_returns"), self._function, self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{self._name}()', "
            f"try '{self._name}.remote()'."
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call; returns its `ObjectRef` at once (a list for ``num_returns`` > 1, None for 0,
        an `ObjectRefGenerator` for generators).

        Raises:
            TypeError: the arguments don't fit the signature, or one cannot be pickled.
        """
        engine = current()
        if engine.capture:
            return self._submit(engine, _captured(self._inside, self, engine, self._given), args, kwargs)
        look = surroundings.look
        mark = surroundings.mark if look is None else look(engine)
        options = self._options if engine is self._engine and mark is self._mark else None
        if options is None or (look is not None and definitions.is_stale(self._definition)):
            options = self._prepare(engine, self._given, mark)
            self._engine, self._options, self._mark = engine, options, mark
        refs = self._submit(engine, options, args, kwargs)
        if look is not None:
            surroundings.submitted_at = _now()
        return refs

    def _submit(self, engine: Engine, options: TaskOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._signature.check(args, kwargs)
        if not args and not kwargs:
            return measured.handed(options, engine.submit(options, pickling.NO_ARGS))
        packed = pickling.pack_args(args, kwargs, self._name)
        return measured.submit(engine, options, packed, 0, args, kwargs)

    def _remote(self, args: Any = None, kwargs: Any = None, **given: Any) -> Any:
        """Ray's internal spelling, which its own scripts use."""
        return self.options(**given).remote(*(args or ()), **(kwargs or {}))

    def _prepare(self, engine: Engine, given: dict[str, Any], mark: surroundings.Mark) -> TaskOptions:
        """Makes the function and the surroundings known to the engine; returns the call's options there."""
        self._definition = definitions.current(engine, self._function, self._name, self._definition, mark)
        env = o.env_for(engine, given.get("runtime_env"))
        return o.task_options(self._name, self._definition.key, given, self._generator, env, mark.key)

    def options(self, **given: Any) -> RemoteFunctionWithOptions:
        """Returns this function with other options, for ``.remote(...)`` or ``.bind(...)``.

        Raises:
            ValueError, TypeError: an option doesn't exist or has a bad value; the text names it.
        """
        return RemoteFunctionWithOptions(self, {**self._given, **o.check(given, o.TASK)})

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Not on the embedded engine: Ray's DAG API."""
        raise NotImplementedError("the DAG API (bind) is not part of raynb; use .remote(...)")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_engine"] = state["_options"] = state["_mark"] = None
        state["_inside"] = {}
        # The pickled definition holds refs as bytes already; the live ones stay here.
        state["_definition"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"RemoteFunction({self._name})"


class RemoteFunctionWithOptions:
    """What `RemoteFunction.options` returns."""

    def __init__(self, function: RemoteFunction, given: dict[str, Any]) -> None:
        o.units(given, 1)
        function._check_generator(given)
        self._parent = function
        self._given = given
        self._engine: Engine | None = None
        self._options: TaskOptions | None = None
        self._mark: surroundings.Mark | None = None
        self._inside: _Inside = {}

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """See `RemoteFunction.remote`."""
        engine = current()
        if engine.capture:
            options = _captured(self._inside, self._parent, engine, self._given)
            return self._parent._submit(engine, options, args, kwargs)
        mark = surroundings.in_force(engine)
        if engine is not self._engine or mark is not self._mark or self._options is None or self._is_stale():
            self._options = self._parent._prepare(engine, self._given, mark)
            self._engine, self._mark = engine, mark
        return self._parent._submit(engine, self._options, args, kwargs)

    def _is_stale(self) -> bool:
        known = self._parent._definition
        if surroundings.look is None or known is None or self._options is None:
            return False
        return self._options.function != known.key or definitions.is_stale(known)

    def options(self, **given: Any) -> RemoteFunctionWithOptions:
        return RemoteFunctionWithOptions(self._parent, {**self._given, **o.check(given, o.TASK)})

    def __getstate__(self) -> dict[str, Any]:
        return {"_parent": self._parent, "_given": self._given, "_engine": None, "_options": None, "_mark": None,
                "_inside": {}}  # fmt: skip


for _options in (RemoteFunction.options, RemoteFunctionWithOptions.options):
    with_keywords(_options, o.keywords(o.TASK))
