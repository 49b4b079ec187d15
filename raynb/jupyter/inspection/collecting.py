"""Collects the profiles that tasks send, and shows them in their cell."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynb.base.interfaces import DriverEngine
from raynb.base.rows import Output
from raynb.base.text import printable
from raynb.jupyter.inspection.flame import FlameGraph
from raynb.jupyter.inspection.profiles import MemoryProfile, Profile
from raynb.jupyter.inspection.targets import inspection_of
from raynb.jupyter.output.tracebacks import Renderer

if TYPE_CHECKING:
    from raynb.jupyter.cells.watching import Watch
    from raynb.jupyter.notebook import Notebook


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
    """Writes speedscope's JSON; returns the text that says where."""
    try:
        Path(file).expanduser().write_text(profile.speedscope())
    except OSError as error:
        return f"The profile could not be saved: {error}"
    return f"Wrote {printable(file)}; https://www.speedscope.app opens it."


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
    ask = inspection_of(engine, "%raynb profile").ask
    begun = []
    try:
        for target in targets:
            ask(target.worker, begin).result(10)
            begun.append(target)
        try:
            time.sleep(seconds)
        except KeyboardInterrupt:
            print("Interrupted: this is the profile so far.")
    finally:
        parts = [part.result(10) for part in [ask(target.worker, end) for target in begun]]
    return parts
