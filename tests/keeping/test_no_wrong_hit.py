"""Random notebooks of kept cells: whenever a key is found again, the cell, run anyhow, gives the very same result."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from raynb.base.ref import ObjectRef, UncountedRef
from raynb.jupyter.cells.analysis import analyse
from raynb.jupyter.kept.keys import key_of_cell
from raynb.jupyter.on_worker.runner import CellJob
from raynb.keeping import origins

#: Ten thousand steps and more where there is time for storms (`RAYNB_STORM_SECONDS`).
NOTEBOOKS = 25 if not os.environ.get("RAYNB_STORM_SECONDS") else 600

VALUES = ("a", "b", "items", "config")
FUNCTIONS = ("f", "g", "h")  # each calls only later ones
RESULTS = ("r", "s")
PLAIN = (0, 1, True, 1.0, -0.0, 0.0, None, "1", b"1", (1,), [1], [True], {1}, {"x": 1, "y": 2}, {"y": 2, "x": 1}, "x")


class Engine:
    nonce = 11


class Notebook:
    """Plays a notebook whose cells are all kept."""

    def __init__(self) -> None:
        self.space: dict[str, Any] = {"__name__": "__main__"}
        self.kept: dict[str, tuple[str, dict[str, Any]]] = {}  # key → (word of the run, the results)
        self.values: dict[int, Any] = {}  # object → value
        self.cells: list[tuple[str, ...]] = []
        self.hits = 0

    # -- what people do ------------------------------------------------------------------------
    def value(self, name: str, place: int) -> None:
        value = PLAIN[place % len(PLAIN)]
        self.space[name] = type(value)(value) if isinstance(value, (list, set, dict)) else value

    def change(self, name: str, place: int) -> None:
        held = self.space.get(name)
        if isinstance(held, list):
            held.append(PLAIN[place % 7])
        elif isinstance(held, dict):
            held["x"] = PLAIN[place % 7]

    def function(self, name: str, place: int, form: int, reads: tuple[str, ...]) -> None:
        calls = [f"{other}(1)" for other in FUNCTIONS if other in reads and other > name]
        used = [other for other in (*VALUES,) if other in reads]
        body = f"return ({PLAIN[place % 5]!r}, {', '.join([*calls, *used])})"
        text = (
            f"def {name}(x):\n    {body}\n",
            f"def {name}(x, y={PLAIN[place % 6]!r}):\n    {body}, y\n",
            f"def make(z):\n    def {name}(x):\n        {body}, z\n    return {name}\n{name} = make({place})\n",
            f"class {name}:\n    k = {PLAIN[place % 6]!r}\n    def __new__(cls, x):\n        {body}, cls.k\n",
        )[form]
        exec("\n" * place + text, self.space)

    def delete(self, name: str) -> None:
        self.space.pop(name, None)

    def cell(self, reads: tuple[str, ...], output: str, fresh: bool) -> None:
        self.cells.append((*reads, output))
        self.run(len(self.cells) - 1, fresh)

    def run(self, place: int, fresh: bool) -> None:
        if not self.cells:
            return
        *reads, output = self.cells[place % len(self.cells)]
        parts = [f"{name}(0)" if name in FUNCTIONS else name for name in reads]
        source = f"{output} = [{', '.join(parts)}]"
        code = analyse(source)
        if any(name not in self.space for name in code.free):
            return
        try:
            made = self.execute(source, output)
        except (NameError, TypeError):  # a helper is gone, a name is no function any more: not kept
            return
        key = key_of_cell(CellJob(source, "", source, (output,)), code, {}, self.space, (), (), self.stands_for)
        if key in self.kept and not fresh:
            self.hits += 1
            assert repr(self.kept[key][1]) == repr(made), source
        else:
            self.kept[key] = origins.new_run(), made
        run, made = self.kept[key]
        number = len(self.values) + 1
        self.values[number] = made
        ref: Any = UncountedRef(number, Engine())  # type: ignore[arg-type]
        origins.record([(output, ref)], key, run)
        self.space[output] = ref

    # -- inside --------------------------------------------------------------------------------
    def stands_for(self, ref: ObjectRef[Any]) -> str:
        return origins.of(ref)

    def execute(self, source: str, output: str) -> Any:
        """Runs a cell as a worker would: with the values of refs, also where its functions name them."""
        before = dict(self.space)
        refs = {name: ref for name, ref in before.items() if isinstance(ref, UncountedRef)}
        self.space.update({name: self.values[ref._id] for name, ref in refs.items()})
        try:
            exec(source, self.space)
            return self.space[output]
        finally:
            self.space.clear()
            self.space.update(before)


def some(names: tuple[str, ...], most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=most, unique=True).map(tuple)


NUMBERS = st.integers(0, 20)
RUN = st.tuples(st.just("run"), st.integers(0, 40), st.sampled_from((False, False, False, True)))
ACTS = st.one_of(
    st.tuples(st.just("value"), st.sampled_from(VALUES), NUMBERS),
    st.tuples(st.just("change"), st.sampled_from(VALUES), NUMBERS),
    st.tuples(
        st.just("function"), st.sampled_from(FUNCTIONS), NUMBERS, st.integers(0, 3), some((*VALUES, *FUNCTIONS), 3)
    ),
    st.tuples(st.just("delete"), st.sampled_from((*VALUES, *FUNCTIONS))),
    st.tuples(st.just("cell"), some((*VALUES, *FUNCTIONS, *RESULTS), 3), st.sampled_from(RESULTS), st.just(False)),
    st.tuples(st.just("cell"), some((*FUNCTIONS, *RESULTS), 3), st.sampled_from(RESULTS), st.just(False)),
    RUN, RUN, RUN,
)  # fmt: skip

SETUP: list[tuple[Any, ...]] = [
    *(("value", name, place) for place, name in enumerate(VALUES)),
    *(("function", name, place, 0, ("a", "items", "h")) for place, name in enumerate(FUNCTIONS)),
    ("cell", ("f", "a"), "r", False), ("cell", ("g", "r"), "s", False),
]  # fmt: skip


@settings(max_examples=NOTEBOOKS, deadline=None)
@given(st.lists(ACTS, min_size=10, max_size=40))
def test_no_key_is_found_again_for_another_result(acts: list[tuple[Any, ...]]) -> None:
    notebook = Notebook()
    for act in [*SETUP, *acts, ("run", 0, False), ("run", 0, False)]:
        getattr(notebook, act[0])(*act[1:])
