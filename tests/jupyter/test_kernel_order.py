"""A real kernel: a task's output stands before what the cell prints next, and goes where the cell's own goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession, Run

pytestmark = pytest.mark.timeout(300)

DEFINITIONS = """
import concurrent.futures
from raynb.util import Executor
@ray.remote
def f(n=0):
    print("task", n)
    return n
@ray.remote
class A:
    def m(self, n):
        print("task", n)
        return n
    async def late(self, n):
        print("task", n)
        return n
    def items(self):
        for n in range(3):
            print("task", n)
            yield n
a = A.remote()
def both():
    return io.StringIO(), io.StringIO()
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "os, sys, time, io, contextlib, asyncio")
    session.run("%config Raynb.progress = False")  # a slow machine would show bars
    session.run(DEFINITIONS)
    yield session
    session.close()


def lines(run: Run) -> list[str]:
    """Returns what a cell printed, without prefixes."""
    import re

    return [re.sub(r"^\x1b\[2m.*?\x1b\[0m ", "", line) for line in run.text.splitlines()]


ORDERED = [word for n in range(3) for word in (f"task {n}", f"after {n}")]


@pytest.mark.parametrize("wait", [
    "ray.get(f.remote(n))",
    "ray.get([f.remote(n)])",
    "ray.wait([f.remote(n)])",
    "ray.wait([f.remote(n)], fetch_local=False)",
    "await f.remote(n)",
    "await asyncio.gather(f.remote(n))",
    "await asyncio.wrap_future(f.remote(n).future())",
    "f.remote(n).future().result()",
    "concurrent.futures.wait([f.remote(n).future()])",
    "list(ray.as_completed([f.remote(n)]))",
    "list(Executor().map(f.func if hasattr(f, 'func') else f._function, [n]))",
    "ray.get(a.m.remote(n))",
    "ray.get(a.late.remote(n))",
    "get_ipython().run_cell_magic('remote', '--wait', f'print(\"task\", {n})')",
    "ref = a.m.remote(n); get_ipython().run_line_magic('get', 'ref')",
])  # fmt: skip
def test_a_tasks_output_stands_before_what_the_cell_prints_next(notebook: KernelSession, wait: str) -> None:
    run = notebook.run(f"for n in range(3):\n    {wait}\n    print('after', n)")
    assert lines(run) == ORDERED


def test_items_of_a_generator_are_in_order_too(notebook: KernelSession) -> None:
    stream = "a.items.options(num_returns='streaming').remote()"
    for run in (
        notebook.run(f"for ref in {stream}:\n    print('after', ray.get(ref))"),
        notebook.run(f"async for ref in {stream}:\n    print('after', await ref)"),
    ):
        found = lines(run)
        assert sorted(found) == sorted(ORDERED)
        for n in range(3):
            assert found.index(f"task {n}") < found.index(f"after {n}")


