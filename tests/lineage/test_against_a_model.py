"""Random notebooks against a slow model of what depends on what: nothing stale is called fresh, nothing fresh stale.

The model keeps no tokens and no caches: of every execution it remembers what each name meant in full, and
looks through everything again whenever it is asked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from raynb.base.ref import UncountedRef
from raynb.lineage.graph import CELL, NotebookLineage, Run, sentence
from raynb.lineage.reading import take
from raynb.lineage.tokens import Reader, kind_of

#: Ten thousand steps and more notebooks where there is time for storms (`RAYNB_STORM_SECONDS`).
NOTEBOOKS = 25 if not os.environ.get("RAYNB_STORM_SECONDS") else 500

VALUES = ("a", "b", "items")
FUNCTIONS = ("f", "g", "h")
RESULTS = ("r", "s", "t")
NAMES = (*VALUES, *FUNCTIONS, *RESULTS)


class Engine:
    nonce = 7


@dataclass
class Execution:
    """One run of a cell, as the model remembers it."""

    number: int
    reads: dict[str, Any]  # every name that it and the functions of it read → the whole meaning
    direct: tuple[str, ...]


@dataclass
class Model:
    space: dict[str, Any]
    code: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)  # of functions: (text, what it reads)
    made: dict[int, int] = field(default_factory=dict)  # object → the execution that made it
    got: dict[str, int] = field(default_factory=dict)  # name → the object whose value it holds
    done: dict[int, Execution] = field(default_factory=dict)

    def meaning(self, name: str) -> Any:
        if name not in self.space:
            return None
        value = self.space[name]
        if name in self.got:
            return "object", self.got[name]
        if isinstance(value, UncountedRef):
            return "object", value._id
        return ("code", self.code[name]) if callable(value) else ("value", repr(value))

    def all_names(self, direct: tuple[str, ...]) -> set[str]:
        found: set[str] = set()
        waiting = list(direct)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                if callable(self.space.get(name)):
                    waiting += self.code[name][1]
        return found

    def made_of(self, number: int, other: int) -> bool:
        return number == other or any(self.made_of(source, other) for source in self.sources(number))

    def sources(self, number: int) -> list[int]:
        read = self.done[number].reads.values()
        return [self.made[meaning[1]] for meaning in read if meaning is not None and meaning[0] == "object"]

    def changed(self, number: int) -> set[str]:
        """Returns the names because of which an execution, or what it took from, is stale."""
        found = set()
        for name, then in self.done[number].reads.items():
            now = self.meaning(name)
            if now is None or now == then:
                continue
            if now[0] == "object" and self.made_of(self.made[now[1]], number):
                continue
            found.add(name)
        for source in self.sources(number):
            found |= self.changed(source)
        return found


class Notebook:
    """Plays a notebook to the lineage and to the model."""

    def __init__(self) -> None:
        self.space: dict[str, Any] = {"__name__": "__main__"}
        self.model = Model(self.space)
        self.lineage = NotebookLineage()
        self.reader = Reader(self.space, lambda ref: f"ref {ref._id}")
        self.cells: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.runs: dict[int, Run] = {}
        self.scope = 0
        self.objects = 0

    def step(self, act: tuple[Any, ...]) -> None:
        self.scope += 1
        getattr(self, act[0])(*act[1:])
        tracked = list(self.lineage.now)
        self.lineage.observe({name: self.look(name) for name in tracked}, self.scope)
        self.check()

    def look(self, name: str) -> tuple[str, str]:
        return self.reader.token(name)[0], kind_of(self.space.get(name))

    # -- what people do ------------------------------------------------------------------------
    def value(self, name: str, value: int) -> None:
        self.model.got.pop(name, None)
        self.space[name] = [value] if name == "items" else value

    def change(self, value: int) -> None:
        if isinstance(self.space.get("items"), list):
            self.space["items"].append(value)

    def function(self, name: str, version: int, reads: tuple[str, ...]) -> None:
        self.model.got.pop(name, None)
        text = f"def {name}(x):\n    return ({version}, {', '.join(reads)})\n"
        exec("\n" * version * 2 + f"# version\n{text}", self.space)
        self.model.code[name] = text, reads

    def delete(self, name: str) -> None:
        self.space.pop(name, None)
        self.model.got.pop(name, None)

    def get(self, name: str) -> None:
        value = self.space.get(name)
        if isinstance(value, UncountedRef):
            before = self.reader.token(name)[0]
            self.space[name] = f"the value of {value._id}"
            self.model.got[name] = value._id
            after = self.reader.token(name)[0]
            self.lineage.swapped(name, before, after, after)

    def cell(self, reads: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.cells.append((reads, outputs))
        self.run(len(self.cells) - 1)

    def run(self, place: int) -> None:
        if not self.cells:
            return
        place %= len(self.cells)
        direct, outputs = self.cells[place]
        taken = take(self.reader, self.lineage, direct, lambda ref: self.lineage.run_of(ref._id))
        self.objects += 1
        run = Run(0, self.scope, CELL, str(place), "", direct, taken.reads, {}, taken.upstream, outputs,
                  (self.objects,))  # fmt: skip
        self.lineage.record(run, taken.kinds)
        number = self.objects
        self.model.done[number] = Execution(
            number, {name: self.model.meaning(name) for name in self.model.all_names(direct)}, direct
        )
        self.runs[number] = run
        self.model.made[number] = number
        for name in outputs:
            self.model.got.pop(name, None)
            self.space[name] = UncountedRef(number, Engine())  # type: ignore[arg-type]
        self.lineage.bound(run, {name: self.reader.token(name)[0] for name in outputs})

    def forget(self) -> None:
        held = {value._id for value in self.space.values() if isinstance(value, UncountedRef)}
        held |= set(self.model.got.values())
        alive = {run.number for number, run in self.runs.items() if number in held}
        self.lineage.keep(alive)
        self.runs = {number: run for number, run in self.runs.items() if run.number in self.lineage.runs}
        assert alive <= set(self.lineage.runs)

    # -- what must hold ------------------------------------------------------------------------
    def check(self) -> None:
        for number, run in self.runs.items():
            wanted = self.model.changed(number)
            found = self.lineage.reason(run)
            assert (found is not None) == bool(wanted), (number, wanted, found)
            if found is not None:
                assert found.name in wanted
                assert f"`{found.name}`" in sentence(found, lambda scope: f"In[{scope}]")


def some(names: tuple[str, ...], most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), max_size=most, unique=True).map(tuple)


ACTS = st.one_of(
    st.tuples(st.just("value"), st.sampled_from((*VALUES, "r")), st.integers(0, 2)),
    st.tuples(st.just("change"), st.integers(0, 2)),
    st.tuples(st.just("function"), st.sampled_from(FUNCTIONS), st.integers(0, 2), some(NAMES, 3)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.just("get"), st.sampled_from(RESULTS)),
    st.tuples(st.just("cell"), some(NAMES, 3), some((*RESULTS, "a"), 2)),
    st.tuples(st.just("cell"), some(NAMES, 3), some(RESULTS, 2)),
    st.tuples(st.just("run"), st.integers(0, 40)),
    st.tuples(st.just("run"), st.integers(0, 40)),
    st.tuples(st.just("forget")),
)


@settings(max_examples=NOTEBOOKS, deadline=None)
@given(st.lists(ACTS, min_size=10, max_size=40))
def test_random_notebooks_agree_with_a_slow_model(acts: list[tuple[Any, ...]]) -> None:
    notebook = Notebook()
    for act in acts:
        notebook.step(act)
