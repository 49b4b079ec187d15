"""What Ray says in a page about its cluster, in a sentence."""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from raynb.base.process import trace
from raynb.engine import notices

DIED = (
    "A worker died or was killed while executing a task by an unexpected system error. To troubleshoot the problem, "
    "check the logs for the dead worker. Lease ID: 0f00 Worker ID: ec92 Node ID: a85d Worker IP address: 192.0.2.2 "
    "Worker port: 33305 Worker PID: 23950 Worker exit type: SYSTEM_ERROR Worker exit detail: "
)


def test_a_death_is_who_where_and_why() -> None:
    plain = "Worker exits unexpectedly. Worker exits with an exit code 1."
    assert notices.worker_death(DIED + plain) == (23950, "a85d", "Worker exits with an exit code 1")
    why = "Worker unexpectedly exits with a connection error code 2"
    assert notices.worker_death(f"{DIED}{why}. End of file. Some common causes: (1) ...") == (23950, "a85d", why)
    assert notices.worker_death("The node was marked dead.") is None


def test_other_notices_keep_what_they_say_and_lose_their_advice() -> None:
    said = "3 Workers killed due to memory pressure (OOM) at node (ID: a85d, IP: 192.0.2.2)."
    assert notices.notice(f"{said} To see more information about the Workers killed, use `ray logs`") == said
    crash = "The worker died unexpectedly while executing this task."
    assert notices.notice(f"{crash} Check python-core-worker-*.log files for more information.") == crash
    assert notices.notice("short") == "short"
    assert len(notices.notice("long " * 500)) < 500


def test_a_task_that_is_tried_again_is_which_and_how_often() -> None:
    said = "Task dies failed. There are 3 retries remaining, so the task will be retried. Error: The worker died."
    assert notices.retried(said) == ("dies", "3 times")
    assert notices.retried(said.replace("3", "infinite")) == ("dies", "any number of times")
    oom = "Task In[8] failed due to oom. There are 1 oom retries remaining, so the task will be retried. Error: x"
    assert notices.retried(oom) == ("In[8]", "once")
    assert notices.retried("Task dies failed.") is None
    assert notices.retried(DIED) is None


NODE = (
    "The node with node id: 39db419a35a3 and address: 192.0.2.2 and node name: 192.0.2.2 has been marked dead because "
    "the detector has missed too many heartbeats from it. This can happen when a \t(1) raylet crashes unexpectedly "
    "(OOM, etc.) \n\t(2) raylet has lagging heartbeats due to slow network or busy workload."
)
NAMELESS = (
    "It looks like you're creating a detached actor in an anonymous namespace. In order to access this actor in the "
    'future, you will need to explicitly connect to this namespace with ray.init(namespace="09a1b64e-cec4", ...)'
)
LOST = (
    "Attempting to recover 2 lost objects by resubmitting their tasks or setting a new primary location from existing "
    "copies. To disable object reconstruction, set @ray.remote(max_retries=0)."
)


def test_notices_of_the_cluster_are_told_apart() -> None:
    assert notices.node_death(NODE) == ("39db419a35a3", "the detector has missed too many heartbeats from it")
    assert notices.nameless(NAMELESS) == "09a1b64e-cec4"
    assert notices.recovering(f" {LOST}") == 2
    for read in (notices.node_death, notices.nameless, notices.recovering):
        for text in (DIED, NODE, NAMELESS, LOST, "", "a user: " + NODE + NAMELESS + LOST):
            known = {NODE: notices.node_death, NAMELESS: notices.nameless, LOST: notices.recovering}
            assert (read(text) is not None) == (known.get(text) is read), (read, text)


def core_line(text: str, pid: int | None = None) -> str:
    """Returns a line as Ray's core logs it in a driver, of this process if ``pid`` is None."""
    pid = os.getpid() if pid is None else pid
    return f"[2026-11-30 00:20:23,585 E {pid} 3343] core_worker.cc:609: :info_message: {text}\n"