def test_scripts_timed_cells_and_lines_without_an_end(notebook: KernelSession, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import raynb as ray\nray.get(ray.remote(lambda: print('task')).remote())\nprint('after')\n")
    assert lines(notebook.run(f"%run {script}")) == ["task", "after"]
    assert lines(notebook.run("%%time\nray.get(f.remote())\nprint('after')"))[:2] == ["task 0", "after"]
    run = notebook.run("ray.get(ray.remote(lambda: print('dots', end='..')).remote())\nprint('after')")
    assert run.text == "dots..after\n"


def test_what_a_task_starts_and_both_streams_are_in_order(notebook: KernelSession) -> None:
    run = notebook.run(
        "@ray.remote\ndef outer():\n    print('begins')\n    ray.get(f.remote(1))\n    print('ends')\n"
        "ray.get(outer.remote())\nprint('after')"
    )
    assert lines(run) == ["begins", "task 1", "ends", "after"]
    run = notebook.run(
        "@ray.remote\ndef warns(n):\n    print('out', n)\n    print('err', n, file=sys.stderr)\n"
        "for n in range(3):\n    ray.get(warns.remote(n))\n    print('after', n)"
    )
    assert lines(run) == [f"{word} {n}" for n in range(3) for word in ("out", "err", "after")]


@pytest.mark.parametrize("wait", [
    "ray.get(f.remote(5))", "await f.remote(5)", "f.remote(5).future().result()", "ray.wait([f.remote(5)])",
    "get_ipython().run_cell_magic('remote', '--wait', 'print(\"task\", 5)')",
])  # fmt: skip
def test_redirected_output_takes_the_tasks_that_are_awaited_inside(notebook: KernelSession, wait: str) -> None:
    notebook.run("buffer = io.StringIO()")
    run = notebook.run(f"with contextlib.redirect_stdout(buffer):\n    {wait}\nbuffer.getvalue()")
    assert run.text == ""
    assert run.shown == ["'task 5\\n'"]


def test_captured_cells_take_streams_and_displays(notebook: KernelSession) -> None:
    notebook.run(
        "%%capture cap\n@ray.remote\ndef show():\n    display(3)\n    print('out')\n    print('err', file=sys.stderr)\n"
        "ray.get(show.remote())\nx = 1"
    )
    run = notebook.run("print([cap.stdout, cap.stderr, [o.data for o in cap.outputs]])")
    assert run.text == "['out\\n', 'err\\n', [{'text/plain': '3'}]]\n"
    notebook.run("%%capture cap\n%%remote --wait\nprint('inside')")
    assert notebook.run("print(repr(cap.stdout))").text == "'inside\\n'\n"


def test_what_nobody_awaits_inside_goes_to_the_cell(notebook: KernelSession, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = notebook.run(
        "@ray.remote\ndef beside():\n    print('beside')\n    sys.stdout.flush()\n"
        f"    open({str(gate)!r}, 'w').close()\n"
        "buffer = io.StringIO()\nref = None\nwith contextlib.redirect_stdout(buffer):\n"
        f"    ref = beside.remote()\n    while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "    print('mine')\nray.get(ref)\nprint(repr(buffer.getvalue()))"
    )
    assert lines(run) == ["beside", "'mine\\n'"]


def test_an_inner_redirection_takes_no_output_of_other_tasks(notebook: KernelSession, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    notebook.run(
        "@ray.remote\ndef told(text, path=None):\n    print(text)\n    sys.stdout.flush()\n"
        "    if path:\n        open(path, 'w').close()\n    else:\n        ray.get(f.remote(text))"
    )
    run = notebook.run(
        f"beside, buffer = told.remote('beside', {str(gate)!r}), io.StringIO()\n"
        "with contextlib.redirect_stdout(buffer):\n"
        f"    while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "    ray.get(told.remote('awaited'))\n    print('mine')\n"
        "ray.get(beside)\nprint(buffer.getvalue().split('\\n'))"
    )
    assert lines(run) == ["beside", "['awaited', 'task awaited', 'mine', '']"]
    done = tmp_path / "done"
    run = notebook.run(  # a widget's context takes as little
        "from ipywidgets import Output\n@ray.remote\ndef late():\n"
        f"    while not os.path.exists({str(gate)!r} + '2'): time.sleep(0.01)\n"
        f"    print('other')\n    sys.stdout.flush()\n    open({str(done)!r}, 'w').close()\n"
        f"other = late.remote()\nwith Output():\n    print('in')\n    open({str(gate)!r} + '2', 'w').close()\n"
        f"    while not os.path.exists({str(done)!r}): time.sleep(0.01)\n    print('end')\nray.get(other)"
    )
    assert lines(run) == ["in", "end", "other"]


def test_a_stream_that_fails_loses_no_other_output(notebook: KernelSession) -> None:
    run = notebook.run(
        "class Bad(io.StringIO):\n    def write(self, text):\n        raise RuntimeError('no')\n"
        "with contextlib.redirect_stdout(Bad()):\n    ray.get(f.remote(1))\nray.get(f.remote(2))\nprint('after')"
    )
    assert [line for line in lines(run) if line.startswith(("task", "after"))] == ["task 1", "task 2", "after"]


def test_a_widgets_callback_gets_the_output_of_what_it_awaits(notebook: KernelSession) -> None:
    run = notebook.run(
        "import ipywidgets\nbutton, out = ipywidgets.Button(), ipywidgets.Output()\n"
        "def clicked(_):\n    with out:\n        print('before')\n        ray.get(f.remote(7))\n"
        "        print('after')\n"
        "button.on_click(clicked)\nprint(button.comm.comm_id)"
    )
    client = notebook.client
    message = client.session.msg(
        "comm_msg", {"comm_id": run.text.strip(), "data": {"method": "custom", "content": {"event": "click"}}}
    )
    click = notebook.runs[message["header"]["msg_id"]] = Run(message["header"]["msg_id"])
    client.shell_channel.send(message)
    notebook.until(lambda: click.idle)
    assert lines(click) == ["before", "task 7", "after"]
    assert lines(notebook.run("ray.get(f.remote(8))\nprint('after')")) == ["task 8", "after"]


def test_halves_of_surrogate_pairs_end_nothing(notebook: KernelSession) -> None:
    run = notebook.run(
        "@ray.remote\ndef odd():\n    print('one \\ud83d half', '\\ud83d\\ude00')\n"
        "    display({'text/plain': '\\udc00'}, raw=True)\n"
        "    raise ValueError('\\ud83d')\nray.get(odd.remote())", ok=False
    )
    assert run.text == "one \ufffd half \U0001f600\n"
    assert run.status == "error"
    notebook.run("ray.get(f.remote(1))\nawait f.remote(2)")
    late = notebook.run("ref = f.remote(3)")
    notebook.until(lambda: late.text == "task 3\n")
