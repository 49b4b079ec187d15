"""A real kernel: figures, widgets and questions of tasks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jupyter.kernel_session import KernelSession, Run

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession(tmp_path_factory.mktemp("kernel"))
    session.run("%load_ext raynb\n%config Raynb.num_cpus = 1\n%raynb restart\nimport raynb as ray")
    session.run("%config Raynb.progress = False")  # a slow machine would show bars
    yield session
    session.close()


def figures(run: Run) -> int:
    return sum("image/png" in content.get("data", {}) for _, content in run.outputs)


@pytest.mark.parametrize("how", ["cell", "function"])
def test_a_task_that_fails_after_plotting_shows_its_figure_and_leaves_none(notebook: KernelSession, how: str) -> None:
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);\nraise ValueError('after')"
    count = "import matplotlib.pyplot as plt\nfound = plt.get_fignums()"
    if how == "cell":
        run = notebook.run(f"%%remote --wait\n{plot}", ok=False)
    else:
        body = plot.replace("\n", "\n    ")
        run = notebook.run(f"@ray.remote\ndef plot():\n    {body}\nray.get(plot.remote())", ok=False)
    assert (run.status, figures(run)) == ("error", 1)
    kinds = ["png" if "image/png" in content.get("data", {}) else kind for kind, content in run.outputs]
    assert kinds.index("png") < kinds.index("error")
    after = notebook.run(f"%%remote --get\n{count}")
    assert figures(after) == 0
    assert notebook.run("found").shown == ["[]"]


def test_a_function_that_plots_shows_its_figure_in_order(notebook: KernelSession) -> None:
    run = notebook.run(
        "@ray.remote\ndef plot():\n    import matplotlib.pyplot as plt\n    plt.plot([1, 2])\n"
        "ray.get(plot.remote())\nprint('after')"
    )
    kinds = [kind for kind, _ in run.outputs if kind != "update_display_data"]
    assert set(kinds[kinds.index("display_data") + 1 :]) == {"stream"}  # `print` writes a line and its end apart
    assert figures(run) == 1


def test_widgets_of_a_task_say_where_they_belong(notebook: KernelSession) -> None:
    for code in ("ipywidgets.IntSlider(3)", "display(ipywidgets.IntSlider(3))"):
        run = notebook.run(f"%%remote --wait\nimport ipywidgets\n{code}")
        words = (
            "IntSlider(value=3) was made in a task, where no front end can reach it: make widgets in the kernel, "
            "and return the values that they are to show."
        )
        assert [text for text in run.shown if text] == [words]
        assert run.mimetypes <= {"text/plain"}


@pytest.mark.parametrize("make", [
    "from tqdm.notebook import tqdm\nbar = tqdm(range(5), desc='steps')",
    "from tqdm.notebook import trange\nbar = trange(5, desc='steps')",
    "from tqdm.auto import tqdm\nbar = tqdm(range(5), desc='steps')",
])  # fmt: skip
def test_bars_for_notebooks_are_one_line_of_text(notebook: KernelSession, make: str) -> None:
    run = notebook.run(f"%%remote --wait\n{make}\nfor step in bar: pass")
    assert [text[:11] for text in run.shown] == ["steps: 100%"]
    notebook.run("from tqdm.notebook import tqdm as from_the_kernel")
    run = notebook.run("%%remote --wait\nfor step in from_the_kernel(range(5), desc='given'): pass")
    assert [text[:11] for text in run.shown] == ["given: 100%"]


@pytest.mark.parametrize(("code", "words"), [
    ("input('name? ')", "input() cannot ask on a worker"),
    ("password('secret? ')", "getpass() cannot ask on a worker"),
])  # fmt: skip
def test_questions_in_a_task_say_what_to_do(notebook: KernelSession, code: str, words: str) -> None:
    notebook.run("from getpass import getpass as password")
    run = notebook.run(f"%%remote --wait\n{code}\nx = 1", ok=False)
    assert words in run.error
    assert "local" in run.error or "argument" in run.error
    given = notebook.run("%%remote --get\nimport io, sys\nsys.stdin, _kept = io.StringIO('Ann\\n'), sys.stdin\n"
                         "who = input()\nsys.stdin = _kept")  # fmt: skip
    assert given.status == "ok"
    assert notebook.run("who").shown == ["'Ann'"]
