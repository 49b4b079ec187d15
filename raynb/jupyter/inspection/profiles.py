"""Profiles of tasks: merging, the verdict, a summary in text, and speedscope's file format."""

from __future__ import annotations

import json
import linecache
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from raynb.base.text import printable
from raynb.jupyter.formatting import format_bytes, format_seconds
from raynb.jupyter.output.frames import is_ours, is_users, library_of

#: (file, line, function).
Place = tuple[str, int, str]
#: File name and line → how a person calls it.
NameOf = Callable[[str, int], str]

MAX_LINES = 12  # of the summary
MAX_DEPTH = 60


@dataclass(slots=True)
class FrameNode:
    """A frame of the flame graph and what it called. Times are seconds, summed over threads and tasks."""

    label: str
    kind: str  # "user", "library" or "other"
    wall: float = 0.0
    cpu: float = 0.0
    children: dict[str, FrameNode] = field(default_factory=dict)

    def child(self, label: str, kind: str) -> FrameNode:
        found = self.children.get(label)
        if found is None:
            found = self.children[label] = FrameNode(label, kind)
        return found


@dataclass(slots=True)
class Profile:
    """What tasks spent their time on.

    Args:
        title: what was profiled.
        name_of: names places.
    """

    title: str
    name_of: NameOf
    seconds: float = 0.0  # of all tasks together
    samples: int = 0
    parts: int = 0  # tasks, or workers
    stacks: Counter[tuple[str, tuple[Place, ...]]] = field(default_factory=Counter)  # → wall seconds
    cpu: Counter[tuple[str, tuple[Place, ...]]] = field(default_factory=Counter)

    def add(self, part: dict[str, Any]) -> None:
        """Merges the profile of one task or worker."""
        self.parts += 1
        self.seconds += part["seconds"]
        self.samples += part["samples"]
        for thread, places, _, wall, cpu in part["stacks"]:
            users = _users_part(places)
            if users:
                self.stacks[thread, users] += wall
                self.cpu[thread, users] += cpu

    @property
    def wall(self) -> float:
        """Seconds of all samples in which the tasks' code ran."""
        return sum(self.stacks.values())

    def tree(self) -> FrameNode:
        """Returns the flame graph: the threads if there are several, and what ran in them."""
        root = FrameNode(self.title, "other")
        threads = {thread for thread, _ in self.stacks}
        for (thread, places), wall in self.stacks.items():
            cpu = self.cpu[thread, places]
            node = root
            node.wall, node.cpu = node.wall + wall, node.cpu + cpu
            if len(threads) > 1:
                node = node.child(f"thread {thread}", "other")
                node.wall, node.cpu = node.wall + wall, node.cpu + cpu
            for place in places[:MAX_DEPTH]:
                node = node.child(self.label(place), "user" if is_users(place[0]) else "library")
                node.wall, node.cpu = node.wall + wall, node.cpu + cpu
        return root

    def label(self, place: Place) -> str:
        """Returns ``merge (pandas)`` for libraries, ``f, In[5] line 3`` for the user's code."""
        file, line, function = place
        if not is_users(file):
            return f"{function} ({library_of(file) or 'raynb'})"
        where = self.name_of(file, line)
        return where if function == "<module>" else f"{function}, {where}"

    def by_line(self) -> list[tuple[float, str, str]]:
        """Returns (seconds, where, what) of the user's lines that the time went into, the longest first.

        ``what`` is the library's function that the line had called, or the line's source.
        """
        found: Counter[tuple[str, str]] = Counter()
        for (_, places), wall in self.stacks.items():
            at = max(number for number, place in enumerate(places) if is_users(place[0]))
            file, line, _ = places[at]
            below = places[at + 1 :]
            if below:
                library = library_of(below[0][0]) or "Python"
                what = f"{library}: {below[0][2]}"
            else:
                what = linecache.getline(file, line).strip()
            found[self.name_of(file, line), what] += wall
        return [(wall, where, what) for (where, what), wall in found.most_common()]

    def verdict(self) -> str:
        """Returns where most of the time went, in a sentence."""
        lines = self.by_line()
        total = self.wall
        if not lines or not total:
            return f"{self.title}: no sample fell into the tasks' code; they took {format_seconds(self.seconds)}."
        wall, where, what = lines[0]
        busy = 100 * sum(self.cpu.values()) / total
        waits = f"; {100 - busy:.0f} % of the time not on a CPU" if busy < 90 else ""
        return f"{100 * wall / total:.0f} % in {printable(what)}, called from {where}{waits}."

    def text(self) -> str:
        """Returns the verdict and a table of lines."""
        total = self.wall or 1.0
        rows = [f"{self.title}: {self.verdict()}", ""]
        rows += [f"{100 * wall / total:5.1f} %  {format_seconds(wall):>8}  {where}  {printable(what)[:70]}"
                 for wall, where, what in self.by_line()[:MAX_LINES]]  # fmt: skip
        parts = f"{self.parts:,} task{'s' if self.parts != 1 else ''}"
        return "\n".join([*rows, "", f"{self.samples:,} samples of {parts}, {format_seconds(self.seconds)} together."])

    def speedscope(self) -> str:
        """Returns the profile as speedscope's JSON: one profile a thread, weights in seconds."""
        frames: dict[Place, int] = {}
        threads: dict[str, tuple[list[list[int]], list[float]]] = {}
        for (thread, places), wall in self.stacks.items():
            samples, weights = threads.setdefault(thread, ([], []))
            samples.append([frames.setdefault(place, len(frames)) for place in places])
            weights.append(wall)
        return json.dumps({
            "$schema": "https://www.speedscope.app/file-format-schema.json", "name": self.title,
            "exporter": "raynb", "activeProfileIndex": 0,
            "shared": {"frames": [{"name": n, "file": f, "line": line} for f, line, n in frames]},
            "profiles": [
                {"type": "sampled", "name": thread, "unit": "seconds", "startValue": 0, "endValue": sum(weights),
                 "samples": samples, "weights": weights}
                for thread, (samples, weights) in threads.items()
            ],
        })  # fmt: skip


