"""Tools that change `time` for the user's tests, freezegun before all, do not change it for raynb."""

from __future__ import annotations

from pathlib import Path

from .scripts import run


def test_a_clock_that_was_stopped_stops_no_timeout_and_no_thread(tmp_path: Path) -> None:
    out = run(
        """
from raynb.exceptions import GetTimeoutError, TaskTimeoutError

f = ray.remote(lambda x: x)
forever = ray.remote(lambda: time.sleep(1000))
ray.init(num_cpus=2)
assert ray.get(f.remote(1)) == 1

def never():
    raise AssertionError("of the user's test")

fakes = {id(real): lambda now=real(): now for real in (time.monotonic, time.perf_counter, time.time, time.time_ns)}
fakes[id(time.sleep)] = lambda seconds: never()
for module in list(sys.modules.values()):           # as freezegun does, whatever name a module has for it
    if module is not threading:
        for name, value in list(vars(module).items()):
            if id(value) in fakes:
                setattr(module, name, fakes[id(value)])
assert time.monotonic() == time.monotonic()

assert ray.get([f.remote(i) for i in range(100)]) == list(range(100))
assert f.remote(2).future().result() == 2
for call, expected in (
    (lambda: ray.get(forever.remote(), timeout=0.2), GetTimeoutError),
    (lambda: ray.get(forever.options(timeout=0.2, num_cpus=0).remote()), TaskTimeoutError),
):
    try:
        call()
        raise SystemExit("no timeout")
    except expected:
        pass
assert ray.wait([forever.remote()], timeout=0.2)[0] == []
ray.shutdown()
print("fine")
""",
        tmp_path,
    )
    assert out == "fine\n"
