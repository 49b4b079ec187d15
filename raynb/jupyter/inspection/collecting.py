"""Collects the profiles that tasks send, and shows them in their cell."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynb.base.interfaces import DriverEngine
from raynb.base.rows import Output
from raynb.base.text import printable
from raynb.exceptions import RayError
from raynb.jupyter.inspection.flame import FlameGraph
from raynb.jupyter.inspection.profiles import MemoryProfile, Profile
from raynb.jupyter.inspection.pstats_file import pstats_of
from raynb.jupyter.inspection.targets import Target, inspection_of
from raynb.jupyter.output.tracebacks import Renderer

if TYPE_CHECKING:
    from raynb.jupyter.cells.watching import Watch
    from raynb.jupyter.notebook import Notebook

ANSWER_SECONDS = 10.0  # that a worker may take to begin or end a profile


class Profiles:
    """The profiles of the cells that asked for one.

    Thread contract: `received` from any thread, and it does not block; the rest in the main thread.
    """

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._lock = threading.Lock()
        self._open: dict[int, tuple[Profile | MemoryProfile, str]] = {}  # cell → its profile, where to save it

    def name(self, file: str, line: int) -> str:
        """Returns ``In[5] line 3``, or ``~/work.py:3``."""
        renderer = Renderer(self.notebook.shell)
        renderer.coloured = False
        return renderer.place(file, line).removeprefix("Cell ").removeprefix("File ").replace(", line", " line")

    def expect(self, scope: int, title: str, memory: bool, save: str) -> None:
        """Enters a cell whose tasks will send their profiles."""
        made = MemoryProfile(title, self.name) if memory else Profile(title, self.name)
        with self._lock:
            self._open[scope] = (made, save)

    def received(self, output: Output) -> None:
        """Keeps the profile that a task has sent."""
        with self._lock:
            found = self._open.get(output.scope)
            if found is not None and output.bundle is not None:
                found[0].add(output.bundle)

    def show_when_over(self, scope: int, watch: Watch) -> None:
        """Shows a cell's profile once its tasks have ended, without waiting here."""

        def wait() -> None:
            watch.finished.wait()
            self.show(scope)

        threading.Thread(target=wait, name="raynb-profile", daemon=True).start()

    def show(self, scope: int) -> None:
        """Shows a cell's profiles, and saves them where the cell said."""
        with self._lock:
            profile, save = self._open.pop(scope, (None, ""))
        if profile is None:
            return
        router = self.notebook.router
        if isinstance(profile, MemoryProfile):
            router.show_text(scope, "stdout", profile.text() + "\n")
            return
        router.show_rich(scope, "display", FlameGraph(profile).bundle())
        if save:
            router.show_text(scope, "stdout", saved(profile, save) + "\n")


def saved(profile: Profile, file: str) -> str:
    """Writes speedscope's JSON, or pstats by the file's name; returns the text that says where."""
    path = Path(file).expanduser()
    as_pstats = path.suffix in (".pstats", ".prof")
    try:
        path.write_bytes(pstats_of(profile) if as_pstats else profile.speedscope().encode())
    except OSError as error:
        return f"The profile could not be saved: {error}"
    reader = "`pstats.Stats` reads it" if as_pstats else "https://www.speedscope.app opens it"
    return f"Wrote {printable(file)}; {reader}."


def of_targets(notebook: Notebook, engine: DriverEngine, targets: list[Any], seconds: float) -> Profile:
    """Profiles what runs on some workers for some seconds. An interrupt ends it early, with what there is.

    Raises:
        ValueError: a profile is being taken of one of them already.
    """
    profile = Profile("Profile", Profiles(notebook).name)
    for part in _parts(engine, targets, seconds, "profile", "profiled"):
        profile.add(part)
    return profile


def memory_of_targets(notebook: Notebook, engine: DriverEngine, targets: list[Any], seconds: float) -> MemoryProfile:
    """Watches for some seconds what is allocated on some workers. An interrupt ends it early, with what there is.

    Raises:
        ValueError: the memory of one of them is being watched already.
    """
    profile = MemoryProfile("Memory", Profiles(notebook).name, parts="workers")
    for part in _parts(engine, targets, seconds, "watch_memory", "memory_watched"):
        profile.add(part)
    return profile


def _parts(engine: DriverEngine, targets: list[Any], seconds: float, begin: str, end: str) -> list[dict[str, Any]]:
    """Returns what each worker found; of one that has ended or does not answer, ``{"why": text}``."""
    ask = inspection_of(engine, "%raynb profile").ask
    asked = [(target, ask(target.worker, begin)) for target in targets]
    begun, parts, refused = list(targets), [], list[ValueError]()
    try:
        limit = time.monotonic() + ANSWER_SECONDS
        for target, answer in asked:
            try:
                answer.result(max(0.0, limit - time.monotonic()))
            except ValueError as error:
                begun.remove(target)  # somebody else's, which is not ours to end
                refused.append(error)
            except (concurrent.futures.TimeoutError, RayError):
                continue  # it is told below
        if refused:
            raise refused[0]
        try:
            time.sleep(seconds)
        except KeyboardInterrupt:
            print("Interrupted: this is the profile so far.")
    finally:  # also those that did not answer: they begin as soon as they hear of it
        ended = [(target, ask(target.worker, end)) for target in begun]
    limit = time.monotonic() + ANSWER_SECONDS  # for all of them together
    for target, answer in ended:
        try:
            parts.append(answer.result(max(0.0, limit - time.monotonic())))
        except concurrent.futures.TimeoutError:
            parts.append(_left_out(target, "it does not answer, as native code holds Python's lock there"))
        except RayError as error:
            parts.append(_left_out(target, str(error)))
    if all("why" in part and len(part) == 1 for part in parts):
        raise ValueError(" ".join(part["why"] for part in parts))
    return parts


def _left_out(target: Target, why: str) -> dict[str, str]:
    return {"why": f"Worker {target.worker} is left out: {why.rstrip('.')}."}
