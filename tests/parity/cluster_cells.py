"""Checks of what a cell of a notebook shows of waits, streams and async actors. `cluster_checks.py` runs them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray as real_ray
from cluster_tools import WAIT, In, check, engine, heard, printed, raised, until

import raynb
from raynb.base.ref import foreign
from raynb.base.rows import CANCELLED, RUNNING
from raynb.engine.cluster import cluster_view, rays

RAYS_FOLDER = str(Path(real_ray.__file__).parent) + os.sep
#: A frame in one of these waits inside Ray: raynb calls Ray's core by itself.
INSIDE_RAY = (RAYS_FOLDER, rays.__file__)


def _interrupted(wait: Callable[[], object]) -> list[str]:
    """Sends Ctrl-C while the main thread waits inside Ray; returns the frames of Ray in what the wait raises."""
    over, main = threading.Event(), threading.get_ident()

    def interrupt() -> None:
        while not over.is_set():
            frame = sys._current_frames().get(main)
            if frame is not None and frame.f_code.co_filename.startswith(INSIDE_RAY):
                signal.pthread_kill(main, signal.SIGINT)
                over.wait(WAIT / 4)  # one that met a destructor of Ray's own is lost: then once more
            time.sleep(0.001)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread = threading.Thread(target=interrupt)
        thread.start()
        wait()
    except KeyboardInterrupt as error:
        shown = traceback.TracebackException.from_exception(error)
        return [line.strip() for line in shown.format() if RAYS_FOLDER in line]  # what Python prints, with causes
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    raise AssertionError("nothing interrupted it")


@check
def an_interrupted_wait_shows_no_frames_of_ray() -> None:
    from raynb.util.placement_group import placement_group, remove_placement_group

    @raynb.remote(max_retries=0)
    def sleeps() -> None:
        while True:
            time.sleep(0.01)

    @raynb.remote(max_retries=0)
    def yields_late() -> Any:
        while True:
            time.sleep(0.01)
        yield

    with In(211):
        ref, stream = sleeps.remote(), yields_late.remote()
    group = placement_group([{"CPU": 1000}])
    waits: dict[str, Callable[[], object]] = {
        "get": lambda: raynb.get(ref), "get with a limit": lambda: raynb.get([ref], timeout=WAIT),
        "wait": lambda: raynb.wait([ref]), "next": lambda: next(stream),
        "group": lambda: group.wait(WAIT),
    }  # fmt: skip
    try:
        shown = {name: _interrupted(wait) for name, wait in waits.items()}
    finally:
        engine().cancel_scope(211)
        remove_placement_group(group)
    assert shown == {name: [] for name in waits}, shown


@check
def an_interrupt_or_a_timeout_between_a_lock_and_its_wait_ends_the_task_as_such() -> None:
    def left(error: BaseException) -> None:
        """Ends as `Event.wait` does when a signal handler raises between its lock's release and its wait."""
        try:
            raise error
        except BaseException:
            raise RuntimeError("release unlocked lock")

    @raynb.remote(max_retries=0)
    def interrupted() -> None:
        left(KeyboardInterrupt())

    @raynb.remote(max_retries=0, timeout=WAIT)
    def late() -> None:
        from raynb.engine.cluster.on_worker.timeouts import TimedOut

        left(TimedOut("on purpose"))

    with In(212):
        ref = interrupted.remote()
    assert isinstance(raised(lambda: raynb.get(ref, timeout=WAIT)), raynb.exceptions.TaskCancelledError)
    until(lambda: engine().scope_counts(212) == {CANCELLED: 1}, "the row")
    error = raised(lambda: raynb.get(late.remote(), timeout=WAIT))
    assert type(error) is raynb.exceptions.TaskTimeoutError, repr(error)


