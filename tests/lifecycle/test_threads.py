"""Threads of the runtime: what happens where the system makes no more, and what must not run on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from .scripts import run

NO_THREADS = """
import _thread, io, contextlib
from raynb.exceptions import RaySystemError
made = 0
def limited(real, what):
    def start(*given, **named):
        global made
        made += 1
        if made > most:
            raise RuntimeError("can't start new thread")
        return real(*given, **named)
    return start

def limit():  # every way to a new thread; `threading` has its own name of the call into C
    global made
    made = 0
    for module, names in ((_thread, ("start_new_thread", "start_joinable_thread")),
                          (threading, ("_start_new_thread", "_start_joinable_thread"))):
        for name in names:
            if hasattr(module, name):
                kept.append((module, name, getattr(module, name)))
                setattr(module, name, limited(getattr(module, name), name))

def unlimit():
    while kept:
        setattr(*kept.pop())

kept = []
f = ray.remote(lambda x: x)
"""


@pytest.mark.parametrize("handler", ["none", "of the user's"])
def test_init_without_threads_is_a_clear_error_and_leaves_nothing(handler: str, tmp_path: Path) -> None:
    out = run(
        NO_THREADS
        + f"""
if {handler!r} != "none":                         # then steps of ours run on another thread
    signal.signal(signal.SIGALRM, lambda n, frame: None)
ray.init(num_cpus=1); ray.shutdown()
before = leaks.Held.now()
refused = 0
for most in range(12):
    limit()
    try:
        ray.init(num_cpus=1)
    except RaySystemError as error:
        assert "thread" in str(error) and "ulimit" in str(error), error
        refused += 1
        unlimit()
        assert not ray.is_initialized()
        leaks.check(before, what=f"init with {{most}} threads")
        continue
    unlimit()
    assert ray.get(f.remote(most)) == most        # what is lacking later is made up for
    ray.shutdown()
    break
print(refused > 1)
""",
        tmp_path,
    )
    assert out == "True\n"


def test_a_runtime_goes_on_when_no_further_thread_can_be_made(tmp_path: Path) -> None:
    out = run(
        NO_THREADS
        + """
most = 0
ray.init(num_cpus=2, object_store_memory=8_000_000)
limit()

@ray.remote
def prints(x):
    print("line", x)
    return x

assert ray.get([prints.remote(i) for i in range(20)], timeout=90) == list(range(20))

@ray.remote
def large(i):                                     # a worker asks for room, which takes a thread
    return bytes([i]) * 3_000_000

refs = [large.remote(i) for i in range(8)]
for i, ref in enumerate(refs):
    assert ray.get(ref, timeout=90) == bytes([i]) * 3_000_000
done = []
f.remote(1).future().add_done_callback(lambda future: done.append(future.result()))
while not done:
    time.sleep(0.01)
unlimit()
ray.shutdown()
print("fine")
""",
        tmp_path,
    )
    assert out.endswith("fine\n")
    assert out.count("line") == 20


def test_a_folder_that_was_deleted_under_the_process(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"""
import os, shutil
os.chdir({str(gone)!r}); shutil.rmtree({str(gone)!r})
ray.init(num_cpus=1)
f = ray.remote(lambda x: x)
assert ray.get([f.remote(i) for i in range(5)]) == list(range(5))
ray.shutdown()
print("fine")
"""
    assert run(script, tmp_path) == "fine\n"


@pytest.mark.parametrize("kind", ["settrace", "setprofile"])
def test_functions_that_trace_every_thread_run_on_none_of_ours(kind: str, tmp_path: Path) -> None:
    """What one raised there ended the runtime, and one that asked for a value waited for ever."""
    out = run(
        f"""
seen = []

def hook(frame, event, arg):
    # With Python 3.12 or later the end of `threading`'s own call is one of its events.
    if threading.current_thread().name in ("raynb-io", "raynb-shelter") and arg is not sys.setprofile:
        seen.append(event)
        raise ValueError("of a trace function")
    return hook

signal.signal(signal.SIGALRM, lambda n, frame: None)  # so steps of ours run on another thread
threading.{kind}(hook)
f = ray.remote(lambda x: x)
ray.init(num_cpus=1)
assert ray.get([f.remote(i) for i in range(100)], timeout=90) == list(range(100))
ray.shutdown()
print(len(seen))
""",
        tmp_path,
    )
    assert out == "0\n"
