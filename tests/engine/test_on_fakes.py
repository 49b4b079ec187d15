"""The driver's loop and its parts, with a fake at every seam: no process, no thread, no wait."""

from __future__ import annotations

import gc
import os
import select
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from raynb.base.ids import IdSource, object_id
from raynb.base.process import shelter
from raynb.base.ref import ObjectRef, OwnRef
from raynb.base.spec import CPU, TaskOptions, TaskSpec
from raynb.core.vocabulary import events as e
from raynb.engine.local.objects.spilling import Spilling
from raynb.engine.loop import pace
from raynb.engine.loop.waiters import Waiter
from raynb.exceptions import ObjectStoreAndDiskFullError
from raynb.serde import pickling
from raynb.testing.fakes import FakeDriver, FakeWorker
from raynb.wire import messages as w

NUMBERS = IdSource(0)


def options(name: str) -> TaskOptions:
    return TaskOptions(name=name, function="f", resources=((CPU, 10_000),), max_retries=0)


OPTIONS = options("f")


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    made = FakeDriver()
    OPTIONS.key = OPTIONS.uid = 0  # those of the driver before
    made.definitions["f"] = (b"def f", ())
    yield made
    made.check()
    made.close()


def submit(driver: FakeDriver, given: TaskOptions = OPTIONS) -> int:
    task = NUMBERS.next_task()
    driver.dispatch(e.Submitted, [TaskSpec(task, given, pickling.EMPTY_IN_BAND, (), (), 0, 0, 0, 0, False, 0, 1)])
    return task


def state(driver: FakeDriver, task: int) -> str:
    task_now = driver.machine.tasks.table.get(task)
    if task_now is not None:
        return task_now.state
    return next(what.split()[-1] for _, what in reversed(driver.machine.story(task)) if what.startswith("task "))


# -- the loop and its channels -----------------------------------------------------------------
def test_a_frame_that_the_socket_takes_in_pieces_arrives_whole_and_in_order(driver: FakeDriver) -> None:
    worker = driver.start_worker()
    worker.channel.takes = 7
    task = submit(driver)
    driver.dispatch(e.CancelAsked, task, False, True)
    peer = driver.effects.peers[worker.number]
    for _ in range(200):
        if not peer.data.writing:
            break
        driver.loop.receive([(worker.channel.fd, select.POLLOUT)])
    sent = worker.channel.sent()
    assert [type(m) for m in sent] == [w.Options, w.Definition, w.Run]
    assert sent[-1].task == task
    assert [m.task for m in worker.control.sent() if type(m) is w.Interrupt] == [task]


def test_nothing_is_lost_while_a_socket_is_full_and_what_is_late_comes_later(driver: FakeDriver) -> None:
    worker = driver.start_worker()
    worker.channel.takes = 0
    task = submit(driver)
    assert worker.channel.sent() == []
    worker.channel.takes = None
    driver.loop.receive([(worker.channel.fd, select.POLLOUT)])
    assert [m.task for m in worker.sent(w.Run)] == [task]
    worker.channel.hold()
    driver.finish(worker, task)
    driver.receive()
    assert state(driver, task) == "RUNNING"
    worker.channel.release()
    driver.receive()
    assert state(driver, task) == "FINISHED"


@pytest.mark.parametrize("how", ["garbage", "end of file", "broken pipe"])
def test_a_worker_that_cannot_be_understood_is_ended_and_the_others_go_on(driver: FakeDriver, how: str) -> None:
    bad, good = driver.start_worker(), driver.start_worker()
    first, second = submit(driver), submit(driver)
    by_task = {m.task: worker for worker in (bad, good) for m in worker.sent(w.Run)}
    bad, good = by_task[first], by_task[second]
    driver.supervisor.channel.sent()
    if how == "garbage":
        bad.channel.arrive_bytes(b"\xff" * 64)
    elif how == "end of file":
        bad.channel.end()
    else:
        bad.control.end()
    driver.receive()
    kills = [m.worker for m in driver.supervisor.channel.sent() if type(m) is w.Kill]
    assert kills == [bad.number]
    driver.finish(good, second)
    driver.supervisor.channel.arrive(w.Exited(bad.number, int(signal.SIGKILL)))
    driver.receive()
    assert state(driver, second) == "FINISHED"
    assert driver.machine.tasks.table[first].worker == good.number, "the bad one's board says that it never began"
    assert driver.store.adopted == [bad.number]


