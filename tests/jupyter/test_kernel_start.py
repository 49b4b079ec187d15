"""A real kernel: how the runtime comes up, by hand and from a profile; and a flood of lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.kernel_session import KernelSession

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[KernelSession]:
    session = KernelSession(tmp_path)
    yield session
    session.close()


#: The runtime does not start before the gate is open.
HELD = """
import threading
from raynb import api
gate, init = threading.Event(), api.init
def held(*args, **options):
    gate.wait(60)
    return init(*args, **options)
api.init = held"""


def test_loading_shows_one_card_and_the_runtime_starts_behind_it(fresh: KernelSession) -> None:
    fresh.run(HELD)
    run = fresh.run("%load_ext raynb\nimport raynb as ray\nif not ray.is_initialized():\n    ray.init(num_cpus=1)")
    assert len(run.shown) == 1
    card = run.shown[0]
    assert [word for word in ("version", "engine", "workers", "store", "%raynb dashboard") if word not in card] == []
    assert "starting" in card, "the cell did not wait for the runtime"
    assert "text/html" in run.mimetypes
    fresh.run("gate.set()")
    fresh.until(lambda: "running" in run.shown[0])
    first = fresh.run("import raynb as ray\n@ray.remote\ndef one():\n    return 1\nray.get(one.remote())")
    assert first.shown == ["1"]
    assert fresh.run("print('own', ray.is_initialized())").text == "own True\n"
    # Tab and Shift-Tab.
    fresh.run('@ray.remote\nclass Counter:\n    def add(self, number, *, twice=False):\n        """Adds a number."""')
    fresh.run("counter = Counter.remote()")
    assert "add" in fresh.completions("counter.")
    assert "twice=" in fresh.completions("counter.add.remote(tw")
    assert "num_cpus=" in fresh.completions("one.options(num")
    told = fresh.help("counter.add.remote(")
    assert "counter.add.remote(number, *, twice=False)" in told
    assert "Adds a number." in told


def test_restart_takes_the_options_of_start_and_what_takes_none_says_so(fresh: KernelSession) -> None:
    fresh.run("%load_ext raynb\n%config Raynb.num_cpus = 2\nimport raynb as ray\nray.init()\nref = ray.put(1)")
    refused = fresh.run("%raynb start --num-cpus 3", ok=False)
    assert "`%raynb restart --num-cpus 3`" in refused.text
    fresh.run("%raynb restart --num-cpus 3  # as many as there are")
    assert fresh.run("ray.cluster_resources()['CPU']").shown == ["3.0"]
    wrong = fresh.run("%raynb restart --numcpus 4", ok=False)
    assert "numcpus" in wrong.text
    assert fresh.run("ray.is_initialized(), ray.cluster_resources()['CPU']").shown == ["(True, 3.0)"]
    for command in ("stop all", "nodes --free", "actors A", "status x"):
        assert "takes nothing more" in fresh.run(f"%raynb {command}", ok=False).text, command
    assert fresh.run("ray.is_initialized()").shown == ["True"]
    fresh.run("%raynb actors  # all of them")


def test_the_runtime_of_loading_gives_way_to_one_that_is_asked_for(tmp_path: Path) -> None:
    """Unless something was done in it: `%raynb start --address auto` is the first cell after `%load_ext raynb`."""
    session = KernelSession(tmp_path)
    try:
        asked = session.run("%load_ext raynb\n%raynb start --num-cpus 3\nimport raynb as ray")
        assert "restart" not in asked.text
        assert session.run("ray.cluster_resources()['CPU']").shown == ["3.0"]
        refused = session.run("%raynb start --num-cpus 2", ok=False)  # this one was asked for
        assert "`%raynb restart --num-cpus 2` ends it first" in refused.text
        session.run("%raynb restart --num-cpus -1", ok=False)  # before anything is ended
        assert session.run("ray.is_initialized(), ray.cluster_resources()['CPU']").shown == ["(True, 3.0)"]
    finally:
        session.close()


def test_a_profile_brings_the_runtime_back_after_every_restart(tmp_path: Path) -> None:
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text(
        "c.InteractiveShellApp.extensions = ['raynb']\nc.Raynb.num_cpus = 3\nc.Raynb.output_lines = 7\n"
    )
    for _ in range(2):
        session = KernelSession(tmp_path)
        try:
            settings = session.run("import raynb as ray\nprint(int(ray.cluster_resources()['CPU']))\n%raynb config")
            assert settings.text.startswith("3\n")
            assert "Raynb.output_lines = 7" in settings.text
            assert session.run("%%remote --get\nx = 2").status == "ok"
            assert session.run("x").shown == ["2"]
        finally:
            session.close()


def resident(pid: int) -> int:
    """Returns the resident size of a process in pages."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the kernel's size is read from /proc")
def test_a_hundred_thousand_lines(fresh: KernelSession) -> None:
    fresh.run("%load_ext raynb\n%config Raynb.num_cpus = 2\n%raynb restart")
    fresh.run("%%remote --each part in range(4) --wait\nprint('warm', part)")
    pid = int(fresh.run("import os\nos.getpid()").shown[0])
    before = resident(pid)
    run = fresh.send("%%remote --each part in range(100)\nfor n in range(1_000):\n    print(f'{part}:{n}')")
    fresh.until(lambda: run.reply is not None)
    asked = 0
    while not any("99,000 more lines" in text for text in run.shown):
        assert fresh.run("1 + 1").shown == ["2"]
        asked += 1
        assert asked < 10_000
    assert sum(":" in line for line in run.text.splitlines()) == 1000
    fresh.run(
        "from raynb.base import engine\nsaid = {}\nfor output in engine.current().logs():\n"
        "    if output.text and output.text[0].isdigit() or said.get(output.task):\n"
        "        said.setdefault(output.task, []).append(output.text)"
    )
    equal = fresh.run(
        "sorted(''.join(s) for s in said.values()) == "
        "sorted(''.join(f'{part}:{n}\\n' for n in range(1_000)) for part in range(100))"
    )
    assert equal.shown == ["True"]
    assert resident(pid) - before < 30_000, "about 100 MB"
