"""Checks of what workers report to the driver when some of it is broken. Run by `cluster_checks.py`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pickle
import queue
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import ray as real_ray
from cluster_tools import WAIT, In, check, engine, heard, printed, until

import raynb
from raynb.base.process import trace
from raynb.base.rows import FAILED, FINISHED
from raynb.engine.cluster import hub, rays
from raynb.engine.cluster.on_worker import reporter
from raynb.engine.cluster.rows import sweeping
from raynb.engine.cluster.rows.reports import Reports
from raynb.engine.cluster.rows.submitted import Rows
from raynb.engine.cluster.rows.sweeping import Sweeper
from raynb.engine.cluster.submission import bare_options
from raynb.engine.named_later import NamedLater


def traced() -> str:
    return "\n".join(f"{kept.where}: {kept.error}" for kept in list(trace.ring))


def said(worker: str, *events: Any) -> tuple[Any, ...]:
    """Returns a worker's first batch of output, as the hub has it."""
    return worker, 0.0, False, pickle.dumps((0, list(events))), b""


@check
def the_hub_knows_when_the_driver_has_shown_what_was_pushed() -> None:
    async def play() -> None:
        box = hub.Hub()
        await box.push("a worker", time.time(), False, False, b"printed", b"")
        shown = asyncio.ensure_future(box.applied(WAIT))
        _, found, _ = await box.pull(WAIT, False)
        assert len(found) == 1
        for _ in range(3):
            await asyncio.sleep(0)
        assert not shown.done(), "the driver has it, and has not shown it yet"
        next_pull = asyncio.ensure_future(box.pull(WAIT, False))
        await shown
        await box.applied(WAIT)  # nothing is here, and the driver waits for more
        next_pull.cancel()

    asyncio.run(play())


@check
def no_error_ends_the_thread_that_takes_what_workers_report() -> None:
    pulled: queue.Queue[Any] = queue.Queue()
    taken, done = [], []

    def fails(*given: Any) -> None:
        raise LookupError(f"on purpose {len(given)}")

    def take(worker: str, events: list[Any], behind: float) -> None:
        if worker == "one":
            raise SystemExit("on purpose, in a callback of the user's")
        taken.append(worker)

    # What this thread asks of Ray is played by a queue; an error in it is that the hub is lost. The engine's own thread
    # goes on with Ray.
    def call(asked: Any, *given: Any) -> Any:
        return asked if type(asked) is str else rays.call(asked, *given)

    def get(asked: Any, **given: Any) -> Any:
        if type(asked) is not str:
            return rays.get(asked, **given)
        found = pulled.get()
        if isinstance(found, BaseException):
            raise found
        return time.time(), found, 1

    hub.rays = SimpleNamespace(**{**vars(rays), "call": call, "get": get})  # type: ignore[assignment]
    try:
        listener = hub.Listener("a hub", 1, lambda: "another hub", take, fails, fails, fails)
        listener.when_seen((hub.reporter_name(1, "two"), 1), lambda: fails())
        listener.when_seen((hub.reporter_name(1, "two"), 1), lambda: done.append("two"))
        pulled.put([said("one", ("out",)), ("torn", 0.0, False, b"no pickle", b""), ("told", 0.0, True, b"", b"x"),
                    said(hub.reporter_name(1, "two"), ("out",))])  # fmt: skip
        pulled.put(LookupError("the hub is lost"))
        until(lambda: listener.hub == "another hub", "the hub that is made again")
        until(lambda: pulled.put([]) or "looking after the cluster's tasks" in traced(), "a look that fails")
        pulled.put([said("three", ("out",))])
        until(lambda: "three" in taken, "what is said after all that")
        assert done == ["two"]
        assert taken == [hub.reporter_name(1, "two"), "three"]
        listener._stopping = True
        pulled.put([])
        listener._thread.join(WAIT)
        assert not listener._thread.is_alive()
    finally:
        hub.rays = rays
    for of in ("reading what a worker reports", "looking after the cluster's tasks", "telling that the hub was lost",
               "giving out a value after its task's output"):  # fmt: skip
        assert of in traced(), traced()