def test_the_last_words_of_a_worker_are_read_before_its_death(driver: FakeDriver) -> None:
    worker = driver.start_worker()
    task = submit(driver)
    driver.finish(worker, task, 7)
    driver.supervisor.channel.arrive(w.Exited(worker.number, 0))
    events = [(driver.supervisor.channel.fd, select.POLLIN)]
    driver.loop.receive(events)  # the death is read first, alone
    assert state(driver, task) == "FINISHED"
    assert worker.number not in driver.effects.peers


def test_the_end_of_the_supervisors_channel_is_told_once(driver: FakeDriver) -> None:
    driver.start_worker()
    driver.supervisor.channel.end()
    driver.receive()
    assert driver.lost_supervisor == 1


def test_one_task_after_the_other_is_sent_at_once_and_a_loop_of_them_in_company(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelter, "exposed", lambda: False)  # whatever handlers pytest has put in place
    worker, loop = driver.start_worker(), driver.loop
    now = 1e9

    def was_sent(led: bool, later: float) -> bool:
        """Submits as a thread does whose last task was waited for, or was not; returns whether this one was sent."""
        nonlocal now
        now += later
        loop.waiters.last_led = now - later / 2 if led else 0.0
        spec = TaskSpec(NUMBERS.next_task(), OPTIONS, pickling.EMPTY_IN_BAND, (), (), 0, 0, 0, 0, False, 0, 1)
        loop.submission_queue.append(spec)
        loop.pace.submitted(now)
        at_once = worker.sent(w.Run)
        loop.flush()
        for message in at_once or worker.sent(w.Run):
            driver.finish(worker, message.task)
        driver.receive()
        assert state(driver, spec.task_id) == "FINISHED"
        return bool(at_once)

    moment = pace.TAKE_SECONDS / 8
    assert was_sent(led=False, later=1.0)  # the first
    assert not was_sent(led=False, later=moment)
    assert [was_sent(led=True, later=moment) for _ in range(3)] == [True] * 3
    assert not was_sent(led=False, later=moment)


# -- effects -----------------------------------------------------------------------------------
def test_options_and_definitions_go_once_to_each_worker_and_before_the_task(driver: FakeDriver) -> None:
    worker = driver.start_worker()
    for expected in ([w.Options, w.Definition, w.Run], [w.Run]):
        task = submit(driver)
        assert [type(m) for m in worker.channel.sent()] == expected
        driver.finish(worker, task)
        driver.receive()
    submit(driver, options("g"))
    assert [type(m) for m in worker.channel.sent()] == [w.Options, w.Run]


@pytest.mark.parametrize(("size", "on_control"), [(1 << 19, False), (1 << 20, True)])
def test_large_ranges_are_given_back_at_once(driver: FakeDriver, size: int, on_control: bool) -> None:
    worker = driver.start_worker()
    task = submit(driver)
    at = ("shm", worker.number, 0, size, (size,))
    worker.channel.arrive(w.Done(task, ((at, size, ()),), 0, ("", ""), 0.0, 0.0, 0.0))
    driver.receive()
    driver.dispatch(e.RefsChanged, [object_id(task, 1)])
    channel = worker.control if on_control else worker.channel
    assert [m.values for m in channel.sent() if type(m) is w.Free] == [(at,)]


def test_a_worker_that_cannot_be_started_gives_its_row_back(driver: FakeDriver) -> None:
    driver.supervisor.refuses = "no descriptors are left"
    row = driver.pages.slots.take()
    driver.pages.slots.give(row)
    driver.dispatch(e.Started, 1)
    assert driver.effects.peers == {}
    assert driver.pages.slots.take() == row


# -- waiters -----------------------------------------------------------------------------------
def test_a_waiter_is_done_with_its_last_key_and_one_that_gave_up_is_forgotten(driver: FakeDriver) -> None:
    waiters, told = driver.loop.waiters, []
    both, first = Waiter(2), Waiter(1, lambda: told.append("first"))
    first.ours = True
    with driver.loop.lock:
        waiters.watch((1, 2), both)
        waiters.watch((1,), first)
        waiters.ready(1)
    driver.loop.run_callbacks()
    assert (both.done, told) == (False, ["first"])
    assert not waiters.wait(both, 0.0)
    waiters.unwatch(both)
    with driver.loop.lock:
        waiters.ready(2)
    assert not both.done
    assert waiters.watchers == {}


