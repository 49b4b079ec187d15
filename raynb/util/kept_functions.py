"""`keep`: a remote function whose results outlive the process (not in Ray)."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Generic, TypeVar

from raynb import api
from raynb.api.remote_function import RemoteFunctionWithOptions
from raynb.base import engine as engines
from raynb.keeping import origins, session
from raynb.keeping.digest import digest
from raynb.keeping.generations import facts_around, options_for
from raynb.keeping.keeper import PendingKeep, put_kept, replayed, task_id
from raynb.keeping.versions import Unsure, python_token, watching

__all__ = ["keep"]

F = TypeVar("F")


def keep(
    function: F, *, fresh: bool = False, directory: str | os.PathLike[str] | None = None
) -> KeptFunction[F]:
    """Returns a remote function whose results are kept on disk.

    A call with the same code and arguments, in this process or a later one, gives a ready ref at once. Values count
    by their content, refs by the call that made them, if that one is kept. What cannot be identified is not
    kept, which is said once.

    Args:
        function: made by ``@raynb.remote``.
        fresh: run every call whatever is kept, and keep the new results.
        directory: the folder of the results, or a URL that fsspec knows (``s3://bucket/kept``; extra
            ``raynb[fsspec]``). None: the notebook's (``Raynb.keep_directory``), in a script the environment
            variable ``RAYNB_KEEP_DIRECTORY``, else ``.raynb`` in the folder in which it was started.

    Raises:
        TypeError: it isn't a remote function, or one that yields.

    Example:
        >>> import raynb as ray
        >>> from raynb.util import keep
        >>> @ray.remote
        ... def square(x):
        ...     return x * x
        >>> ray.get(keep(square).remote(7))
        49
    """
    return KeptFunction(function, fresh, directory)


class KeptFunction(Generic[F]):
    """A remote function whose results are kept, as `keep` makes it; call it with ``.remote(...)``.

    Thread contract: any thread.
    """

    def __init__(
        self, function: F, fresh: bool = False, directory: str | os.PathLike[str] | None = None
    ) -> None:
        if not isinstance(function, (api.RemoteFunction, RemoteFunctionWithOptions)):
            raise TypeError(f"keep() takes a function made by @raynb.remote, got a {type(function).__name__}.")
        given, about = function._given, function._about
        if about.generator or given.get("num_returns") in ("dynamic", "streaming"):
            raise TypeError(f"keep() cannot keep {about.name}, which yields: its items come one by one.")
        self._function: Any = function
        self._about = about
        self._given = given
        self._fresh = fresh
        self._directory = directory
        self._said: set[str] = set()

    def options(self, **given: Any) -> KeptFunction[F]:
        """Returns it with other options (``**given``), as `RemoteFunction.options`."""
        return KeptFunction(self._function.options(**given), self._fresh, self._directory)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Submits a call, or returns ready refs of what is kept of it."""
        engine = engines.current()
        count = self._given.get("num_returns", 1) or 0
        if engine.context().task or not count:
            return self._function.remote(*args, **kwargs)
        keeper = session.keeper(self._directory)
        follows = session.follows() if session.follows is not None else ()
        try:
            with watching() as files:
                around = facts_around(engine, self._given) + session.folder_facts(engine, follows)
                key = self._key(args, kwargs, around)
            options = options_for(engine, files, self._given, follows)
            found = {} if self._fresh else keeper.box.lookup([key])
        except (Unsure, OSError) as why:
            self._say(str(why))
            return self._function.remote(*args, **kwargs)
        if key in found:
            run, _ = replayed(found[key])
            refs = [put_kept(keeper.box, stored) for stored in found[key].values.values()]
            made = {str(number): ref for number, ref in enumerate(refs)}
            origins.record(made.items(), key, run)
            return refs[0] if count == 1 else refs
        function, env = self._function, options.get("runtime_env")
        if env is not self._given.get("runtime_env"):  # older workers may have loaded what its modules were
            function = function.options(runtime_env=env)
        returned = function.remote(*args, **kwargs)
        made = {str(number): ref for number, ref in enumerate([returned] if count == 1 else returned)}
        run = origins.new_run()
        origins.record(made.items(), key, run)
        name = self._about.name
        pending = PendingKeep(key, run, name, f"{name}(…)", made, task_id(made["0"]), False, self._say, files)
        keeper.when_done(made["0"], [pending], whole=False)
        return returned

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any], around: list[str]) -> str:
        options = {name: value for name, value in self._given.items() if name != "name"}
        facts = ["call 3", python_token(), digest(self._about.function, origins.of), digest(options), *around]
        for name, value in [*enumerate(args), *sorted(kwargs.items())]:
            try:
                facts.append(f"{name}={digest(value, origins.of)}")
            except Unsure as why:
                raise Unsure(f"argument {name!r} ({type(value).__name__}): {why}") from None
        return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogatepass")).hexdigest()

    def _say(self, why: str) -> None:
        text = f"A call of {self._about.name} is not kept: {why}."
        if text not in self._said:
            self._said.add(text)
            session.say(text)
