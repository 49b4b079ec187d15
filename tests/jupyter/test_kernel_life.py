"""A real kernel: loading, interrupting, running again, unloading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession, Run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "os, time, asyncio")
    session.run(
        "@ray.remote\ndef nap(s=600, word=''):\n    print('napping', flush=True)\n    time.sleep(s)\n    return word\n"
        "@ray.remote\ndef gated(gate, word=''):\n    print('napping', flush=True)\n"
        "    while not os.path.exists(gate):\n        time.sleep(0.01)\n    return word"
    )
    yield session
    session.close()


@pytest.fixture
def bars(notebook: KernelSession) -> Iterator[None]:
    """Waits show bars, at once."""
    notebook.run("%config Raynb.progress_delay = 0.1")
    yield
    notebook.run("%config Raynb.progress_delay = 600")


def interrupted(notebook: KernelSession, run: Run) -> Run:
    """Interrupts a cell that shows that its tasks run; one with a bar has submitted all of them and waits."""
    notebook.until(lambda: "napping" in run.text)
    notebook.manager.interrupt_kernel()
    notebook.until(lambda: run.reply is not None and run.idle)
    assert run.status == "error"
    return run


@pytest.mark.parametrize(
    "cell",
    [
        "ray.get([nap.remote() for _ in range(4)])",
        "refs = [nap.remote() for _ in range(4)]\nray.wait(refs, num_returns=4)",
        "for ref in [nap.remote() for _ in range(4)]:\n    ray.get(ref)",
        "await asyncio.gather(*[nap.remote() for _ in range(4)])",
        "%%remote --each n in range(4) --wait\nprint('napping')\ntime.sleep(600)",
        "%%remote --each n in range(4) --get\nprint('napping')\ntime.sleep(600)\nx = 1",
    ],
    ids=["get", "wait", "loop of gets", "await", "--wait", "--get"],
)
def test_an_interrupt_ends_the_wait_and_the_cells_own_tasks(notebook: KernelSession, bars: None, cell: str) -> None:
    run = notebook.send(cell)
    notebook.until(lambda: bool(run.bars))
    interrupted(notebook, run)
    assert run.reply is not None
    assert run.reply["ename"] in ("KeyboardInterrupt", "CancelledError")
    assert "raynb/" not in run.error, "where in raynb the interrupt struck is nobody's business"
    notebook.until(lambda: "4 tasks of this cell cancelled, 0 had finished" in run.text)
    # The tasks hold no CPU any more: they would sleep for ten minutes.
    assert notebook.run("ray.get(nap.remote(0, 'awake'))").shown[-1] == "'awake'"


def test_an_interrupt_leaves_other_cells_tasks_actors_and_objects_alone(
    notebook: KernelSession, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    notebook.run(
        f"other_ref = gated.remote({str(gate)!r}, 'other cell')\nstored = ray.put([1, 2])\n"
        "@ray.remote(num_cpus=0)\nclass Keeper:\n    def __init__(self):\n        self.n = 5\n"
        "    def get(self):\n        return self.n\nkeeper = Keeper.remote()\nray.get(keeper.get.remote())"
    )
    interrupted(notebook, notebook.send("ray.get(nap.remote())"))
    gate.touch()
    seen = notebook.run("ray.get([other_ref, stored, keeper.get.remote()])").shown
    assert seen == ["['other cell', [1, 2], 5]"]


def test_an_interrupt_may_leave_the_tasks(notebook: KernelSession, bars: None, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    notebook.run("%config Raynb.interrupt = 'leave'")
    run = notebook.send(f"left = gated.remote({str(gate)!r}, 'went on')\nray.get(left)")
    notebook.until(lambda: bool(run.bars))
    interrupted(notebook, run)
    notebook.until(lambda: "1 task of this cell goes on running" in run.text)
    notebook.run("%config Raynb.interrupt = 'cancel'")
    gate.touch()
    assert notebook.run("ray.get(left)").shown[-1] == "'went on'"


def test_bad_settings_are_refused_by_name(notebook: KernelSession) -> None:
    run = notebook.run("%config Raynb.output_lines = 0")
    assert "output_lines must be at least 1" in run.text + run.error
    assert "Raynb.interrupt" in notebook.run("%raynb config").text
    said = notebook.run("%config Raynb.num_cpus = 3").text
    assert "%raynb restart" in said
    notebook.run("%config Raynb.num_cpus = 2")


ACTOR = """%%actor counter -- {start}
class Counter:
    def __init__(self, n):
        self.n = n

    def add(self):
        self.n += {step}
        return self.n"""


def test_running_an_actor_cell_again_replaces_the_actor(notebook: KernelSession) -> None:
    notebook.run(ACTOR.format(start=1, step=1))
    assert notebook.run("first = counter\nray.get(counter.add.remote())").shown == ["2"]
    notebook.run(ACTOR.format(start=10, step=5))
    assert notebook.run("ray.get(counter.add.remote())").shown == ["15"]
    gone = notebook.run("ray.get(first.add.remote())", ok=False)
    assert gone.reply is not None
    assert gone.reply["ename"] == "ActorDiedError"


def test_an_actor_can_be_kept_looked_into_and_killed(notebook: KernelSession) -> None:
    notebook.run(ACTOR.format(start=1, step=1))
    notebook.run("ray.get(counter.add.remote())")
    notebook.run(ACTOR.format(start=1, step=1).replace("%%actor counter", "%%actor counter --keep"))
    assert notebook.run("ray.get(counter.add.remote())").shown == ["3"]
    looked = notebook.run("%%on counter\nprint('n is', self.n)\nself.n = 40\nbefore = self.n\nself.n + 2")
    notebook.until(lambda: looked.shown == ["42"] and "n is 3" in looked.text)
    assert notebook.run("%get before\nbefore").shown == ["40"]
    assert notebook.run("ray.get(counter.add.remote())").shown == ["41"]
    notebook.run("%kill counter")
    assert "ActorDiedError" in notebook.run("ray.get(counter.add.remote())", ok=False).error
    wrong = notebook.run("%%actor\nx = 1", ok=False)
    assert "the cell defines no class" in wrong.text


def test_a_redefined_function_runs_its_new_code(notebook: KernelSession) -> None:
    cell = "@ray.remote\ndef version():\n    return helper()\ndef helper():\n    return {}\nray.get(version.remote())"
    assert notebook.run(cell.format(1)).shown == ["1"]
    assert notebook.run(cell.format(2)).shown == ["2"]


def test_line_magics(notebook: KernelSession) -> None:
    notebook.run("def square(x):\n    return x * x\nref = %remote square(7)")
    assert notebook.run("%wait ref").text == "All 1 ready.\n"
    assert notebook.run("%get ref\nref").shown == ["49"]
    notebook.run("%put ref")
    assert notebook.run("ray.get(ref)").shown == ["49"]
    assert "is not defined" in notebook.run("%get nothing_here", ok=False).text
    long = notebook.run("sleeper = nap.remote()")
    notebook.until(lambda: "napping" in long.text)
    assert "Cancelled 1 task" in notebook.run("%cancel --cell").text
    stream = "@ray.remote\ndef stream():\n    yield 1\n    while True:\n        __import__('time').sleep(0.01)\n"
    notebook.run(stream + "items = stream.remote()\nray.get(next(items))")
    assert "Cancelling 1 task" in notebook.run("%cancel items").text
    assert "TaskCancelledError" in notebook.run("ray.get(items.completed())", ok=False).error
    assert "TaskCancelledError" in notebook.run("ray.get(sleeper)", ok=False).error
    assert "has no command 'sing'" in notebook.run("%raynb sing", ok=False).text


def test_completion_of_options_commands_and_refs(notebook: KernelSession) -> None:
    notebook.run("my_ref = ray.put(1)")
    assert "--each" in notebook.completions("%%remote --ea")
    assert notebook.completions("%raynb da") == ["dashboard"]
    assert notebook.completions("%raynb dashboard tim") == ["timeline"]
    assert notebook.completions("%raynb start --obj") == ["--object-store-memory"]
    assert notebook.completions("%raynb forget --") == ["--all", "--older"]
    assert "my_ref" in notebook.completions("%get my_")
    assert "--max-restarts" in notebook.completions("%%actor x --max-r")


def test_loading_again_shows_the_card_and_keeps_the_runtime(notebook: KernelSession) -> None:
    pids = notebook.run("kept = ray.put(5)\nray.get(kept)").shown
    assert pids == ["5"]
    card = notebook.run("%load_ext raynb")
    assert "%raynb dashboard" in card.shown[0]
    assert "already loaded" not in card.text
    assert notebook.run("ray.get(kept)").shown == ["5"]


def test_stopping_starting_reloading_and_unloading(notebook: KernelSession) -> None:
    notebook.run("old = ray.put(1)")
    assert "means raynb" in notebook.run("%raynb as-ray").text
    meant = "import ray as named\nnamed.__name__, ray.get(ray.remote(lambda: __import__('ray').__name__).remote())"
    assert notebook.run(meant).shown == ["('ray', 'ray')"]
    assert "stopped" in notebook.run("%raynb stop").text
    assert notebook.run("'ray' in __import__('sys').modules").shown == ["False"]  # it ends with the runtime
    gone = notebook.run("ray.get(old)", ok=False)
    assert "was shut down" in gone.error
    refused = notebook.run("%raynb start --num-cpus -1", ok=False)
    assert [kind for kind, _ in refused.outputs].count("error") == 1, "an error is told of once"
    notebook.run("%config Raynb.num_cpus = 2")
    notebook.run("%raynb start")
    assert notebook.run("ray.get(nap.remote(0, 'again'))").shown == ["'again'"]
    notebook.run("%reload_ext raynb")
    assert notebook.run("%%remote --get\ny = 3").status == "ok"
    assert notebook.run("y").shown == ["3"]
    notebook.run("%unload_ext raynb")
    assert "not found" in notebook.run("%%remote\nx = 1", ok=False).text
    assert "is not an IPython extension" in notebook.run("%load_ext json").text, "IPython's own again"
    assert "Raynb" not in notebook.run("%config").text
    notebook.run(
        "import threading\nwhile any('raynb' in thread.name for thread in threading.enumerate()):\n    time.sleep(0.01)"
    )
    notebook.run("ray.init(num_cpus=2)\nray.get(nap.remote(0))\nray.shutdown()")
    notebook.run("%load_ext raynb\n%config Raynb.num_cpus = 2")
    assert notebook.run("%%remote --get\ny = 4").status == "ok"


@pytest.mark.parametrize(
    "cell",
    [
        "ray.get([gated.remote(gate) for _ in range(6)])",
        "refs = [gated.remote(gate) for _ in range(6)]\nray.wait(refs, num_returns=6);",
        "for ref in [gated.remote(gate) for _ in range(6)]:\n    ray.get(ref)",
        "await asyncio.gather(*[gated.remote(gate) for _ in range(6)])",
        "futures = [gated.remote(gate).future() for _ in range(6)]\n[f.result() for f in futures]",
        "%%remote --each n in range(6) --wait\nimport os, time\nwhile not os.path.exists(gate):\n    time.sleep(0.01)",
    ],
    ids=["get", "wait", "loop of gets", "await", "futures", "magic"],
)
def test_a_wait_shows_a_bar_that_counts(notebook: KernelSession, bars: None, tmp_path: Path, cell: str) -> None:
    gate = tmp_path / "gate"
    notebook.run(f"gate = {str(gate)!r}")
    one_by_one = cell.startswith(("for ref", "futures"))  # only those that are not there yet are waited for
    check_bar(notebook, notebook.send(cell), gate, r"([1-6])/\1 " if one_by_one else "6/6")


def check_bar(notebook: KernelSession, run: Run, gate: Path, counted: str) -> None:
    """Opens the gate once the bar is there; it ends full, and there is no other."""
    notebook.until(lambda: bool(run.bars))
    gate.touch()
    notebook.until(lambda: run.reply is not None and run.idle)
    assert run.status == "ok", run.error
    assert len(run.bars) == 1, run.shown
    assert re.search(counted, run.bars[0])
    assert "took" in run.bars[0]


def test_a_bar_counts_what_is_waited_for_and_ends_with_a_true_text(
    notebook: KernelSession, bars: None, tmp_path: Path
) -> None:
    gates = [tmp_path / "first", tmp_path / "rest"]
    notebook.run(f"gates = {[str(gate) for gate in gates]!r}")
    run = notebook.send("six = [gated.remote(gates[n > 0]) for n in range(6)]\nray.get(six[0])")
    check_bar(notebook, run, gates[0], "1/1")
    run = notebook.send("ray.get([nap.remote() for _ in range(2)])")
    notebook.until(lambda: any("0/2" in text for text in run.bars))
    gates[1].touch()
    interrupted(notebook, run)
    notebook.until(lambda: any("0/2" in text and "interrupted after" in text for text in run.bars))
    notebook.run("ray.wait(six, num_returns=6)")


def test_lists_of_refs_are_readable(notebook: KernelSession) -> None:
    notebook.run("many = [nap.remote(0) for _ in range(7)]\nray.wait(many, num_returns=7)")
    run = notebook.run("many")
    assert "list of 7 refs: 7 finished" in run.shown[0]
    assert run.shown[0].count("nap#") == 5
    assert "… 2 more" in run.shown[0]
    assert "text/html" in run.mimetypes
    assert "dict of 1 ref: 1 finished" in notebook.run("{'a': many[0]}").shown[0]
    assert notebook.run("[1, 2], (3,), {}").shown == ["([1, 2], (3,), {})"]


def test_help_lists_every_magic_and_typos_are_answered(notebook: KernelSession) -> None:
    text = notebook.run("%raynb help").text
    ours = ["%%remote", "%%actor", "%%everywhere", "%%on", "%get", "%put", "%wait", "%cancel", "%kill"]
    for name in (*ours, "%raynb timeline"):
        assert f"{name} " in text, (name, text)
    assert "did you mean 'dashboard'" in notebook.run("%raynb dashbord", ok=False).text
    notebook.run("ray.get(nap.remote(0, 'x'))")
    assert notebook.run("%raynb logs In[1]").status == "ok"
    assert notebook.run("%raynb logs In [1]").status == "ok"


def test_a_report_is_one_file_that_needs_nothing(notebook: KernelSession, tmp_path: Path) -> None:
    notebook.run("@ray.remote\ndef reported(x):\n    return x\nkept = ray.put('<b>' * 9)")
    notebook.run("ray.get([reported.remote(i) for i in range(3)])")
    path = tmp_path / "report.html"
    assert f"Wrote {path}" in notebook.run(f"%raynb report {path}").text
    page = path.read_text()
    for words in ("reported", "3 finished", "Over time", "Raynb.num_cpus", "ipykernel", "kept", "<svg"):
        assert words in page, words
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "ends in .html" in notebook.run("%raynb report out.txt", ok=False).text


def test_short_waits_show_none_and_the_bar_can_be_turned_off(notebook: KernelSession, bars: None) -> None:
    notebook.run("%config Raynb.progress = False")
    assert notebook.run("ray.get(nap.remote(1))").shown == ["''"]
    # A short wait is one that ends before the delay, which is ten minutes on a machine that may be slow.
    notebook.run("%config Raynb.progress = True\n%config Raynb.progress_delay = 600")
    assert notebook.run("ray.get(nap.remote(0.5))").shown == ["''"]


def test_everywhere_runs_on_workers_that_are_and_on_those_to_come(notebook: KernelSession) -> None:
    notebook.run("%%everywhere\nimport math\nSEED = 40 + 2")
    assert notebook.run("%%remote --get\nseen = (SEED, math.sqrt(4))").status == "ok"
    assert notebook.run("seen").shown == ["(42, 2.0)"]
    nested = notebook.run(
        "@ray.remote\ndef deep(n):\n    import __main__\n"
        "    return [__main__.SEED] + (ray.get(deep.remote(n - 1)) if n else [])\nray.get(deep.remote(4))"
    )
    assert nested.shown[-1:] == ["[42, 42, 42, 42, 42]"], "nested tasks make new workers"
    failed = notebook.run("%%everywhere\n1 / 0", ok=False)
    assert "----> 2 1 / 0" in failed.error
    assert notebook.run("ray.get(deep.remote(6))").shown == [str([42] * 7)]


def test_a_cell_on_one_worker(notebook: KernelSession) -> None:
    # Nested tasks of an earlier cell may have made more workers than there are CPUs, and those end when they like.
    notebook.run("%raynb restart")
    notebook.run("ray.get(nap.remote(0))")
    rows = [line.split() for line in notebook.run("%raynb workers").text.splitlines()]
    # Another one may still be starting: its process has no number yet.
    ready = [row[:2] for row in rows if row[0].isdigit() and row[1] != "0" and "EXITED" not in row]
    number, pid = ready[0]
    run = notebook.run(f"%%on {number}\nimport os\nprint('on it')\nos.getpid()")
    assert "on it" in run.text
    assert run.shown == [pid]
    assert "no worker 4711" in notebook.run("%%on 4711\n1", ok=False).text


def test_output_comes_before_what_the_cell_shows_next(notebook: KernelSession) -> None:
    run = notebook.run("ray.get(nap.remote(0, 'value'))")
    *printed, last = (kind for kind, _ in run.outputs)
    assert (set(printed), last) == ({"stream"}, "execute_result")  # `print` writes a line and its end apart


def test_a_runtime_that_failed_is_told_and_restarted(notebook: KernelSession) -> None:
    notebook.run("%raynb restart")
    notebook.run("from raynb.base.engine import current\nkept = nap.remote(0, 'kept')\nray.get(kept)")
    notebook.run("board = %raynb dashboard\nengine = current()\ngate = nap.remote()")
    notebook.run("engine.loop.health.break_down(ZeroDivisionError('a bug of ours'), 'a test')")
    waits = notebook.run("ray.get(gate)", ok=False)
    assert "a bug of ours" in waits.error
    assert "%raynb restart" in waits.error
    for cell in ("%raynb status", "print(repr(board))", "print(engine.failure)"):
        said = notebook.run(cell).text
        assert "a bug of ours (while a test)" in said
        assert "The last events:" in said
        assert "nap" in said or "task" in said
    assert "failed; go on with %raynb restart" in notebook.run("%raynb").text
    doctor = notebook.run("%raynb doctor").shown[0]
    assert "a task failed: RaySystemError" in doctor
    assert "error survived" in doctor
    assert "the runtime failed" in doctor
    for cell in ("%raynb tasks", "%raynb workers"):
        notebook.run(cell)  # what it was when it failed can be looked at
    notebook.run("%raynb restart")
    assert notebook.run("ray.get(nap.remote(0, 'anew'))").shown == ["'anew'"]
    assert "RuntimeGoneError" in notebook.run("ray.get(kept)", ok=False).error
    notebook.run("current().loop.health.break_down(ZeroDivisionError('another'), 'a test')")
    notebook.run("ray.init()")
    assert notebook.run("ray.get(nap.remote(0, 'again'))").shown == ["'again'"]
    doctor = notebook.run("%raynb doctor").shown[0]
    assert "another" in doctor
    notebook.run("del board, engine, gate, kept\n%raynb restart")
