"""What names stand for: every change of a definition is another token, and what is remembered of one hides none."""

from __future__ import annotations

import gc
import importlib
import os
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from raynb.lineage.graph import Reason, sentence
from raynb.lineage.shapes import shape_of
from raynb.lineage.tokens import ABSENT, Reader, kind_in

SOURCE = """
from dataclasses import dataclass, field
import functools

class Base:
    factor = 2
    def scaled(self, x): return x * self.factor

class Model(Base):
    '''Of text.'''
    names = ("a", 1)
    size: int = 3
    def __init__(self, x=1): super().__init__(); self.x = x
    def run(self, x=2): return helper(x)
    @property
    def double(self): return 2 * self.x
    @staticmethod
    def fixed(x): return x
    @classmethod
    def made(cls): return cls()

@dataclass
class Point:
    x: int = 0
    def moved(self): return Point(self.x + 1)

def plain(x, y=1): return helper(x) + y
def outer(step):
    def inner(x): return x + step
    return inner
closed = outer(5)
def kept(x, *, y=1): return x
def listed(x, y=[]): return x
pair = (1, 2.0, None)

class Slots:
    __slots__ = ("a",)
class Named(dict): pass
class Listed(list): pass
import collections, enum
Point2 = collections.namedtuple("Point2", "x y")
class Colour(enum.Enum):
    RED = 1
slots = Slots(); slots.a = 1
named = Named(a=1)
items = Listed([1])
point = Point2(1, 2)
@functools.lru_cache
def cached(x): return helper(x)
@functools.singledispatch
def single(x): return 0
class Lazy:
    @functools.cached_property
    def p(self): return helper(1)
lazy = Lazy()
import threading
locked = [threading.Lock(), 1]
"""
ARRAYS = """
import numpy as np, pandas as pd
series = pd.Series(["a", "b"], index=[1, 2], name="n")
frame = pd.DataFrame({"x": [1, 2], "y": ["a", "b"]})
objects = np.array([1, "a", None], dtype=object)
number = np.float64(1.5)
random = np.random.default_rng(1)
"""


def reading() -> tuple[dict[str, Any], Callable[[str], str]]:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(SOURCE, space)
    reader = Reader(space, lambda ref: "a ref")
    return space, lambda name: reader.token(name)[0]



EDITS = [
    ("Model", "Model.names = ('a', 2)"), ("Model", "Model.size = 3.0"), ("Model", "Model.new = 1"),
    ("Model", "del Model.size"), ("Model", "Model.run.__code__ = plain.__code__"),
    ("Model", "Model.run.__defaults__ = (3,)"), ("Model", "Model.run = lambda self, x=2: helper(x)"),
    ("Model", "Model.double = property(lambda self: 3 * self.x)"), ("Model", "Model.fixed = lambda x: x"),
    ("Model", "Model.fixed = classmethod(Model.__dict__['fixed'].__func__)"), ("Model", "Base.factor = 3"),
    ("Model", "Base.scaled.__code__ = (lambda self, x: x).__code__"), ("Model", "Model.__bases__ = (Point,)"),
    ("Model", "Model.run.tag = 1"), ("Model", "Model.table = [1]"), ("Model", "Model.__annotations__['size'] = float"),
    ("Point", "Point.moved.__code__ = (lambda self: 1).__code__"), ("Point", "Point.x = 1"),
    ("Point", "Point.__eq__ = lambda self, other: True"),
    ("plain", "plain.__code__ = kept.__code__"), ("plain", "plain.__defaults__ = (2,)"), ("plain", "plain.y = 1"),
    ("plain", "plain.__kwdefaults__ = {'y': 1}"),
    ("closed", "closed.__closure__[0].cell_contents = 6"), ("closed", "closed = outer(6)"),
    ("kept", "kept.__kwdefaults__['y'] = 2"), ("listed", "listed.__defaults__[0].append(1)"),
    ("slots", "slots.a = 2"), ("slots", "del slots.a"), ("named", "named['a'] = 2"), ("named", "named.tag = 1"),
    ("items", "items[0] = 2"), ("point", "point = Point2(2, 2)"), ("cached", "cached.__wrapped__.__defaults__ = (1,)"),
    ("cached", "@functools.lru_cache(maxsize=4)\ndef cached(x): return helper(x)"),
    ("single", "@single.register\ndef _(x: int): return 1"), ("lazy", "lazy.p = 3"), ("Colour", "Colour.RED.tag = 1"),
    ("locked", "locked[1] = 2"), ("locked", "locked[0] = threading.Lock()"),
    ("pair", "pair = (1, 2, None)"), ("pair", "pair = [1, 2.0, None]"), ("pair", "pair = (True, 2.0, None)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change"), EDITS, ids=[change for _, change in EDITS])
