"""A real kernel: which results are no longer true, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)

SETUP = """\
def inner(x):
    return x + 1
def clean(x):
    return inner(x) * scale
scale = 10
data = [1, 2, 3]
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[KernelSession]:
    made = KernelSession.with_raynb(tmp_path, "os, time")
    yield made
    made.close()


def stale(session: KernelSession) -> dict[str, str]:
    """Returns name → why, as `%raynb stale` lists them."""
    lines = session.run("%raynb stale").text.splitlines()
    found = {}
    if lines[0].startswith("name"):
        at = lines[0].index("why")
        for line in lines[1 : lines.index("")]:
            found[line.split("  ")[0]] = line[at:]
    else:
        assert lines == ["Nothing is stale."]
    return found


def cell_of(session: KernelSession) -> str:
    """Returns what the cell is called that will run next."""
    return f"In[{session.run('print(len(In))').text.strip()}]"


def test_results_are_stale_when_what_they_used_is_another_and_say_why(session: KernelSession) -> None:
    session.run(SETUP)
    made = cell_of(session)
    session.run("%%remote --wait\nraw = [clean(x) for x in data]")
    session.run("%%remote --wait\ntotal = sum(raw)")
    shown = session.run("total")
    session.run("@ray.remote\ndef f(x):\n    return clean(x)\nref = f.remote(3)\nother = %remote clean(4)")
    assert stale(session) == {}

    changed = cell_of(session)
    session.run("def inner(x):\n    return x + 2")
    why = f"`inner` was redefined in {changed}"
    total = f"`raw` comes from {made}, which is stale: {why}"
    assert stale(session) == {"raw": why, "total": total, "ref": why, "other": why}
    session.until(lambda: f"; stale: {total}" in shown.shown[-1])
    waited = session.run("print(ray.get(total))")
    assert waited.printed("stdout") == "90\n"  # 2·10 + 3·10 + 4·10, as it was
    assert waited.printed("stderr").count(f"is stale: {total}.") == 1
    assert session.run("ray.get(total); ray.wait([total])").text == ""  # once
    assert f"total (stale: {total})" in session.run("%raynb objects").text

    session.run("# the same code, elsewhere in the cell\n\ndef inner(x):  # comment\n    return x + 1")
    assert stale(session) == {}
    session.until(lambda: "stale" not in shown.shown[-1])
    session.run("scale = 10; data = list(data)")
    assert stale(session) == {}
    changed = cell_of(session)
    session.run("data.append(4)")
    assert stale(session)["raw"] == f"`data` was given another value in {changed}"
    changed = cell_of(session)
    session.run("%%remote --wait\nraw = [clean(x) for x in data]")
    assert stale(session) == {"total": f"`raw` was made anew in {changed}"}
    session.run("%get raw")
    session.run("%%remote --wait\ntotal = sum(raw)")
    assert stale(session) == {}
    session.run("%put raw")
    session.run("del data")
    assert stale(session) == {}


def test_a_cell_that_binds_what_it_reads_and_names_that_are_left_are_not_stale_by_themselves(
    session: KernelSession,
) -> None:
    session.run("start = 1\nlate = 5")
    session.run("%%remote --wait\ncount = start")
    session.run("%%remote --wait\ncount = count + 1")
    session.run("%%remote --wait\ncount = count + 1\nif count > 100: late = 0")
    session.run("@ray.remote\ndef step(x):\n    return x + 1\nstate = step.remote(0)")
    session.run("state = step.remote(state)")
    session.run("%%remote --get --each x in range(3)\nsquare = x * late")
    assert stale(session) == {}
    changed = cell_of(session)
    session.run("start = 2")
    found = stale(session)
    assert set(found) == {"count", "count, late"} or set(found) == {"count, late"}
    assert all(f"`start` was given another value in {changed}" in why for why in found.values())
    session.run("start = 1")
    changed = cell_of(session)
    session.run("@ray.remote\ndef step(x):\n    return x + 2")
    assert stale(session) == {"state": f"`step` was redefined in {changed}"}
    session.run("@ray.remote\ndef step(x):\n    return x + 1")
    session.run("late = 6")
    assert "square" in stale(session)
