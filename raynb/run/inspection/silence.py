"""Why a process does not answer, as the system sees its threads (Linux)."""

from __future__ import annotations

import os

from raynb.run.inspection import dumps

HOLDS_LOCK, STOPPED = "native code holds Python's lock there", "the process is stopped"
#: Seconds of CPU that a thread uses up while the one that is to answer waits: Python hands its lock over after 5 ms.
HELD_SECONDS = 0.02
_HELD_TICKS = max(1, round(HELD_SECONDS * os.sysconf("SC_CLK_TCK")))


class Silence:
    """Looks at a process that was asked something.

    Args:
        pid: the process. The thread that is to answer is the one that has offered its stacks (`dumps.offer`).
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._answers = dumps.answering_thread(pid)
        self._spent = {thread: spent for thread, (_, spent) in self._threads().items()}
        self._slept = False  # at the last look

    def why(self) -> str:
        """Returns `STOPPED` or `HOLDS_LOCK`, or "" as long as neither is certain.

        Certain is: another thread has computed for `HELD_SECONDS`, while the one that is to answer sleeps. One that
        only finds no free core does not sleep.
        """
        now = self._threads()
        if any(state in "Tt" for state, _ in now.values()):
            return STOPPED
        state, _ = now.pop(self._answers, ("", 0))
        slept, self._slept = self._slept, state == "S"
        if slept and self._slept and any(
            spent - self._spent.get(thread, spent) >= _HELD_TICKS for thread, (_, spent) in now.items()
        ):
            return HOLDS_LOCK
        return ""

    def _threads(self) -> dict[int, tuple[str, int]]:
        """Returns each thread's state, and the ticks of the system's clock for which it has computed."""
        found: dict[int, tuple[str, int]] = {}
        folder = f"/proc/{self._pid}/task"
        try:
            for name in os.listdir(folder):
                with open(f"{folder}/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                found[int(name)] = fields[0].decode(), int(fields[11]) + int(fields[12])
        except (OSError, IndexError):  # the process or a thread has just ended; no Linux
            pass
        return found