@check
def a_timeout_ends_calls_and_streams_of_concurrent_actors_and_no_error_of_their_code_is_taken_for_one() -> None:
    class Waits:
        async def one(self) -> None:
            await asyncio.sleep(10 * WAIT)

        async def items(self) -> Any:
            for n in range(3):
                yield n
                await asyncio.sleep(n * 10 * WAIT)

        def plain_items(self) -> Any:
            for n in range(3):
                yield n
                time.sleep(n * 0.2)

        async def its_own(self) -> None:
            await asyncio.wait_for(asyncio.sleep(10 * WAIT), 0.01)

        async def in_time(self) -> Any:
            yield 1
            await asyncio.sleep(0)
            yield 2

    waits = raynb.remote(num_cpus=0)(Waits).remote()
    late = raynb.exceptions.TaskTimeoutError
    error = raised(lambda: raynb.get(waits.one.options(timeout=0.3).remote(), timeout=WAIT))
    assert type(error) is late, repr(error)
    assert str(error) == "Waits.one did not finish within its timeout of 0.3 s."
    for stream, seconds in ((waits.items, 0.5), (waits.plain_items, 0.1)):
        read: list[int] = []
        given = stream.options(num_returns="streaming", timeout=seconds).remote()
        error = raised(lambda given=given, read=read: read.extend(raynb.get(ref, timeout=WAIT) for ref in given))
        assert type(error) is late, repr(error)
        assert read == list(range(len(read))), read
        assert len(read) < 3, read
    error = raised(lambda: raynb.get(waits.its_own.options(timeout=WAIT).remote(), timeout=WAIT))
    assert isinstance(error, asyncio.TimeoutError), repr(error)
    assert not isinstance(error, late), repr(error)

    class Threads:
        def sleeps(self, seconds: float) -> float:
            time.sleep(seconds)
            return seconds

        def endless(self) -> Any:
            while True:
                yield 1
                time.sleep(0.05)

    threads = raynb.remote(num_cpus=0, max_concurrency=2)(Threads).remote()
    given = threads.endless.options(num_returns="streaming", timeout=0.3).remote()
    error = raised(lambda: [raynb.get(ref, timeout=WAIT) for ref in given])
    assert type(error) is late, repr(error)
    error = raised(lambda: raynb.get(threads.sleeps.options(timeout=0.1).remote(0.3), timeout=WAIT))
    assert type(error) is late, repr(error)
    assert raynb.get(threads.sleeps.options(timeout=WAIT).remote(0.01), timeout=WAIT) == 0.01
    stream = waits.in_time.options(num_returns="streaming", timeout=WAIT).remote()
    assert [raynb.get(ref, timeout=WAIT) for ref in stream] == [1, 2]


def _log_of(pid: int) -> str:
    """Returns what a worker of Ray's has written into Ray's files, which its log monitor brings into the cell."""
    folder = Path(real_ray._private.worker.global_worker.node.get_logs_dir_path())
    paths = list(folder.glob(f"worker-*-{pid}.*"))
    assert {path.suffix for path in paths} == {".out", ".err"}, (paths, sorted(os.listdir(folder)))
    return "".join(path.read_text(errors="replace") for path in paths)


@check
def async_actors_and_queues_write_no_warning_of_rays() -> None:
    from raynb.util.queue import Empty, Queue

    inside, large = raynb.put("inside"), bytes(300_000)

    class Works:
        def __init__(self, given: Any) -> None:
            self.given = given

        async def work(self, *given: Any, **named: Any) -> Any:
            return len(given), type(named.get("last")).__name__, self.given[:0]

        async def named(self) -> int:
            return len(repr((inside, large)))  # its definition has a ref in it, and is large

        async def pid(self) -> int:
            return os.getpid()

    works = raynb.remote(num_cpus=0)(Works).remote(raynb.put(large))
    calls = [works.work.remote(), works.work.remote(inside, [inside], last=large), works.named.remote()]
    raynb.get(calls, timeout=WAIT)
    queue = Queue(maxsize=4, actor_options={"num_cpus": 0})
    for item in (1, large, [inside], inside):
        queue.put(item, timeout=WAIT)
    assert [queue.get(timeout=WAIT), len(queue.get(timeout=WAIT)), queue.qsize()] == [1, len(large), 2]
    queue.put_nowait_batch([1, 2])
    assert len(queue.get_nowait_batch(2)) == 2
    assert isinstance(raised(lambda: [queue.get(timeout=0.01) for _ in range(9)]), Empty)
    pid = raynb.get(works.pid.remote(), timeout=WAIT)
    rows = until(lambda: [row.pid for row in engine().snapshot().actors if row.class_name == "_QueueActor" and row.pid],
                 "the row of the queue's actor")  # fmt: skip
    for one in (pid, *rows):
        log = _log_of(one)
        assert "blocking" not in log.lower(), log
        assert "Traceback" not in log, log
    queue.shutdown(force=True)


