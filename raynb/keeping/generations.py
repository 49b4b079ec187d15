"""Finds out whether workers may have loaded an older state of a module than the key names, and asks for new ones.

A worker loads a module once. Where somebody has edited it since, or ``sys.path`` has led to another file of its name, a
result of that worker would be kept under the new state's key, and found again, wrongly, after a restart. So what is
kept then runs on new workers, which have a variable in their environment that older ones lack; what such a task submits
runs on those, too. New workers run nothing but what has a key, so it is known what they may have loaded.

Thread contract: any thread.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from raynb.base import engine as engines
from raynb.base.interfaces import Engine
from raynb.base.process import module_path
from raynb.keeping.digest import digest
from raynb.keeping.versions import Unsure, Watched, folder_token

#: Environment variable of workers that were started after an edit: which number of edit that was.
VARIABLE = "RAYNB_KEEP_GENERATION"

#: What a module is loaded from, and what says which release of a package there is.
_ENDS = (".py", ".so", ".pyd", "METADATA", "PKG-INFO", ".egg-info", ".dist-info", ".zip", ".whl", ".egg")
_MARGIN_NS = 1_000_000_000  # ns; the times of file systems are coarser than the clock
_CTIME = 2  # place in a version, see `raynb.keeping.versions.watch`
_MAX_RUNTIMES = 16


@dataclass(slots=True)
class _Generations:
    """The workers of one runtime, by the edits since which they were started.

    Attributes:
        start: of the runtime; no worker is older.
        since: none of the latest number is older, ns since the epoch.
        number: the latest; 0: any worker.
        seen: file → the version that went into a key last.
        places: top-level module → where it was then, see `Watched`.
        numbers: file or top-level module that was edited → the number of the first workers that can't have loaded it
            as it was before.
    """

    start: engines.Start
    since: int
    number: int = 0
    seen: dict[str, tuple[int, ...]] = field(default_factory=dict)
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def number_for(self, key: Watched, now: int) -> int:
        """Returns the number of workers none of which has loaded another state of a key's files, or other files as its
        modules: those that ``sys.path`` led to before."""
        edited = [name for name, place in key.places.items() if self.places.get(name, place) != place]
        elsewhere = self._elsewhere(key)
        self.places.update(key.places)
        for path, version in key.items():
            if path.endswith(_ENDS):
                before, changed = self.seen.get(path), version[_CTIME]
                if before != version if before else changed > self.since - _MARGIN_NS:
                    edited.append(path)
                elif not before and changed > self.start.at - _MARGIN_NS:  # the latest ones are younger than that
                    self.numbers[path] = self.number
                self.seen[path] = version
        if edited or (elsewhere and not self.number):
            self.number, self.since = self.number + 1, now
        for name in (*edited, *elsewhere):
            self.numbers[name] = self.number
            _drop_compiled(name)
        return max((self.numbers.get(name, 0) for name in (*key, *key.places)), default=0)

    def _elsewhere(self, key: Watched) -> set[str]:
        """Returns the modules of a key that workers which run anything may have loaded from elsewhere, or loaded others
        without: those that ``sys.path`` led to another file of, or that have come or gone, since the runtime began."""
        names = {name for name in key.places if not self.numbers.get(name)}
        if len(module_path.taken) > module_path.MAX_PATHS:
            return names
        here, found = module_path.now(), set[str]()
        if paths := {self.start.path or here, *module_path.taken} - {here}:
            there = {name: module_path.find(name, here) for name in names}
            for path in paths:
                then = {name: module_path.find(name, path) for name in names}
                other = {name for name in names if then[name] != there[name]}
                if any(then[name] for name in other | (names & key.folders.keys())):  # else, it could load none of them
                    found |= other
        local = {name for name in names if name in key.folders or not key.places[name]}
        if local:
            moved = module_path.moved(module_path.lay | self.start.contents)
            found |= local if moved is None else local & moved
        return found | {name for name in local if key.folders.get(name, 0) > self.start.at - _MARGIN_NS}


def _drop_compiled(path: str) -> None:
    """Removes what Python has compiled of a file: two edits in one second of the same length look alike to it."""
    if path.endswith(".py"):
        with contextlib.suppress(OSError, NotImplementedError):  # there is none; or Python keeps none
            os.unlink(importlib.util.cache_from_source(path))


_generations: dict[int, _Generations] = {}
_lock = threading.Lock()


def facts_around(engine: Engine, options: Mapping[str, object]) -> list[str]:
    """Returns what stands for the ``runtime_env`` that every task inherits, and for the code in the folders of that and
    of the task's own, as parts of a key; none if there is none.

    Raises:
        Unsure: something in it has no identity.
    """
    job, own = dict(engine.job_env), options.get("runtime_env")
    found = [f"job {digest(job)}"] if job else []
    for whose, env in ((engine, job), (None, dict(own) if isinstance(own, Mapping) else {})):
        for place in (env.get("working_dir"), *(env.get("py_modules") or ())):
            folder = place if isinstance(place, str) else os.path.dirname(getattr(place, "__file__", None) or "")
            if folder and os.path.exists(folder := _whole(folder, whose)):
                found.append(folder_token(folder))
    return found


def _whole(path: str, engine: Engine | None) -> str:
    """Returns a whole path; a part of one begins where the engine was started, or, without one, here."""
    path = os.path.expanduser(path)
    start = engines.starts.get(engine) if engine is not None and not os.path.isabs(path) else None
    return os.path.abspath(os.path.join(start.folder, path) if start is not None else path)


def options_for(engine: Engine, key: Watched, options: Mapping[str, Any], follows: Collection[str]) -> dict[str, Any]:
    """Returns options with which a task runs on a worker that has loaded the files of its key as they are, or not yet.

    Args:
        key: what has gone into it.
        options: the task's own.
        follows: what workers take over as it is now, see ``Raynb.follow``.

    Raises:
        Unsure: code runs in this very process, which may have changed in any way; or a variable is another one there,
            or a module.
    """
    driver = engine.driver
    if driver is not None and driver.config.local_mode:
        raise Unsure("with local_mode it runs in this very process, and what that has loaded and changed is in no key")
    start = engines.starts.get(engine) or engines.Start(0, os.environ)
    given = dict(options.get("runtime_env") or {})
    variables = given.get("env_vars", {})
    if "env" not in follows:
        for name in sorted(key.variables.difference(variables, engine.job_env.get("env_vars", {}))):
            if start.environment.get(name) != os.environ.get(name):
                raise Unsure(f"workers have the environment variable {name} as it was when the runtime was started")
    if start.path and not {"path", "cwd"}.issubset(follows):
        here = module_path.now()
        for name in sorted(key.places) if start.path != here else ():
            if module_path.find(name, start.path) != module_path.find(name, here):
                raise Unsure(f"workers look for the module {name} where sys.path led to when the runtime was started")
    with _lock:
        known = _generations.setdefault(engine.nonce, _Generations(start, start.at))
        number = known.number_for(key, time.time_ns())
        while len(_generations) > _MAX_RUNTIMES:
            del _generations[next(iter(_generations))]
    if number:
        given["env_vars"] = {**variables, VARIABLE: str(number)}
    return {**options, "runtime_env": given} if number else dict(options)
