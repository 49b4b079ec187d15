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
#: (bytes, allocations, (file, line) of each frame, innermost last) of what allocated memory.
Site = tuple[int, int, list[tuple[str, int]]]
#: File name and line → how a person calls it.
NameOf = Callable[[str, int], str]

MAX_LINES = 12  # of the summary
MEMRAY = (
    "By tracemalloc, which does not see what most libraries in C allocate; memray does: "
    "`%pip install 'raynb[profile]'`."
)
NOT_FILES = ("<string>", "<--each>", "<unknown>")  # names of code that has no source
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
        """Returns the node of a called frame, and makes it if it is new."""
        found = self.children.get(label)
        if found is None:
            found = self.children[label] = FrameNode(label, kind)
        return found


@dataclass(slots=True)
class Profile:
    """The time of tasks, by the functions that spent it.

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
    hits: Counter[tuple[str, tuple[Place, ...]]] = field(default_factory=Counter)  # samples
    reasons: dict[str, None] = field(default_factory=dict)  # why parts are missing

    def add(self, part: dict[str, Any]) -> None:
        """Merges the profile of one task or worker; ``{"why"}``: one that has none."""
        if part.get("why"):
            self.reasons[part["why"]] = None
            return
        self.parts += 1
        self.seconds += part["seconds"]
        self.samples += part["samples"]
        for thread, places, hits, wall, cpu in part["stacks"]:
            users = _users_part(places)
            if users:
                self.stacks[thread, users] += wall
                self.cpu[thread, users] += cpu
                self.hits[thread, users] += hits

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
        if not self.parts:
            return "no task has sent its profile: none has begun, or their workers ended with them."
        if not lines or not total:
            return (f"no sample fell into the tasks' code; they took {format_seconds(self.seconds)}. "
                    "What coroutines wait for is shown by `%raynb stack`.")  # fmt: skip
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
        reasons = "".join(f" {printable(reason)}" for reason in self.reasons)
        below = f"{self.samples:,} samples of {parts}, {format_seconds(self.seconds)} together.{reasons}"
        return "\n".join([*rows, "", below])

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
    kept = [place for place in places if not is_ours(place[0]) and place[0] not in NOT_FILES]
    first = next((number for number, place in enumerate(kept) if is_users(place[0])), None)
    return tuple(kept[first:]) if first is not None else ()


@dataclass(slots=True)
class MemoryProfile:
    """The places that had allocated the memory at the peaks of tasks, or of workers.

    Args:
        title: what was profiled.
        name_of: names places.
        parts: of what the peaks are.
    """

    title: str
    name_of: NameOf
    parts: str = "tasks"
    peaks: list[int] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)  # of the largest peak
    mapped: list[Site] = field(default_factory=list)
    tool: str = ""  # that found them
    reasons: dict[str, None] = field(default_factory=dict)  # why a part has less than it could

    def add(self, part: dict[str, Any]) -> None:
        """Merges the peak of one task."""
        if part["why"]:
            self.reasons[part["why"]] = None
        if part.get("memory") is None:
            return
        if not self.peaks or part["memory"] > max(self.peaks):
            self.sites, self.mapped, self.tool = part["sites"], part["mapped"], part["tool"]
        self.peaks.append(part["memory"])

    def text(self) -> str:
        """Returns the peak, and the lines that had allocated most of it: the user's first."""
        reasons = [printable(reason) for reason in self.reasons]
        if not self.peaks:
            return "\n".join([f"{self.title}: no task has sent what it allocated.", *reasons])
        most = max(self.peaks)
        of = f"the largest of {len(self.peaks):,} {self.parts}" if len(self.peaks) > 1 else "at its peak"
        users, libraries = self._lines(self.sites)
        rows = [f"  {format_bytes(size):>10}  {where}  {printable(what)[:70]}"
                for (where, what), size in users.most_common(MAX_LINES)]  # fmt: skip
        rows += [f"  {format_bytes(size):>10}  {library}, not called from a line of yours"
                 for library, size in libraries.most_common(MAX_LINES) if size * 100 >= most]  # fmt: skip
        rows += [f"  {format_bytes(size):>10}  {where}: mapped besides (a file, or a library's reserve), not all in use"
                 for (where, _), size in self._lines(self.mapped)[0].items()]  # fmt: skip
        by = "by Python and all libraries" if self.tool == "memray" else "by Python"
        hint = [] if self.tool == "memray" or reasons else [MEMRAY]
        return "\n".join([f"{self.title}: {format_bytes(most)} allocated {by}, {of}.", *rows, *reasons, *hint])

    def _lines(self, sites: list[Site]) -> tuple[Counter[tuple[str, str]], Counter[str]]:
        """Returns the bytes of the user's lines (where, source), and of libraries that none of those has called."""
        users: Counter[tuple[str, str]] = Counter()
        libraries: Counter[str] = Counter()
        for size, _, frames in sites:
            kept = [(file, line) for file, line in frames if not is_ours(file) and file not in NOT_FILES]
            own = [place for place in kept if is_users(place[0])]
            if own:
                file, line = own[-1]
                users[self.name_of(file, line), linecache.getline(file, line).strip()] += size
            elif kept and len(kept) == len(frames):  # else raynb's own
                libraries[library_of(kept[-1][0])] += size
        return users, libraries
