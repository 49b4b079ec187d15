"""A real kernel: refs and handles as live lines, and what says that its code is old."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "os, sys, time")
    yield session
    session.close()


FUNCTION = "@ray.remote\ndef price(n):\n    return n * {factor}"


def test_a_ref_says_that_its_function_was_redefined(notebook: KernelSession) -> None:
    notebook.run(FUNCTION.format(factor=2) + "\nref = price.remote(21)\nray.get(ref)")
    assert "redefined" not in notebook.run("ref").shown[0]
    notebook.run("# run again, a line lower\n" + FUNCTION.format(factor=2))
    assert "redefined" not in notebook.run("ref").shown[0]
    notebook.run(FUNCTION.format(factor=3))
    shown = notebook.run("ref")
    assert shown.shown[0].endswith("the function price was redefined since, this is the old code's)")
    html = [content["data"]["text/html"] for kind, content in shown.outputs if kind == "display_data"]
    assert "price was redefined since" in html[0]
    fresh = notebook.run("new = price.remote(21)\nray.get(new)\nnew").shown[-1]
    assert "redefined" not in fresh
    assert notebook.run("ray.get([ref, new])").shown == ["[42, 63]"]


CLASS = """@ray.remote(num_cpus=0, max_restarts=2)
class {name}:
    def add(self, gate=''):
        while gate and not os.path.exists(gate):
            time.sleep(0.01)
        return {value}
"""


def test_a_handle_is_a_live_line(notebook: KernelSession, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    notebook.run(CLASS.format(name="Adder", value=1) + "adder = Adder.remote()\nray.get(adder.add.remote())")
    run = notebook.run(f"calls = [adder.add.remote({str(gate)!r}) for _ in range(3)]\nadder")
    assert run.shown[0].startswith("Actor(Adder alive, 3 calls pending, 0 of 2 restarts, pid ")
    assert "text/html" in run.mimetypes
    gate.touch()
    notebook.until(lambda: "Adder alive, 0 calls pending" in run.shown[0])
    notebook.run("%kill --restart adder")
    notebook.until(lambda: "alive, 0 calls pending, 1 of 2 restarts" in run.shown[0])
    notebook.run("%kill adder")
    notebook.until(lambda: "Adder is dead after 1 restart: " in run.shown[0])
    assert len(run.shown) == 1


def test_a_handle_and_its_refs_say_that_the_class_was_redefined(notebook: KernelSession) -> None:
    notebook.run(CLASS.format(name="Old", value=1) + "old = Old.remote()\nref = old.add.remote()\nray.get(ref)")
    run = notebook.run("old")
    assert "redefined" not in run.shown[0]
    notebook.run(CLASS.format(name="Old", value=2))
    words = "the class Old was redefined since"
    notebook.until(lambda: words in run.shown[0])
    assert words in notebook.run("ref").shown[0]
    assert words in notebook.run("old").shown[0]
    assert "redefined" not in notebook.run("young = Old.remote()\nyoung").shown[0]
    notebook.run("%kill old young")


ACTOR = "%%actor tally {flags}\nclass Tally:\n    def get(self):\n        return {value}"


def test_a_handle_of_an_actor_cell_says_so_too(notebook: KernelSession) -> None:
    notebook.run(ACTOR.format(flags="", value=1))
    assert notebook.run("first = tally\nray.get(tally.get.remote())").shown == ["1"]
    notebook.run(ACTOR.format(flags="--keep", value=2))
    assert "the class Tally was redefined since, this actor has the old code" in notebook.run("tally").shown[0]
    notebook.run(ACTOR.format(flags="", value=2))
    assert "redefined" not in notebook.run("tally").shown[0]
    replaced = notebook.run("first")
    notebook.until(lambda: "Tally is dead" in replaced.shown[0])
    notebook.run("%kill tally")


def test_showing_a_handle_keeps_no_actor_alive(notebook: KernelSession) -> None:
    notebook.run(CLASS.format(name="Brief", value=1))
    run = notebook.run("brief = Brief.remote()\nray.get(brief.add.remote())\nbrief")
    number = notebook.run("len(In) - 2").shown[0]
    assert notebook.run(f"ray.get(Out[{number}].add.remote())").shown == ["1"]
    notebook.run("del brief\n2")
    notebook.run("3\n4")
    notebook.run("5")
    notebook.until(lambda: "Brief is dead: all handles to it are gone" in run.shown[-1])


def test_a_line_of_a_runtime_that_is_gone_says_so(notebook: KernelSession) -> None:
    run = notebook.run(CLASS.format(name="Last", value=1) + "last = Last.remote()\nlast")
    notebook.run("%raynb restart")
    notebook.until(lambda: "its runtime is gone" in run.shown[0])
    assert run.shown[0].startswith("Actor(Last ")  # it also says what it was


def test_who_holds_an_object(notebook: KernelSession) -> None:
    notebook.run("class Box:\n    pass\nbox = Box()\nbox.part = ray.put(b'x' * 200_000)")
    notebook.run("two = [ray.put(b'y' * 300_000)]")
    notebook.run("ray.put(b'z' * 400_000)")
    notebook.run("def fails():\n    hidden = ray.put(b'w' * 500_000)\n    return hidden[0]\nfails()", ok=False)
    lines = notebook.run("%raynb objects").text.splitlines()
    held = {line.split("  ")[0].strip(): line.split("In[")[1].split("]", 1)[1].strip() for line in lines[1:]}
    assert held["box.part"] == "box.part"
    assert held["two[0]"] == "two[0]"
    assert "_" in held.values()
    assert "the traceback of TypeError (sys.last_value)" in held.values()


def test_the_timeline_of_the_last_cell_is_a_picture_that_stays(notebook: KernelSession) -> None:
    notebook.run("words = {str(n): [str(n)] for n in range(60_000)}\n@ray.remote\ndef look(w):\n    return len(w)")
    notebook.run("ray.get([look.remote(words) for _ in range(2)])")
    run = notebook.run("%raynb timeline")
    number = notebook.run("len(In) - 3").shown[0]
    text = run.shown[0]
    assert text.startswith(f"In[{number}]: 2 tasks in ")
    assert "serialising in the kernel" in text
    assert "% of the time was" in text
    assert [kind for kind, _ in run.outputs] == ["execute_result"], "nothing that needs a front end"
    html = run.outputs[0][1]["data"]["text/html"]
    assert html.count("<svg") == 1
    assert "serialising words" in html
    assert "look#" in html
    again = notebook.run(f"%raynb timeline {number}")
    assert again.shown[0].splitlines()[0] == text.splitlines()[0]
    assert "no tasks" in notebook.run("%raynb timeline 9999").shown[0]


def test_a_captured_value_of_a_cell_has_its_name_in_the_timeline(notebook: KernelSession) -> None:
    notebook.run("table = {str(n): [str(n)] for n in range(60_000)}")
    notebook.run("%%remote --wait\nn = len(table)")
    assert "serialising table" in notebook.run("%raynb timeline").outputs[0][1]["data"]["text/html"]
