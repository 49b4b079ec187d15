"""A real kernel: what fails is told, and where nobody watches it fails the cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession
from tests.jupyter.test_kernel_inspection import answer

pytestmark = pytest.mark.timeout(300)

STUCK = "gen = (n for n in range(3))"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "sqlite3")
    yield session
    session.close()


def test_where_nobody_watches_what_cannot_come_back_fails_the_cell(notebook: KernelSession) -> None:
    def fails(cell: str) -> str:
        run = notebook.run(cell, watched=False, ok=False)
        assert run.status == "error", cell
        return run.error

    assert "Could not serialize the result.gen: cannot pickle" in fails(f"%%remote\n{STUCK}")
    assert "Could not serialize the result.gen" in fails(f"%%remote --each x in range(3)\n{STUCK}")
    # A plain cell ends well without a name that a branch would have bound; so does this one, and says it.
    run = notebook.run("%%remote\nif not sqlite3:\n    never = 1", watched=False)
    assert "did not bind `never`: it has no value." in run.text
    notebook.run("def broken():\n    return 1 / 0")
    error = fails("x = 1\nref = %remote broken()")
    assert "Cell In[" in error
    assert "return 1 / 0" in error
    assert "Could not serialize" in fails("ref = %remote (n for n in range(3))")
    notebook.run("ref = %remote broken()\ntry:\n    ray.get(ref)\nexcept ZeroDivisionError:\n    pass", watched=False)
    # What the cell only worked with may stay on the worker.
    run = notebook.run(f"%%remote\n{STUCK}\ntotal = sum(gen)", watched=False)
    assert "`gen` cannot come back: cannot pickle 'generator' object." in run.text
    assert notebook.run("print(ray.get(total))").text == "3\n"
    notebook.run("%%remote\nif sqlite3:\n    one = 1\nelse:\n    two = 2", watched=False)


def test_what_cannot_come_back_is_told_where_somebody_watches(notebook: KernelSession) -> None:
    run = notebook.run(f"%%remote\n{STUCK}")
    notebook.until(lambda: "`gen` cannot come back: cannot pickle 'generator' object." in run.text)
    assert "Could not serialize the result.gen" in notebook.run(f"%%remote --get\n{STUCK}", ok=False).error
    run = notebook.run(f"%%remote --get\n{STUCK}\ntotal = sum(gen)\nif total > 3:\n    nowhere = 1")
    notebook.until(lambda: "`gen` cannot come back" in run.text)
    notebook.until(lambda: "did not bind `nowhere`: it has no value." in run.text)
    assert notebook.run("print(total, type(gen).__name__, 'nowhere' in globals())").text == "3 ObjectRef False\n"
    run = notebook.run("%%remote --each n in range(6) --wait\nout = n if n < 2 else (i for i in range(n))")
    notebook.until(lambda: "`out` cannot come back" in run.text)
    assert notebook.run("print(ray.get(out[:2]))").text == "[0, 1]\n"
    assert run.text.count("`out` cannot come back") == 1


def test_items_of_a_loop_have_names_in_tables_and_timelines(notebook: KernelSession) -> None:
    notebook.run("%%remote --each depth in range(5) --chunk 2 --wait\nheight = depth")
    table = notebook.run("%raynb tasks").text
    cell = table.split("depth=0")[0].split()[-1]
    assert f"{cell} depth=0 … depth=1#" in table
    assert f"{cell} depth=4#" in table
    assert notebook.run(f"%raynb tasks {cell}").text.count(" depth=") == 5
    assert "depth=4#" in str(notebook.run("%raynb timeline").outputs)


def test_errors_of_syntax_show_the_cells_own_line_and_no_frames(notebook: KernelSession) -> None:
    for cell, line in (("x = 1\nref = %remote 1 +", 2), ("%%remote\nx = 1\n1 +", 3)):
        run = notebook.run(cell, ok=False)
        assert f", line {line}\n" in run.error
        assert run.error.count("line ") == 1
    assert "%remote takes an expression and no options" in notebook.run("%remote --wait", ok=False).text


def test_in_the_kernel_itself_failures_are_told_too(tmp_path: Path) -> None:
    session = KernelSession(tmp_path)
    try:
        session.run("import raynb as ray\nray.init(local_mode=True)\n%load_ext raynb")
        session.run("@ray.remote\ndef fails(text):\n    raise ValueError(text)")
        session.run("held = fails.remote('held')\ntry:\n    ray.get(fails.remote('caught'))\nexcept ValueError: pass")
        run = session.run("fails.remote('dropped');")
        session.run("del held")
        session.until(lambda: "fails failed, and nobody has asked for its result: ValueError: dropped" in run.text)
        session.run("ray.wait([ray.put(1)])")
        session.until(lambda: any("ValueError: held" in run.text for run in session.runs.values()))
        assert not any("ValueError: caught" in run.text for run in session.runs.values())
        session.run("@ray.remote\ndef stops(x):\n    a = x + 1\n    breakpoint()\n    return a")
        run = session.send("print('value', ray.get(stops.remote(40)))")  # debugpy, which ipykernel brings, passes it
        answer(session, run, ["p a * 100", "c"])
        assert "4100\n" in run.text
        assert "value 41\n" in run.text
        run = session.run("print('value', ray.get(stops.remote(1)))", watched=False)
        assert "was passed: this front end cannot ask for commands" in run.text
        assert "value 2\n" in run.text
    finally:
        session.close()


def test_a_cell_with_gpus_ends_its_worker(notebook: KernelSession) -> None:
    notebook.run("%config Raynb.num_gpus = 1\n%raynb restart")
    notebook.run("%%remote --num-gpus 1 --get\nimport os\nfirst = os.getpid()")
    notebook.run("%%remote --num-gpus 1 --get\nimport os\nsecond = os.getpid()")
    assert notebook.run("print(first != second)").text == "True\n"
