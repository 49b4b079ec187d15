"""Signal handlers of the user's, saved, chained, restored and set by libraries, work as without raynb."""

from __future__ import annotations

from pathlib import Path

import pytest

from .scripts import run

#: `pressed()` presses Ctrl-C and returns what came of it; `sigint()` is what Python has in place.
PRESS = """
import asyncio, gc
SIGINT = signal.SIGINT
default = signal.default_int_handler

def pressed():
    try:
        signal.raise_signal(SIGINT)
        return "nothing"
    except BaseException as error:
        return type(error).__name__

every = [n for n in range(1, signal.NSIG) if n not in (signal.SIGKILL, signal.SIGSTOP, 32, 33)]
before = [signal.getsignal(n) for n in every]
f = ray.remote(lambda x=1: x)

def work():
    assert ray.get([f.remote(i) for i in range(20)]) == list(range(20))
    assert ray.get(ray.put([1])) == [1]
    ray.wait([f.remote()])

def as_before():
    assert [signal.getsignal(n) for n in every] == before
    assert signal.default_int_handler is default

ray.init(num_cpus=1)
work()
"""

CASES = {
    "nothing of the user's": """
assert pressed() == "KeyboardInterrupt"
ray.shutdown(); as_before()
assert pressed() == "KeyboardInterrupt"
ray.init(num_cpus=1); work(); ray.shutdown(); as_before()
""",
    "saved and restored": """
seen = []
old = signal.signal(SIGINT, lambda n, f: seen.append(n)); work()
assert pressed() == "nothing" and seen == [SIGINT]; work()
signal.signal(SIGINT, old)
assert pressed() == "KeyboardInterrupt"; work()
assert pressed() == "KeyboardInterrupt"
ray.shutdown(); as_before()
assert pressed() == "KeyboardInterrupt"
""",
    "chained, twice over": """
seen = []
for name in "ab":
    def chain(n, frame, name=name, previous=signal.getsignal(SIGINT)):
        seen.append(name); previous(n, frame)
    signal.signal(SIGINT, chain); work()
assert pressed() == "KeyboardInterrupt" and seen == ["b", "a"]; work()
assert pressed() == "KeyboardInterrupt" and seen == ["b", "a"] * 2
ray.shutdown()
assert signal.getsignal(SIGINT) is chain              # it is the user's: it stays
assert pressed() == "KeyboardInterrupt"
""",
    "set before init": """
ray.shutdown()
seen = []
def mine(n, frame): seen.append(n)
signal.signal(SIGINT, mine)
ray.init(num_cpus=1); work()
assert pressed() == "nothing" and seen == [SIGINT]
assert signal.getsignal(SIGINT) is mine
ray.shutdown()
assert signal.getsignal(SIGINT) is mine
""",
    "ignored, and the system's": """
for handler in (signal.SIG_IGN, signal.SIG_DFL):
    signal.signal(SIGINT, handler); work()
    assert signal.getsignal(SIGINT) == handler
    ray.shutdown()
    assert signal.getsignal(SIGINT) == handler
    ray.init(num_cpus=1)
signal.signal(SIGINT, default); work()
assert pressed() == "KeyboardInterrupt"
ray.shutdown(); as_before()
""",
    "a handler calls the API": """
seen = []
def mine(n, frame):
    seen.append(ray.get(f.remote(7)))
    seen.append(ray.get(ray.put(8)))
for number in (SIGINT, signal.SIGALRM, signal.SIGUSR1):
    signal.signal(number, mine)
    signal.raise_signal(number); work()
    signal.signal(number, before[every.index(number)])
assert seen == [7, 8] * 3
def again(n, frame):
    mine(n, frame)
    if len(seen) < 60:                                  # else an alarm may come when nobody handles it
        signal.setitimer(signal.ITIMER_REAL, 0.0017)
signal.signal(signal.SIGALRM, again)
signal.setitimer(signal.ITIMER_REAL, 0.001)             # in the middle of whatever
while len(seen) < 60: work()
signal.signal(signal.SIGALRM, before[every.index(signal.SIGALRM)])
assert set(seen[::2]) == {7} and set(seen[1::2]) == {8}
ray.shutdown(); as_before()
""",
    "faulthandler": """
import tempfile
with tempfile.TemporaryFile("w+") as out:
    faulthandler.enable(out); faulthandler.register(signal.SIGUSR1, out)
    work(); signal.raise_signal(signal.SIGUSR1); work()
    out.seek(0); assert "most recent call first" in out.read()
    faulthandler.unregister(signal.SIGUSR1); faulthandler.disable()
ray.shutdown(); as_before()
""",
    "asyncio": """
async def sleeps(told, goes_on):
    assert await f.remote(3) == 3
    try:
        asyncio.get_running_loop().call_soon(signal.raise_signal, SIGINT)
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        told.append("cancelled")
        if not goes_on: raise
    return await f.remote("went on")

def what_comes():
    told = []
    for goes_on in (True, False):
        try:
            told.append(asyncio.run(sleeps(told, goes_on)))
        except KeyboardInterrupt:
            told.append("KeyboardInterrupt")
    return told

with_runtime = [what_comes(), what_comes()]
work()
assert pressed() == "KeyboardInterrupt"
ray.shutdown(); as_before()

async def value(x): return x
class f:
    remote = staticmethod(value)
assert with_runtime == [what_comes()] * 2, with_runtime

async def all_within():
    await ray.init_async(num_cpus=1)
    assert await ray.put(4) == 4
    await ray.shutdown_async()
asyncio.run(all_within()); as_before()
""",
    "ended by another thread": """
signal.signal(SIGINT, signal.getsignal(SIGINT))
thread = threading.Thread(target=ray.shutdown); thread.start(); thread.join()
assert pressed() == "KeyboardInterrupt"
ray.init(num_cpus=1); work(); ray.shutdown(); as_before()
""",
}


@pytest.mark.parametrize("case", CASES)
def test_handlers_work_as_without_raynb(case: str, tmp_path: Path) -> None:
    assert run(PRESS + CASES[case] + 'print("fine")', tmp_path) == "fine\n"


def test_closed_descriptors_end_the_runtime_with_a_clear_error(tmp_path: Path) -> None:
    out = run(
        """
ray.init(num_cpus=1)

@ray.remote
def one():
    return 1

ref = one.remote()
assert ray.get(ref) == 1
refs = [ref, one.remote()]
os.closerange(3, 4096)
for step in lambda: ray.get(one.remote()), lambda: ray.get(refs):
    try:
        step()
    except ray.exceptions.RaySystemError as error:
        assert "os.closerange" in str(error) and "%raynb restart" in str(error), error
    else:
        raise AssertionError("no error")
ray.shutdown()
ray.init(num_cpus=1)
print(ray.get(one.remote()))
ray.shutdown()
""",
        tmp_path,
    )
    assert out == "1\n"
