"""Checks of output on a Ray cluster, and of actors that leave. `cluster_checks.py` runs them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import logging
import os
import sys
import tempfile
import threading
import time
from types import SimpleNamespace
from typing import Any

import ray as real_ray
from cluster_tools import WAIT, In, check, engine, heard, lines, printed, raised, until

import raynb
from raynb.base.rows import FAILED, FINISHED, RUNNING
from raynb.engine.cluster import hub, rays
from raynb.engine.cluster.on_worker import reporter


@check
def output_comes_before_the_result_and_in_the_submitting_cell() -> None:
    @raynb.remote
    def say(n: int) -> int:
        print("line", n)
        print("oops", n, file=sys.stderr)
        return n

    with In(11):
        first = [say.remote(n) for n in range(3)]
    with In(12):
        second = say.remote(9)
    assert raynb.get([*first, second], timeout=WAIT) == [0, 1, 2, 9]
    assert lines(11) == ["line 0", "line 1", "line 2"]
    assert printed(12) == "line 9\n"
    assert printed(12, "stderr") == "oops 9\n"


@check
def output_of_a_failed_task_and_of_a_nested_one_is_not_lost() -> None:
    @raynb.remote
    def inner() -> None:
        print("from inside")

    @raynb.remote
    def outer() -> None:
        import raynb as ray

        ray.get(inner.remote())
        print("before it fails")
        raise ValueError("on purpose")

    with In(13):
        ref = outer.remote()
    assert isinstance(raised(lambda: raynb.get(ref, timeout=WAIT)), ValueError)
    assert printed(13) == "from inside\nbefore it fails\n", printed(13)


@check
def output_of_tasks_that_call_each_other_is_in_its_order_before_the_result() -> None:
    class Speaker:
        def say(self, text: str) -> None:
            print(text)

    @raynb.remote
    def quiet(text: str) -> str:
        print(text)
        return text

    @raynb.remote
    def outer(speaker: Any, depth: int) -> int:
        import raynb as ray

        print("first", depth)
        ray.get(speaker.say.remote(f"called {depth}"))
        if depth:
            ray.get(outer.remote(speaker, depth - 1))
        print("second", depth)
        ray.get(quiet.remote(f"task {depth}"))
        ray.wait([quiet.remote(ray.put(f"read by nobody {depth}"))])
        return depth

    @raynb.remote
    def says_nothing(speaker: Any, before: Any) -> Any:
        import raynb as ray

        return ray.get(quiet.remote("through one that says nothing")) + before

    speaker = raynb.remote(num_cpus=0)(Speaker).remote()
    for scope in (131, 132, 133):
        with In(scope):
            assert raynb.get(outer.remote(speaker, 2), timeout=WAIT) == 2
        found = [line for line in printed(scope).splitlines() if "nobody" not in line]
        assert found == [
            "first 2", "called 2", "first 1", "called 1", "first 0", "called 0", "second 0", "task 0", "second 1",
            "task 1", "second 2", "task 2",
        ], found  # fmt: skip
    with In(134):
        raynb.get(says_nothing.remote(speaker, quiet.remote("an argument")), timeout=WAIT)
        assert printed(134) == "an argument\nthrough one that says nothing\n", printed(134)


@check
def every_call_of_an_actor_that_leaves_ends_with_its_error() -> None:
    def end(how: str) -> None:
        if how.startswith("exit"):
            sys.exit(int(how[-1]))
        if how == "leave":
            raynb.actor.exit_actor()
        if how == "crash":
            os._exit(1)

    class Sync:
        def __init__(self, how: str) -> None:
            end(how)

        def leave(self, how: str) -> None:
            end(how)

        def ping(self) -> int:
            return 1

    class Async(Sync):
        async def leave(self, how: str) -> None:  # type: ignore[override]
            end(how)

    refs = []
    for cls in (Sync, Async):
        for how in ("exit 0", "exit 1", "crash", "leave"):
            remote = raynb.remote(num_cpus=0)(cls)
            in_constructor, in_method = remote.remote(how), remote.remote("stay")
            refs += [(cls, how, in_constructor.ping.remote()), (cls, how, in_method.leave.remote(how)),
                     (cls, how, in_method.leave.remote(how))]  # fmt: skip
            del in_constructor, in_method
    for cls, how, ref in refs:
        error = raised(lambda ref=ref: raynb.get(ref, timeout=4 * WAIT))
        assert isinstance(error, raynb.exceptions.ActorDiedError), (cls, how, error)


@check
def an_actors_output_goes_to_the_cell_that_calls() -> None:
    class Speaker:
        def say(self, text: str) -> None:
            print(text)

        async def later(self, text: str) -> None:
            await asyncio.sleep(0)
            print(text)

    with In(14):
        speaker = raynb.remote(num_cpus=0)(Speaker).remote()
        raynb.get(speaker.say.remote("first"), timeout=WAIT)
    with In(15):
        raynb.get(speaker.later.remote("second"), timeout=WAIT)
    assert (printed(14), printed(15)) == ("first\n", "second\n")


@check
def what_a_task_displays_arrives_with_its_bundle() -> None:
    @raynb.remote
    def show() -> None:
        from raynb.base.engine import current

        current().emit("display", bundle={"data": {"text/plain": "a figure"}, "metadata": {}})

    with In(16):
        raynb.get(show.remote(), timeout=WAIT)
    shown = [one.bundle for one in heard if one.scope == 16 and one.kind == "display"]
    assert [bundle and bundle["data"] for bundle in shown] == [{"text/plain": "a figure"}]


@raynb.remote(name="inside")
def inside() -> None:
    print("inside")


class Bare:
    def __init__(self) -> None:
        self.go = threading.Event()

    def say(self) -> int:
        print("said")
        return 1

    def nested(self) -> int:
        return raynb.get(inside.remote()) or 2

    def fail(self) -> None:
        print("before it fails")
        raise LookupError("on purpose")

    def leave_a_thread(self) -> None:
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._later,)).start()

    def _later(self) -> None:
        self.go.wait(WAIT)
        print("much later")

    def release(self) -> None:
        self.go.set()


class Async:
    async def say(self, times: int = 1) -> int:
        await asyncio.sleep(0)
        print("async" * times)
        return 3


@check
def calls_without_arguments_keep_their_cells() -> None:
    bare, other = raynb.remote(num_cpus=0)(Bare).remote(), raynb.remote(num_cpus=0)(Async).remote()
    with In(141):
        assert raynb.get([bare.say.remote(), bare.say.remote()], timeout=WAIT) == [1, 1]
        assert printed(141) == "said\nsaid\n", printed(141)
        raynb.get(bare.leave_a_thread.remote(), timeout=WAIT)
    with In(142):
        assert raynb.get(bare.nested.remote(), timeout=WAIT) == 2
        assert printed(142) == "inside\n", printed(142)
    with In(143):
        assert isinstance(raised(lambda: raynb.get(bare.fail.remote(), timeout=WAIT)), LookupError)
        assert printed(143) == "before it fails\n", printed(143)
        assert raynb.get([other.say.remote() for _ in range(3)] + [other.say.remote(2)], timeout=WAIT) == [3] * 4
        assert sorted(printed(143).splitlines()[1:]) == ["async"] * 3 + ["asyncasync"], printed(143)
    with In(144):
        futures = [bare.say.remote().future(), bare.say.options(name="named").remote().future()]
        assert [future.result(WAIT) for future in futures] == [1, 1]
        # Plain Ray calls the same method, by its own name.
        assert real_ray.get(other.say.remote(), timeout=WAIT) == 3
        reader = raynb.remote(lambda refs: raynb.get(refs[0]))
        assert raynb.get(reader.remote([bare.say.remote()]), timeout=WAIT) == 1
        raynb.get(bare.release.remote(), timeout=WAIT)
    until(lambda: printed(141).endswith("much later\n"), "what a thread says whose call has ended")

    def rows() -> dict[str, Any]:
        return {row.name: row for row in engine().snapshot().tasks if row.scope in range(141, 145)}

    wanted = dict.fromkeys(("Bare.say", "Bare.nested", "inside", "Async.say", "named", "Bare.release"), FINISHED)
    until(lambda: {name: row.state for name, row in rows().items()} | wanted | {"Bare.fail": FAILED}
          == {name: row.state for name, row in rows().items()}, "the states")  # fmt: skip
    found = rows()
    assert found["inside"].parent == found["Bare.nested"].id
    assert (found["inside"].scope, found["Bare.fail"].error_type) == (142, "LookupError")


class Marked:
    def look(self) -> str:
        return os.environ.get("RAYNB_PREPARED", "")


@check
def a_cancelled_call_of_an_async_actor_writes_nothing() -> None:
    class Waits:
        async def stay(self, path: str) -> None:
            open(path, "w").close()  # noqa: ASYNC230
            await asyncio.sleep(1000)

        async def log(self) -> str:
            return self.logged

        def __init__(self) -> None:
            self.logged = ""
            logger = logging.getLogger("asyncio")
            handler = logging.Handler()
            handler.emit = lambda record: setattr(self, "logged", record.getMessage())  # type: ignore[method-assign]
            logger.addHandler(handler)

    began = os.path.join(tempfile.mkdtemp(), "began")
    waits = raynb.remote(num_cpus=0)(Waits).remote()
    ref = waits.stay.remote(began)
    until(lambda: os.path.exists(began), "the call to run")
    raynb.cancel(ref)
    assert isinstance(raised(lambda: raynb.get(ref, timeout=WAIT)), raynb.exceptions.TaskCancelledError)
    assert raynb.get(waits.log.remote(), timeout=WAIT) == ""


@check
def calls_without_arguments_find_what_was_sent_to_every_worker() -> None:
    from raynb.api.everywhere import run_on_workers

    def mark(text: str) -> None:
        os.environ["RAYNB_PREPARED"] = text

    later = engine().submission.later
    run_on_workers(raynb.remote(mark), "first")
    actor = raynb.remote(num_cpus=0)(Marked).remote()
    before = len(later)
    assert raynb.get([actor.look.remote() for _ in range(3)], timeout=WAIT) == ["first"] * 3
    until(lambda: len(later) == before + 3, "calls that carry nothing")  # one that ends is counted twice for a moment
    run_on_workers(raynb.remote(mark), "second")  # after the actor was made: its calls have to say so
    assert raynb.get([actor.look.remote() for _ in range(3)], timeout=WAIT) == ["second"] * 3
    until(lambda: len(later) == before + 3, "calls that carry what is new")


@check
def a_task_is_found_by_its_ref_at_once() -> None:
    from raynb.util import state

    @raynb.remote(num_cpus=0)
    def waits(path: str) -> None:
        while not os.path.exists(path):
            time.sleep(0.01)

    go = os.path.join(tempfile.mkdtemp(), "go")
    ref = waits.remote(go)
    found = state.get_task(ref)
    assert found is not None
    assert found.name == "waits"
    until(lambda: state.get_task(ref).state == "RUNNING", "waits to run")  # type: ignore[union-attr]
    open(go, "w").close()
    raynb.get(ref, timeout=WAIT)
    assert state.get_task(ref).state == "FINISHED"  # type: ignore[union-attr]
    assert [row.object_id for row in state.get_objects(ref)] == [ref.hex()]
    put = raynb.put("listed")
    assert {ref.hex(), put.hex()} <= {row.object_id for row in state.list_objects(limit=10_000)}
    actor = raynb.remote(num_cpus=0)(Marked).options(name="answers").remote()
    raynb.get(actor.look.remote(), timeout=WAIT)
    assert [row.state for row in state.list_actors(filters=[("name", "=", "answers")])] == ["ALIVE"]


@check
def a_worker_that_dies_is_told_of_in_a_line_in_its_cell() -> None:
    @raynb.remote(max_retries=0)
    def dies(path: str) -> None:
        while not os.path.exists(path):
            time.sleep(0.01)
        os._exit(3)

    shown, go = io.StringIO(), os.path.join(tempfile.mkdtemp(), "go")
    with contextlib.redirect_stdout(shown), In(151):
        ref = dies.remote(go)
        until(lambda: [row.state for row in engine().snapshot().tasks if row.scope == 151] == [RUNNING], "dies")
        open(go, "w").close()
        assert isinstance(raised(lambda: raynb.get(ref, timeout=WAIT)), raynb.exceptions.WorkerCrashedError)
        until(lambda: "worker of dies (cell 151)" in printed(151, "stderr"), "the notice")
    lines = [line for line in printed(151, "stderr").splitlines() if " died: " in line]
    assert any("worker of dies (cell 151)" in line for line in lines), lines  # Ray has several words for why
    assert max(map(len, lines)) < 300, lines
    picture = engine().snapshot()
    (task,) = (row for row in picture.tasks if row.scope == 151)
    assert [bool(row.exit) for row in picture.workers if row.id == task.worker] == [True], "its row goes on"
    assert "To troubleshoot" not in shown.getvalue(), shown.getvalue()


@check
def what_was_printed_before_a_task_ends_its_process_is_shown_and_so_is_what_ran_there_before() -> None:
    @raynb.remote(max_retries=0)
    def came_before() -> int:
        return os.getpid()

    @raynb.remote(max_retries=0)
    def leaves() -> None:
        print("before the end;")
        os._exit(4)

    with In(152):
        for _ in range(3):
            raynb.get(came_before.remote(), timeout=WAIT)
            ref = leaves.remote()
            assert isinstance(raised(lambda ref=ref: raynb.get(ref, timeout=WAIT)), raynb.exceptions.WorkerCrashedError)
        until(lambda: lines(152) == ["before the end;"] * 3, "what they printed")

    def told() -> list[bool]:
        return [bool(row.worker) for row in engine().snapshot().tasks if (row.scope, row.name) == (152, "came_before")]

    until(lambda: told() == [True] * 3, "where they ran")


@check
def a_worker_whose_driver_has_ended_asks_for_its_hub_once_a_batch() -> None:
    asked: list[str] = []

    def nobody(name: str, namespace: str) -> None:
        asked.append(name)
        raise ValueError(name)

    patience = reporter.FLUSH_TIMEOUT_SECONDS
    reporter.rays = SimpleNamespace(**{**vars(rays), "get_actor": nobody})  # type: ignore[assignment]
    reporter.FLUSH_TIMEOUT_SECONDS = 5.0
    try:
        left = reporter.Reporter(1)
        until(lambda: left._alone, "the end of its patience")
        assert len(asked) > 1
        reporter.FLUSH_TIMEOUT_SECONDS = 1e9
        until(lambda: left._pause == hub.CALM_SECONDS, "it to be silent")
        left.add(("end", 0, FINISHED, (0.0, 0.0, 0.0, 0.0), "", "", 0))
        left.close()
        until(lambda: not any(one.name == "raynb-reporter" for one in threading.enumerate()), "its thread's end")
    finally:
        reporter.rays, reporter.FLUSH_TIMEOUT_SECONDS = rays, patience


@check
def notices_go_through_one_function_however_many_runtimes_hear_them() -> None:
    module = real_ray._private.worker
    wrapper, shown = module.print_to_stdstream, io.StringIO()
    assert wrapper.__module__ == "raynb.engine.notices"
    undo = rays.hear_notices(lambda text, only_known: None if only_known else text.upper())
    try:
        assert module.print_to_stdstream is wrapper
        with contextlib.redirect_stdout(shown):
            printer = threading.Thread(
                target=wrapper, args=({"pid": "raylet", "lines": ["told"], "is_err": False}, False), daemon=True
            )
            printer.start()
            printer.join(WAIT)
        assert "TOLD" in shown.getvalue(), shown.getvalue()
    finally:
        undo()
    assert module.print_to_stdstream is wrapper, "the engine of these checks hears on"


@check
def what_ray_holds_back_is_shown_before_the_cell_ends() -> None:
    """Ray holds a line back that looks like one of another process, and would throw it away at the end of a cell."""
    module, shown = real_ray._private.worker, io.StringIO()
    registered = [module.stdout_deduplicator.flush, module.stderr_deduplicator.flush]
    events = SimpleNamespace(register=lambda event, function: registered.append(function),
                             unregister=lambda event, function: registered.remove(function))  # fmt: skip
    before, sys.modules["IPython"] = sys.modules.get("IPython"), SimpleNamespace(  # type: ignore[assignment]
        get_ipython=lambda: SimpleNamespace(events=events)
    )
    try:
        undo = rays.hear_notices(lambda text, only_known: None if only_known else text)
    finally:
        del sys.modules["IPython"]
        if before is not None:
            sys.modules["IPython"] = before
    try:
        (at_the_end,) = registered
        held = {"pid": 7, "ip": "192.0.2.9", "lines": ["said by trial 2"], "is_err": False, "job": "01"}
        with rays._printing, contextlib.redirect_stdout(shown):
            list(module.stdout_deduplicator.deduplicate({**held, "pid": 6, "lines": ["said by trial 1"]}))
            kept_back = list(module.stdout_deduplicator.deduplicate(held))
            assert not [line for batch in kept_back for line in batch["lines"]], kept_back
            at_the_end()
        assert "said by trial 2" in shown.getvalue(), shown.getvalue()
    finally:
        undo()
    assert not registered
