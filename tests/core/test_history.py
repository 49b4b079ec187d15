"""What changed since a version, and when that is too much to tell."""

from __future__ import annotations

from raynb.base.spec import TaskOptions, TaskSpec
from raynb.core import history
from raynb.core.history import History
from raynb.core.vocabulary.records import Task


def test_each_id_that_changed_is_named_once() -> None:
    log = History(kept=10)
    for number in range(6):
        log.record(float(number), "task" if number % 2 else "object", number // 4, "x")
    assert log.changed_since(3) == {"task": {0, 1}, "object": {1}}
    assert log.changed_since(6) == {}
    assert log.changed_since(1 << 60) == {}
    assert log.changed_since(0) == {"task": {0, 1}, "object": {0, 1}}


def test_too_much_or_too_long_ago_is_not_told() -> None:
    log = History(kept=10)
    for number in range(history.MAX_CHANGES + 1):
        log.record(0.0, "task", number, "x")
    assert log.changed_since(0) is None
    assert len((log.changed_since(1) or {})["task"]) == history.MAX_CHANGES
    for number in range(history.RING_ENTRIES):
        log.record(0.0, "task", number, "x")
    assert log.changed_since(5) is None


def test_the_end_of_the_ring_can_be_read_without_its_beginning() -> None:
    log = History(kept=10)
    log.record(1.0, "object", 7, "x")
    for number in range(history.RING_ENTRIES + 10):  # one event after the other of the same kind and time
        log.add(1.0, history.FREED, number)
    assert log.changed_since(log.version - 2) == {"object": {history.RING_ENTRIES + 8, history.RING_ENTRIES + 9}}
    assert log.story(history.RING_ENTRIES + 9) == [(1.0, "object freed")]
    assert log.story(7) == []


def test_ids_recorded_together_are_read_as_those_recorded_one_by_one() -> None:
    logs = [History(kept=10), History(kept=10)]
    many = 3 * history.TOGETHER_MAX_IDS + 5
    for some in ([1], [2, 3], list(range(10, 20)), [], list(range(100, 100 + many))):
        logs[0].add_many(2.0, history.FREED, some)
        for identity in some:
            logs[1].add(2.0, history.FREED, identity)
        for log in logs:
            log.add(2.0, history.FREED, 7)
    assert logs[0].version == logs[1].version
    for back in (0, 1, 2, many // 2, many, many + 3, logs[0].version):
        told = [log.changed_since(log.version - back) for log in logs]
        assert told[0] == told[1] is not None
    for identity in (1, 3, 7, 15, 100, 99 + many):
        assert logs[0].story(identity) == logs[1].story(identity) != []
    for _ in range(history.RING_ENTRIES // 1000):
        logs[0].add_many(3.0, history.FREED, range(1000))
        assert len(logs[0].ring.newest) <= history.CHUNK_ENTRIES + history.TOGETHER_MAX_IDS + 10
    assert logs[0].changed_since(logs[0].version - 3) == {"object": {997, 998, 999}}


def test_one_event_that_changes_very_much_stays_within_the_ring() -> None:
    log = History(kept=10)
    for number in range(history.RING_ENTRIES):
        log.record(1.0, "task", number, "cancel asked")
        log.add(1.0, history.FREED, number)
    assert len(log.ring.newest) <= history.CHUNK_ENTRIES + 10
    assert len(list(log.ring)) <= history.RING_ENTRIES + history.CHUNK_ENTRIES
    assert log.changed_since(log.version - 4) == {kind: {number - 1, number} for kind in ("task", "object")}


def test_one_finished_task_is_found_without_a_search() -> None:
    """A task that lineage ran again is kept twice: its later end counts, also when the earlier is forgotten."""
    log = History(kept=3)

    def end(task: int, state: str) -> None:
        log.keep(Task(TaskSpec(task, TaskOptions(name=f"f{task}", function="f")), {}, state=state))

    end(1, "FAILED")
    end(2, "FAILED")
    log.runs_again(1)
    end(1, "FINISHED")
    end(3, "FAILED")
    assert {task: log.ended(task)[0][1] for task in (1, 2, 3)} == {1: "FINISHED", 2: "FAILED", 3: "FAILED"}  # type: ignore[index]
    assert (log.ended(2) or ((), TaskOptions()))[1].name == "f2"
    assert "dropped" not in (log.changed_since(0) or {})
    for task in range(4, 20):
        end(task, "FINISHED")
        if task % 3:  # the next reader enters several
            assert {kept[0] for kept in log.finished} == set(log.places())
            assert all(log.ended(kept[0]) == (kept, options) for kept, options in zip(log.finished, log.options))
    assert log.ended(1) is None
    assert (log.changed_since(0) or {})["dropped"] == set(range(1, 17))


def test_an_end_that_is_forgotten_while_its_task_runs_again_is_not_found() -> None:
    log = History(kept=2)
    options = TaskOptions(name="f", function="f")
    log.keep(Task(TaskSpec(1, options), {}, state="FINISHED"))
    log.runs_again(1)
    for task in (2, 3, 4):
        log.keep(Task(TaskSpec(task, options), {}, state="FINISHED"))
    assert log.ended(1) is None
    assert set(log.places()) == {3, 4}


def test_a_story_has_times_and_what_happened_in_order() -> None:
    log = History(kept=10)
    log.add(1.0, history.SUBMITTED, 5)
    log.add(1.0, history.MOVED["RUNNING"], 5)
    log.add(2.0, history.MOVED["RUNNING"], 6)
    log.record(2.5, "task", 5, "retry 1: why")
    log.add(2.5, history.MOVED["FINISHED"], 5)
    assert log.story(5) == [
        (1.0, "task submitted"), (1.0, "task RUNNING"), (2.5, "task retry 1: why"), (2.5, "task FINISHED"),
    ]  # fmt: skip
    assert log.story(6) == [(2.0, "task RUNNING")]