@check
def a_loop_over_a_generator_shows_what_it_prints_in_order() -> None:
    @raynb.remote
    def made(n: int) -> Any:
        print("before")
        for number in range(n):
            print("made", number)
            yield number
        print("after")

    for scope, reads in ((213, True), (214, False)):
        with In(scope):
            for number, ref in enumerate(made.remote(4)):
                if reads:
                    assert raynb.get(ref, timeout=WAIT) == number
                    assert f"made {number}\n" in printed(scope), (number, printed(scope))
            # Without another word of the driver's: what comes next in the cell comes after it.
            lines = ["before", *(f"made {number}" for number in range(4)), "after"]
            assert printed(scope).splitlines() == lines, (scope, printed(scope), len(heard))


@check
def a_call_that_goes_on_although_it_was_cancelled_is_named() -> None:
    class Busy:
        def work(self, go: str) -> int:
            while not os.path.exists(go):
                time.sleep(0.05)
            return 1

        def ping(self) -> int:
            return 2

    go = os.path.join(tempfile.mkdtemp(), "go")
    busy = raynb.remote(num_cpus=0)(Busy).remote()
    assert raynb.get(busy.ping.remote(), timeout=WAIT) == 2
    with In(215):
        ref = busy.work.remote(go)
        until(lambda: [row.state for row in engine().snapshot().tasks if row.scope == 215] == [RUNNING], "the call")
        raynb.cancel(ref)
        until(lambda: "Busy.work goes on although it was cancelled" in printed(215, "stderr"), "word of it")
    Path(go).touch()
    assert raynb.get(busy.ping.remote(), timeout=WAIT) == 2


@check
def a_cancelled_task_that_ends_by_its_childs_cancellation_is_cancelled() -> None:
    @raynb.remote(num_cpus=0, max_retries=0)
    def child_that_goes_on(path: str) -> None:
        Path(path).touch()
        while True:
            time.sleep(0.01)

    @raynb.remote(num_cpus=0, max_retries=0)
    def hears_its_child_only(path: str) -> Any:
        ref = child_that_goes_on.remote(path)
        while True:
            try:
                return raynb.get(ref)
            except KeyboardInterrupt:  # which of them comes first is by chance
                continue

    controls = engine()._controls
    grace, controls._grace = controls._grace, 10 * WAIT
    path = os.path.join(tempfile.mkdtemp(), "began")
    try:
        with In(216):
            ref = hears_its_child_only.remote(path)
        until(lambda: os.path.exists(path), "the child to run")
        raynb.cancel(ref)
        error = raised(lambda: raynb.get(ref, timeout=WAIT))
    finally:
        controls._grace = grace
    assert type(error) is raynb.exceptions.TaskCancelledError, repr(error)

    def states() -> set[str]:
        return {row.state for row in engine().snapshot().tasks if row.scope == 216}

    until(lambda: states() == {CANCELLED}, "the rows")
    assert "hears_its_child_only" not in printed(216, "stderr"), printed(216, "stderr")


@check
def nested_tasks_that_do_not_notice_their_cancellation_end_with_their_workers() -> None:
    @raynb.remote(num_cpus=0, max_retries=0)
    def sleeps_on(path: str) -> None:
        Path(f"{path}.begun").write_text(str(os.getpid()))
        Path(f"{path}.begun").rename(path)
        time.sleep(10_000)

    @raynb.remote(num_cpus=0, max_retries=0)
    def waits_for_it(path: str) -> None:
        raynb.get(sleeps_on.remote(path))

    @raynb.remote(num_cpus=0, max_retries=0)
    def cancels_it(path: str, limit: float) -> str:
        ref = sleeps_on.remote(path)
        while not os.path.exists(path):
            time.sleep(0.01)
        raynb.cancel(ref)
        try:
            raynb.get(ref, timeout=limit)
        except raynb.exceptions.TaskCancelledError:
            return "cancelled"
        return ""

    folder = tempfile.mkdtemp()
    one, two = os.path.join(folder, "one"), os.path.join(folder, "two")
    with In(217):
        ref = waits_for_it.remote(one)
        until(lambda: os.path.exists(one), "the nested task to run")
        numbers = {row.name: row.id for row in engine().snapshot().tasks if row.scope == 217}
        until(lambda: "sleeps_on" in {row.name for row in engine().snapshot().tasks}, "its row")
        nested = next(row.id for row in engine().snapshot().tasks if row.name == "sleeps_on")
        assert "submitted by another task" in str(raised(lambda: engine().cancel_task(nested)))
        engine().cancel_task(numbers["waits_for_it"])
        assert type(raised(lambda: raynb.get(ref, timeout=WAIT))) is raynb.exceptions.TaskCancelledError
        assert raynb.get(cancels_it.remote(two, WAIT), timeout=WAIT) == "cancelled"

    def ended(path: str) -> bool:
        try:
            os.kill(int(Path(path).read_text()), 0)
        except ProcessLookupError:
            return True
        return False

    until(lambda: ended(one) and ended(two), "the workers to end")

    def states() -> list[str]:
        return [row.state for row in engine().snapshot().tasks if row.name == "sleeps_on"]

    until(lambda: states() == [CANCELLED] * 2, "the rows")


