"""The feed: what is merged, how long it rests, who hears what, and that it ends."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from raynb.base import engine as engines
from raynb.base.rows import FINISHED, RUNNING, ObjectRow, Snapshot, TaskRow, WorkerRow
from raynb.jupyter.views import feed as feeds
from raynb.jupyter.views.channel import Conversation, take_any_subshell
from raynb.jupyter.views.coalescing import FeedPace, Leases, NameChanges, PendingChanges
from raynb.jupyter.views.feed import Feed

from . import pictures
from .fake_engine import FakeEngine


def change(version: int, *tasks: TaskRow, **more: Any) -> Snapshot:
    return Snapshot(
        version=version, now=float(version), wall=0.0, since=version - 1, tasks=list(tasks), **more
    )


# -- merging -----------------------------------------------------------------------------------


def test_of_a_row_that_changed_twice_the_last_state_is_sent_once() -> None:
    pending = PendingChanges()
    pending.add(change(2, TaskRow(1, "f", state=RUNNING)))
    pending.add(change(3, TaskRow(1, "f", state=FINISHED), TaskRow(2, "f")))
    told = pending.take()
    assert told is not None
    assert [(row.id, row.state) for row in told.tasks] == [(1, FINISHED), (2, "PENDING_ARGS_AVAIL")]
    assert (told.since, told.version) == (1, 3)
    assert pending.take() is None


def test_what_went_and_came_back_is_not_gone() -> None:
    pending = PendingChanges()
    pending.sent_picture(change(1, TaskRow(1, "f"), objects=[ObjectRow(7)]))
    pending.add(change(2, TaskRow(1, "f"), gone={"objects": [7]}))
    pending.add(change(3, gone={"tasks": [1]}, objects=[ObjectRow(7)]))
    told = pending.take()
    assert told is not None
    assert told.tasks == []
    assert told.gone == {"tasks": [1]}
    assert [row.id for row in told.objects] == [7]


def test_what_came_and_went_between_two_messages_is_not_mentioned() -> None:
    pending = PendingChanges()
    pending.add(change(2, objects=[ObjectRow(7)]))
    pending.add(change(3, gone={"objects": [7, 8]}, objects=[ObjectRow(9)]))
    told = pending.take()
    assert told is not None
    assert (told.gone, [row.id for row in told.objects]) == ({}, [9])
    pending.add(change(4, gone={"objects": [9]}))
    told = pending.take()
    assert told is not None
    assert told.gone == {"objects": [9]}
    pending.add(change(5, gone={"objects": [9]}))
    assert pending.take() is None


def test_a_full_picture_replaces_what_waited() -> None:
    pending = PendingChanges()
    pending.add(change(2, TaskRow(1, "f")))
    pending.add(replace(change(9, TaskRow(5, "g")), since=-1))
    told = pending.take()
    assert told is not None
    assert told.since == -1
    assert [row.id for row in told.tasks] == [5]


def test_a_burst_travels_in_pieces_live_tasks_first_then_the_newest() -> None:
    pending = PendingChanges(rows_a_message=4)
    rows = [TaskRow(i, "f", state=FINISHED) for i in range(10)]
    rows[2] = TaskRow(2, "f", state=RUNNING)
    pending.add(change(2, *rows))
    first = pending.take()
    assert first is not None
    assert [row.id for row in first.tasks] == [2, 9, 8, 7]
    seen = {row.id for row in first.tasks}
    while (told := pending.take()) is not None:
        assert len(told.tasks) <= 4
        seen |= {row.id for row in told.tasks}
    assert seen == set(range(10))


def test_behind_thousands_that_wait_what_has_ended_is_told_too() -> None:
    """Else the timeline of a flood stays empty until its last task was submitted to the views."""
    pending = PendingChanges(rows_a_message=10)
    pending.add(change(2, *(TaskRow(i, "f") for i in range(1000))))
    pending.add(change(3, *(TaskRow(i, "f", state=FINISHED) for i in range(20))))
    told = pending.take()
    assert told is not None
    assert [row.state for row in told.tasks].count(FINISHED) == 5
    assert len(told.tasks) == 10


def test_what_runs_is_told_whole_whatever_else_waits() -> None:
    """A flood of 2 ms tasks: each message names exactly the tasks that run, with a row for each."""
    pending = PendingChanges(rows_a_message=4)
    runs = {1: TaskRow(1, "slow", state=RUNNING)}
    pending.add(change(2, *runs.values(), running=list(runs.values())))
    seen: dict[int, str] = {}
    for version in range(3, 30):
        ended = [TaskRow(version * 100 + i, "f", state=FINISHED) for i in range(50)]
        now = [TaskRow(version * 1000 + i, "f", state=RUNNING) for i in range(3)]
        lost = now[2]  # its change was left out of the picture for readers that fell behind
        runs = {1: runs[1]} | {row.id: row for row in now}
        pending.add(change(version, *ended, *now[:2], running=[*runs.values()]))
        told = pending.take()
        assert told is not None
        assert {row.id for row in told.running} == set(runs)
        seen.update((row.id, row.state) for row in told.tasks)
        assert lost.id in seen
        assert all(seen[identity] == RUNNING for identity in runs)
        assert len(told.tasks) <= 4 + len(runs)
    again = replace(runs[1], attempt=1)
    pending.add(change(30, again, running=[again]))
    told = pending.take()
    assert told is not None
    assert again in told.tasks


def test_workers_that_are_as_they_were_are_not_sent_again() -> None:
    pending = PendingChanges()
    pending.add(change(2, workers=[WorkerRow(1, rss=5), WorkerRow(2, rss=5)]))
    assert pending.take() is not None
    pending.add(change(3, workers=[WorkerRow(1, rss=5), WorkerRow(2, rss=6)]))
    told = pending.take()
    assert told is not None
    assert [row.id for row in told.workers] == [2]
    pending.add(change(4, workers=[WorkerRow(1, rss=5), WorkerRow(2, rss=6)]))
    assert pending.take() is None


def test_counts_alone_are_news() -> None:
    pending = PendingChanges()
    pending.add(change(2, groups={"f": {FINISHED: 1}}))
    assert pending.take() is not None
    pending.add(change(3, groups={"f": {FINISHED: 1}}))
    assert pending.take() is None
    pending.add(change(4, groups={"f": {FINISHED: 2}}))
    assert pending.take() is not None


def test_objects_whose_names_changed_are_sent_again() -> None:
    named = NameChanges(interval=1.0)
    named.record(replace(change(1, objects=[ObjectRow(1), ObjectRow(2)]), since=-1))
    names: dict[int, list[str]] = {1: ["xs"]}
    look = lambda identity: names.get(identity, [])
    assert [row.id for row in named.renamed(look, now=0.0)] == [1]
    names[2] = ["ys"]
    assert named.renamed(look, now=0.5) == []  # not yet a second
    assert [row.id for row in named.renamed(look, now=1.0)] == [2]
    names.clear()
    assert [row.id for row in named.renamed(look, now=2.0)] == [1, 2]
    named.record(change(2, gone={"objects": [1, 2]}))
    names[1] = ["zs"]
    assert named.renamed(look, now=3.0) == []


# -- pace (virtual time) -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spent", "rest"), [(0.0, 0.2), (0.003, 0.2), (0.006, 0.394), (0.03, 1.97), (1.0, 4.0)]
)
def test_a_dear_pull_is_followed_by_a_longer_rest(spent: float, rest: float) -> None:
    assert FeedPace().rest(spent) == pytest.approx(rest)


def test_never_more_than_the_share_up_to_the_ceiling() -> None:
    pace = FeedPace()
    for spent in (0.0001, 0.002, 0.01, 0.039):
        assert spent / (spent + pace.rest(spent)) <= pace.share + 1e-9


def test_what_the_ceiling_lets_pass_is_paid_by_the_rests_after_it() -> None:
    pace, pulls = FeedPace(), [0.15, *[0.01] * 9]
    rests = [pace.rest(spent) for spent in pulls]
    assert rests[:2] == [4.0, 4.0]
    assert rests[-1] == pytest.approx(0.01 / 0.015 - 0.01)  # paid
    assert sum(pulls) / (sum(pulls) + sum(rests)) <= pace.share + 1e-9


def test_a_beat_is_due_after_silence() -> None:
    pace = FeedPace(beat=5.0)
    assert pace.beat_due(0.0)
    pace.sent(10.0)
    assert not pace.beat_due(14.9)
    assert pace.beat_due(15.0)


def test_a_watcher_with_a_lease_must_renew_it() -> None:
    leases = Leases(seconds=60)
    leases.renew("a", 0.0)
    leases.renew("b", 30.0)
    assert leases.expired(59.0) == []
    assert leases.expired(61.0) == ["a"]
    leases.renew("b", 80.0)
    assert leases.expired(139.0) == []
    leases.drop("b")
    assert leases.expired(1e9) == []


# -- the thread --------------------------------------------------------------------------------


class Ear:
    """A watcher that waits for what it wants to hear."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self._more = threading.Condition()

    def __call__(self, message: dict[str, Any]) -> None:
        with self._more:
            self.heard.append(message)
            self._more.notify_all()

    def wait(self, kind: str, count: int = 1) -> dict[str, Any]:
        with self._more:
            of_kind = lambda: [m for m in self.heard if m["kind"] == kind]
            assert self._more.wait_for(lambda: len(of_kind()) >= count, timeout=60), self.heard
            return of_kind()[count - 1]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(pictures.small())


