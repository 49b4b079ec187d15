"""Which names a cell needs and which it binds."""

from __future__ import annotations

import sys
import time

import pytest

from raynb.jupyter.cells.analysis import analyse, target_names
from raynb.jupyter.cells.changes import is_lost

FREE = [
    ("y = x + 1", "x", "y"),
    ("x = 1\ny = x", "", "x y"),
    ("x += 1", "x", "x"),
    ("del x", "x", ""),
    ("x = 1\ndel x", "", ""),
    ("d[k] = v", "d k v", ""),
    ("obj.attr = 1", "obj", ""),
    ("a, (b, *c) = value", "value", "a b c"),
    ("x: int = y", "int y", "x"),
    ("x: int", "int", ""),
    ("for i in xs:\n    total = i", "xs", "total"),
    ("for i in xs:\n    pass\nlast = i", "xs i", "last"),
    ("with open(p) as f:\n    text = f.read()", "open p", "text"),
    ("try:\n    a = risky()\nexcept E as e:\n    print(e)\nb = a", "risky E print a", "a b"),
    ("try:\n    a = 1\nexcept E:\n    a = 2\nb = a", "E", "a b"),
    ("if c:\n    a = 1\nelse:\n    a = 2\nb = a", "c", "a b"),
    ("if c:\n    a = 1\nb = a", "c a", "a b"),
    ("while go:\n    a = 1\nb = a", "go a", "a b"),
    ("import numpy as np, os.path\nz = np.zeros(n) + os.sep", "n", "z"),
    ("from m import q\nw = q(r)", "r", "w"),
    ("_hidden = 1\nshown = _hidden", "", "shown"),
    ("[i * k for i in xs if i > m]", "xs k m", ""),
    ("[i for i in i]", "i", ""),
    ("[j for i in xs for j in i]", "xs", ""),
    ("s = {a: b for a, b in pairs.items()}", "pairs", "s"),
    ("found = [y for x in xs if (y := f(x))]\nz = y", "xs f y", "y found z"),
    ("if (n := len(xs)) > 3:\n    m = n", "len xs", "n m"),
    ("text = f'{a} {b:>{width}} {c!r}'", "a b width c", "text"),
    ("g = lambda p, q=d: p + q + e", "d e", "g"),
    ("def f(a, b=d, *args, **kw):\n    return a + g + len(args)", "d g len", "f"),
    ("def f():\n    x = 1\n    def inner():\n        return x + free\n    return inner", "free", "f"),
    ("def f():\n    total = 0\n    def add():\n        nonlocal total\n        total += k\n    add()", "k", "f"),
    ("def f(xs):\n    return [x + k for x in xs]", "k", "f"),
    ("class A(Base, metaclass=M):\n    k = v\n    def m(self):\n        return helper(k)", "Base M v helper k", "A"),
    ("class A:\n    x = x", "x", "A"),
    ("class A:\n    n = 1\n    m = n + 1", "", "A"),
    ("@deco(arg)\ndef f(): pass", "deco arg", "f"),
    ("match cmd:\n    case {'go': d, **rest} if d > lim:\n        out = rest\n    case Point(x=0):\n        pass\n    case [a, *b]:\n        pass", "cmd lim Point", "out"),  # noqa: E501
    ("def f():\n    global counter\n    counter += 1\nf()", "counter", "f counter"),
    ("def f():\n    global made\n    made = 1\nf()", "", "f made"),
    ("def f(x):\n    try:\n        return x\n    except E as e:\n        return e", "E", "f"),
    ("def f(p):\n    match p:\n        case (a, b):\n            return a + b + c", "c", "f"),
    # Functions run later than they are written.
    ("def f():\n    return helper()\ndef helper():\n    return k\nf()", "k", "f helper"),
    ("def f():\n    return later\ny = f()\nlater = 1", "later", "f y later"),
    ("def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return even(n - 1)\neven(4)", "", "even odd"),
    ("def f():\n    return 1\nf = wrap(f)", "wrap", "f"),
    # Cells that await.
    ("data = await fetch(url)", "fetch url", "data"),
    ("async with lock as l:\n    r = 1", "lock", "r"),
    # IPython's syntax, as transform_cell leaves it.
    ("files = get_ipython().getoutput('ls {folder} $name $$HOME')", "get_ipython folder name", "files"),
    ("get_ipython().run_line_magic('time', 'y = f(x)')", "get_ipython f x", "y"),
    ("get_ipython().run_line_magic('timeit', '-n 3 -r1 g(x)')", "get_ipython g x", ""),
    ("get_ipython().run_cell_magic('time', '', 'a = b\\nc = a\\n')", "get_ipython b", "a c"),
    ("get_ipython().system(\"awk '{print $1}' f\")", "get_ipython", ""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "free", "outputs"), FREE, ids=range(len(FREE)))
def test_names_of_a_cell(source: str, free: str, outputs: str) -> None:
    code = analyse(source)
    assert set(code.free) == set(free.split())
    assert set(code.outputs) == set(outputs.split())


