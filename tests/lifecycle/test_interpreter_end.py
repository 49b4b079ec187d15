"""What destructors may ask of raynb when the interpreter comes down: nothing waits, and nothing is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from .scripts import run

LAST = """
from raynb.exceptions import RuntimeGoneError

@ray.remote
def f(x=None):
    return x

@ray.remote
class Actor:
    def call(self):
        return 1

ray.init(num_cpus=1)

class Last:
    def __init__(self):
        self.me = self  # only the garbage collector finds it: when the interpreter comes down
        ref, actor = f.remote(1), Actor.remote()
        self.attempts = {
            "task": f.remote, "put": lambda put=ray.put: put(1), "init": ray.init, "actor": Actor.remote,
            "name": lambda get_actor=ray.get_actor: get_actor("x"),
            "runtime": lambda make=ray.Runtime: make().start(),
            "get": lambda get=ray.get: get(ref), "wait": lambda wait=ray.wait: wait([ref]),
            "call": actor.call.remote, "kill": lambda kill=ray.kill: kill(actor),
            "future": ref.future, "shutdown": ray.shutdown,
        }

    def __del__(self, write=os.write, Gone=RuntimeGoneError):
        for name, attempt in self.attempts.items():
            try:
                attempt()
                said = "done"
            except Gone:
                said = "gone"
            except BaseException as error:
                said = repr(error)
            write(1, f"{name} {said}\\n".encode())

last = Last()
"""


@pytest.mark.parametrize("handler", ["", "signal.signal(signal.SIGALRM, print)\n"], ids=["", "with a signal handler"])
def test_a_destructor_at_the_end_of_the_process_waits_for_nothing(handler: str, tmp_path: Path) -> None:
    """It started a runtime, whose threads no longer run: the process never ended."""
    told = dict(line.split(" ", 1) for line in run(handler + LAST, tmp_path).splitlines())
    assert told.pop("shutdown") == "done"
    assert set(told.values()) == {"gone"}, told
    assert len(told) == 11
