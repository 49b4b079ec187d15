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


CHAIN = (
    "%%remote\nprint('loading')\nraw = [clean(x) for x in data]",
    "%%remote --get\ntotal = sum(raw)\ntotal",
    "%%remote\nmean = sum(raw) / len(raw)",
    "%%remote --each k in range(3)\npart = total * k",
)


def test_rerun_submits_cells_again_in_order_with_their_output_in_their_own_cells(session: KernelSession) -> None:
    session.run(SETUP)
    first = int(cell_of(session)[3:-1])
    cells = [session.run(code) for code in CHAIN]
    session.until(lambda: "loading" in cells[0].text and "90" in cells[1].shown)
    assert session.run("%raynb rerun").text == "Nothing is stale.\n"
    session.run("def inner(x):\n    return x + 2")
    planned = session.run("%raynb rerun --dry-run").text
    assert planned.startswith("Would submit 4 cells again:\n")
    for number, after in ((first + 1, first), (first + 2, first), (first + 3, first + 1)):
        line = next(line for line in planned.split("\n") if line.startswith(f"  In[{number}]"))
        assert line.endswith(f"after In[{after}]")
    assert session.run("print(total)").text == "90\n"

    session.run("%raynb rerun --stale")
    assert session.run("print(total, ray.get(mean), ray.get(part))").text == "120 40.0 [0, 120, 240]\n"
    session.until(lambda: cells[1].shown[-1] == "120")
    kinds = [kind for kind, _ in cells[0].outputs]
    assert "clear_output" in kinds
    session.until(lambda: cells[0].text.count("loading") == 2)
    assert stale(session) == {}
    picture = session.run("%raynb graph")
    assert "text/html" in picture.mimetypes
    markup = next(c["data"]["text/html"] for kind, c in picture.outputs if kind == "execute_result")
    assert "<svg" in markup
    assert markup.count("· fresh<") == 4
    assert "http" not in markup.replace("http://www.w3.org", "")
    assert f"In[{first + 3}]" in picture.shown[0]
    assert f"← total of In[{first + 1}]" in picture.shown[0]

    # A failure stops what depends on it, and nothing else.
    session.run("%%remote\nother = scale * 2")
    session.run("scale = 11\ndef inner(x):\n    raise ValueError(x)")
    failed = session.run("%raynb rerun")
    assert "4 of 5 failed" in failed.text
    session.until(lambda: "ValueError" in cells[0].error)
    assert session.run("print(ray.get(other))").text == "22\n"
    session.run("scale = 10\ndef inner(x):\n    return x + 1")
    session.run("%raynb rerun total")
    assert session.run("print(total)").text == "90\n"
    assert set(stale(session)) == {"mean", "part", "other"}
    assert "has made 'nobody'" in session.run("%raynb rerun nobody", ok=False).printed("stderr")


def test_an_interrupt_stops_a_rerun_whole(session: KernelSession, tmp_path: Path) -> None:
    session.run("seconds = 0")
    code = "%%remote\nopen({!r}, 'a').write('x'); time.sleep(seconds)\n{} = seconds"
    for name in ("one", "two"):
        session.run(code.format(str(tmp_path / name), name))
    session.run("%%remote\nthree = one + two")
    session.run("ray.get(three)")
    session.run("seconds = 600\n%config Raynb.progress_delay = 0.1")
    run = session.send("%raynb rerun")
    session.until(lambda: all((tmp_path / name).read_text() == "xx" for name in ("one", "two")))
    session.until(lambda: any("0/3" in text for text in run.shown))  # it waits: all three are submitted
    session.manager.interrupt_kernel()
    session.until(lambda: run.reply is not None and run.idle)
    assert "3 of 3 cells that were submitted again are cancelled" in run.text
    states = session.run("ray.wait([one, two, three], num_returns=3)\n%raynb tasks").text
    assert states.count("cancelled") >= 3
    # Also a cell whose submission is not noted yet.
    session.run(
        "from raynb.jupyter.lineage.record import Record\nsubmitted = Record.submitted\n"
        "def interrupted(*given):\n    Record.submitted = submitted\n    raise KeyboardInterrupt\n"
        "Record.submitted = interrupted"
    )
    assert "1 of 1 cells that were submitted again are cancelled" in session.run("%raynb rerun two", ok=False).text
    session.run("%config Raynb.progress_delay = 600")


def test_after_a_restart_of_the_runtime_results_are_gone_and_a_rerun_makes_them_again(session: KernelSession) -> None:
    session.run(SETUP)
    made = cell_of(session)
    session.run("%%remote --wait\nraw = [clean(x) for x in data]")
    session.run("%%remote --wait\ntotal = sum(raw)")
    session.run("%%remote --wait\nheld = max(raw)")
    session.run("%get held")  # a value of the notebook's own by now
    session.run("%raynb restart")
    gone = "it was made by a runtime that has ended"
    assert stale(session) == {"raw": gone, "total": gone}
    changed = cell_of(session)
    session.run("data = [5]")
    why = f"`raw` comes from {made}, which is stale: `data` was given another value in {changed}"
    assert stale(session) == {"raw": gone, "total": gone, "held": why}
    session.run("%raynb rerun")
    assert session.run("print(ray.get(raw), ray.get(total), ray.get(held))").text == "[60] 60 60\n"
    assert stale(session) == {}
    session.run("%raynb stop")
    assert stale(session).keys() == {"raw", "total", "held"}
    session.run("%raynb rerun total")
    assert session.run("print(ray.get(total))").text == "60\n"
    assert stale(session) == {"held": gone}