def test_every_edit_of_a_definition_is_seen(name: str, change: str) -> None:
    space, token = reading()
    before = token(name)
    assert token(name) == before
    exec(change, space)
    after = token(name)
    assert after != before
    assert token(name) == after


def test_definitions_made_again_are_the_same_and_may_go() -> None:
    space, token = reading()
    names = ("Base", "Model", "Point", "plain", "closed", "kept", "listed")
    values = ("slots", "named", "items", "point", "cached")
    again = {name: token(name) for name in values}
    before = {name: token(name) for name in names}
    gone = [weakref.ref(space[name]) for name in names]
    exec("\n\n" + SOURCE, space)
    assert {name: token(name) for name in names} == before
    assert {name: token(name) for name in values} == again
    assert all(shape_of(space[name]) is not None for name in ("Base", "Model", "Point", "plain", "closed"))
    gc.collect()
    gc.collect()  # a base goes after the class that names it
    assert [name for name, there in zip(names, gone, strict=True) if there() is not None] == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("series", "series.name = 'm'"), ("series", "series = series.astype('category')"),
        ("series", "series.iloc[0] = 'z'"), ("frame", "frame.attrs['unit'] = 'm'"), ("frame", "frame.loc[0, 'x'] = 5"),
        ("frame", "frame.columns = ['x', 'z']"), ("objects", "objects[1] = 'b'"),
        ("number", "number = np.float64(2)"), ("random", "random.random()"),
    ],
)
def test_values_of_numpy_and_pandas_count_by_what_they_are(name: str, change: str) -> None:
    pytest.importorskip("pandas")
    space, token = reading()
    exec(ARRAYS, space)
    before = token(name)
    exec(ARRAYS, space)
    assert token(name) == before
    exec(change, space)
    assert token(name) != before


def test_modules_and_variables_that_code_names_are_tracked_as_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tracked_module.py").write_text("import tracked_package.inner\nVALUE = 1\n")
    (tmp_path / "tracked_package").mkdir()
    (tmp_path / "tracked_package" / "inner.py").write_text("from .constants import RATE\n")
    (tmp_path / "tracked_package" / "constants.py").write_text("RATE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TRACKED", "1")
    space: dict[str, Any] = {"__name__": "__main__", "os": os}
    exec("def reads():\n    import json, cloudpickle, tracked_module\n    return os.environ['TRACKED']", space)
    reader = Reader(space, lambda ref: "a ref")
    before = reader.read(["reads"])
    assert set(before) == {"reads", "os", "import tracked_module", "environment TRACKED"}
    assert reader.read(["reads"]) == before
    (tmp_path / "tracked_package" / "constants.py").write_text("RATE = 22\n")
    monkeypatch.delenv("TRACKED")
    reader.modules.next_look()
    after = reader.read(["reads"])
    assert {name for name in before if before[name] != after[name]} == {"import tracked_module", "environment TRACKED"}
    assert set(reader.mentioned(space["reads"].__code__)) == {"import tracked_module", "environment TRACKED"}
    reasons = [Reason(name, kind_in(space, name), 3) for name in sorted(reader.mentioned(space["reads"].__code__))]
    assert [sentence(reason, lambda scope: f"In[{scope}]") for reason in reasons] == [
        "the environment variable `TRACKED` has changed in In[3]",
        "the module `tracked_module` has changed in In[3]",
    ]