@check
def each_loss_of_a_hub_that_has_answered_is_told() -> None:
    asked, answers, told = queue.Queue[None](), queue.Queue[Any](), []

    def get(pull: Any, **given: Any) -> Any:
        if type(pull) is not str:
            return rays.get(pull, **given)
        asked.put(None)
        answer = answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return time.time(), [], answer

    def call(of: Any, *given: Any) -> Any:
        return "a pull" if type(of) is str else rays.call(of, *given)

    def lost(over: bool, error: BaseException) -> None:
        told.append(str(error))

    hub.rays = SimpleNamespace(**{**vars(rays), "call": call, "get": get})  # type: ignore[assignment]
    try:
        listener = hub.Listener("a hub", 1, lambda: "a hub", lambda *given: None, lambda *given: None, list, lost)
        lives = (7, LookupError("one"), LookupError("two, at once"), 8, 8, 9, LookupError("three"))
        for answer in lives:  # Ray itself has made the last one
            asked.get(timeout=WAIT)
            answers.put(answer)
        asked.get(timeout=WAIT)
        listener._stopping = True
        answers.put(10)
        listener._thread.join(WAIT)
    finally:
        hub.rays = rays
    assert told == ["one", "its process ended", "three"], told


@check
def output_that_never_comes_delays_a_workers_values_once() -> None:
    pulled, given, worker = queue.Queue[Any](), [], hub.reporter_name(1, "its output was lost")

    def get(pull: Any, **named: Any) -> Any:
        return (time.time(), pulled.get(), 1) if type(pull) is str else rays.get(pull, **named)

    def call(of: Any, *args: Any) -> Any:
        return "a pull" if type(of) is str else rays.call(of, *args)

    patience = hub.OUTPUT_WAIT_SECONDS
    hub.rays = SimpleNamespace(**{**vars(rays), "call": call, "get": get})  # type: ignore[assignment]
    try:
        hub.OUTPUT_WAIT_SECONDS = 0.1
        listener = hub.Listener("a hub", 1, lambda: "a hub", lambda *given: None, lambda *given: None, list, print)
        listener.when_seen((worker, 5), lambda: given.append("five"))
        until(lambda: pulled.put([]) or given, "a value that is awaited")
        hub.OUTPUT_WAIT_SECONDS = 100 * WAIT
        listener.when_seen((worker, 6), lambda: given.append("six"))
        assert given == ["five", "six"]
        reader = threading.Thread(target=listener.seen, args=((worker, 7),), daemon=True)
        reader.start()
        reader.join(WAIT)
        assert not reader.is_alive()
        pulled.put([said(worker, ("out",))])
        until(lambda: listener._is_awaited((worker, 8)), "trust in a worker that is heard again")
        listener._stopping = True
        pulled.put([])
        listener._thread.join(WAIT)
    finally:
        hub.rays, hub.OUTPUT_WAIT_SECONDS = rays, patience


@check
def a_hub_that_ray_makes_again_between_two_pulls_is_noticed() -> None:
    def state() -> Any:
        return real_ray._private.state.actors(engine()._listener.hub._actor_id.hex())

    @raynb.remote
    def a_word() -> None:
        print("a word before it is made again")

    held, go = threading.Event(), threading.Event()

    def hold(output: Any) -> None:  # the listener's thread, which asks the hub for nothing meanwhile
        if "a word before it is made again" in output.text and not held.is_set():
            held.set()
            go.wait(WAIT)

    engine().on_output.append(hold)
    try:
        before = state()["Pid"]
        ref = a_word.remote()
        assert held.wait(WAIT)
        first = len(heard)
        os.kill(before, signal.SIGKILL)
        until(lambda: state()["State"] == "ALIVE" and state()["Pid"] != before, "another hub")
    finally:
        go.set()
        engine().on_output.remove(hold)
    until(lambda: any("was lost and is made again" in one.text for one in heard[first:]), "the word of it")
    assert raynb.get(ref, timeout=WAIT) is None


@check
def a_row_that_cannot_be_written_costs_no_other() -> None:
    rows, written = engine()._rows, []

    def broken() -> None:
        raise LookupError("a row on purpose")

    rows.enqueue(broken)
    rows.enqueue(written.append, "the next one")
    until(lambda: engine().snapshot() and written, "the next one")
    assert "writing a row of the views: LookupError: a row on purpose" in traced()
    reports = engine()._reports
    reports.take("nobody", [("no such kind",), (), ("out", "stdout", 0, ["heard\n"], None, 171, "", 0, 1)], 0.0)
    assert printed(171) == "heard\n"
    assert "applying a report of a worker: KeyError: 'no such kind'" in traced()
    for instead in ([("nothing",)], []):
        before, events = pickle.loads(reporter._pickled(7, [("end", lambda: 1), ("end", "kept")], instead))
        assert (before, events) == (7, [*instead, ("end", "kept")])
    assert "pickling a report" in traced()