@pytest.fixture
def feed(engine: FakeEngine) -> Any:
    feed = Feed(peek=lambda: engine, pace=FeedPace(interval=0.01))
    yield feed
    feed.close(timeout=60)
    assert not feed.running
    assert all(thread.name != "raynb-feed" or not thread.is_alive() for thread in [feed._thread] if thread)


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_the_full_picture_first_then_changes(feed: Feed, engine: FakeEngine) -> None:
    ear = Ear()
    feed.watch(ear)
    assert ear.wait("full")["version"] == 1
    engine.pending.append(change(2, TaskRow(9, "new")))
    told = ear.wait("change")
    assert [row[1] for row in told["tasks"]] in ([], ["new"])
    wait_until(lambda: any(row[1] == "new" for m in ear.heard[1:] for row in m.get("tasks", ())))


def test_after_a_flood_the_whole_picture_comes_once(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine tells a reader that fell behind only the latest rows: a catch-up has ``since`` −1."""
    monkeypatch.setattr(feeds, "CALM_SECONDS", 0.05)
    feed = Feed(peek=lambda: engine, pace=FeedPace(interval=0.01))
    ear = Ear()
    try:
        feed.watch(ear)
        ear.wait("full")
        engine.pending.append(replace(change(5, TaskRow(77, "latest")), since=-1))
        assert [row[1] for row in ear.wait("full", 2)["tasks"]] == ["latest"]
        assert [row[1] for row in ear.wait("full", 3)["tasks"]] == ["add", "slow"]
        pulls = engine.pulls
        wait_until(lambda: engine.pulls > pulls + 20)
        assert len([m for m in ear.heard if m["kind"] == "full"]) == 3
    finally:
        feed.close()


def test_no_thread_while_nobody_watches(feed: Feed, engine: FakeEngine) -> None:
    feed.wake()
    assert not feed.running
    ear = Ear()
    watcher = feed.watch(ear)
    ear.wait("full")
    feed.unwatch(watcher)
    feed.unwatch(watcher)
    wait_until(lambda: not feed.running)
    pulls = engine.pulls
    feed.wake()
    assert engine.pulls == pulls


def test_a_second_watcher_has_its_own_full_picture(feed: Feed) -> None:
    first, second = Ear(), Ear()
    feed.watch(first)
    first.wait("full")
    feed.watch(second)
    second.wait("full")
    assert sum(m["kind"] == "full" for m in first.heard) == 1


def test_a_reloaded_page_has_the_full_picture_again(feed: Feed) -> None:
    ear = Ear()
    watcher = feed.watch(ear)
    ear.wait("full")
    feed.again(watcher)
    ear.wait("full", 2)
    feed.retell()  # as when items of a loop have got their names
    ear.wait("full", 3)


def test_the_end_of_the_runtime_is_told_once_and_a_new_one_is_followed(engine: FakeEngine) -> None:
    slot: list[FakeEngine | None] = [engine]
    feed = Feed(peek=lambda: slot[0], pace=FeedPace(interval=0.01))
    try:
        ear = Ear()
        feed.watch(ear)
        ear.wait("full")
        slot[0] = None
        for callback in list(engines.on_change):
            callback(None)
        assert ear.wait("status")["state"] == "stopped"
        wait_until(lambda: not feed.running)
        slot[0] = FakeEngine(replace(pictures.small(), version=77))
        for callback in list(engines.on_change):
            callback(slot[0])
        assert ear.wait("full", 2)["version"] == 77
        # Once, unless a change that was on its way came after it.
        kinds = [message["kind"] for message in ear.heard]
        assert ("status", "status") not in pairwise(kinds)
    finally:
        feed.close()


def test_two_threads_that_see_the_end_tell_it_once() -> None:
    """Whoever shut the runtime down, and the feed's own thread."""
    heard: list[str] = []
    told, go_on = threading.Event(), threading.Event()

    def slow(message: dict[str, Any]) -> None:
        heard.append(message["kind"])
        told.set()
        go_on.wait(60)

    feed = Feed(peek=lambda: None)
    one = threading.Thread(target=feed.watch, args=(slow,))
    other = threading.Thread(target=feed.wake)
    try:
        one.start()
        assert told.wait(60)
        other.start()
        other.join(60)
        assert heard == ["status"]
    finally:
        go_on.set()
        one.join()
        other.join()
        feed.close()


def test_a_runtime_that_failed_says_why(engine: FakeEngine) -> None:
    feed = Feed(peek=lambda: engine, pace=FeedPace(interval=0.01))
    try:
        ear = Ear()
        feed.watch(ear)
        ear.wait("full")
        engine.failure = "It failed: a bug. The last events:\n  1.0 task 7"
        feed.wake()
        told = ear.wait("status")
        assert (told["state"], told["why"]) == ("failed", "It failed: a bug.")
        wait_until(lambda: not feed.running)
    finally:
        feed.close()


def test_without_a_runtime_a_watcher_is_told_so_and_no_thread_runs() -> None:
    feed = Feed(peek=lambda: None)
    ear = Ear()
    feed.watch(ear)
    assert ear.wait("status")["state"] == "stopped"
    assert not feed.running
    feed.close()


def test_a_watcher_that_cannot_be_reached_is_dropped_and_others_go_on(feed: Feed) -> None:
    def broken(message: dict[str, Any]) -> None:
        raise OSError("closed")

    ear = Ear()
    feed.watch(broken)
    feed.watch(ear)
    ear.wait("full")
    wait_until(lambda: feed.watchers == 1)


def test_a_bug_in_the_engine_is_told_to_the_views(feed: Feed, engine: FakeEngine, caplog: Any) -> None:
    ear = Ear()
    engine.snapshot = lambda: 1 / 0  # type: ignore[assignment,return-value]
    feed.watch(ear)
    told = ear.wait("status")
    assert told["state"] == "failed"
    assert "ZeroDivisionError" in told["why"]


# -- conversations -----------------------------------------------------------------------------


def test_hello_ping_bye(feed: Feed, engine: FakeEngine) -> None:
    ear = Ear()
    talk = Conversation(feed, ear, lambda: engine, lease=True)
    talk.receive({"do": "hello"})
    ear.wait("full")
    talk.receive({"do": "ping"})
    assert feed.watchers == 1
    talk.receive({"do": "bye"})
    assert feed.watchers == 0
    talk.receive({"do": "ping", "page": "a"})  # another page on the same comm still looks
    ear.wait("full", 2)
    for do, page, left in (("ping", "b", 1), ("bye", "a", 1), ("bye", "a", 1), ("bye", "b", 0)):
        talk.receive({"do": do, "page": page})
        assert feed.watchers == left
    talk.close()


def test_requests_are_answered_with_their_number(feed: Feed, engine: FakeEngine) -> None:
    ear = Ear()
    talk = Conversation(feed, ear, lambda: engine, lease=False)
    talk.receive({"do": "cancel_task", "task": "2", "n": 4})
    reply = ear.wait("reply")
    assert (reply["n"], reply["ok"], reply["text"]) == (4, True, "Cancelling slow.")
    talk.receive("nonsense")
    assert not ear.wait("reply", 2)["ok"]


def test_the_way_past_a_busy_cell_is_taken_where_it_exists() -> None:
    class New:
        def _reply_subshell_for(self, data: Any, default: Any) -> Any:
            return "the busy one"

    comm = New()
    assert take_any_subshell(comm)
    assert comm._reply_subshell_for({}, "asked for") == "asked for"
    assert not take_any_subshell(object())
