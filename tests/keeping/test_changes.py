"""What people change in a notebook: each change is another key (`raynb.keeping.digest`), and another token for marks of
stale results (`raynb.lineage.tokens`); the same code run again changes neither."""

from __future__ import annotations

from typing import Any

import pytest

from raynb.keeping.digest import digest
from raynb.lineage.tokens import Reader

IMPORTS = """
import abc, array, collections, dataclasses, datetime, decimal, enum, functools, itertools, operator, random, re, types
import typing
"""

#: (what makes ``v``, what changes it)
CHANGES = [
    ("def mk(k):\n def f(x): return x + k\n return f\nv = mk(1)", "v = mk(2)"),
    ("def v(x, a=[1]): return a", "v.__defaults__[0].append(2)"),
    ("def v(*, k=1): return k", "v.__kwdefaults__['k'] = 2"),
    ("D = {'a': {'b': 1}}\ndef v(): return D", "D['a']['b'] = 2"),
    ("H = 1\ndef v():\n class A:\n  x = H\n return A.x", "H = 2"),
    ("H = 1\nv = [lambda: [H for _ in range(3)]]", "H = 2"),
    ("def v(n): return g(n - 1)\ndef g(n): return v(n - 1) + 1", "def g(n): return v(n - 1) + 2"),
    ("def v(): return v.count\nv.count = 1", "v.count = 2"),
    ("def v(): return v.__wrapped__()\nv.__wrapped__ = lambda: 1", "v.__wrapped__ = lambda: 2"),
    ("v = {'a': lambda x: x + 1}", "v = {'a': lambda x: x + 2}"),
    ("v = lambda x: x in {1, 2}", "v = lambda x: x in {1, 3}"),
    ("v = lambda: 1.0", "v = lambda: 1"),
    ("async def v(): return 1", "async def v(): return 2"),
    ("def v(): yield 1", "def v(): yield 2"),
    ("class A:\n k = 1\n def m(self): return self.k\nv = A().m", "A.k = 2"),
    ("class B:\n k = 1\nclass A(B): pass\nv = A()", "B.k = 2"),
    ("class M(type):\n z = 1\nclass v(metaclass=M): pass", "M.z = 2"),
    ("class v:\n a = 1\n b = 2", "class v:\n b = 2\n a = 1"),
    ("class v:\n class B:\n  k = 1", "v.B.k = 2"),
    ("class v:\n @functools.cached_property\n def p(self): return 1",
     "class v:\n @functools.cached_property\n def p(self): return 2"),
    ("class D:\n def __get__(self, o, t): return 1\nclass v:\n d = D()", "D.__get__ = lambda self, o, t: 2"),
    ("@dataclasses.dataclass\nclass v:\n x: int = 1", "@dataclasses.dataclass\nclass v:\n x: int = 2"),
    ("@dataclasses.dataclass\nclass v:\n x: list = dataclasses.field(default_factory=lambda: [1])",
     "@dataclasses.dataclass\nclass v:\n x: list = dataclasses.field(default_factory=lambda: [2])"),
    ("T = typing.TypeVar('T')\nclass G(typing.Generic[T]):\n a = 1\nv = G[int]", "G.a = 2"),
    ("class C(enum.Enum):\n A = 1\nv = C.A", "class C(enum.Enum):\n A = 2\nv = C.A"),
    ("N = collections.namedtuple('N', 'a b')\nv = N(1, 2)", "N = collections.namedtuple('N', 'b a')\nv = N(1, 2)"),
    ("v = functools.partial(int, base=2)", "v = functools.partial(int, base=3)"),
    ("@functools.lru_cache\ndef v(x): return 1", "@functools.lru_cache\ndef v(x): return 2"),
    ("def w(f):\n @functools.wraps(f)\n def g(): return f()\n return g\n@w\ndef v(): return 1",
     "@w\ndef v(): return 2"),
    ("v = operator.itemgetter(1)", "v = operator.itemgetter(2)"),
    ("v = random.Random(1)", "v.random()"),
    ("v = iter([1, 2, 3])", "next(v)"),
    ("v = re.compile('a')", "v = re.compile('a', re.I)"),
    ("v = types.SimpleNamespace(a=1)", "v.a = 2"),
    ("class A:\n __slots__ = ('x',)\nv = A()\nv.x = 1", "v.x = 2"),
    ("class I(int): pass\nv = I(3)", "v = I(4)"),
    ("class S(str): pass\nv = S('a')", "v = S('b')"),
    ("class E(Exception): pass\nv = E('a')", "v = E('b')"),
    ("class T(datetime.date): pass\nv = T(2020, 1, 1)", "v = T(2021, 1, 1)"),
    ("class C(decimal.Decimal): pass\nv = C(1)", "v = C(2)"),
    ("class P(functools.partial): pass\nv = P(int, 1)", "v = P(int, 2)"),
    ("class Q(collections.deque): pass\nv = Q([1])", "v.append(2)"),
    ("class D(collections.defaultdict): pass\nv = D(int)", "v = D(str)"),
    ("v = [datetime.date(2020, 1, 1) for _ in range(700)]", "v[699] = datetime.date(2021, 1, 1)"),
    ("v = array.array('i', [1])", "v[0] = 2"),
]  # fmt: skip