@check
def a_task_may_print_and_display_what_does_not_travel() -> None:
    class Text(str):
        __slots__ = ()

    @raynb.remote
    def shows() -> None:
        from raynb.base.engine import current

        bundle: dict[str, Any] = {"data": {"text/plain": "as it was"}, "metadata": {}}
        current().emit("display", bundle=bundle)
        bundle["data"]["text/plain"] = "as it is later"
        try:
            current().emit("display", bundle={"data": {"text/plain": lambda: 1}})
        except (pickle.PicklingError, AttributeError, TypeError):
            print("refused")
        sys.stdout.write(Text("of a class of its own\n"))

    with In(172):
        raynb.get(shows.remote(), timeout=WAIT)
    assert printed(172) == "refused\nof a class of its own\n", printed(172)


def _child(what: str, ref: Any) -> Any:
    """Does in a forked child what is asked; returns what the child's exit code is to be, in the parent what it is."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if what == "exit":
        sys.exit(5)
    if what == "raise":
        raise ValueError("of the child")
    if what == "refused":
        allowed = 0
        for attempt in (lambda: raynb.put(1), lambda: raynb.get(ref), lambda: raynb.wait([ref]),
                        lambda: raynb.remote(len).remote("x"), lambda: raynb.cluster_resources()):  # fmt: skip
            try:
                attempt()
                allowed += 1
            except raynb.exceptions.RuntimeGoneError as error:
                allowed += "fork" not in str(error) or "raynb.init()" not in str(error)
        os._exit(allowed)
    print("of the child")
    return "the child's"


@check
def a_child_that_was_forked_has_no_runtime_and_no_result_to_give() -> None:
    class Forks:
        def call(self, what: str, refs: list[Any]) -> Any:
            return _child(what, refs[0])

    class Async:
        async def call(self, what: str, refs: list[Any]) -> Any:
            return _child(what, refs[0])

    @raynb.remote(max_retries=0)
    def task(what: str, refs: list[Any]) -> Any:
        return _child(what, refs[0])

    @raynb.remote(max_retries=0, num_returns="streaming")
    def stream(what: str, refs: list[Any]) -> Any:
        yield "first"
        yield _child(what, refs[0])
        yield "last"

    ref = raynb.put("read by the parent alone")
    actors = [raynb.remote(num_cpus=0)(cls).remote() for cls in (Forks, Async)]
    wanted = {"exit": 5, "raise": 1, "refused": 0, "return": 0}
    for call in (task, *(actor.call for actor in actors)):
        assert raynb.get([call.remote(what, [ref]) for what in wanted], timeout=WAIT) == list(wanted.values())
    for what, code in wanted.items():
        assert [raynb.get(item, timeout=WAIT) for item in stream.remote(what, [ref])] == ["first", code, "last"]
    assert _child("refused", ref) == 0, "in a child of the driver"
    assert raynb.get(task.remote("return", [ref]), timeout=WAIT) == 0


@check
def a_report_that_finds_no_memory_comes_later_and_whole() -> None:
    pushed: list[list[Any]] = []
    errors = [MemoryError("on purpose")] * 3

    def call(asked: str, name: str, given: list[Any]) -> Any:
        answer: concurrent.futures.Future[float] = concurrent.futures.Future()
        answer.set_result(hub.CALM_SECONDS)
        pushed.append(given)
        return SimpleNamespace(future=lambda: answer)

    def dumps(value: object, protocol: int) -> bytes:
        if errors:
            raise errors.pop()
        return pickle.dumps(value, protocol)

    reporter.rays = SimpleNamespace(**{**vars(rays), "call": call, "get_actor": lambda name, namespace: "a hub"})  # type: ignore[assignment]
    reporter.pickle = SimpleNamespace(**{**vars(pickle), "dumps": dumps})  # type: ignore[assignment]
    try:
        one = reporter.Reporter(1)
        one.ended(("end", 7, FAILED, (0.0, 0.0, 0.0, 0.0), "", "", 0))
        one.close()
        until(lambda: not any(it.name == "raynb-reporter" for it in threading.enumerate()), "its thread's end")
    finally:
        reporter.rays, reporter.pickle = rays, pickle
    batches = [pickle.loads(given[5]) for given in pushed]
    rows = [row for _, events in batches for row in events if row[0] != "machine"]
    assert [row[:2] for row in rows] == [("hello", os.getpid()), ("end", 7)], rows
    assert [before for before, _ in batches] == [sum(len(b) for _, b in batches[:n]) for n in range(len(batches))]
    assert [given[3] for given in pushed if b"end" in given[5]] == [True], "a failure is to be read at once"
    assert "gathering reports: MemoryError: on purpose" in traced()


@check
def a_failure_of_several_returns_is_told_once_and_when_the_last_of_them_goes() -> None:
    @raynb.remote(num_returns=3, max_retries=0)
    def bad_thrice() -> None:
        raise ValueError("of several")

    unasked, here, entered = engine()._failures._unasked, threading.Event(), threading.Event()
    enter, refs = unasked.task_failed, []

    def task_failed(row: Any, objects: int) -> None:
        if row.name == "bad_thrice":
            assert here.wait(WAIT)
            refs.pop()  # another thread lets go of it after it was counted
            engine().drain_log()
        enter(row, objects)
        if row.name == "bad_thrice":
            entered.set()

    unasked.task_failed = task_failed
    try:
        with In(173):
            refs += bad_thrice.remote()
        del refs[0]
        engine().drain_log()
        here.set()
        assert entered.wait(WAIT)
    finally:
        here.set()
        del unasked.task_failed
    assert printed(173, "stderr") == "", "somebody can still ask"
    refs.clear()
    engine().drain_log()
    until(lambda: printed(173, "stderr"), "the word of it")  # another thread may be at it
    assert printed(173, "stderr").count("nobody has asked for its result: ValueError: of several") == 1


@check
def of_a_silent_task_no_value_is_fetched_and_no_row_is_written_if_its_worker_has_reported() -> None:
    def make(size: int) -> bytes:
        if not size:
            raise ValueError(size)
        return bytes(size)

    natives = [real_ray.remote(make).remote(size) for size in (1 << 20, 1 << 20, 1, 0)]
    assert len(real_ray.wait(natives, num_returns=4, timeout=WAIT, fetch_local=False)[0]) == 4
    assert rays.stored(natives) == set(natives[:2])
    nothing: Any = SimpleNamespace(natives={}, named=lambda task: 0)
    rows, over, fetched = Rows(nothing, {}, 100), [], []
    reports = Reports(rows, lambda row: None, engine()._cluster, heard.append, NamedLater(), engine().inspection)
    sweeper = Sweeper(rows, lambda row: None, over.append, lambda error, task: False, lambda task: False)
    tasks = [1 << 51 | place for place in range(4)]

    def get(native: Any, **given: Any) -> Any:
        fetched.append(native)
        return rays.get(native, **given)

    def look() -> None:
        for entry in rows.open.values():
            entry[1] -= sweeping.QUIET_SECONDS
        sweeper.look()

    for task, native in zip(tasks, natives, strict=True):
        rows.submitted(task, native, bare_options("Some", "work"), 0, False)
    sweeping.rays = SimpleNamespace(**{**vars(rays), "get": get})  # type: ignore[assignment]
    try:
        look()
        assert list(rows.open) == tasks[:2]
        assert [native for native in fetched if native in natives] == natives[2:]
        states = [rows.row_store.row("tasks", task).state for task in tasks[2:]]
        assert states == [FINISHED, FAILED]
        late = ("end", tasks[3], FAILED, (time.time(),) * 4, "ValueError", "0", 0)
        reports.take("far-3", [("hello", 77, raynb.nodes()[0]["NodeID"]), late], 0.0)
        row = rows.row_store.row("tasks", tasks[3])
        assert (row.state, row.pid, row.worker) == (FAILED, 77, 1), "the report came late, and says where it ran"
        assert row.started > 0
        told = ("end", tasks[0], FINISHED, (0.0, 0.0, 0.0, 0.0), "", "", 1 << 20)
        reports.take_rows("far-2", 0.0, False, pickle.dumps((0, [told])))
        reports.close_ended()
        assert list(rows.open) == tasks[1:2]
        assert rows.unread() == 2, "a report and its event"
        look()
        assert not rows.open, "no report came in time"
        assert not set(fetched) & set(natives[:2]), "a large value was fetched for nothing"
        assert [rows.row_store.row("tasks", task).state for task in tasks[:2]] == [FINISHED] * 2
    finally:
        sweeping.rays = rays
    assert over == [rays.number_of(natives[place]) for place in (2, 3, 1)]
