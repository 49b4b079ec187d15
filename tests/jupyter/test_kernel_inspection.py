"""A real kernel: stacks of what runs, breakpoints answered through Jupyter's stdin, and post-mortems."""

from __future__ import annotations

import queue
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jupyter.dap_client import EDITED, DapClient
from tests.jupyter.kernel_session import KernelSession, Run

pytestmark = pytest.mark.timeout(300)

TASKS = """\
import asyncio, concurrent.futures, time, threading

@ray.remote
def stops(x):
    a = x * 2
    breakpoint()
    b = a + 1
    return b

@ray.remote(max_retries=0)
def fails(x):
    secret = x + 41
    return 1 / 0

def parsed(text):
    where = text * 2
    return int(where)

@ray.remote(max_retries=0)
def chained(text):
    try:
        return parsed(text)
    except ValueError as error:
        raise KeyError(text) from error

@ray.remote(max_retries=0)
def compiles(text):
    length = len(text)
    return eval(text)

@ray.remote
def sleeps(gate):
    while not os.path.exists(gate):
        time.sleep(0.05)

@ray.remote(max_retries=0)
def holds_the_lock():
    return sum(range(10**15))

@ray.remote(num_returns="streaming", num_cpus=0)
def yields(gate):
    while not os.path.exists(gate):
        time.sleep(0.05)
    yield

@ray.remote
def nests(gate):
    return ray.get(sleeps.remote(gate))

@ray.remote
class Async:
    async def go(self, gate):
        started = asyncio.create_task(self.aside(gate))
        return await self.inner(gate)
    async def aside(self, gate):
        while not os.path.exists(gate):
            await asyncio.sleep(0.05)
    async def inner(self, gate):
        while not os.path.exists(gate):
            await asyncio.sleep(0.05)

@ray.remote
def passes_on(x):
    return ray.get(fails.remote(x))

@ray.remote(max_retries=0)
def wraps(x):
    try:
        return ray.get(fails.remote(x))
    except ZeroDivisionError as error:
        raise KeyError(x) from error

def doubled(x):
    y = x * 2
    breakpoint()
    return y

@ray.remote(max_concurrency=2)
class Threaded:
    def go(self, x):
        return concurrent.futures.ThreadPoolExecutor(1).submit(doubled, x).result()

@ray.remote
class Stepped:
    async def go(self):
        import asyncio
        breakpoint()
        before = 1
        await asyncio.sleep(0.01)
        return before + 1

@ray.remote(num_returns="streaming")
def items():
    for i in range(3):
        if i == 1:
            import pdb; pdb.set_trace()
        yield i

@ray.remote
def examines(x):
    try:
        return 1 / x
    except ZeroDivisionError:
        import pdb; pdb.post_mortem()
        return "after"

@ray.remote
def called():
    import pdb
    def inner(x):
        y = x * 10
        return y
    return pdb.runcall(inner, 1) + 5 + pdb.runeval("a * 2", {"a": 5})

@ray.remote
def crunches(gate):
    import numpy as np
    data = np.random.default_rng(0).random(2_000_000)
    open(gate + "-ready", "w").close()
    while not os.path.exists(gate): np.sort(data)

@ray.remote
class Account:
    def withdraw(self, amount):
        balance = 10
        return balance - undefined_name
    def ping(self):
        return "pong"
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelSession]:
    session = KernelSession.with_raynb(tmp_path_factory.mktemp("kernel"), "os")
    session.run(TASKS)
    session.run(  # workers may be slow to answer
        "from raynb.jupyter.inspection import post_mortem\npost_mortem.ANSWER_SECONDS = 100.0\n"
        "from raynb.base.engine import current\ncurrent().inspection.patience = 100.0"
    )
    yield session
    session.close()


def text_of(run: Run) -> str:
    text = "".join(content.get("text", "") for kind, content in run.outputs if kind == "stream")
    return re.sub("\x1b\\[\\d+m", "", text)


def stack(session: KernelSession, target: str, *wanted: str) -> str:
    """Looks at a stack until all that is wanted is in it (what has begun may not have come there yet)."""
    deadline = time.monotonic() + 120
    while True:
        shown = text_of(session.run(f"%raynb stack {target}", ok=False))
        if all(re.search(one, shown) for one in wanted):
            return shown
        assert time.monotonic() < deadline, (wanted, shown)


def answer(session: KernelSession, run: Run, lines: list[str], timeout: float = 120) -> list[str]:
    """Types the lines at the prompts of a running cell; returns the prompts. ``^C`` interrupts the kernel."""
    prompts: list[str] = []
    left = list(lines)
    deadline = time.monotonic() + timeout
    while not (run.reply is not None and run.idle):
        assert time.monotonic() < deadline, (prompts, left, run.outputs)
        session._receive(0.05)
        try:
            message = session.client.get_stdin_msg(timeout=0.05)
        except queue.Empty:
            continue
        if message["msg_type"] == "input_request":
            assert left, f"a prompt too many: {message['content']} after {prompts}; {text_of(run)}"
            prompts.append(message["content"]["prompt"])
            line = left.pop(0)
            if line == "^C":
                session.manager.interrupt_kernel()
            else:
                session.client.input(line)
    assert not left, (left, text_of(run), run.error)
    return prompts


WAITS = [
    "ray.get({})", "await {}", "ray.wait([{}]) and ray.get({})",
    "next(concurrent.futures.as_completed([{}.future()])).result()",
]  # fmt: skip


@pytest.mark.parametrize("wait", WAITS)
def test_a_breakpoint_opens_pdb_in_the_cell_that_waits(notebook: KernelSession, wait: str) -> None:
    notebook.run("ref = stops.remote(21)")
    run = notebook.send(f"print('value', {wait.format('ref', 'ref')})")
    prompts = answer(notebook, run, ["p a", "!a = 0", "until 8", "!a = 5", "!b = 1000", "l", "w", "c"])
    assert run.status == "ok", run.error
    assert set(prompts) == {"(Pdb) "}
    shown = text_of(run)
    assert "stops" in shown
    assert "is at a breakpoint, Cell In[" in shown
    assert "42\n" in shown
    assert "-> return b" in shown
    assert "breakpoint()" in shown  # by `l`
    assert "executor.py" not in shown
    assert "value 1000" in shown


def test_several_stop_one_after_the_other_and_set_trace_stops_too(notebook: KernelSession) -> None:
    run = notebook.send("print(sorted(ray.get([stops.remote(i) for i in range(4)])))")
    answer(notebook, run, ["c"] * 4)
    assert "[1, 3, 5, 7]" in text_of(run)
    run = notebook.send("%%remote --get\nq = 3\nimport pdb; pdb.set_trace()\nz = q + 1")
    answer(notebook, run, ["p q", "!q = 6", "interact", "q + 100", "exit()", "c"])
    assert notebook.run("z").shown == ["7"]
    run = notebook.send("ray.get(called.remote())")
    answer(notebook, run, ["n", "p y + 1000", "c", "p a + 2000", "c"])
    assert "1010" in text_of(run)
    assert "2005" in text_of(run)
    assert run.shown[-1:] == ["25"]  # a slow machine shows a bar, too
    notebook.run("threaded = Threaded.remote()")
    run = notebook.send("print('value', ray.get(threaded.go.remote(400)))")  # in a thread that a call started
    answer(notebook, run, ["p y + 3", "c"])
    assert "803\n" in text_of(run)
    assert "value 800" in text_of(run)


def test_a_step_goes_over_awaits_and_yields(notebook: KernelSession) -> None:
    notebook.run("stepped = Stepped.remote()")
    run = notebook.send("print('value', ray.get(stepped.go.remote()))")
    answer(notebook, run, ["n", "n", "!before = 10", "c"])
    assert "value 11" in text_of(run)
    run = notebook.send("print([ray.get(ref) for ref in items.remote()])")
    answer(notebook, run, ["n", "n", "n", "p i * 111", "c"])
    assert "222" in text_of(run)
    assert "[0, 1, 2]" in text_of(run)


def test_leaving_the_prompt(notebook: KernelSession) -> None:
    run = notebook.send("ray.get(stops.remote(1))")
    answer(notebook, run, ["q"])
    assert "TaskCancelledError" in run.error
    run = notebook.send("refs = [stops.remote(i) for i in range(3)]\nready, _ = ray.wait(refs, num_returns=3)")
    answer(notebook, run, ["q!"])
    assert run.status == "ok", run.error
    states = "[type(e).__name__ for e in (r.future().exception() for r in refs)]"
    assert notebook.run(states).shown[-1:] == [str(["TaskCancelledError"] * 3)]
    run = notebook.send("print('value', ray.get(stops.remote(5)))")
    answer(notebook, run, ["^C"])
    assert run.status == "ok", run.error
    assert "The task goes on" in text_of(run)
    assert "value 11" in text_of(run)


def test_a_breakpoint_that_no_cell_waits_for(notebook: KernelSession) -> None:
    submitted = notebook.run("ref = stops.remote(7)")
    notebook.until(lambda: "`%raynb debug` opens it" in text_of(submitted), 60)
    # Others run on; the prompt would open in a cell that waits long, were it not that nobody can answer there.
    other = notebook.run("print(ray.get(ray.remote(lambda: time.sleep(0.6) or 'another').remote()))", watched=False)
    assert text_of(other) == "another\n"
    run = notebook.send("%raynb debug ref")
    answer(notebook, run, ["p a", "c"])
    assert "14" in text_of(run)
    assert notebook.run("ray.get(ref)").shown[-1:] == ["15"]
    assert "No task waits" in text_of(notebook.run("%raynb debug"))


def test_where_nobody_can_answer_the_task_goes_on(notebook: KernelSession) -> None:
    run = notebook.run("print(ray.get([stops.remote(1), stops.remote(2)]))", watched=False)
    assert text_of(run).count("was passed: this front end cannot ask for commands") == 1
    assert "[3, 5]" in text_of(run)


def test_no_timeout_runs_at_a_breakpoint(notebook: KernelSession) -> None:
    for seconds in (1, 5, 25):  # a machine may be too slow to come to the breakpoint, or from it, in less
        cell = f"ref = stops.options(timeout={seconds}).remote(2)\nprint('value', ray.get(ref, timeout={seconds}))"
        run = notebook.send(cell)
        try:
            answer(notebook, run, [f"!import time; time.sleep({2 * seconds})", "c"])
        except AssertionError:
            assert run.status == "error", run
        if run.status == "ok":
            break
        notebook.run("ray.cancel(ref, force=True)", ok=False)
    assert run.status == "ok", run.error
    assert "value 5" in text_of(run)


def test_debug_enters_the_frame_that_failed(notebook: KernelSession) -> None:
    failed = notebook.run("ray.get([fails.remote(i) for i in range(6)])", ok=False)
    assert "ZeroDivisionError" in failed.error
    run = notebook.send("%debug")
    answer(notebook, run, ["p secret", "w", "q"])
    assert re.search(r"^4[1-6]$", text_of(run), re.MULTILINE)  # whichever failed first
    assert "-> return 1 / 0" in text_of(run)
    notebook.run("account = Account.remote()\nray.get(account.withdraw.remote(3))", ok=False)
    run = notebook.send("%debug")
    answer(notebook, run, ["p balance + amount", "q"])
    assert "13\n" in text_of(run)
    assert notebook.run("ray.get(account.ping.remote())").shown[-1:] == ["'pong'"]
    notebook.run("ray.get(passes_on.options(max_retries=2, retry_exceptions=True).remote(8))", ok=False)
    run = notebook.send("%debug")  # of a nested task, in the frame that raised, of the last attempt
    answer(notebook, run, ["p secret", "q"])
    assert "49\n" in text_of(run)
    notebook.run("ray.get(chained.remote('ab'))", ok=False)
    run = notebook.send("%debug")
    answer(notebook, run, ["exceptions 0", "p where + '!'", "exceptions 1", "p text + '?'", "q"])
    assert "'abab!'" in text_of(run)
    assert "'ab?'" in text_of(run)
    notebook.run("ray.get(wraps.remote(9))", ok=False)
    run = notebook.send("%debug")  # whose cause another task raised: in its frames, too
    answer(notebook, run, ["p x + 300", "exceptions 0", "p secret + 300", "q"])
    assert "309\n" in text_of(run)
    assert "350\n" in text_of(run)
    notebook.run("%%remote parts --each x in [1, 0, 2] --chunk 3 --wait\nhere = x + 70\nparts = 1 / (x % 2)", ok=False)
    for number, here in ((1, "70"), (2, "72")):  # items that failed in one task
        notebook.run(f"ray.get(parts[{number}])", ok=False)
        run = notebook.send("%debug")
        answer(notebook, run, ["p here", "q"])
        assert f"{here}\n" in text_of(run)
    shown = notebook.run("%%remote later\nlocal = 91\nlater = local / 0")  # it fails behind the notebook's back
    notebook.until(lambda: "ZeroDivisionError" in shown.error)
    run = notebook.send("%debug")
    answer(notebook, run, ["p local * 10", "q"])
    assert "910\n" in text_of(run)
    notebook.run("ray.get(compiles.remote('1 + + '))", ok=False)  # IPython does not show this one itself
    run = notebook.send("%debug")
    answer(notebook, run, ["p length * 1000", "q"])
    assert "6000\n" in text_of(run)
    run = notebook.send("print(ray.get(examines.remote(0)))")
    answer(notebook, run, ["p x + 8000", "c"])
    assert "8000" in text_of(run)
    assert "after" in text_of(run)
    notebook.run("1 / 0", ok=False)
    run = notebook.send("%debug")  # of the notebook's own errors, IPython's
    assert answer(notebook, run, ["q"])[0].startswith("ipdb>")


def test_stacks_of_what_runs(notebook: KernelSession) -> None:
    notebook.run(
        "gate = os.path.join(os.environ['TMPDIR'], 'gate')\nactor = Async.remote()\n"
        "call, outer, stream = actor.go.remote(gate), nests.remote(gate), yields.remote(gate)"
    )
    shown = stack(notebook, "outer", r"waits for sleeps \(RUNNING, worker", r"return ray\.get\(sleeps\.remote")
    assert "nests" in shown
    assert "executor" not in shown
    sleeping = r"time\.sleep\(0\.05\)|os\.path\.exists\(gate\)"
    assert "Cell In[" in stack(notebook, "sleeps", sleeping)
    shown = stack(notebook, "call", r"await asyncio\.sleep\(0\.05\)|os\.path\.exists\(gate\)", "in inner", "in aside")
    assert "Async.go" in shown
    assert "coroutine" in shown
    stack(notebook, "stream", "in yields")
    stack(notebook, "", r"Async\.go", "nests")
    notebook.run("from raynb.jupyter.views.actions import answer")
    notebook.run("from raynb.base.engine import current\nengine = current()")
    key = "hex(next(t.id for t in engine.snapshot().tasks if t.name == 'sleeps' and t.state == 'RUNNING'))"
    shown = text_of(notebook.run(f"print(answer(engine, {{'do': 'stack', 'task': {key}}}))"))
    assert re.search(sleeping, shown), shown
    assert "'ok': True" in text_of(notebook.run("print(answer(engine, {'do': 'stack', 'kernel': True}))"))
    notebook.run("held = holds_the_lock.remote()")
    stack(notebook, "held", "does not answer: native code holds Python's lock there",
          r"Cell In\[\d+\], line \d+, in holds_the_lock\n +return sum\(range\(10\*\*15\)\)")  # fmt: skip
    notebook.run("ray.cancel(held, force=True)")
    notebook.run("sorting = crunches.remote(gate)\nwhile not os.path.exists(gate + '-ready'): time.sleep(0.05)")
    stack(notebook, "sorting", r"Cell In\[\d+\], line \d+, in crunches\n +while not os.path.exists")
    assert "no variable with a ref" in text_of(notebook.run("%raynb stack nothing_of_this_name", ok=False))
    notebook.run("open(gate, 'w').close()\nray.get([call, outer, sorting])")


def test_an_editor_debugs_a_task_at_a_socket_of_this_user(notebook: KernelSession, tmp_path: Path) -> None:
    file, gate = tmp_path / "edited_in_an_editor.py", str(tmp_path / "gate")
    file.write_text(EDITED)
    notebook.run(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport edited_in_an_editor\n"
        f"edited = ray.remote(edited_in_an_editor.Edited).remote()\nworking = edited.work.remote({gate!r})\n"
        f"while not os.path.exists({gate + '-works'!r}): time.sleep(0.02)"
    )
    assert "takes the task" in text_of(notebook.run("%raynb debug --dap", ok=False))
    shown = text_of(notebook.run("%raynb debug --dap working"))
    found = re.search(r"^Worker \d+ \(process \d+\): (/.*)$", shown, re.MULTILINE)
    assert found, shown
    endpoint = Path(found[1])
    assert endpoint.is_socket()
    assert endpoint.stat().st_mode & 0o077 == 0
    assert endpoint.parent.stat().st_mode & 0o077 == 0
    line = EDITED.splitlines().index("        n = step(n)") + 1
    for _ in range(2):  # an editor comes back, too
        with DapClient(found[1]) as editor:
            editor.attach(file, line)
            stopped = editor.event("stopped")
            assert stopped["reason"] == "breakpoint"
            frames = editor.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"]
            assert (frames[0]["name"], frames[0]["line"]) == ("work", line)
            scope = editor.ask("scopes", frameId=frames[0]["id"])["scopes"][0]
            variables = editor.ask("variables", variablesReference=scope["variablesReference"])["variables"]
            assert int(next(one["value"] for one in variables if one["name"] == "n")) >= 41
            assert editor.ask("evaluate", frameId=frames[0]["id"], expression="gate")["result"] == repr(gate)
            assert notebook.run("print(ray.get(ray.remote(lambda: 6 * 7).remote()))").text == "42\n"  # others run on
            editor.ask("setBreakpoints", source={"path": str(file)}, breakpoints=[])
            editor.ask("continue", threadId=stopped["threadId"])
            editor.ask("disconnect", restart=False, terminateDebuggee=False)
    Path(gate).touch()
    assert notebook.run("print(ray.get(working))").text == "True\n"
    assert "does not run now" in text_of(notebook.run("%raynb debug --dap working", ok=False))
    # `breakpoint()` there stops in the editor while one is attached, else in the notebook.
    for _ in range(2):
        run = notebook.send("print(ray.get(edited.talk.remote()))")
        answer(notebook, run, ["p before + 70", "c"])
        assert "71\n2\n" in text_of(run)
        with DapClient(found[1]) as editor:  # it ends without a word, as when a tunnel breaks: the task goes on
            editor.attach(file, line)
            notebook.run("talking = edited.talk.remote()")
            stopped = editor.event("stopped")
            frames = editor.ask("stackTrace", threadId=stopped["threadId"])["stackFrames"]
            assert frames[0]["name"] == "talks"
        assert notebook.run("print(ray.get(talking))").text == "2\n"


def test_failed_frames_give_way_when_the_store_lacks_room(tmp_path: Path) -> None:
    session = KernelSession(tmp_path)
    try:
        session.run(
            "%load_ext raynb\n%config Raynb.num_cpus = 1\n%config Raynb.object_store_memory = 100_000_000\n"
            "%raynb restart\nimport raynb as ray, numpy as np, time\nfrom raynb.base.engine import current\n"
            "@ray.remote(max_retries=0)\ndef fails(array):\n    return 1 / 0\n"
            "def large(): return [row.id for row in current().snapshot().objects if row.size > 50_000_000]"
        )
        session.run("ray.get(fails.remote(np.zeros(10_000_000)))", ok=False)
        assert session.run("len(large())").shown == ["1"]  # the frame has it
        session.run("kept = ray.put(np.ones(10_000_000))\nwhile len(large()) > 1: time.sleep(0.02)")
        assert session.run("float(ray.get(kept).sum())").shown == ["10000000.0"]
    finally:
        session.close()