def _users_part(places: Iterable[Place]) -> tuple[Place, ...]:
    """Returns a stack from the user's first frame on, without raynb's; empty if the user's code isn't in it."""
    kept = [place for place in places if not is_ours(place[0]) and place[0] not in ("<string>", "<--each>")]
    first = next((number for number, place in enumerate(kept) if is_users(place[0])), None)
    return tuple(kept[first:]) if first is not None else ()


@dataclass(slots=True)
class MemoryProfile:
    """Where Python's memory was allocated at the peaks of tasks (tracemalloc).

    Args:
        title: what was profiled.
        name_of: names places.
    """

    title: str
    name_of: NameOf
    peaks: list[int] = field(default_factory=list)
    sites: list[tuple[int, int, list[tuple[str, int]]]] = field(default_factory=list)  # of the largest peak

    def add(self, part: dict[str, Any]) -> None:
        """Takes the peak of one task."""
        if not self.peaks or part["memory"] > max(self.peaks):
            self.sites = part["sites"]
        self.peaks.append(part["memory"])

    def text(self) -> str:
        """Returns the peak, and the lines that had allocated most of it."""
        if not self.peaks:
            return f"{self.title}: no task has sent what it allocated."
        most = max(self.peaks)
        of = f"the largest of {len(self.peaks):,} tasks" if len(self.peaks) > 1 else "at its peak"
        lines: Counter[tuple[str, str]] = Counter()
        for size, _, frames in self.sites:
            users = [(file, line) for file, line in frames if is_users(file)]
            if not users:
                continue  # the profile's own, or Python's
            file, line = users[-1]
            lines[self.name_of(file, line), linecache.getline(file, line).strip()] += size
        rows = [f"  {format_bytes(size):>10}  {where}  {printable(what)[:70]}"
                for (where, what), size in lines.most_common(MAX_LINES)]  # fmt: skip
        return "\n".join([f"{self.title}: {format_bytes(most)} allocated by Python, {of}.", *rows])
