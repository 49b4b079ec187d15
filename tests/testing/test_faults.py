"""Each fault does what its name says, in the process and the phase it is meant for."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from raynb.testing import faults, leaks

ENDS = {
    "os._exit(0)": 0,
    "os._exit(3)": 3,
    "sys.exit(3)": 3,
    "sigkill": -signal.SIGKILL,
    "segfault": -signal.SIGSEGV,
    "abort": -signal.SIGABRT,
    "raise": 1,
    "interrupt": -signal.SIGINT,
    "generator-exit": 1,
    "recursion": 1,
}


def test_every_action_is_covered() -> None:
    assert set(ENDS) == set(faults.ACTIONS)
    assert set(faults.DEADLY) <= set(faults.ACTIONS)


@pytest.mark.parametrize("action", faults.ACTIONS)
def test_an_action_ends_its_process_as_named(action: str) -> None:
    code = f"from raynb.testing import faults; faults.strike({action!r}); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == ENDS[action]
    assert "alive" not in done.stdout


def test_a_bomb_strikes_in_its_phase_only() -> None:
    with pytest.raises(faults.Boom):
        pickle.dumps(faults.Bomb("pickle", "raise"))
    data = pickle.dumps(faults.Bomb("unpickle", "raise"))
    with pytest.raises(faults.Boom):
        pickle.loads(data)


def test_a_bomb_spares_the_process_it_was_told_to() -> None:
    import os

    spared = faults.Bomb("pickle", "sigkill", spare=os.getpid())
    copy = pickle.loads(pickle.dumps(spared))
    assert (copy.when, copy.action, copy.spare) == ("pickle", "sigkill", os.getpid())


@pytest.mark.parametrize(("when", "action"), [("later", "raise"), ("pickle", "explode")])
def test_a_bomb_that_cannot_be_is_refused(when: str, action: str) -> None:
    with pytest.raises(ValueError, match=f"{when}.*{action}"):
        faults.Bomb(when, action)


def test_a_gate_holds_until_it_is_opened(tmp_path: Path) -> None:
    gate = pickle.loads(pickle.dumps(faults.Gate(tmp_path)))
    passed = threading.Event()
    thread = threading.Thread(target=lambda: (gate.pass_through("door"), passed.set()))
    thread.start()
    gate.wait_for("door")
    assert not passed.is_set()
    gate.open("door")
    assert passed.wait(60)
    thread.join()
    with pytest.raises(TimeoutError, match="1 of 2 came to 'door'"):
        gate.wait_for("door", 2, timeout=0)
    with pytest.raises(TimeoutError, match="nobody opened the gate 'window'"):
        gate.pass_through("window", timeout=0)


def test_a_counter_counts_across_objects(tmp_path: Path) -> None:
    one, two = faults.Counter(tmp_path / "n"), faults.Counter(tmp_path / "n")
    assert one.value == 0
    assert [one.add(), two.add(), one.add()] == [1, 2, 3]
    assert two.value == 3


def test_kill_waits_until_they_are_gone() -> None:
    before = leaks.Held.now()
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        faults.kill(process.pid)
        assert process.wait(60) == -signal.SIGKILL
    faults.kill(process.pid)  # gone already: nothing to do
    leaks.check(before)
