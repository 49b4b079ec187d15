"""A real kernel: what tasks print, show and raise appears under the cell that submitted them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "os, sys, time")
    session.run("%config Raynb.progress = False")  # a slow machine would show bars
    yield session
    session.close()


def test_the_value_of_a_cell_is_shown_where_it_was_submitted(notebook: KernelSession) -> None:
    run = notebook.run("%%remote\ndata = [1, 2, 3]\nsum(data)")
    notebook.until(lambda: run.shown == ["6"])
    assert notebook.run("%get data\ndata").shown == ["[1, 2, 3]"]


def test_eight_prints_and_both_streams_keep_their_lines(notebook: KernelSession) -> None:
    run = notebook.run(
        "@ray.remote\ndef chatter():\n    for n in range(8):\n        print('line', n)\n"
        "    print('oops', file=sys.stderr)\nray.get(chatter.remote())"
    )
    assert run.printed("stdout") == "".join(f"line {n}\n" for n in range(8))
    assert run.printed("stderr") == "oops\n"


def test_writes_of_c_code_and_of_subprocesses_are_shown(notebook: KernelSession) -> None:
    run = notebook.run("%%remote --wait\nimport subprocess\nos.write(1, b'from C\\n');\nsubprocess.run(['echo', 'child']);")  # noqa: E501
    notebook.until(lambda: "child" in run.text)
    assert "from C\n" in run.text


def test_late_output_goes_to_its_own_cell_while_another_runs(notebook: KernelSession, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    early = notebook.run(
        f"@ray.remote\ndef wait_and_speak():\n    print('begun')\n    while not os.path.exists({str(gate)!r}):\n"
        "        time.sleep(0.01)\n    print('late words')\nref = wait_and_speak.remote()"
    )
    notebook.until(lambda: early.text == "begun\n")
    later = notebook.send(f"open({str(gate)!r}, 'w').close()\nray.get(ref)\nprint('second cell')")
    notebook.until(lambda: later.idle and "late words" in early.text)
    assert early.text == "begun\nlate words\n"
    assert later.text == "second cell\n"


def test_two_tasks_of_a_cell_say_who_they_are(notebook: KernelSession, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")  # one that prints before the other is submitted is alone in the cell
    run = notebook.run(
        f"@ray.remote\ndef hello(n):\n    while not os.path.exists({gate!r}):\n        time.sleep(0.01)\n"
        "    print('hello', n)\n"
        f"refs = [hello.remote(n) for n in range(2)]\nopen({gate!r}, 'w').close()\nray.get(refs);"
    )
    notebook.until(lambda: run.text.count("\n") == 2)
    lines = run.text.replace("\x1b[2m", "<").replace("\x1b[0m", ">").splitlines()
    lines.sort(key=lambda line: line.split("> ")[1])  # the two run at once
    assert [line.split("> ")[1] for line in lines] == ["hello 0", "hello 1"]
    assert all(line.startswith("<hello#") for line in lines)


def test_displays_figures_and_updates_of_a_task(notebook: KernelSession) -> None:
    run = notebook.run(
        "%%remote --wait\nfrom IPython.display import HTML\nshown = display(HTML('<b>bold</b>'), display_id=True)\n"
        "shown.update(HTML('<i>italic</i>'))\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
        "figure = plt.gcf().number\n[3, 4]"
    )
    notebook.until(lambda: "image/png" in run.mimetypes and "[3, 4]" in run.shown)
    assert "text/html" in run.mimetypes
    assert [kind for kind, _ in run.outputs].count("update_display_data") >= 1


def test_a_failing_task_shows_the_cell_the_line_and_its_source(notebook: KernelSession) -> None:
    made = notebook.run("@ray.remote\ndef divide(a, b):\n    # a comment\n    return a / b")
    assert made.status == "ok"
    run = notebook.run("x = 1\nray.get(divide.remote(x, 0))", ok=False)
    assert run.status == "error"
    assert run.reply is not None
    assert run.reply["ename"] == "RayTaskError(ZeroDivisionError)"
    lines = run.error.splitlines()
    assert lines[1].startswith("ZeroDivisionError")
    assert "----> 2 ray.get(divide.remote(x, 0))" in lines
    assert any(line.endswith(", line 4, in divide") and line.startswith("Cell In[") for line in lines)
    assert "----> 4     return a / b" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "raynb/" not in run.error, "frames of raynb are nobody's business"
    caught = notebook.run("try:\n    ray.get(divide.remote(1, 0))\nexcept ZeroDivisionError as e:\n    print('caught')")
    assert caught.text == "caught\n"


def test_a_failing_cell_shows_its_error_without_failing_later_cells(notebook: KernelSession) -> None:
    run = notebook.run("%%remote\nprint('before')\na = 1\nb = a / 0")
    notebook.until(lambda: bool(run.error))
    assert run.printed("stdout") == "before\n"
    assert "----> 4 b = a / 0" in run.error
    again = notebook.run("ray.get(b)", ok=False)
    assert again.reply is not None
    assert "ZeroDivisionError" in again.reply["ename"]


def test_a_cell_that_is_not_python_submits_nothing(notebook: KernelSession) -> None:
    before = notebook.run("%raynb status").text.splitlines()[1]
    run = notebook.run("%%remote\nx = = 1", ok=False)
    assert "SyntaxError" in run.error
    assert "line 2" in run.error
    bad = notebook.run("%%remote --num-cpus [2]\nx = 1", ok=False)
    assert "--num-cpus takes a number" in bad.error + bad.text
    assert notebook.run("%raynb status").text.splitlines()[1] == before


def test_ten_thousand_lines_are_folded_and_all_kept(notebook: KernelSession) -> None:
    run = notebook.run("%%remote --wait\nfor n in range(10_000):\n    print('line', n)")
    notebook.until(lambda: any("9,000 more lines" in text for text in run.shown))
    assert run.text.count("\n") == 1000
    number = notebook.run("len(In) - 2").shown[0]
    log = notebook.run(f"%raynb logs {number} --grep 9999").text
    assert log.endswith("line 9999\n")


def test_what_came_while_nobody_was_there_is_shown_again(notebook: KernelSession) -> None:
    code = "import sys\nprint('first'); print('second', file=sys.stderr); display({'a': 1})\nprint('no end', end='')"
    code += "\nx = 6 * 7\nx"
    run = notebook.run(f"%%remote --wait\n{code}")
    notebook.until(lambda: "42" in run.shown)
    number = notebook.run("len(In) - 2").shown[0]
    again = notebook.run(f"%raynb logs --cell {number}")
    assert again.printed("stdout") == run.printed("stdout")
    assert again.printed("stderr") == "second\n"
    assert again.shown == run.shown == ["{'a': 1}", "42"]
    notebook.run("%%remote --wait --each i in range(2)\nprint('item', i)\nif i: 1 / 0", ok=False)
    number = notebook.run("len(In) - 2").shown[0]
    again = notebook.run(f"%raynb logs --cell {number}")
    assert again.printed("stdout").count("item") == 2
    assert "ZeroDivisionError" in again.printed("stderr")
    assert "have shown nothing" in notebook.run("%raynb logs --cell 1").text
    assert "takes the number of a cell" in notebook.run("%raynb logs --cell x", ok=False).text


def test_nothing_is_lost_where_nobody_watches(notebook: KernelSession) -> None:
    run = notebook.run("%%remote\ntime.sleep(0.3)\nprint('slow')\n'value'", watched=False)
    assert run.text == "slow\n"
    assert run.shown == ["'value'"]


def test_a_ref_is_a_live_line_that_ends_true(notebook: KernelSession, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = notebook.run(
        f"@ray.remote\ndef slow():\n    while not os.path.exists({str(gate)!r}):\n        time.sleep(0.01)\n"
        "    return bytes(1000)\nref = slow.remote()\nref"
    )
    assert run.shown[0].startswith("ObjectRef(slow#")
    notebook.until(lambda: "running since" in run.shown[0])
    gate.touch()
    notebook.until(lambda: "finished in" in run.shown[0])
    assert "1.0 KB" in run.shown[0]
    assert len(run.shown) == 1
    assert "text/html" in run.mimetypes


def test_showing_a_ref_pins_nothing(notebook: KernelSession) -> None:
    notebook.run("ray.put(b'x' * 3_000_000)")
    notebook.run("1\n2")
    notebook.run("2")
    notebook.run("3")
    notebook.run("4")
    table = notebook.run("%raynb objects").text
    assert "3.0 MB" not in table


def test_progress_of_a_loop(notebook: KernelSession) -> None:
    notebook.run("%config Raynb.progress = True")
    run = notebook.run("%%remote --each n in range(6)\ntime.sleep(0.05)\ny = n * n")
    notebook.until(lambda: any("6/6" in text for text in run.shown))
    assert notebook.run("%get y\ny").shown == ["[0, 1, 4, 9, 16, 25]"]


def test_the_first_failure_of_a_loop_shows_and_stops_the_rest(notebook: KernelSession) -> None:
    notebook.run("%config Raynb.progress = True")
    cell = "%%remote --each n in range(40) --stop-on-error\nwhile n > 1: time.sleep(0.01)\ny = 1 / (n - 1)"
    run = notebook.run(cell)
    notebook.until(lambda: any("40/40" in text for text in run.shown) and bool(run.error))
    assert run.error.count("ZeroDivisionError: division by zero") == 1
    assert any("cancelled" in text for text in run.shown)


def test_an_items_own_error_comes_through_chunks(notebook: KernelSession) -> None:
    notebook.run("%config Raynb.progress = True")
    cell = "%%remote --each n in range(6) --chunk 3 {flags}\ntime.sleep(0.01)\ny = n if n != 4 else [] + n"
    run = notebook.run(cell.format(flags=""))
    notebook.until(lambda: any("6/6" in text and "1 failed" in text for text in run.shown) and bool(run.error))
    assert run.error.count('TypeError: can only concatenate list (not "int") to list') == 1
    assert "----> 3 y = n if n != 4 else [] + n" in run.error
    assert notebook.run("ray.get([y[3], y[5]])").shown == ["[3, 5]"]
    failed = notebook.run("ray.get(y[4])", ok=False)
    assert failed.reply is not None
    assert failed.reply["ename"] == "RayTaskError(TypeError)"
    assert failed.error.endswith('TypeError: can only concatenate list (not "int") to list')
    assert "serialize" not in failed.error
    waited = notebook.run(cell.format(flags="--wait"), ok=False)
    assert waited.reply is not None
    assert waited.reply["ename"] == "RayTaskError(TypeError)"
    stopped = notebook.run(
        "%%remote --each n in range(400) --chunk 4 --stop-on-error\nwhile n > 3: time.sleep(0.01)\n"
        "y = [][n] if n == 1 else n"
    )
    notebook.until(lambda: any("400/400" in text for text in stopped.shown) and bool(stopped.error))
    assert "IndexError" in stopped.error
    assert any("cancelled" in text for text in stopped.shown)


def test_unpicklable_inputs_and_outputs_are_named(notebook: KernelSession) -> None:
    notebook.run("stream = (n for n in range(3))")
    run = notebook.run("%%remote\nx = list(stream)", ok=False)
    assert "'stream' (generator) cannot travel to a worker" in run.error
    notebook.run("%%remote --wait\ngen = (n for n in range(3))\nfine = 7", ok=False)
    assert notebook.run("ray.get(fine)").shown == ["7"]
    failed = notebook.run("ray.get(gen)", ok=False)
    assert "gen" in failed.error
    assert "generator" in failed.error