def test_a_notice_of_the_core_is_one_of_this_process_alone() -> None:
    assert notices.core_notice(core_line(LOST, 17), 17) == LOST
    assert notices.core_notice(f"\x1b[31m{core_line(LOST, 17).rstrip()}\x1b[0m\n", 17) == LOST
    assert notices.core_notice(core_line(LOST, 17), 18) is None
    assert notices.core_notice("I read: " + core_line(LOST, 17), 17) is None
    assert notices.core_notice(core_line(LOST, 17).replace(":info_message: ", ""), 17) is None
    assert notices.core_notice(LOST, 17) is None


class Stream:
    """A stream of ipykernel's, with the thread that reads what C code writes."""

    def __init__(self) -> None:
        self.text = ""
        self.read: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.watch_fd_thread = threading.Thread(target=self._serve, daemon=True)
        self.watch_fd_thread.start()

    def _serve(self) -> None:
        for text in iter(self.read.get, ""):
            self.write(text)

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def end(self) -> str:
        self.read.put("")
        self.watch_fd_thread.join(60)
        return self.text


def knows_lost_objects(heard: list[tuple[str, bool]]) -> notices.Say:
    def say(text: str, only_known: bool) -> str | None:
        heard.append((text, only_known))
        return None if only_known else "" if notices.recovering(text) else text

    return say


def test_a_line_of_the_core_is_heard_and_all_else_that_is_written_there_is_shown() -> None:
    ray, stream, heard = Printing(), Stream(), []
    ray.hearers.listen(stream)
    assert "write" not in vars(stream), "nobody hears yet"
    undo, other = ray.hearers.add(knows_lost_objects(heard)), ray.hearers.add(lambda text, only_known: None)
    for _ in range(2):  # again is once
        ray.hearers.listen(stream)
    warning = core_line("something else")
    stream.read.put(f"before\n{core_line(LOST)}between\n{warning}half a line")
    stream.read.put(core_line(LOST))
    assert stream.end() == f"before\nbetween\n{warning}half a line"
    assert heard.count((LOST, False)) == 2
    stream.write(core_line(LOST))  # by another thread: the user's own print
    assert stream.text.endswith(core_line(LOST))
    undo()
    assert "write" in vars(stream)
    other()
    assert "write" not in vars(stream)
    assert ray.module.show is ray.own


def test_other_streams_are_left_alone() -> None:
    ray = Printing()
    undo = ray.hearers.add(of("x", []))
    for stream in (io.StringIO(), None):
        ray.hearers.listen(stream)
    undo()


def test_the_function_that_ipython_puts_there_for_a_cell_stays_and_what_it_puts_back_is_taken() -> None:
    ray, stream, heard = Printing(), Stream(), []
    undo = ray.hearers.add(knows_lost_objects(heard))
    taken: list[str] = []

    def in_a_cell(inside: Callable[[], None]) -> None:
        """Does what IPython does around a cell."""
        before = stream.write

        def tee(text: str) -> int:
            taken.append(text)
            return before(text)

        stream.write = tee  # type: ignore[method-assign]
        ray.hearers.listen(stream)
        inside()
        assert vars(stream)["write"] is tee
        stream.write = before  # type: ignore[method-assign]

    in_a_cell(lambda: None)  # in which the runtime starts
    ray.hearers.listen(stream)
    ours = vars(stream)["write"]
    in_a_cell(lambda: stream.write("printed"))
    assert vars(stream)["write"] is ours
    assert (stream.text, taken) == ("printed", ["printed"])
    in_a_cell(undo)  # in which it ends
    assert vars(stream)["write"] is ours
    stream.read.put(core_line(LOST))
    assert stream.end() == "printed" + core_line(LOST), "nobody tells of it any more"
    undo = ray.hearers.add(knows_lost_objects(heard))
    ray.hearers.listen(stream)
    assert vars(stream)["write"] is ours
    undo()
    assert "write" not in vars(stream)