@pytest.mark.parametrize(
    ("source", "has_value", "quiet"),
    [
        ("1 + 1", True, False),
        ("x = 1", False, False),
        ("x = 1\nx;", True, True),
        ("x;  # a comment\n\n", True, True),
        ("'a;b'", True, False),
        ("print(';')", True, False),
        ("", False, False),
        ("# only a comment", False, False),
    ],
)
def test_value_of_a_cell(source: str, has_value: bool, quiet: bool) -> None:
    code = analyse(source)
    assert (code.has_value, code.quiet) == (has_value, quiet)


def test_awaiting_cells_and_star_imports() -> None:
    assert analyse("await f()").is_async
    assert analyse("async for x in it:\n    pass").is_async
    assert analyse("r = [x async for x in it]").is_async
    assert not analyse("async def f():\n    await g()").is_async
    assert analyse("from math import *").star_imports == ("math",)


def test_a_cell_that_is_not_python() -> None:
    with pytest.raises(SyntaxError):
        analyse("x = = 1")
    with pytest.raises(SyntaxError):
        analyse("return 1")


def test_targets_of_a_loop() -> None:
    import ast

    loop = ast.parse("for a, (b, c) in xs: pass").body[0]
    assert isinstance(loop, ast.For)
    assert target_names(loop.target) == ["a", "b", "c"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_parameters() -> None:
    assert analyse("def f[T](x: T) -> T:\n    return x").free == ()
    assert set(analyse("class A[T](B[T]):\n    y: T = k").free) >= {"k", "B"}


def test_a_long_cell_is_read_quickly_enough_to_be_unnoticed(record_property) -> None:
    cell = "\n".join(
        f"v{i} = [f(x, {i}) for x in data if x > v{max(0, i - 1)}]"
        if i % 5
        else f"def g{i}(a):\n    return a + k{i}"
        for i in range(450)
    )
    begun = time.perf_counter()
    code = analyse(cell)
    record_property("seconds", time.perf_counter() - begun)
    assert "data" in code.free
    assert "v7" in code.outputs
    assert len(code.free) > 90


UNSURE = [
    ("if a:\n    x = 1", "x"), ("if a:\n    x = 1\nelse:\n    x = 2", ""), ("for i in a:\n    x = i", "x"),
    ("while a:\n    x = 1", "x"), ("try:\n    x = 1\nexcept E:\n    pass", "x"),
    ("try:\n    x = 1\nexcept E:\n    x = 2", ""), ("match a:\n    case 1:\n        x = 1", "x"),
    ("match a:\n    case 1:\n        x = 1\n    case _:\n        x = 2", ""), ("a and (x := 1)", "x"),
    ("any((x := v) for v in a)", "x"), ("(x := 1) if a else 2", "x"), ("def f():\n    global x\n    x = 1", "x"),
    ("x = 1\nif a:\n    del x", "x"), ("with a:\n    x = 1", ""), ("for i in a:\n    x = i\nx = 1", ""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "unsure"), UNSURE, ids=range(len(UNSURE)))
def test_names_that_a_cell_may_not_bind(source: str, unsure: str) -> None:
    code = analyse(source)
    assert code.unsure == set(unsure.split())
    assert code.unsure <= set(code.outputs)


def test_a_name_is_needed_where_no_path_has_bound_it() -> None:
    assert analyse("for i in a:\n    x = i\nx + y").needed == {"a", "y"}
    assert analyse("x = x + 1").needed == {"x"}


CHANGES = [
    ("d['k'] = 1", ["d['k'] = …"]), ("d.x += 1", ["d.x = …"]), ("del d['k']", ["del d['k']"]),
    ("d['a']['b'].append(1)", ["d['a']['b'].append(…)"]), ("d = {}\nd['k'] = 1", []), ("d.count(1)", []),
    ("def f():\n    d.append(1)\nf()", ["d.append(…)"]), ("def f(d):\n    d.append(1)\nf(1)", []),
    ("random.shuffle(d)", ["random.shuffle(d)"]), ("d.dropna(inplace=True)", ["d.dropna(…)"]),
    ("x = d.pop()", ["d.pop(…)"]), ("model.fit(d)", ["model.fit(…)"]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "found"), CHANGES, ids=range(len(CHANGES)))
def test_changes_of_captured_objects(source: str, found: list[str]) -> None:
    assert [change.text for change in analyse(source).changes] == found


def test_whether_a_change_is_one_depends_on_the_value() -> None:
    pandas = pytest.importorskip("pandas")
    (added, appended) = analyse("d.add(1)\nd.append(1)").changes
    frame = pandas.DataFrame()
    assert [is_lost(added, value) for value in (set(), frame, 1, [])] == [True, False, False, False]
    assert [is_lost(appended, value) for value in ([], frame, "text", pandas)] == [True, False, False, False]


def test_a_change_inside_of_a_captured_object_is_one() -> None:
    found = analyse("d['k']['l'].append(1)\no.items.add(1)\nfor d['i'] in x: pass\nwith x as o.file: pass").changes
    assert [change.name for change in found] == ["d", "o", "d", "o"]
    assert [is_lost(change, {}) for change in found] == [True, True, True, True]
    (called,) = analyse("np.random.shuffle.pop(1)").changes
    assert not is_lost(called, pytest)
