"""The samples of the README and the how-tos run as they are written, in a real kernel, one page after the other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .kernel_session import ROOT, KernelSession

pytestmark = pytest.mark.timeout(400)

SAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

#: Page → what stands for the reader's own data and functions.
BEFORE = {
    "README.md": "",
    "docs/how-to/from-ray.md": "",
    "docs/how-to/from-joblib.md": "def f(x):\n    return x * x\nxs = range(4)",
    "docs/how-to/from-dask.md": (
        "import dask.dataframe as dd, pandas as pd\n"
        "frame = dd.from_pandas(pd.DataFrame({'key': [1, 2] * 4, 'value': range(8)}), npartitions=2)"
    ),
    "docs/how-to/interrupt.md": (
        "import time\n@ray.remote\ndef nap():\n    time.sleep(600)\nref = nap.remote()\nothers = [nap.remote()]"
    ),
    "docs/how-to/libraries.md": "",  # a class that needs PyTorch once it is made
    "docs/how-to/large-data.md": (
        "import os, pandas as pd\npaths = [os.path.abspath(f'{n}.parquet') for n in range(2)]\n"
        "for path in paths:\n    pd.DataFrame({'key': [1, 2], 'value': [3, 4]}).to_parquet(path)"
    ),
    "docs/how-to/output-progress-errors.md": "ref = ray.remote(lambda: 1 / 0).remote()",
    "docs/how-to/results-that-last.md": (
        "import os\nos.makedirs('data', exist_ok=True)\nopen('data/a.csv', 'w').write('1')\n"
        "def load(folder):\n    return sorted(os.listdir(folder))\ndef clean(names):\n    return names"
    ),
}  # fmt: skip

#: Page → why its samples are not run here.
ELSEWHERE = {
    "docs/how-to/cluster.md": "a Ray cluster: tests/parity, and the notebook laptop_to_cluster",
    "docs/how-to/test.md": "a file of tests: below",
    "docs/how-to/types.md": "a program with errors, for type checkers: tests/types",
    "docs/how-to/from-ipyparallel.md": "a table",
}


def samples(page: str) -> list[str]:
    return SAMPLE.findall((Path(ROOT) / page).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    folder = tmp_path_factory.mktemp("kernel")
    session = KernelSession.with_raynb(folder, "os")
    (folder / "work").mkdir()
    session.run(f"os.chdir({str(folder / 'work')!r})\n%config Raynb.keep_directory = {str(folder / 'kept')!r}")
    yield session
    session.close()


@pytest.mark.parametrize("page", BEFORE)
def test_samples_run_as_they_are_written(notebook: KernelSession, tmp_path: Path, page: str) -> None:
    notebook.run(BEFORE[page] or "pass")
    found = samples(page)
    assert found
    for sample in found:
        # The reader's own disk and bucket.
        cell = sample.replace("/scratch/me", str(tmp_path)).replace("s3://bucket", f"file://{tmp_path}")
        notebook.run(cell, watched=False)  # where nobody watches, a cell fails as its tasks do


def test_every_page_with_samples_is_run_somewhere() -> None:
    pages = {f"docs/how-to/{path.name}" for path in (Path(ROOT) / "docs" / "how-to").glob("*.md")}
    assert pages | {"README.md"} == {*BEFORE, *ELSEWHERE}


def test_the_sample_of_a_test_passes(tmp_path: Path) -> None:
    (sample,) = samples("docs/how-to/test.md")
    (tmp_path / "test_sample.py").write_text(sample, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": ROOT, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "raynb_pytest", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout + done.stderr
