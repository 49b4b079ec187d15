"""Checks of what workers report to the driver when some of it is broken. Run by `cluster_checks.py`."""

from __future__ import annotations

import os
import pickle
import queue
import sys
import time
from types import SimpleNamespace
from typing import Any

from cluster_tools import WAIT, In, check, engine, printed, until

import raynb
from raynb.base.process import trace
from raynb.engine.cluster import hub, rays
from raynb.engine.cluster.on_worker import reporter


def traced() -> str:
    return "\n".join(f"{kept.where}: {kept.error}" for kept in list(trace.ring))


def said(worker: str, *events: Any) -> tuple[Any, ...]:
    """Returns a worker's first batch of output, as the hub has it."""
    return worker, 0.0, False, pickle.dumps((0, list(events))), b""


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
        return time.time(), found

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