@check
def the_error_of_a_lost_value_comes_without_the_counters_of_the_store() -> None:
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]

    @raynb.remote(num_cpus=0, max_retries=0)
    def sleeps() -> None:
        while True:
            time.sleep(0.01)

    @raynb.remote
    def reads(box: list[Any]) -> Any:
        import raynb as ray

        found: list[str] = []
        reader = logging.Handler()
        reader.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("ray").addHandler(reader)
        try:
            ray.get(box[0], timeout=WAIT)
        except ray.exceptions.ObjectLostError:
            return found
        finally:
            logging.getLogger("ray").removeHandler(reader)
        raise AssertionError("the value was there")

    logging.getLogger("ray").addHandler(handler)
    try:
        native = real_ray.put(real_ray.exceptions.ObjectLostError("ab" * 14, None, ""))  # as Ray has it in its place
        ref, kept, pending = foreign[real_ray.ObjectRef](native), raynb.put(1), sleeps.remote()
        lost = raynb.exceptions.ObjectLostError
        assert isinstance(raised(lambda: raynb.get(ref, timeout=WAIT)), lost)
        assert isinstance(raised(lambda: raynb.get([kept, ref], timeout=WAIT)), lost)
        assert isinstance(raised(lambda: raynb.get([pending, ref], timeout=WAIT)), lost)
        assert [text for text in raynb.get(reads.remote([ref]), timeout=WAIT) if "Plasma" in text] == []
    finally:
        logging.getLogger("ray").removeHandler(handler)
        raynb.cancel(pending, force=True)
    assert [text for text in logged if "Plasma" in text] == []


@check
def notices_of_rays_about_the_cluster_are_a_sentence_each() -> None:
    module = real_ray._private.worker

    def show(*texts: str) -> tuple[str, str]:
        """Prints notices as Ray does; returns what Ray prints of them, and what raynb says instead."""
        before, shown = len(heard), io.StringIO()
        with contextlib.redirect_stdout(shown):
            module.print_to_stdstream({"pid": "raylet", "lines": list(texts), "is_err": False}, False)
        ours = [one.text for one in heard[before:] if one.name == "raynb" and one.kind == "stderr"]
        return shown.getvalue(), "".join(ours)

    node = raynb.nodes()[0]["NodeID"]
    shown, said = show(
        f"The node with node id: {node} and address: 192.0.2.2 and node name: x has been marked dead because the "
        "detector has missed too many heartbeats from it. This can happen when a raylet crashes unexpectedly."
    )
    assert not shown, shown
    assert node[:8] in said, said
    assert said.endswith(" is dead: the detector has missed too many heartbeats from it\n"), said
    nameless = (
        "It looks like you're creating a detached actor in an anonymous namespace. In order to access this actor in "
        'the future, you will need to explicitly connect to this namespace with ray.init(namespace="checked", ...)'
    )
    shown, said = show(nameless, nameless)
    assert not shown, shown
    assert said.count("get_actor(name, namespace='checked')") == 1, said
    shown, said = show("Spilled 120 MiB, 3 objects, write throughput 900 MiB/s.")
    assert "Spilled 120 MiB, 3 objects" in shown, shown
    assert not said, said


@check
def the_first_look_after_a_silence_shows_the_nodes_as_they_are() -> None:
    view, patience = engine().cluster_info, cluster_view.PATIENCE_SECONDS
    engine().snapshot()
    cluster_view.PATIENCE_SECONDS = WAIT
    try:
        until(lambda: not view._asking.locked(), "an earlier look to end")
        view._asked = view._answered = float("-inf")
        for row in view._nodes.values():
            row.alive = False
        assert [row.alive for row in engine().snapshot().nodes] == [True]
    finally:
        cluster_view.PATIENCE_SECONDS = patience