#: The same of numpy and pandas.
ARRAYS = [
    ("v = np.arange(6).reshape(2, 3)", "v = np.asfortranarray(v)"),
    ("v = np.arange(9)[::-2]", "v[1] = 9"),
    ("v = np.arange(12).reshape(3, 4)[:, ::2]", "v[1, 1] = 9"),
    ("v = pd.DataFrame({'a': [1, 2]}).iloc[::-1]", "v.loc[0, 'a'] = 3"),
    ("v = np.ma.array([1, 2], mask=[0, 1])", "v[0] = 5"),
    ("class A(np.ndarray): pass\nv = np.zeros(3).view(A)", "v[0] = 1"),
    ("v = pd.Timestamp('2020-01-01')", "v = pd.Timestamp('2021-01-01')"),
    ("v = pd.Timedelta(1, 'D')", "v = pd.Timedelta(2, 'D')"),
    ("v = pd.Interval(0, 1)", "v = pd.Interval(0, 1, closed='left')"),
    ("v = pd.Categorical(['a', 'b'])", "v = pd.Categorical(['a', 'c'])"),
    ("v = pd.Index([1, 2], dtype='int64')", "v = pd.Index([1, 2], dtype='int32')"),
    ("v = pd.Series([1, 2])", "v.index.name = 'q'"),
    ("v = pd.Series(pd.date_range('2020', periods=3))", "v = pd.Series(pd.date_range('2021', periods=3))"),
    ("v = pd.Series([1, 2, 3], index=pd.date_range('2020', periods=3))", "v.index = pd.date_range('2021', periods=3)"),
    ("v = pd.Series([1, 2], index=pd.IntervalIndex.from_breaks([1, 2, 3]))",
     "v.index = pd.IntervalIndex.from_breaks([1, 2, 4])"),
    ("v = pd.DataFrame({'a': [1]})", "v = v.set_flags(allows_duplicate_labels=False)"),
    ("class D(pd.DataFrame): pass\nv = D({'a': [1]})", "v.loc[0, 'a'] = 2"),
]  # fmt: skip


def space_of(imports: str, source: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(imports, space)
    exec(source, space)
    return space


@pytest.mark.parametrize("arrays", [False, True])
def test_every_change_is_another_key_and_another_token(arrays: bool) -> None:
    if arrays:
        pytest.importorskip("pandas")
    imports = "import numpy as np, pandas as pd" if arrays else IMPORTS
    for source, change in ARRAYS if arrays else CHANGES:
        space = space_of(imports, source)
        reader = Reader(space, lambda ref: "a ref")
        token, key = reader.read(["v"]), digest(space["v"])
        assert (reader.read(["v"]), digest(space["v"])) == (token, key), source
        again = space_of(imports, "\n\n" + source)
        Reader(again, lambda ref: "a ref").read(["v"])
        assert digest(again["v"]) == key, source
        exec(change, space)
        assert digest(space["v"]) != key, source
        assert reader.read(["v"]) != token, source


def test_the_same_code_run_again_makes_nothing_stale() -> None:
    for source, _ in CHANGES:
        if "for _ in range(700)" in source:  # more than is looked through: by its identity, too
            continue
        space = space_of(IMPORTS, source)
        reader = Reader(space, lambda ref: "a ref")
        token = reader.read(["v"])
        exec("\n\n" + source, space)
        assert reader.read(["v"]) == token, source
