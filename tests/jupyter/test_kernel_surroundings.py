"""A real kernel: what a cell has around it is what its tasks have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)

ASK = "@ray.remote\ndef ask(expression):\n    import logging, os, sys, warnings\n    return eval(expression)"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "logging, os, sys, warnings")
    session.run(ASK)
    yield session
    session.close()


def test_variables_follow_in_order_also_within_a_cell(notebook: KernelSession) -> None:
    run = notebook.run(
        "def of(name):\n    return ask.remote(f'os.environ.get({name!r})')\n"
        "os.environ['FIRST'] = 'a'\none = of('FIRST')\nos.environ['FIRST'] = 'b'\ntwo = of('FIRST')\n"
        "del os.environ['FIRST']\nthree = of('FIRST')\nprint(ray.get([one, two, three]))"
    )
    assert run.text == "['a', 'b', None]\n"
    notebook.run("%env SECOND=c")
    assert notebook.run("%%remote --wait\nprint(os.environ['SECOND'])").text == "c\n"
    # A task's own variables win, and stay its own; what a task submits inherits.
    own = "ask.options(runtime_env={'env_vars': {'SECOND': 'own'}})"
    run = notebook.run(f"print(ray.get({own}.remote('os.environ[\"SECOND\"]')), ray.get(of('SECOND')))")
    assert run.text == "own c\n"
    nested = "@ray.remote\ndef outer():\n    return ray.get(of('SECOND'))\nprint(ray.get(outer.remote()))"
    assert notebook.run(nested).text == "c\n"


def test_the_path_and_the_folder_follow(notebook: KernelSession, tmp_path: Path) -> None:
    (tmp_path / "made_later.py").write_text("VALUE = 5\n")
    (tmp_path / "data.txt").write_text("1234")
    notebook.run(f"sys.path.insert(0, {str(tmp_path)!r})\nimport made_later")
    assert notebook.run("%%remote --wait\nprint(made_later.VALUE)").text == "5\n"
    notebook.run(f"before = os.getcwd()\n%cd -q {tmp_path}")
    assert notebook.run("%%remote --wait\nprint(os.path.getsize('data.txt'))").text == "4\n"
    here = "print(ray.get(ask.options(runtime_env={'working_dir': '/'}).remote('os.getcwd()')))"
    assert notebook.run(here).text == "/\n"
    notebook.run(f"sys.path.remove({str(tmp_path)!r})\nos.chdir(before)")
    run = notebook.run("print(ray.get(ask.remote('(os.getcwd(), sys.path)')) == (before, sys.path))")
    assert run.text == "True\n"


def test_logging_and_warnings_follow(notebook: KernelSession, tmp_path: Path) -> None:
    notebook.run(
        "logging.basicConfig(level=logging.INFO, format='<%(name)s> %(message)s')\n"
        "logging.getLogger('noisy').setLevel(logging.CRITICAL)"
    )
    cell = "%%remote --wait\nlogging.getLogger('mine').info('said')\nlogging.getLogger('noisy').error('never')"
    assert notebook.run(cell).printed("stderr") == "<mine> said\n"
    levels = "logging.getLogger().setLevel({})\n{} = ask.remote('logging.getLogger().level')\n"
    run = notebook.run(levels.format(10, "one") + levels.format(20, "two") + "print(ray.get([one, two]))")
    assert run.text == "[10, 20]\n"
    notebook.run(f"logging.basicConfig(filename={str(tmp_path / 'log')!r}, level=30, force=True)")
    notebook.run("%%remote --wait\nlogging.warning('kept')")
    assert (tmp_path / "log").read_text() == "WARNING:root:kept\n"
    notebook.run("class Mine(UserWarning): pass\nwarnings.simplefilter('error', Mine)")
    run = notebook.run("%%remote --wait\nwarnings.warn('no', Mine)", ok=False)
    assert "Mine: no" in run.error
    notebook.run("warnings.simplefilter('ignore')")
    assert notebook.run("%%remote --wait\nwarnings.warn('no')").text == ""


def test_print_options_and_figure_formats_follow(notebook: KernelSession) -> None:
    notebook.run(
        "import numpy as np, pandas as pd, matplotlib.pyplot as plt\nnp.set_printoptions(precision=2)\n"
        "pd.set_option('display.max_rows', 4)\nplt.rcParams['lines.linewidth'] = 7"
    )
    run = notebook.run(
        "%%remote --wait\nprint(np.array([1.23456]), plt.rcParams['lines.linewidth'])\npd.DataFrame({'a': range(99)})"
    )
    notebook.until(lambda: any("99 rows" in text for text in run.shown))
    assert run.text == "[1.23] 7.0\n"
    assert len(next(text for text in run.shown if "99 rows" in text).splitlines()) == 8
    # Also within a cell, and back again.
    run = notebook.run(
        "rows = lambda: ask.remote('__import__(\"pandas\").get_option(\"display.max_rows\")')\none = rows()\n"
        "pd.reset_option('display.max_rows')\ntwo = rows()\nprint(ray.get([one, two]))"
    )
    assert run.text == "[4, 60]\n"
    notebook.run("from matplotlib_inline.backend_inline import set_matplotlib_formats\nset_matplotlib_formats('svg')")
    run = notebook.run("%%remote --wait\nplt.plot([1, 2]);")
    assert "image/svg+xml" in run.mimetypes
    assert "image/png" not in run.mimetypes


def test_an_actor_takes_what_holds_when_it_is_made(notebook: KernelSession) -> None:
    run = notebook.run(
        "@ray.remote\nclass Looks:\n    def at(self, name):\n        return os.environ.get(name)\n"
        "os.environ['MADE'] = 'then'\nlooks = Looks.remote()\nos.environ['MADE'] = 'now'\n"
        "print(ray.get(looks.at.remote('MADE')), ray.get(ask.remote('os.environ[\"MADE\"]')))"
    )
    assert run.text == "then now\n"


def test_redefined_helpers_and_globals_are_used_at_the_next_call(notebook: KernelSession) -> None:
    notebook.run(
        "number, table, large = 1, {'key': 1}, list(range(200_000))\ndef helper():\n    return 'old'\n"
        "@ray.remote\ndef calls():\n    return helper(), number, table['key']\n"
        "@ray.remote\ndef heavy():\n    return helper(), len(large)\n"
        "@ray.remote\nclass Calls:\n    def call(self):\n        return helper()\n"
        "first = ray.get([calls.remote(), heavy.remote()])"
    )
    notebook.run("number = 2\ntable['key'] = 2\ndef helper():\n    return 'new'")
    run = notebook.run("print(ray.get([calls.remote(), heavy.remote(), Calls.remote().call.remote()]))")
    assert run.text == "[('new', 2, 2), ('new', 200000), 'new']\n"


def test_what_follows_can_be_restricted(notebook: KernelSession) -> None:
    notebook.run("%config Raynb.follow = ['path']\nos.environ['THIRD'] = '3'")
    assert notebook.run("print(ray.get(ask.remote('os.environ.get(\"THIRD\")')))").text == "None\n"
    notebook.run("%config Raynb.follow = ['env', 'path']")
    assert notebook.run("print(ray.get(ask.remote('os.environ.get(\"THIRD\")')))").text == "3\n"


def test_what_changes_between_two_calls_of_a_cell_is_used(notebook: KernelSession) -> None:
    run = notebook.run(
        "@ray.remote\ndef reads():\n    return rate, scale()\n"
        "@ray.remote\nclass Reads:\n    def call(self):\n        return rate\n"
        "named = reads.options(name='named')\n"
        "for rate in (1, 2):\n    def scale(rate=rate):\n        return -rate\n"
        "    print(*ray.get([reads.remote(), named.remote(), Reads.remote().call.remote()]))"
    )
    assert run.text == "(1, -1) (1, -1) 1\n(2, -2) (2, -2) 2\n"


def test_a_handler_with_another_format_follows(notebook: KernelSession) -> None:
    notebook.run("%config Raynb.follow = ['logging']")
    notebook.run("logging.basicConfig(level=logging.INFO, format='one %(message)s', force=True)")
    says = "%%remote --wait\nlogging.info('x')"
    assert notebook.run(says).text == "one x\n"
    notebook.run("logging.root.handlers[0].setFormatter(logging.Formatter('two %(message)s'))")
    assert notebook.run(says).text == "two x\n"
    notebook.run("logging.root.handlers[0].setLevel(logging.ERROR)")
    assert notebook.run(says).text == ""