def test_an_eager_waiter_ends_with_the_first_failure(driver: FakeDriver) -> None:
    eager = Waiter(3, eager=True)
    with driver.loop.lock:
        driver.loop.waiters.watch((1, 2, 3), eager)
        driver.loop.waiters.ready(2, failed=True)
    assert (eager.done, eager.failed) == (True, True)
    driver.loop.waiters.unwatch(eager)
    assert driver.loop.waiters.watchers == {}


# -- spilling ----------------------------------------------------------------------------------
class Engine:
    """Whose refs these are; they are let go of without a word."""

    def __init__(self) -> None:
        self.ref_log: list[int] = []
        self.new_ref = OwnRef


def packed(size: int) -> Any:
    return pickling.pack(b"\0" * size)


@pytest.fixture
def spilling(driver: FakeDriver) -> Spilling:
    engine: Any = Engine()
    refs: Any = None  # what is put contains none
    return Spilling(engine, driver.loop, driver.store, refs, NUMBERS, 16, driver.said.warn, lambda: None)


def put(driver: FakeDriver, spilling: Spilling, size: int) -> ObjectRef[Any]:
    return spilling.put(packed(size))


def test_the_least_recently_used_goes_to_disk_and_what_is_read_stays(driver: FakeDriver, spilling: Spilling) -> None:
    kept = [put(driver, spilling, 300) for _ in range(3)]
    table = driver.machine.objects.table
    table[kept[0]._id].views = 1  # an array of it is alive
    put(driver, spilling, 300)
    assert [table[ref._id].value[0] for ref in kept] == ["shm", "file", "shm"]
    table[kept[0]._id].views = 0
    assert driver.store.total() <= driver.store.limit


def test_a_full_disk_is_said_with_what_holds_the_store(driver: FakeDriver, spilling: Spilling) -> None:
    kept = [put(driver, spilling, 300) for _ in range(3)]
    driver.store.disk_full = "4 kB are left on /spill"
    with pytest.raises(ObjectStoreAndDiskFullError, match=r"4 kB are left on /spill"):
        put(driver, spilling, 300)
    assert any("spilling to disk failed" in text for text in driver.said.warnings)
    assert {driver.machine.objects.table[ref._id].value[0] for ref in kept} == {"shm"}


# -- workers that do not answer ----------------------------------------------------------------
def asked(worker: FakeWorker) -> int:
    return len([m for m in worker.control.sent() if type(m) is w.Withdraw])


def tick(driver: FakeDriver, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        driver.hangs.tick(driver.clock.advance(seconds))
        driver.receive()


def test_a_worker_is_asked_while_it_works_and_a_silent_one_is_told_of_once(driver: FakeDriver) -> None:
    worker = driver.start_worker()
    tick(driver, 3.0)
    assert asked(worker) == 0, "it has nothing to do"
    submit(driver)
    tick(driver, 3.0)
    assert asked(worker) == 1
    worker.channel.arrive(w.Withdrawn((), 0))
    driver.receive()
    tick(driver, 3.0, times=20)
    assert asked(worker) == 3, "a question or its answer may be lost; after three it is not asked again"
    assert len([text for text in driver.said.warnings if "has not answered" in text]) == 1


def test_a_frame_of_a_worker_that_never_came_ends_it(driver: FakeDriver) -> None:
    worker = driver.start_worker()
    task = submit(driver)
    driver.supervisor.channel.sent()
    worker.channel.lose(w.Put(object_id(task, 1), b"", 0, (), 0))
    worker.control.arrive(w.Withdrawn((), worker.channel.came + 1))
    tick(driver, 0.1, times=20)
    assert [m.worker for m in driver.supervisor.channel.sent() if type(m) is w.Kill] == [worker.number]


def test_fakes_leave_no_descriptor_behind() -> None:
    gc.collect()  # of tests before this one
    before = len(os.listdir("/proc/self/fd"))
    driver = FakeDriver()
    driver.start_worker()
    driver.close()
    assert len(os.listdir("/proc/self/fd")) <= before  # what others have left may be closed meanwhile
