"""A cell on a worker: namespaces, outputs, lines of tracebacks, modules, awaiting cells."""

from __future__ import annotations

import contextlib
import linecache
import os
import pickle
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

from raynb.base.spec import FailedReturn
from raynb.jupyter.cells.analysis import analyse
from raynb.jupyter.on_worker.results import CellEnd, LoopEnd
from raynb.jupyter.on_worker.runner import (
    CellJob,
    CellPayload,
    ModuleName,
    Nested,
    RefPlaceholder,
    compile_cell,
    filled,
    imported,
    run_cell,
    run_items,
    run_on_actor,
)


def payload(cell: str, names: dict[str, Any] | None = None, *, value: bool = True, target: str = "") -> CellPayload:
    code = analyse("\n" + cell)
    text = "%%remote\n" + cell
    job = CellJob(
        code.source,
        f"<cell {hash(cell)}>",
        text,
        code.outputs,
        False,
        value and code.has_value,
        target,
        "In[5]",
    )
    return CellPayload(job, names or {})


def values(returned: Any) -> list[Any]:
    """What the refs would hold."""
    return [cloudpickle.loads(cloudpickle.dumps(value)) for value in returned]


def test_outputs_the_value_and_the_status_come_back() -> None:
    assert values(run_cell(payload("y = x + 1\nz = 2 * y\ny * z", {"x": 1}))) == [2, 4, 8, None]
    assert run_cell(payload("print", value=False)) is None


def test_refs_arrive_as_values_wherever_they_sit() -> None:
    names = {
        "a": RefPlaceholder(0),
        "pair": Nested("tuple", [RefPlaceholder(1), "x"]),
        "d": Nested("dict", ["k", Nested("list", [RefPlaceholder(0)])]),
    }
    assert values(run_cell(payload("r = (a, pair, d)", names), 10, 20)) == [(10, (20, "x"), {"k": [10]}), None]
    assert filled(7, ()) == 7


def test_a_traceback_shows_the_cell_with_its_own_line_numbers() -> None:
    job = payload("def f(x):\n    return 1 / x\nf(0)")
    with pytest.raises(ZeroDivisionError) as caught:
        run_cell(job)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.line) == (job.job.filename, 3, "return 1 / x")
    linecache.cache.pop(job.job.filename)


def test_a_name_that_was_not_bound_fails_alone() -> None:
    returned = run_cell(payload("if False:\n    a = 1\nb = 2"))
    assert type(returned[0]) is FailedReturn
    assert "In[5] ended without binding 'a'" in str(returned[0].error)
    assert values(returned[1:]) == [2, CellEnd(unbound=("a",))]


def test_an_output_that_cannot_be_pickled_fails_alone_and_knows_its_name() -> None:
    returned = run_cell(payload("gen = (i for i in range(3))\nfine = [1]"))
    assert list(vars(returned[0])) == ["gen"]
    with pytest.raises(TypeError, match="generator"):
        cloudpickle.dumps(returned[0])
    assert values(returned[1:]) == [[1], CellEnd(stuck=("gen",))]


def test_functions_and_classes_of_a_cell_travel_by_value() -> None:
    returned = run_cell(
        payload("k = 3\ndef f(x):\n    return g(x) + k\ndef g(x):\n    return 2 * x\nclass P:\n    n = f(1)")
    )
    _, f, g, p, _ = values(returned)
    assert (f(1), g(1), p.n) == (5, 2, 5)


def test_a_cell_awaits_at_its_top_level() -> None:
    cell = "import asyncio\nasync def double(x):\n    await asyncio.sleep(0)\n    return 2 * x\ny = await double(4)\nawait double(y)"  # noqa: E501
    _, y, value, _ = values(run_cell(payload(cell)))
    assert (y, value) == (8, 16)


def test_futures_hold_for_the_last_expression_too() -> None:
    body, last = compile_cell("from __future__ import annotations\nx = 1\nx", "<f>")
    assert body is not None
    assert last is not None
    assert body.co_flags & last.co_flags & 0x1000000  # CO_FUTURE_ANNOTATIONS


def test_each_item_has_a_namespace_of_its_own() -> None:
    job = payload("seen = seen + [x]\ny = x * k", {"k": 10, "seen": []}, target="x")
    assert values(run_items(job, [1, RefPlaceholder(0)], 5)) == [[1], 10, [5], 50, None]


def test_loop_targets_unpack() -> None:
    assert values(run_items(payload("s = a + b", target="a, (b, _)"), [(1, (2, 3)), (4, (5, 6))])) == [3, 9, None]


def test_a_failing_item_fails_its_own_outputs_only() -> None:
    job = payload("y = 1 / x", target="x")
    returned = run_items(job, [1, 0, 2])
    assert (returned[0], returned[2]) == (1.0, 0.5)
    assert values(returned[3:]) == [LoopEnd(1, 1)]
    assert type(returned[1].error) is ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        run_items(job, [0])
    *outputs, status = run_items(payload("a = x\ng = (i for i in a) if a else 1", target="x"), [[], [1], [2]])
    for output in outputs:
        with contextlib.suppress(TypeError):
            cloudpickle.dumps(output)
    assert values([status]) == [LoopEnd(0, 0, (("g", 3),))]