def test_a_loaded_module_counts_with_those_of_which_it_has_only_taken_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loaded_settings.py").write_text("RATE = 1\n")
    (tmp_path / "loaded_module.py").write_text("from loaded_settings import RATE\ndef f(): return RATE\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("loaded_module")
    space: dict[str, Any] = {"__name__": "__main__", "module": module, "function": module.f, "both": [module.f]}
    reader = Reader(space, lambda ref: "a ref")
    before = [reader.token(name)[0] for name in ("module", "function", "both")]
    assert [reader.token(name)[0] for name in ("module", "function", "both")] == before
    (tmp_path / "loaded_settings.py").write_text("RATE = 22\n")
    reader.modules.next_look()
    after = [reader.token(name)[0] for name in ("module", "function", "both")]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_a_name_may_stand_for_what_it_was_before_the_cell_bound_it() -> None:
    space, token = reading()
    reader = Reader(space, lambda ref: "a ref")
    old = reader.token("pair")
    reader.before = {"pair": space["pair"], "plain": ABSENT}
    space["pair"] = (3,)
    assert reader.token("pair") == old
    assert reader.token("plain") == ("", ())
    reader.before = {}
    assert reader.token("pair") == ("tuple (3,)", ())
    assert reader.token("plain")[0] == token("plain")


LARGE = """
import collections, types
class Settings:
    def __init__(self): self.table = {f"name {n}": "x" * 100 for n in range(1_000)}
class Table(dict): pass
class Rows(list): pass
table = {f"name {n}": "x" * 100 for n in range(1_000)}
nested = {"tables": [table, {1: table}]}
settings = Settings()
settings.__dict__.update({f"more {n}": "x" * 100 for n in range(1_000)})
own, rows = Table(table), Rows(["x" * 100] * 1_000)
grouped = collections.defaultdict(list, table)
queue = collections.deque(["x" * 100] * 1_000)
def tagged(): pass
vars(tagged).update(table)
proxy = types.MappingProxyType(table)
module = types.ModuleType("made_here")
vars(module).update(table)
many = [[n, [n]] for n in range(1_500)] + [tagged, proxy, own, module]
"""
LARGE_ARRAYS = """
import numpy as np, pandas as pd
texts = [f"{n} {'x' * 100}" for n in range(900)]
class Kind(np.ndarray): pass
objects = np.array(texts, dtype=object)
many = np.array(texts * 2, dtype=object)
viewed = objects.view(Kind)
viewed_many = many.view(Kind)
series = pd.Series(texts, dtype=object)
index = pd.Index(texts, dtype=object)
frame = pd.DataFrame({"x": texts}, index=texts)
"""


def looks(source: str, names: Iterable[str]) -> None:
    """Looks several times, while other objects are made and go."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(source, space)
    reader = Reader(space, lambda ref: "a ref")
    alive: list[Any] = []
    for name in names:
        seen = set()
        for _ in range(4):
            reader._definitions.clear()
            seen.add(reader.token(name)[0])
            alive += [[None] * size for size in (2, 16, 900, 1_000, 1_004)] + [{n: n for n in range(1_000)}]
        assert (name, len(seen)) == (name, 1)


def test_large_values_that_nobody_changes_have_one_token_at_each_look() -> None:
    names = "table nested settings own rows grouped queue tagged proxy module many"
    looks(LARGE, names.split())


def test_large_values_of_numpy_and_pandas_have_one_token_at_each_look() -> None:
    pytest.importorskip("pandas")
    looks(LARGE_ARRAYS, ["objects", "many", "viewed", "viewed_many", "series", "index", "frame"])


@pytest.mark.parametrize("name", ["table", "settings", "own", "rows", "grouped", "queue", "tagged", "module"])
def test_large_values_that_are_others_have_other_tokens(name: str) -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(LARGE, space)
    reader = Reader(space, lambda ref: "a ref")
    before, old = reader.token(name)[0], space[name]
    exec(LARGE, space)
    assert old is not space[name]
    assert reader.token(name)[0] != before
