"""A real kernel: every magic and option, as a person types them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from raynb.jupyter.cells.submission import SubmittedCell
from raynb.jupyter.cells.watching import Watch
from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "asyncio, os, time")
    yield session
    session.close()


# -- %%remote ----------------------------------------------------------------------------------
def test_help_has_every_option_and_examples(notebook: KernelSession) -> None:
    run = notebook.run("%%remote?")
    assert run.reply is not None
    text = run.reply["payload"][0]["data"]["text/plain"]
    options = ("--wait", "--get", "--each", "--chunk", "--stop-on-error", "--dry-run", "--num-cpus",
               "--num-gpus", "--memory", "--resources", "--max-retries", "--retry-exceptions",
               "--timeout", "--name", "--runtime-env")  # fmt: skip
    assert [option for option in options if option not in text] == []
    assert "model = fit(data)" in text


def test_wait_binds_refs_and_get_binds_values(notebook: KernelSession) -> None:
    notebook.run("%%remote --wait\nlater = 6 * 7")
    assert notebook.run("type(later).__name__, ray.get(later)").shown == ["('ObjectRef', 42)"]
    notebook.run("%%remote --get\nnow = 6 * 7")
    assert notebook.run("now").shown == ["42"]


def test_the_last_value_is_kept_as_a_ref(notebook: KernelSession) -> None:
    run = notebook.run("%%remote --wait\nkept = 1\nkept + 1")
    notebook.until(lambda: run.shown == ["2"])
    assert notebook.run("print(type(_).__name__, ray.get(_))").text == "ObjectRef 2\n"


def test_only_names_bound_at_the_top_come_back(notebook: KernelSession) -> None:
    cell = (
        "import math\nfor step in range(3):\n    last = step\nwith open(os.devnull) as file:\n    pass\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    pass\n_private = 1\n"
        "def helper():\n    inner = 1\n    return inner\nclass Kind:\n    attribute = 2\ntotal = 3"
    )
    names = "'math step last file error _private helper inner Kind attribute total'.split()"
    notebook.run(f"for name in {names}:\n    globals().pop(name, None)")
    notebook.run(f"%%remote --wait\n{cell}")
    there = notebook.run(f"[name for name in {names} if name in globals()]").shown
    assert there == ["['last', 'helper', 'Kind', 'total']"]
    assert notebook.run("ray.get(helper)(), ray.get(Kind).attribute, ray.get(total)").shown == ["(1, 2, 3)"]
    notebook.run(f"for name in {names}:\n    globals().pop(name, None)")
    notebook.run(f"%%remote total --wait\n{cell}")
    assert notebook.run(f"[name for name in {names} if name in globals()]").shown == ["['total']"]


def test_each_takes_any_iterable_of_known_length(notebook: KernelSession) -> None:
    notebook.run("import numpy as np, pandas as pd")
    for iterable, wanted in [
        ("np.arange(6).reshape(3, 2)", "[1, 5, 9]"),
        ("[ray.put([1, 2]), ray.put([3, 4])]", "[3, 7]"),
        ("{(1, 2): 'a', (3, 4): 'b'}", "[3, 7]"),
        ("pd.Series([(1, 1), (2, 2)])", "[2, 4]"),
    ]:
        notebook.run(f"%%remote --each pair in {iterable} --get\nsummed = int(sum(pair))")
        assert notebook.run("summed").shown == [wanted]
    refused = notebook.run("%%remote --each n in (n for n in range(3))\nx = n", ok=False)
    assert "known length" in refused.text + refused.error


def test_each_unpacks_and_chunks_in_order(notebook: KernelSession) -> None:
    for chunk in ("4", "auto"):
        notebook.run(
            f"%%remote --each i, (a, b) in list(enumerate(zip(range(10), 'abcdefghij'))) --chunk {chunk} --get\n"
            "made = f'{i}{a}{b}'"
        )
        assert notebook.run("''.join(made) == ''.join(f'{i}{i}{c}' for i, c in enumerate('abcdefghij'))").shown == [
            "True"
        ]
    assert "--chunk works with --each only" in notebook.run("%%remote --chunk 2\nx = 1", ok=False).text


def test_task_options_reach_the_task(notebook: KernelSession) -> None:
    notebook.run(
        "%%remote --num-cpus 2 --name heavy --runtime-env {'env_vars':{'SEASON':'winter'}} --get\n"
        "import raynb\n_now = raynb.get_runtime_context()\n"
        "seen = _now.get_assigned_resources()['CPU'], os.environ['SEASON']"
    )
    assert notebook.run("seen").shown == ["(2.0, 'winter')"]
    assert "heavy#" in notebook.run("%raynb tasks heavy").text
    late = notebook.run("%%remote --timeout 0.3 --wait\ntime.sleep(60)", ok=False)
    assert "TaskTimeoutError" in late.error
    counted = notebook.run(
        "%%remote --max-retries 2 --retry-exceptions True --get\nprint('trying')\n"
        "if not os.path.exists(f'{os.environ[\"TMPDIR\"]}/tried'):\n"
        "    open(f'{os.environ[\"TMPDIR\"]}/tried', 'w').close()\n    raise ValueError('once')\nresult = 'second'"
    )
    notebook.until(lambda: counted.text.count("trying") == 2)
    assert notebook.run("result").shown == ["'second'"]


def test_a_dry_run_shows_what_would_travel_and_submits_nothing(notebook: KernelSession) -> None:
    notebook.run("import json\nref = ray.put(5)\nbig = bytes(2_000_000)\nsmall = [1]")
    before = notebook.run("%raynb status").text.splitlines()[1]
    text = notebook.run("%%remote --dry-run\nout = json.dumps([ref, len(big), small, missing])").text
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "imported on the worker" in rows["json"]
    assert "arrives as its value" in rows["ref"]
    assert "2.0 MB" in rows["big"]
    assert "through the object store" in rows["big"]
    assert "pickled with the task" in rows["small"]
    assert "not defined" in rows["missing"]
    assert "outputs: out" in text
    assert notebook.run("%raynb status").text.splitlines()[1] == before


def test_a_very_large_value_is_named_with_its_size(notebook: KernelSession) -> None:
    notebook.run("%config Raynb.large_from = 3_000_000\nheavy_value = bytes(4_000_000)")
    run = notebook.run("%%remote --get\nlength = len(heavy_value)")
    assert "heavy_value (bytes, 4.0 MB)" in run.text
    notebook.run("%config Raynb.large_from = 100_000_000")
    assert notebook.run("length").shown == ["4000000"]


# -- %%actor, %%on, %%everywhere ---------------------------------------------------------------
ACTOR = """class LogBook:
    def __init__(self, *lines, title=''):
        self.lines, self.title = list(lines), title

    def all(self):
        return self.title, self.lines"""


def test_an_actor_is_named_after_its_class_and_takes_python_arguments(notebook: KernelSession) -> None:
    notebook.run("first = 'one'")
    notebook.run(f"%%actor --num-cpus 0 -- first, *['two', 'three'], title=first.upper()\n{ACTOR}")
    assert notebook.run("ray.get(log_book.all.remote())").shown == ["('ONE', ['one', 'two', 'three'])"]


def test_options_of_actors(notebook: KernelSession) -> None:
    options = "--num-cpus 0 --name books --namespace library --max-restarts 2 --max-task-retries 1 --max-concurrency 3"
    notebook.run(f"%%actor shelf {options}\n{ACTOR}")
    assert notebook.run("ray.get(ray.get_actor('books', 'library').all.remote())").shown == ["('', [])"]
    notebook.run(f"%%actor same {options} --get-if-exists\n{ACTOR}")
    assert notebook.run("same == shelf, same is shelf").shown == ["(True, False)"]
    assert "0 of 2 restarts" in notebook.run("shelf").shown[0]
    notebook.run("del same")
    notebook.run("%kill shelf")
    assert "--lifetime needs --name" in notebook.run(f"%%actor lost --lifetime detached\n{ACTOR}", ok=False).text
    notebook.run(f"%%actor stays --num-cpus 0 --name stays --lifetime detached\n{ACTOR}\n")
    notebook.run("del stays")
    assert notebook.run("ray.get(ray.get_actor('stays').all.remote())").shown == ["('', [])"]
    notebook.run("ray.kill(ray.get_actor('stays'))")


def test_define_starts_nothing(notebook: KernelSession) -> None:
    notebook.run(f"%%actor --define\n{ACTOR.replace('LogBook', 'OnlyDefined')}")
    assert notebook.run("'only_defined' in globals(), type(OnlyDefined).__name__").shown == ["(False, 'ActorClass')"]


def test_once_is_only_for_workers_that_are(notebook: KernelSession) -> None:
    notebook.run("%%everywhere --once\nONLY_NOW = 1")
    nested = notebook.run(
        "@ray.remote\ndef known(n):\n    import __main__\n    here = hasattr(__main__, 'ONLY_NOW')\n"
        "    return [here] + (ray.get(known.remote(n - 1)) if n else [])\nFalse in ray.get(known.remote(6))"
    )
    assert nested.shown[-1] == "True", "new workers don't run it"


def test_everywhere_ends_where_there_is_no_worker() -> None:
    watch = Watch(cast("Any", None), 0, SubmittedCell([], {}))
    watch.begin(quiet=True)
    assert watch.finished.is_set()


# -- %raynb ------------------------------------------------------------------------------------
def test_every_command_answers(notebook: KernelSession) -> None:
    notebook.run("%%remote --wait\nanswer = 42\nprint('hear me')")
    number = notebook.run("len(In) - 2").shown[0]
    said = {
        "status": "CPUs", "tasks": "finished", "objects": "answer", "workers": "pid",
        f"logs {number}": "hear me", "config": "Raynb.output_lines = 1000", "help": "%raynb doctor",
    }  # fmt: skip
    for command, word in said.items():
        assert word in notebook.run(f"%raynb {command}").text, command
    notebook.run(f"%%actor --num-cpus 0\n{ACTOR}")
    assert "LogBook" in notebook.run("%raynb actors").text


def test_slots_are_scaled_while_tasks_run(notebook: KernelSession) -> None:
    before = notebook.run("ray.cluster_resources()['CPU']").shown[0]
    notebook.run("kept = ray.put([7])")
    assert notebook.run("%raynb scale 5").text == "5 CPU slots from now on.\n"
    notebook.run("@ray.remote\ndef meet(place, me):\n    ray.get(place.come.remote(me))\n    return me")
    notebook.run(
        "@ray.remote(num_cpus=0)\nclass Place:\n    def __init__(self):\n        import asyncio\n"
        "        self.here, self.all = set(), asyncio.Event()\n    async def come(self, me):\n"
        "        self.here.add(me)\n        if len(self.here) == 5:\n            self.all.set()\n"
        "        await self.all.wait()\nplace = Place.remote()"
    )
    assert notebook.run("ray.get([meet.remote(place, i) for i in range(5)])").shown == ["[0, 1, 2, 3, 4]"]
    assert notebook.run("%raynb scale 1").text == "1 CPU slot from now on.\n"
    assert notebook.run("ray.get(kept), ray.cluster_resources()['CPU']").shown == ["([7], 1.0)"]
    assert "got 'many'" in notebook.run("%raynb scale many", ok=False).text
    assert "from 1 to 1,024" in notebook.run("%raynb scale 0", ok=False).text
    notebook.run(f"%raynb scale {float(before):.0f}")


def test_the_doctor_looks_at_the_environment(notebook: KernelSession) -> None:
    run = notebook.run("%raynb doctor")
    looked_at = ("Python", "cores", "memory", "shared memory", "spill disk", "packages", "front end", "runtime")
    assert [what for what in looked_at if what not in run.shown[0]] == []
    assert "text/html" in run.mimetypes


# -- output and refs ---------------------------------------------------------------------------
def test_logging_and_warnings_of_a_task(notebook: KernelSession) -> None:
    run = notebook.run(
        "%%remote --wait\nimport logging, warnings\nlogging.getLogger('mine').warning('the pump is hot')\n"
        "warnings.warn('old style')"
    )
    notebook.until(lambda: "the pump is hot" in run.text and "old style" in run.text)


def test_a_bar_of_tqdm_is_one_line(notebook: KernelSession) -> None:
    run = notebook.run("%%remote --wait\nfrom tqdm import tqdm\nfor _ in tqdm(range(30), desc='training'):\n    pass")
    notebook.until(lambda: any("100%" in text for text in run.shown))
    assert len([text for text in run.shown if "training" in text]) == 1
    assert run.text == ""


def test_refs_can_be_awaited_gathered_and_taken_as_they_come(notebook: KernelSession) -> None:
    notebook.run("@ray.remote\ndef echo(x, s=0):\n    time.sleep(s)\n    return x")
    assert notebook.run("await echo.remote(1)").shown == ["1"]
    assert notebook.run("await asyncio.gather(*[echo.remote(n) for n in range(3)])").shown == ["[0, 1, 2]"]
    assert notebook.run("echo.remote(4).future().result()").shown == ["4"]
    found = notebook.run("sorted(ray.as_completed([echo.remote(n) for n in range(5)]))").shown
    assert found == ["[0, 1, 2, 3, 4]"]


def test_a_wait_of_an_executor_shows_a_bar(notebook: KernelSession, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    notebook.run("%config Raynb.progress_delay = 0.1")
    run = notebook.send(
        f"def gated(n):\n    while not os.path.exists({str(gate)!r}):\n        time.sleep(0.01)\n    return n\n"
        "with ray.util.Executor() as executor:\n    found = list(executor.map(gated, range(6)))\nfound"
    )
    notebook.until(lambda: bool(run.bars))
    gate.touch()
    notebook.until(lambda: run.reply is not None and run.idle)
    assert "[0, 1, 2, 3, 4, 5]" in run.shown, run.error
    assert any(re.search(r"([1-6])/\1 .*took", text) for text in run.bars), run.bars  # of those that it waited for
    notebook.run("%config Raynb.progress_delay = 600")


def test_starting_again_says_what_differs(notebook: KernelSession) -> None:
    notebook.run("ray.init(num_cpus=2)")
    different = notebook.run("ray.init(num_cpus=7)", ok=False)
    assert "num_cpus is 2, asked for 7" in different.error
    assert "%raynb restart" in different.error


def test_an_error_of_syntax_on_a_worker(notebook: KernelSession) -> None:
    run = notebook.run("@ray.remote\ndef broken():\n    return eval('1 +')\nray.get(broken.remote())", ok=False)
    assert run.error.splitlines()[-1] == "SyntaxError: invalid syntax"
    assert "In task broken" in run.error
    assert "return eval('1 +')" in run.error