class Printing:
    """Ray's module with the function that prints, and what it has printed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.own = lambda data, ignore_prefix=False: self.lines.extend(data["lines"])
        self.module: Any = SimpleNamespace(show=self.own)
        self.hearers = notices.Hearers(self.module, "show", threading.RLock())

    def print(self, *lines: str, pid: Any = "raylet") -> list[str]:
        self.lines.clear()
        self.module.show({"pid": pid, "lines": list(lines)}, ignore_prefix=False)
        return self.lines.copy()


def of(worker: str, heard: list[str]) -> notices.Say:
    """Returns what a runtime that has one worker does with a notice: it tells of a death by itself."""

    def say(text: str, only_known: bool) -> str | None:
        if only_known and worker not in text:
            return None
        heard.append(text)
        return "" if "died" in text else text.upper()

    return say


def test_of_two_runtimes_in_a_process_the_one_that_knows_the_worker_hears_of_its_death() -> None:
    ray, first, second = Printing(), [], []
    undo = [ray.hearers.add(of("one", first)), ray.hearers.add(of("two", second))]
    assert ray.print("one died", "two died", "nobody's died", "news") == ["NEWS"]
    assert (first, second) == (["one died"], ["two died", "nobody's died", "news"])
    assert ray.print("news", pid=17) == ["news"]
    undo[1]()
    assert ray.print("two died", "news") == ["NEWS"]
    assert first == ["one died", "two died", "news"]
    undo[0]()
    assert ray.module.show is ray.own


def test_runtimes_that_end_in_any_order_leave_rays_function_as_it_was() -> None:
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        ray, heard = Printing(), []
        undo = [ray.hearers.add(of("x", heard)) for _ in range(3)]
        for place in order:
            assert ray.print("news") == ["NEWS"]
            undo[place]()
            undo[place]()  # twice is once
        assert ray.module.show is ray.own, order
        assert len(heard) == 3
        for _ in range(3):
            ray.hearers.add(of("x", heard))()
        assert ray.module.show is ray.own


def test_a_wrapper_that_somebody_else_put_around_stays_and_passes_on() -> None:
    ray, heard = Printing(), []
    undo = ray.hearers.add(of("x", heard))
    inner = ray.module.show
    ray.module.show = around = lambda data, **given: inner({**data, "lines": [*data["lines"], "more"]}, **given)
    undo()
    assert ray.module.show is around
    assert ray.print("news") == ["news", "more"]
    undo = ray.hearers.add(of("x", heard))
    assert ray.print("news") == ["NEWS", "MORE"]
    undo()
    assert ray.print("news") == ["news", "more"]


def test_an_error_while_a_notice_is_read_leaves_a_trace_and_the_notice() -> None:
    ray, heard = Printing(), []

    def broken(text: str, only_known: bool) -> str | None:
        raise LookupError("a row is missing")

    ray.hearers.add(of("one", heard))
    undo = ray.hearers.add(broken)
    trace.ring.clear()
    assert ray.print("one died", "news") == ["NEWS"]
    assert heard == ["one died", "news"]
    assert "LookupError: a row is missing" in [kept.error for kept in list(trace.ring)]
    undo()
    assert ray.print("news") == ["NEWS"]
    trace.ring.clear()


def test_a_notice_that_is_on_its_way_while_the_last_runtime_ends_is_printed() -> None:
    ray = Printing()
    inside, go = threading.Event(), threading.Event()

    def slow(text: str, only_known: bool) -> str | None:
        inside.set()
        assert go.wait(60)
        return text

    undo = ray.hearers.add(slow)
    printer = threading.Thread(target=ray.print, args=("news",))
    printer.start()
    assert inside.wait(60)
    undo()
    go.set()
    printer.join(60)
    assert ray.lines == ["news"]
    assert ray.module.show is ray.own
