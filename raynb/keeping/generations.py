"""Whether workers may have loaded an older state of a module than the one that is in a key, and workers that have not.

A worker loads a module once. Where somebody has edited it since, a result of that worker would be kept under the new
state's key, and found again, wrongly, after a restart. So what is kept then runs on new workers, which a
variable in their environment tells from the older ones; what such a task submits runs on those, too.

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
_MARGIN = 1_000_000_000  # ns; the times of file systems are coarser than the clock
_CTIME = 2  # place in a version, see `raynb.keeping.versions.watch`
_MAX_RUNTIMES = 16


@dataclass(slots=True)
class _Generation:
    """The workers of one runtime that have loaded no older state of the files in ``seen``.

    Attributes:
        since: no worker of it is older, ns since the epoch.
        number: 0: any worker.
        seen: file → the version that went into a key last.
        places: top-level module → where it was then.
    """

    since: int
    number: int = 0
    seen: dict[str, tuple[int, ...]] = field(default_factory=dict)
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def look(self, key: Watched, now: int) -> None:
        """Begins the next generation if a worker of this one may have loaded another state of a key's files, or other
        files as its modules: those that ``sys.path`` led to before."""
        edited = [name for name, place in key.places.items() if self.places.get(name, place) != place]
        self.places.update(key.places)
        for path, version in key.items():
            if path.endswith(_ENDS):
                before = self.seen.get(path)
                if before != version if before else version[_CTIME] > self.since - _MARGIN:
                    edited.append(path)
                self.seen[path] = version
        if edited:
            self.number, self.since = self.number + 1, now
        for path in edited:
            _drop_compiled(path)


def _drop_compiled(path: str) -> None:
    """Removes what Python has compiled of a file: two edits in one second of the same length look alike to it."""
    if path.endswith(".py"):
        with contextlib.suppress(OSError, NotImplementedError):  # there is none; or Python keeps none
            os.unlink(importlib.util.cache_from_source(path))


_generations: dict[int, _Generation] = {}
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
        known = _generations.setdefault(engine.nonce, _Generation(start.at))
        known.look(key, time.time_ns())
        number = known.number
        while len(_generations) > _MAX_RUNTIMES:
            del _generations[next(iter(_generations))]
    if number:
        given["env_vars"] = {**variables, VARIABLE: str(number)}
    return {**options, "runtime_env": given} if number else dict(options)
