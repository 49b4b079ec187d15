"""A real kernel: names are what a plain cell would have made of them, and ``__main__`` is the cell's namespace."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "os, pickle, sys")
    yield session
    session.close()


# -- names that a cell does not bind -----------------------------------------------------------
def test_a_name_that_the_cell_did_not_bind_keeps_its_value(notebook: KernelSession) -> None:
    notebook.run("best, x, same = 7, 1, [1]\nkept = same")
    run = notebook.run("%%remote\nif x > 2:\n    best = 5\nother = 1")
    assert notebook.run("print(type(best).__name__, ray.get([best, other]))").text == "ObjectRef [7, 1]\n"
    notebook.until(lambda: "did not bind `best`: it keeps its value" in run.text)
    # After a wait it is known: the notebook has the old object itself.
    for option in ("--wait", "--get"):
        notebook.run(f"%%remote {option}\nfor step in []:\n    same = step")
        assert notebook.run("print(same is kept)").text == "True\n"
    # A ref stays what it was, and nobody has waited for it or fetched it.
    notebook.run("%%remote\nif x > 2:\n    best = 5")
    assert notebook.run("print(ray.get(best))").text == "7\n"


def test_every_way_not_to_bind_a_name(notebook: KernelSession) -> None:
    notebook.run("a = b = c = d = e = f = g = 'old'\none = 1")
    run = notebook.run(
        "%%remote --get\nany((a := v) > 3 for v in [])\nmatch one:\n    case 2:\n        b = 1\n"
        "try:\n    c = 1 / 0\nexcept ZeroDivisionError:\n    pass\none > 3 and (d := 3)\n"
        "while one > 3:\n    e = 1\ndef sets():\n    global f\n    f = 1\nif one > 3:\n    def g(): pass"
    )
    assert notebook.run("print(a, b, c, d, e, f, g)").text == "old old old old old old old\n"
    assert run.text.count("keep their values") == 1
    notebook.run("%%remote --get\nany((a := v) > 3 for v in [9])\nmatch one:\n    case _:\n        b = 1\nf = 2")
    assert notebook.run("print(a, b, f)").text == "9 1 2\n"


def test_a_name_that_is_perhaps_deleted_comes_back(notebook: KernelSession) -> None:
    notebook.run("%%remote --get\nstays = 1\nif stays > 1:\n    del stays\ngoes = 2\ndel goes")
    assert notebook.run("print(stays, 'goes' in globals())").text == "1 False\n"


def test_a_cell_that_failed_can_be_mended_and_run_again(notebook: KernelSession) -> None:
    cell = "%%remote --wait\nfor step in range(3):\n    total = step\ntotal = total + 1"
    notebook.run(f"{cell}\n1 / 0", ok=False)
    notebook.run(cell)
    assert notebook.run("print(ray.get(total))").text == "3\n"


def test_a_change_that_would_be_lost_is_told_once(notebook: KernelSession) -> None:
    notebook.run("table, items, text = {}, [], 'abc'")
    run = notebook.run("%%remote --wait\ntable['k'] = 1\nitems.append(3)\nitems.append(4)\ntext.count('a')")
    assert "`table['k'] = …` (line 2), `items.append(…)` (line 3) change a copy on the worker" in run.text
    assert "`table = table; items = items`" in run.text
    run = notebook.run("%%remote --get\nitems.append(3)\nown = []\nown.append(1)\nitems = items")
    assert run.text == ""
    assert notebook.run("print(items)").text == "[3]\n"


def test_changes_by_the_notebooks_functions_are_told(notebook: KernelSession) -> None:
    notebook.run(
        "results, total = [], 0\ndef log(x):\n    own = []\n    own.append(x)\n    count(x)\n"
        "def count(x):\n    global total\n    total += x\n    results.append(x)"
    )
    run = notebook.run("%%remote --wait\nlog(3)\nx = 1")
    assert "`results.append(…)` (line 9 of `count`'s cell), `total = …` (line 8" in run.text
    assert "the notebook's `results`, `total` stay as before" in run.text
    run = notebook.run("%%remote --get\nlog(3)\nresults = results; total = total")
    assert "stay" not in run.text
    assert notebook.run("print(results, total)").text == "[3] 3\n"



# -- __main__ ----------------------------------------------------------------------------------
def test_processes_started_by_a_cell_find_its_functions(notebook: KernelSession) -> None:
    run = notebook.run(
        "%%remote --wait\nimport concurrent.futures, multiprocessing\nfork = multiprocessing.get_context('fork')\n"
        "def square(v):\n    return v * v\nwith fork.Pool(2) as pool:\n    print(pool.map(square, range(4)))\n"
        "with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as pool:\n"
        "    print(list(pool.map(square, range(3))))"
    )
    assert run.text == "[0, 1, 4, 9]\n[0, 1, 4]\n"
    run = notebook.run(
        "def helper(v):\n    return v + 1\n@ray.remote\ndef pooled():\n    import multiprocessing\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool:\n        return pool.map(helper, range(3))\n"
        "print(ray.get(pooled.remote()))"
    )
    assert run.text == "[1, 2, 3]\n"


def test_processes_that_a_cell_spawns_have_the_notebooks_functions(notebook: KernelSession) -> None:
    notebook.run(
        "import multiprocessing\nclass Adds:\n    by = 5\n    def __call__(self, x):\n"
        "        return helped(x) + self.by\ndef helped(x): return 10 * x"
    )
    run = notebook.run(
        "%%remote --wait\nfor method in ('spawn', 'forkserver', 'fork'):\n"
        "    with multiprocessing.get_context(method).Pool(1) as pool:\n"
        "        print(pool.map_async(Adds(), [1, 2]).get(timeout=60), type(pool.apply(Adds)) is Adds)"
    )
    assert run.text.splitlines()[-3:] == ["[15, 25] True"] * 3



def test_pickles_made_in_a_cell_load_in_the_kernel(notebook: KernelSession) -> None:
    notebook.run("class Known:\n    value = 2\nknown = Known()\n")
    notebook.run("%%remote --get\nclass Made:\n    value = 1\nblobs = pickle.dumps(Made()), pickle.dumps(known)")
    assert notebook.run("print([pickle.loads(blob).value for blob in blobs])").text == "[1, 2]\n"


def test_tools_that_look_into_main_find_the_cells_names(notebook: KernelSession) -> None:
    run = notebook.run(
        "%%remote --wait\nimport doctest, timeit, unittest\ndef three():\n    '''\n    >>> three()\n    3\n    '''\n"
        "    return 3\nprint(timeit.timeit('three()', 'from __main__ import three', number=3) > 0)\n"
        "print(doctest.testmod())\nclass Tests(unittest.TestCase):\n    def test_three(self):\n"
        "        self.assertEqual(three(), 3)\nunittest.main(exit=False, verbosity=0);"
    )
    assert run.printed("stdout") == "True\nTestResults(failed=0, attempted=1)\n"
    assert "Ran 1 test" in run.printed("stderr")
    notebook.run("%%everywhere\nprepared = 5")
    assert notebook.run("%%remote --wait\nimport __main__\nprint(prepared, __main__.prepared)").text == "5 5\n"


def test_future_flags_of_earlier_cells_hold(notebook: KernelSession) -> None:
    notebook.run("from __future__ import annotations\nfrom typing import get_type_hints")
    cell = "%%remote --wait\nclass A:\n    field: Later\nclass Later: pass\nprint(get_type_hints(A)['field'])"
    run = notebook.run(cell)
    assert run.text == "<class '__main__.Later'>\n"


def test_functions_and_classes_of_the_notebook_travel_whatever_they_are(notebook: KernelSession) -> None:
    notebook.run(
        "import contextvars, enum, functools, typing\n@functools.cache\ndef fib(n):\n"
        "    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "@functools.singledispatch\ndef kind(x):\n    return 'object'\n@kind.register\n"
        "def _(x: int):\n    return 'int'\n"
        "class Holder:\n    @functools.cached_property\n    def once(self):\n        return 7\n"
        "UserId = typing.NewType('UserId', int)\nvariable = contextvars.ContextVar('variable', default=5)\n"
        "@ray.remote\ndef uses():\n    return fib(20), kind(1), kind(''), Holder().once, UserId(3), variable.get()"
    )
    assert notebook.run("print(ray.get(uses.remote()))").text == "(6765, 'int', 'object', 7, 3, 5)\n"
    for _ in range(2):  # an enumeration whose cell is run again
        notebook.run("class Color(enum.Enum):\n    RED = 1")
        notebook.run("%%remote --get\nsame = Color.RED is Color(1)\ncolor = Color.RED")
        assert notebook.run("print(same, color is Color.RED)").text == "True True\n"


# -- cells -------------------------------------------------------------------------------------
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="a fresh process has no event loop either")
def test_cells_that_await_leave_the_event_loop_alone(notebook: KernelSession) -> None:
    notebook.run("import asyncio")
    notebook.run("%%remote --wait\nawait asyncio.sleep(0)")
    # A second worker may be a fresh one; that it works on both is what counts.
    run = notebook.run("%%remote --each number in range(4) --chunk 2 --wait\nawait asyncio.sleep(0)\n")
    run = notebook.run(
        "@ray.remote\ndef loop():\n    import warnings\n    warnings.simplefilter('ignore')\n"
        "    asyncio.get_event_loop().close()\n    asyncio.set_event_loop_policy(None)\n    return 'there'\n"
        "print(ray.get(loop.remote()))"
    )
    assert run.text == "there\n"


def test_long_expressions_and_comments_on_the_line(notebook: KernelSession) -> None:
    terms = " + ".join(["1"] * 900)
    assert notebook.run(f"%%remote --wait  # the sum\nprint({terms})").text == "900\n"


def test_an_exit_is_not_tried_again(notebook: KernelSession, tmp_path: Path) -> None:
    tried = tmp_path / "tried"
    notebook.run(f"from pathlib import Path\ntried = Path({str(tried)!r})")
    run = notebook.run("%%remote --wait\nwith tried.open('a') as file:\n    file.write('x')\nsys.exit(3)", ok=False)
    assert "it called sys.exit(3)" in run.error
    assert tried.read_text() == "x"
    run = notebook.run("@ray.remote\ndef leaves():\n    sys.exit()\nray.get(leaves.remote())", ok=False)
    assert "it called sys.exit(0)" in run.error
    assert notebook.run("%%remote --wait\nprint('alive')").text == "alive\n"


def test_the_notebooks_functions_see_the_cells_namespace(notebook: KernelSession) -> None:
    notebook.run(
        "count, limit, ref = 0, 1, ray.put(5)\ndef adds():\n    global count\n    count += 1\n    return limit\n"
        "class Limits:\n    def limit(self):\n        return limit\nlimits, several = Limits(), [adds]\n"
        "def reads_ref():\n    return ray.get(ref)"
    )
    notebook.run("%%remote --get\nlimit = 10\nseen = adds(), several[0](), limits.limit(), Limits().limit(), count")
    assert notebook.run("print(seen, count)").text == "(10, 10, 10, 10, 2) 0\n"
    # Each item of a loop has a namespace of its own, also where several share a task.
    for chunk in (1, 2):
        notebook.run(f"%%remote --get --each limit in [3, 4] --chunk {chunk}\nseen = adds(), count\n"
                     "def made(): return limit")  # fmt: skip
        assert notebook.run("print(seen, [one() for one in made])").text == "[(3, 1), (4, 1)] [3, 4]\n"
    # A ref arrives in the cell as its value; the function still has the ref.
    notebook.run("%%remote --get\nseen = ref, reads_ref()")
    assert notebook.run("print(seen)").text == "(5, 5)\n"
    # What a function brings along is not shared with later cells.
    notebook.run("%%everywhere\nshown = adds()")
    run = notebook.run("del limit")
    assert "NameError" in notebook.run("%%remote --wait\nlimit", ok=False).error, run


def test_functions_may_name_exit_and_the_shell(notebook: KernelSession) -> None:
    run = notebook.run("@ray.remote\ndef leaves():\n    exit()\nray.get(leaves.remote())", ok=False)
    assert "it called sys.exit(0)" in run.error
    run = notebook.run(
        "@ray.remote\ndef times():\n    get_ipython().run_line_magic('time', '1')\nray.get(times.remote())")
    assert "Wall time" in run.text


def test_the_source_of_the_notebooks_functions_is_there(notebook: KernelSession) -> None:
    notebook.run(
        "import inspect, traceback\ndef shown(x):\n    '''Doc.'''\n    return 1 / x\nclass Has:\n    def m(self): pass"
    )
    run = notebook.run(
        "%%remote --wait\nprint(inspect.getsource(shown), inspect.getsource(Has.m))\n"
        "try:\n    shown(0)\nexcept ZeroDivisionError:\n    print(traceback.format_exc())"
    )
    assert "def shown(x):\n    '''Doc.'''\n    return 1 / x\n" in run.text
    assert "def m(self): pass" in run.text
    assert run.text.count("return 1 / x") == 2
    sent = notebook.run("print(ray.get(ray.remote(lambda f: inspect.getsource(f)).remote(shown)))")
    assert sent.text.startswith("def shown")
