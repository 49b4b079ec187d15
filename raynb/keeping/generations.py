"""Finds out whether workers may have loaded an older state of a module than the key names, and asks for new ones.

A worker loads a module once. Where somebody has edited it since, a result of that worker would be kept under the new
state's key, and found again, wrongly, after a restart. So what is kept then runs on new workers, which have a
variable in their environment that older ones lack; what such a task submits runs on those, too.

Thread contract: any thread.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raynb.base import engine as engines
from raynb.base.interfaces import Engine
from raynb.keeping.digest import digest
from raynb.keeping.versions import Unsure, Watched

#: Environment variable of workers that were started after an edit: which number of edit that was.
VARIABLE = "RAYNB_KEEP_GENERATION"

#: What a module is loaded from, and what says which release of a package there is.
_ENDS = (".py", ".so", ".pyd", "METADATA", "PKG-INFO")
_MARGIN_NS = 1_000_000_000  # ns; the times of file systems are coarser than the clock
_CTIME = 2  # place in a version, see `raynb.keeping.versions.watch`
_MAX_RUNTIMES = 16


@dataclass(slots=True)
class _Generations:
    """The workers of one runtime, by the edits since which they were started.

    Attributes:
        start: no worker is older, ns since the epoch.
        since: none of the latest number is older.
        number: the latest; 0: any worker.
        seen: file → the version that went into a key last.
        places: top-level module → where it was then.
        numbers: file or top-level module that was edited → the number of the first workers that can't have loaded it
            as it was before.
    """

    start: int
    since: int
    number: int = 0
    seen: dict[str, tuple[int, ...]] = field(default_factory=dict)
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def number_for(self, key: Watched, now: int) -> int:
        """Returns the number of workers none of which has loaded another state of a key's files, or other files as its
        modules: those that ``sys.path`` led to before."""
        edited = [name for name, place in key.places.items() if self.places.get(name, place) != place]
        self.places.update(key.places)
        for path, version in key.items():
            if path.endswith(_ENDS):
                before, changed = self.seen.get(path), version[_CTIME]
                if before != version if before else changed > self.since - _MARGIN_NS:
                    edited.append(path)
                elif not before and changed > self.start - _MARGIN_NS:  # the latest ones are younger than that
                    self.numbers[path] = self.number
                self.seen[path] = version
        if edited:
            self.number, self.since = self.number + 1, now
        for path in edited:
            self.numbers[path] = self.number
            _drop_compiled(path)
        return max((self.numbers.get(name, 0) for name in (*key, *key.places)), default=0)


def _drop_compiled(path: str) -> None:
    """Removes what Python has compiled of a file: two edits in one second of the same length look alike to it."""
    if path.endswith(".py"):
        with contextlib.suppress(OSError, NotImplementedError):  # there is none; or Python keeps none
            os.unlink(importlib.util.cache_from_source(path))


_generations: dict[int, _Generations] = {}
_lock = threading.Lock()


def job_facts(engine: Engine) -> list[str]:
    """Returns what stands for the ``runtime_env`` that every task inherits, as parts of a key; none if there is none.

    Raises:
        Unsure: something in it has no identity.
    """
    env = dict(engine.job_env)
    return [f"job {digest(env)}"] if env else []


def options_for(engine: Engine, key: Watched, options: Mapping[str, Any], follows: bool) -> dict[str, Any]:
    """Returns options with which a task runs on a worker that has loaded the files of its key as they are, or not yet.

    Args:
        key: what has gone into it.
        options: the task's own.
        follows: workers take the environment over as it is now.

    Raises:
        Unsure: code runs in this very process, which may have changed in any way; or a variable is another one there.
    """
    driver = engine.driver
    if driver is not None and driver.config.local_mode:
        raise Unsure("with local_mode it runs in this very process, and what that has loaded and changed is in no key")
    start = engines.starts.get(engine) or engines.Start(0, os.environ)
    given = dict(options.get("runtime_env") or {})
    variables = given.get("env_vars", {})
    for name in sorted(key.variables.difference(variables, engine.job_env.get("env_vars", {}))) if not follows else ():
        if start.environment.get(name) != os.environ.get(name):
            raise Unsure(f"workers have the environment variable {name} as it was when the runtime was started")
    with _lock:
        known = _generations.setdefault(engine.nonce, _Generations(start.at, start.at))
        number = known.number_for(key, time.time_ns())
        while len(_generations) > _MAX_RUNTIMES:
            del _generations[next(iter(_generations))]
    if number:
        given["env_vars"] = {**variables, VARIABLE: str(number)}
    return {**options, "runtime_env": given} if number else dict(options)
