"""Remote functions: `@raynb.remote` on a function."""

from __future__ import annotations

import functools
import inspect
from types import MethodType
from typing import Any

from raynb.api import options as o
from raynb.api.checks.option_texts import OPTION_TEXTS
from raynb.api.checks.signature import with_keywords
from raynb.api.submitting.functions import Callee, FunctionCalls
from raynb.api.submitting.shown import shown, without


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
        self._given = o.check(given, o.TASK)
        if given.get("num_gpus") and given.get("max_calls") is None:
            # As in Ray: libraries keep the memory of a GPU until their process ends.
            self._given = {**self._given, "max_calls": 1}
        self._about = Callee(function)
        o.units(given, 1)  # errors are raised where the function is defined
        self._about.check_generator(given)
        self._calls = FunctionCalls(self._about, self._given)
        functools.update_wrapper(self, function, updated=())

    @property
    def _function(self) -> Any:
        return self._about.function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self._about.name
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{name}()', try '{name}.remote()'."
        )

    def _bind(self) -> Any:
        return self._calls.bound()

    @shown
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call; returns its `ObjectRef` at once (a list for ``num_returns`` > 1, None for 0,
        an `ObjectRefGenerator` for generators).

        Raises:
            TypeError: the arguments don't fit the signature, or one cannot be pickled.
        """
        return self._calls.remote(*args, **kwargs)

    def _remote(self, args: Any = None, kwargs: Any = None, **given: Any) -> Any:
        """Ray's internal spelling, which its own scripts use."""
        return self.options(**given).remote(*(args or ()), **(kwargs or {}))

    def options(self, **given: Any) -> RemoteFunctionWithOptions:
        """Returns this function with other options, for ``.remote(...)``.

        Args:
            **options: the keywords that the reference describes under Options.

        Raises:
            ValueError, TypeError: an option doesn't exist or has a bad value; the text names it.
        """
        return RemoteFunctionWithOptions(self._about, {**self._given, **o.check(given, o.TASK)})

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Raises `NotImplementedError`: raynb does not have Ray's DAG API."""
        raise NotImplementedError("the DAG API (bind) is not part of raynb; use .remote(...)")

    def __getstate__(self) -> dict[str, Any]:
        return without(self.__dict__, "_calls")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._calls = FunctionCalls(self._about, self._given)

    def __repr__(self) -> str:
        return f"RemoteFunction({self._about.name})"


class RemoteFunctionWithOptions:
    """A remote function with other options, as `RemoteFunction.options` returns it."""

    def __init__(self, about: Callee, given: dict[str, Any]) -> None:
        o.units(given, 1)
        about.check_generator(given)
        self._about = about
        self._given = given
        self._calls = calls = FunctionCalls(about, given)
        # Most are called once: not at the first look, which costs a call.
        object.__setattr__(self, "remote", MethodType(about.face, calls))

    def _bind(self) -> Any:
        return self._calls.bound()

    @shown
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """See `RemoteFunction.remote`."""
        return self._calls.remote(*args, **kwargs)

    def options(self, **given: Any) -> RemoteFunctionWithOptions:
        """Returns the function with further options.

        Args:
            **options: the keywords that the reference describes under Options.

        Raises:
            ValueError, TypeError: an option doesn't exist or has a bad value; the text names it.
        """
        return RemoteFunctionWithOptions(self._about, {**self._given, **o.check(given, o.TASK)})

    def __getstate__(self) -> dict[str, Any]:
        return without(self.__dict__)


for _options in (RemoteFunction.options, RemoteFunctionWithOptions.options):
    with_keywords(_options, o.keywords(o.TASK), OPTION_TEXTS)