def test_a_cell_inside_an_actor_sees_self() -> None:
    class Counter:
        n = 3

    counter = Counter()
    assert values(run_on_actor(counter, payload("self.n += 1\nself.n"))) == [4, None]
    assert counter.n == 4


def test_a_module_that_only_the_kernel_has() -> None:
    with pytest.raises(ModuleNotFoundError, match="'no_such_module'.*the kernel has but this worker cannot import"):
        imported(ModuleName("no_such_module"))


def test_a_module_that_was_edited_is_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "edited_by_the_user.py"
    file.write_text("answer = 1\n")
    assert imported(ModuleName("edited_by_the_user", 100.0)).answer == 1
    file.write_text("answer = 2\n")
    assert imported(ModuleName("edited_by_the_user", 100.0)).answer == 1
    assert imported(ModuleName("edited_by_the_user", 101.0)).answer == 2
    del sys.modules["edited_by_the_user"]


def test_star_imports_and_shadowed_builtins() -> None:
    r, shadow, *_ = values(
        run_cell(payload("from math import *\nr = floor(2.5)\nlist = 3\nlist", {"floor": None}))
    )
    assert (r, shadow) == (2, 3)


def test_shell_escapes_run_in_the_cells_namespace() -> None:
    """In a process of its own: a shell is made, which changes the process."""
    import subprocess

    script = """
import sys
from raynb.base import engine
from raynb.jupyter.cells.analysis import analyse
from raynb.jupyter.on_worker.runner import CellPayload, CellJob, run_cell
said = []
class Engine:
    def emit(self, kind, text="", bundle=None):
        said.append((kind, bundle))
engine.set_current(Engine())
from raynb.jupyter.on_worker import display
display.install()
assert "IPython" not in sys.modules
source = '''
files = get_ipython().getoutput('echo $name {1 + 1}')
get_ipython().run_line_magic('time', 'y = len(files)')
display({'a': 1})
import IPython.display
IPython.display.display(IPython.display.HTML('<b>x</b>'))
[files, y]'''
code = analyse(source)
job = CellJob(code.source, "<c>", source, code.outputs, True, True, "", "In[1]")
import pickle
print(pickle.loads(pickle.dumps(run_cell(CellPayload(job, {"name": "hello"}))[1:3])))
print(said[0][1]["data"]["text/plain"], sorted(said[1][1]["data"]), said[2][1]["data"]["text/plain"])
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=110)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2] == "(1, [['hello 2'], 1])"
    assert done.stdout.splitlines()[-1] == "{'a': 1} ['text/html', 'text/plain'] [['hello 2'], 1]"


@pytest.mark.parametrize(
    "cell", ["big; display({'a': 1})", "import rlcompleter; big", "get_ipython().run_line_magic('time', 'big')",
             "get_ipython().run_line_magic('time', '1/0')", "get_ipython().run_line_magic('matplotlib', 'nothing')"],
)  # fmt: skip
def test_a_cell_that_has_ended_holds_no_value(cell: str) -> None:
    """Modules that keep `__main__` (IPython's completer is loaded by the first display) and the shell of magics
    held the variables of a cell, arrays in the object store among them, as long as the worker lived."""
    import subprocess

    script = f"""
import contextlib, gc, weakref
from types import SimpleNamespace
from raynb.base import engine
from raynb.jupyter.on_worker import display
from raynb.jupyter.on_worker.runner import CellPayload, CellJob, run_cell
engine.set_current(SimpleNamespace(emit=lambda kind, **said: None))
display.install()
class Big:
    pass
def run(big):
    with contextlib.suppress(BaseException):
        run_cell(CellPayload(CellJob({cell!r}, "<c>", {cell!r}, (), True, False, "", "In[1]"), {{"big": big}}))
    return weakref.ref(big)
held = run(Big())
gc.collect()
print(held() is None, [type(one) for one in gc.get_referrers(held())] if held() is not None else "")
"""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=110)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "True", done.stdout


def test_what_is_displayed_travels_as_pythons_own_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that only the task's process has, for marked-up text, say, made the task fail."""
    from raynb.jupyter.on_worker import display

    class Markup(str):
        pass

    said: list[Any] = []
    engine = SimpleNamespace(emit=lambda kind, bundle: said.append(bundle))
    monkeypatch.setattr("raynb.base.engine.current", lambda: engine)
    data = {"text/html": Markup("<b>x</b>"), "application/json": {Markup("a"): [Markup("b")]}}
    display.emit("display", {"data": data, "metadata": {}})
    (bundle,) = said
    assert bundle == {"data": data, "metadata": {}}
    assert pickle.loads(pickle.dumps(bundle)) == bundle
