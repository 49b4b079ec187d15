"""Plain programs: starting and stopping, from any thread, any number of times, in every way to end."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from raynb.testing import leaks

from .scripts import run, say, script

#: A program at work: a task runs for ever, with a child in a session of its own.
AT_WORK = """
import subprocess
ray.init(num_cpus=2)

@ray.remote
def work():
    child = subprocess.Popen([sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"],
                             start_new_session=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    child.stdout.readline()
    open(sys.argv[1] if len(sys.argv) > 1 else os.devnull, "w").close()
    signal.pause()

@ray.remote
def started():
    return 1

refs = [work.remote()]
assert ray.get(started.remote()) == 1
print("ready", flush=True)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("pass", 0),
        ("sys.exit(5)", 5),
        ("raise SystemExit(6)", 6),
        ("1 / 0", 1),
        ("os._exit(7)", 7),
        ("ray.shutdown()", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", -signal.SIGINT),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    ],
)
def test_nothing_is_left_however_a_script_ends(end: str, code: int, tmp_path: Path) -> None:
    if end.startswith("import ctypes"):
        end = f"faulthandler.cancel_dump_traceback_later(); faulthandler.disable(); {end}"
    run(AT_WORK + end, tmp_path, expect=code)


@pytest.mark.timeout(900)
def test_f52_a_driver_killed_twenty_times_leaves_nothing(tmp_path: Path) -> None:
    for number in range(20):
        # Each time at another moment: from before the start of the runtime to well into the work.
        # Killed before there is anybody to clean up, it may leave an empty folder for spilled
        # objects, which the next start sweeps.
        with script(AT_WORK + "signal.pause()", tmp_path, files=False) as process:
            if number >= 10:
                assert say(process) == "ready"
            else:
                leaks.until(lambda count=number: len(leaks.descendants(process.pid)) > count // 3, 60)
            process.send_signal(signal.SIGKILL)
    run("ray.init(num_cpus=1)", tmp_path)


def test_twenty_rounds_of_init_and_shutdown_leave_nothing(tmp_path: Path) -> None:
    out = run(
        """
@ray.remote
def f(x):
    return x + 1

ray.init(num_cpus=1); assert ray.get(f.remote(0)) == 1; ray.shutdown()
before = leaks.Held.now()
for number in range(20):
    assert not ray.is_initialized()
    ray.init(num_cpus=1)
    assert ray.is_initialized()
    assert ray.get(f.remote(number)) == number + 1
    ray.shutdown()
    ray.shutdown()
leaks.check(before)
print("clean")
""",
        tmp_path,
    )
    assert out == "clean\n"


def test_a_shutdown_ends_every_wait_of_other_threads(tmp_path: Path) -> None:
    """The thread that reads the sockets, those behind it, a future and an `await`: each learns of it."""
    out = run(
        """
import asyncio
from raynb.base.engine import current
from raynb.exceptions import RuntimeGoneError
ray.init(num_cpus=1)

@ray.remote
def never():
    import signal
    signal.pause()

ref = never.remote()
future = ref.future()
said = []
def in_get():
    try: ray.get(ref)
    except BaseException as error: said.append(type(error))
def in_wait():
    try: ray.wait([ref])
    except BaseException as error: said.append(type(error))
def in_await():
    async def main(): await ref
    try: asyncio.run(main())
    except BaseException as error: said.append(type(error))
threads = [threading.Thread(target=f) for f in (in_get, in_get, in_wait, in_await)]
for thread in threads: thread.start()
loop = current().loop
while len(loop.waiters.watchers.get(ref._id, ())) < 5: os.sched_yield()
ray.shutdown()
for thread in threads: thread.join(90)
assert said == [RuntimeGoneError] * 4, said
assert isinstance(future.exception(timeout=90), RuntimeGoneError)
print("fine")
""",
        tmp_path,
    )
    assert out == "fine\n"


def test_f55_eight_threads_race_init_and_shutdown(tmp_path: Path) -> None:
    out = run(
        """
from raynb.exceptions import GetTimeoutError, RayError
odd = []
alive = []
def race(number):
    for turn in range(3):
        try:
            if (number + turn) % 3:
                ray.init(num_cpus=1)
                ray.get(ray.remote(num_cpus=0)(lambda: 1).remote(), timeout=60)
            else:
                ray.shutdown()
        except GetTimeoutError as error:
            odd.append(repr(error))   # it hung
        except RayError:
            pass                      # another thread shut it down meanwhile: said by its class
        except BaseException as error:
            odd.append(repr(error))

threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
ray.shutdown()
assert not odd, odd
ray.init(num_cpus=1)
assert ray.get(ray.remote(lambda: 42).remote()) == 42
supervisors = [p for p in leaks.descendants().values() if p.parent == os.getpid()]
assert len(supervisors) == 1, supervisors
ray.shutdown()
print("fine")
""",
        tmp_path,
    )
    assert out == "fine\n"


def test_a_thread_that_finds_a_start_under_way_gets_the_same_runtime(tmp_path: Path) -> None:
    out = run(
        """
found = []
gate = threading.Barrier(4)
def start():
    gate.wait()
    found.append(ray.init(num_cpus=1).engine)
threads = [threading.Thread(target=start) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len({id(engine) for engine in found}) == 1 and len(found) == 4
print("one")
""",
        tmp_path,
    )
    assert out == "one\n"


def test_ctrl_c_at_any_step_of_starting_leaves_no_runtime(tmp_path: Path) -> None:
    """SIGINT comes at the n-th function call inside the package while `init` runs, for many n."""
    out = run(
        """
ray.init(num_cpus=1); ray.shutdown()

sent = 0
def calls_until(stop_at):
    count = 0
    def profile(frame, event, arg):
        nonlocal count
        global sent
        if event == "call" and os.sep + "raynb" + os.sep in frame.f_code.co_filename:
            count += 1
            if count == stop_at:
                sys.setprofile(None)
                sent += 1
                signal.raise_signal(signal.SIGINT)
    sys.setprofile(profile)
    try:
        ray.init(num_cpus=1)
    finally:
        sys.setprofile(None)
    return count

total = calls_until(-1)                    # more of them where a step had to be waited for
ray.shutdown()
before = leaks.Held.now()
interrupted = 0
for step in range(1, total + 1, max(1, total // 16)):
    try:
        calls_until(step)                  # it may need fewer calls this time; then no signal comes
    except KeyboardInterrupt:
        interrupted += 1
        assert not ray.is_initialized(), step
    assert interrupted == sent, step
    ray.shutdown()
    leaks.check(before, what=f"Ctrl-C at call {step} of {total}")
ray.init(num_cpus=1)
assert ray.get(ray.remote(lambda: 1).remote()) == 1
ray.shutdown()
print(interrupted > 0)
""",
        tmp_path,
    )
    assert out == "True\n"


def test_f54_a_fork_has_no_runtime_and_may_start_its_own(tmp_path: Path) -> None:
    out = run(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)   # newer Pythons warn of any fork with threads
from raynb.exceptions import RayError
ray.init(num_cpus=1)
@ray.remote
def f(x):
    return x * 2
ref = f.remote(21)
assert ray.get(ref) == 42
child = os.fork()
if child == 0:
    code = 1
    try:
        assert not ray.is_initialized()
        try:
            ray.get(ref, timeout=10)
        except RayError as error:
            assert "fork" in str(error) or "gone" in str(error) or "runtime" in str(error), error
        else:
            raise AssertionError("the child could read the parent's ref")
        ray.init(num_cpus=1)
        assert ray.get(f.remote(4)) == 8
        ray.shutdown()
        code = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    os._exit(code)
assert os.waitpid(child, 0)[1] == 0
assert ray.get(f.remote(5)) == 10
ray.shutdown()
print("both")
""",
        tmp_path,
    )
    assert out == "both\n"


def test_a_fork_after_shutdown_touches_nothing_of_the_former_runtime(tmp_path: Path) -> None:
    out = run(
        """
import sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
ray.init(num_cpus=1)
former = ray.runtime().engine
ray.shutdown()
pipes = [os.pipe() for _ in range(20)]   # they take the numbers that the runtime's descriptors had
ignored = []
sys.unraisablehook = ignored.append
child = os.fork()
if child == 0:
    try:
        for end in sum(pipes, ()):
            os.fstat(end)
    except OSError as error:
        ignored.append(error)
    os._exit(len(ignored))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""",
        tmp_path,
    )
    assert out == "0\n"


def test_f56_refs_and_handles_of_a_former_runtime_say_so(tmp_path: Path) -> None:
    out = run(
        """
from raynb.exceptions import RuntimeGoneError
@ray.remote
def f(x=None):
    return 1
@ray.remote
class A:
    def m(self):
        return 1
ray.init(num_cpus=2)
ref, actor = f.remote(), A.remote()
assert ray.get([ref, actor.m.remote()]) == [1, 1]
ray.shutdown()

def refused(call):
    try:
        call()
    except RuntimeGoneError as error:
        return "runtime" in str(error)
    return False

attempts = {
    "get": lambda: ray.get(ref, timeout=5), "wait": lambda: ray.wait([ref], timeout=5),
    "cancel": lambda: ray.cancel(ref), "method": lambda: actor.m.remote(), "argument": lambda: f.remote(ref),
}
first = {name for name, call in attempts.items() if name != "argument" and not refused(call)}
assert not first, first
assert not ray.is_initialized(), "a get of an old ref started another runtime"
ray.init(num_cpus=2)
second = {name for name, call in attempts.items() if not refused(call)}
assert not second, second
assert ray.get(f.remote()) == 1
ray.shutdown()
print("told")
""",
        tmp_path,
    )
    assert out == "told\n"


def test_isolated_runtimes_side_by_side_share_nothing(tmp_path: Path) -> None:
    out = run(
        """
results = {}
def use(number):
    with ray.Runtime(num_cpus=1, namespace="same") as runtime:
        @ray.remote
        def whose():
            return number, os.getppid()
        class Named:
            def who(self):
                return number
        actor = ray.remote(num_cpus=0)(Named).options(name="one").remote()
        barrier.wait(90)
        mine = ray.get(ray.get_actor("one").who.remote(), timeout=90)
        results[number] = ray.get(whose.remote(), timeout=90), mine
        barrier.wait(90)
barrier = threading.Barrier(3)
threads = [threading.Thread(target=use, args=(n,)) for n in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert {n: (value[0][0], value[1]) for n, value in results.items()} == {n: (n, n) for n in range(3)}
assert len({value[0][1] for value in results.values()}) == 3, "workers of one supervisor"
assert not ray.is_initialized()
print("apart")
""",
        tmp_path,
    )
    assert out == "apart\n"


def test_async_start_and_stop(tmp_path: Path) -> None:
    out = run(
        """
import asyncio
async def main():
    await ray.init_async(num_cpus=1)
    assert await ray.remote(lambda: 3).remote() == 3
    await ray.shutdown_async()
    assert not ray.is_initialized()
    async with ray.Runtime(num_cpus=1):
        assert await ray.remote(lambda: 4).remote() == 4
asyncio.run(main())
print("async")
""",
        tmp_path,
    )
    assert out == "async\n"


def test_starting_without_standard_streams(tmp_path: Path) -> None:
    """Descriptors 0 to 2 are closed, as in a daemon: nothing of the runtime may get those numbers."""
    out = tmp_path / "out"
    code = f"""
for number in range(3): os.close(number)
ray.init(num_cpus=1)
assert [os.readlink(f"/proc/self/fd/{{number}}") for number in range(3)] == [os.devnull] * 3
result = ray.get(ray.remote(lambda: print("lost") or 5).remote())
ray.shutdown()
with open({str(out)!r}, "w") as file: file.write(str(result))
os._exit(0)
"""
    folder = tmp_path / "tmp"
    folder.mkdir()
    run("faulthandler.cancel_dump_traceback_later()\n" + code, folder)
    assert out.read_text() == "5"


ORDERLY = """
from raynb.api.terminal import console
console.IDLE_SECONDS = 100  # a line and its end, which print() writes apart, are one all the same
ray.init(num_cpus=2, shutdown_timeout=60)

@ray.remote
class Store:
    def __init__(self):
        print("opens")
    def ready(self):
        return True
    def __repr__(self):
        return "the store"
    def __ray_shutdown__(self):
        print("is shut")
    def __del__(self):
        print("is gone")

store = Store.remote()
assert ray.get(store.ready.remote())
"""


@pytest.mark.parametrize("end", ["ray.shutdown()", "pass", "1 / 0"])
def test_actors_end_in_order_with_the_script(end: str, tmp_path: Path) -> None:
    out = run(ORDERLY + end, tmp_path, expect=1 if end == "1 / 0" else 0)
    told = [line.partition(") ") for line in out.splitlines() if line.startswith("(Store pid=")]
    assert [said for _, _, said in told] == ["opens", "is shut", "is gone"]
