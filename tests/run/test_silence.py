"""Why a process does not answer: decided by what the system says of its threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from raynb.run.inspection import dumps
from raynb.run.inspection.silence import _HELD_TICKS, HOLDS_LOCK, STOPPED, Silence

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc")
ANSWERS, COMPUTES = 1, 2


class Looks(Silence):
    """What the system says at each look, the first at the beginning."""

    def __init__(self, *looks: dict[int, tuple[str, int]]) -> None:
        self.looks = list(looks)
        super().__init__(0)

    def _threads(self) -> dict[int, tuple[str, int]]:
        return dict(self.looks.pop(0))


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumps, "answering_thread", lambda pid: ANSWERS)


def look(answers: str, ticks: int, state: str = "R") -> dict[int, tuple[str, int]]:
    return {ANSWERS: (answers, 0), COMPUTES: (state, 100 + ticks)}


def test_a_lock_is_held_while_another_thread_computes_and_the_answering_one_sleeps() -> None:
    silence = Looks(look("S", 0), look("S", _HELD_TICKS), look("S", _HELD_TICKS))
    assert [silence.why(), silence.why()] == ["", HOLDS_LOCK]  # one look may be in a moment's sleep
    silence = Looks(look("S", 0), look("S", _HELD_TICKS - 1), look("S", _HELD_TICKS - 1))
    assert [silence.why(), silence.why()] == ["", ""]
    silence = Looks(look("R", 0), look("S", _HELD_TICKS), look("R", _HELD_TICKS), look("S", _HELD_TICKS))
    assert [silence.why() for _ in range(3)] == ["", "", ""]  # it only finds no free core
    late = {**look("S", 0), 3: ("R", 900)}
    silence = Looks(look("S", 0), late, late)
    assert [silence.why(), silence.why()] == ["", ""]  # what a new thread has used before is not known
    silence = Looks({}, {}, {})
    assert [silence.why(), silence.why()] == ["", ""]  # it has ended


def test_a_process_that_is_stopped() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        silence = Silence(process.pid)
        assert silence.why() == ""
        process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 60
        while silence.why() != STOPPED:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
