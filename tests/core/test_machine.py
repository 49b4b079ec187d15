"""Decisions of the machine, one by one, with a virtual clock and no process anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from raynb.base import ends
from raynb.base.ids import object_id
from raynb.base.spec import CPU, STREAMING, ActorSpec, TaskOptions, TaskSpec
from raynb.core import snapshot
from raynb.core.actors.table import ABANDONED_SECONDS, ORDERLY_SECONDS
from raynb.core.scheduling.pool import REPLACE_SECONDS
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary import events as e
from raynb.core.vocabulary.transitions import ImpossibleState
from tests.core.clockwork import Clockwork, actor, all_ready, plain, runs


def test_a_task_runs_at_once_on_an_idle_worker(clock: Clockwork) -> None:
    task, orders = clock.submit()
    assert len(runs(orders)) == 1
    clock.finish(runs(orders)[0][0], task)
    assert clock.state(task) == "FINISHED"
    assert clock.value(task) == b"v"


def test_a_value_is_freed_with_its_last_ref(clock: Clockwork) -> None:
    task, orders = clock.submit()
    clock.finish(runs(orders)[0][0], task, ("shm", 1, 0, 64, (64,)))
    freed = clock.dispatch(e.RefsChanged, [object_id(task, 1)])
    assert [o.value for o in freed if isinstance(o, c.Free)] == [("shm", 1, 0, 64, (64,))]
    assert not clock.machine.objects.table


def test_a_pending_argument_keeps_its_object(clock: Clockwork) -> None:
    first, orders = clock.submit()
    clock.finish(runs(orders)[0][0], first)
    blockers = [clock.submit() for _ in range(2)]
    second, _ = clock.submit(deps=(object_id(first, 1),))
    clock.dispatch(e.RefsChanged, [object_id(first, 1)])
    assert object_id(first, 1) in clock.machine.objects.table
    for task, sent in blockers:
        clock.finish(runs(sent)[0][0], task)
    worker = clock.machine.tasks.table[second].worker
    clock.finish(worker, second)
    assert object_id(first, 1) not in clock.machine.objects.table


def test_an_error_of_an_argument_is_the_tasks_own(clock: Clockwork) -> None:
    first, orders = clock.submit()
    second, _ = clock.submit(deps=(object_id(first, 1),))
    clock.finish(runs(orders)[0][0], first, ("exc", b"boom"), flags=ends.FAILED, error=("ValueError", "no"))
    assert clock.state(second) == "FAILED"
    assert clock.value(second) == ("err", "through", (("f",), ("exc", b"boom")))
    third, _ = clock.submit(deps=(object_id(second, 1),))
    assert clock.value(third) == ("err", "through", (("f", "f"), ("exc", b"boom")))


def test_short_tasks_are_prefetched_and_long_ones_are_not(clock: Clockwork) -> None:
    for function, seconds, behind in (("short", 0.0001, True), ("long", 1.0, False)):
        options = TaskOptions(name=function, function=function)
        known, orders = clock.submit(options)
        clock.finish(runs(orders)[0][0], known, seconds=seconds)
        tasks = [clock.submit(options)[0] for _ in range(4)]
        sent = [t for t in tasks if clock.state(t) == "SUBMITTED_TO_WORKER"]
        assert bool(sent) is behind
        for worker in list(clock.machine.pool.table.values()):
            while worker.queue:
                clock.finish(worker.id, worker.queue[0].spec.task_id, seconds=seconds)


def test_retries_after_crashes_are_exactly_max_retries(clock: Clockwork) -> None:
    task, _ = clock.submit(TaskOptions(name="f", function="f", max_retries=3))
    attempts = 0
    while clock.state(task) not in ("FAILED",):
        worker = clock.machine.tasks.table[task].worker
        if not worker:
            clock.now += 20  # the back-off
            for order in clock.dispatch(e.Ticked):
                if isinstance(order, c.StartWorker):
                    clock.dispatch(e.WorkerReady, order.worker, 1)
            for w in [w for w in clock.machine.pool.table.values() if w.state == "STARTING"]:
                clock.dispatch(e.WorkerReady, w.id, 1)
            continue
        attempts += 1
        clock.dispatch(e.WorkerDied, worker, "SIGKILL", current=task)
    assert attempts == 4
    assert clock.value(task)[1] == "WorkerCrashedError"


def test_bystanders_of_a_crash_are_not_charged(clock: Clockwork) -> None:
    once = TaskOptions(name="f", function="f", max_retries=0)
    known, orders = clock.submit(once)
    clock.finish(runs(orders)[0][0], known, seconds=0.0001)
    tasks = [clock.submit(once)[0] for _ in range(6)]
    worker = clock.machine.tasks.table[tasks[0]].worker
    line = [t.spec.task_id for t in clock.machine.pool.table[worker].queue]
    assert len(line) > 1
    clock.dispatch(e.WorkerDied, worker, "SIGSEGV", current=line[0])
    assert clock.state(line[0]) == "FAILED"
    assert all(clock.state(t) not in ("FAILED",) for t in line[1:])


def test_a_blocked_worker_gives_its_cpu_and_its_line_back(clock: Clockwork) -> None:
    parents = [clock.submit(TaskOptions(name="p", function="p"))[0] for _ in range(2)]
    worker = clock.machine.tasks.table[parents[0]].worker
    child = 1 << 40
    clock.dispatch(e.Submitted, [TaskSpec(child, plain(), caller=worker, parent=parents[0])])
    orders = clock.dispatch(e.Requested, worker, 1, parents[0], (object_id(child, 1),), 1, False)
    started = [o for o in orders if isinstance(o, c.StartWorker)]
    assert len(started) == 1
    assert runs(clock.dispatch(e.WorkerReady, started[0].worker, 9)) == [(started[0].worker, child)]
    replies = clock.finish(started[0].worker, child)
    assert [o.ids for o in replies if isinstance(o, c.Reply)] == [(object_id(child, 1),)]


def test_the_worker_whose_task_ends_takes_what_became_ready_and_no_other_is_started(clock: Clockwork) -> None:
    clock.submit(TaskOptions(name="long", function="long"))
    task, orders = clock.submit()
    [(worker, _)] = runs(orders)
    for _ in range(4):  # new tasks look at the busy workers in turn
        following, _ = clock.submit(deps=(object_id(task, 1),))
        orders = clock.finish(worker, task)
        assert (runs(orders), [o for o in orders if isinstance(o, c.StartWorker)]) == ([(worker, following)], [])
        task = following


def test_a_worker_that_an_actor_takes_as_its_task_ends_holds_no_start_back() -> None:
    clock = Clockwork(cpus=1, workers=1)
    task, _ = clock.submit()
    number = clock.tasks = clock.tasks + 1
    creation = TaskSpec(number, TaskOptions(name="A", function="a"), creates_actor=True)
    clock.dispatch(e.ActorSubmitted, ActorSpec(number, "A", "a", held=((CPU, 10_000),)), creation)
    assert runs(clock.finish(1, task)) == [(1, number)]
    clock.finish(1, number)
    _, orders = clock.submit(TaskOptions(name="g", function="g", resources=()))
    assert [type(order) for order in orders] == [c.StartWorker]


def test_a_thread_that_waits_longer_than_its_task_holds_no_cpu_back(clock: Clockwork) -> None:
    parent, orders = clock.submit()
    worker = runs(orders)[0][0]
    child, late = 1 << 40, 2 << 40
    [(other, _)] = runs(clock.dispatch(e.Submitted, [TaskSpec(child, plain(), caller=worker, parent=parent)]))
    clock.dispatch(e.Requested, worker, 1, parent, (object_id(child, 1),), 1, False)
    clock.finish(worker, parent)  # the invariants count the CPUs after each event
    following, orders = clock.submit()
    assert runs(orders) == [(worker, following)]
    clock.dispatch(e.Submitted, [TaskSpec(late, plain(), caller=worker, parent=parent)])
    clock.dispatch(e.Requested, worker, 2, parent, (object_id(late, 1),), 1, False)  # its CPU is `following`'s by now
    assert clock.machine.resources.available["CPU"] == 0
    assert runs(clock.finish(other, child)) == [(other, late)]
    clock.finish(other, late)
    assert clock.machine.pool.table[worker].state == "BUSY"


def test_a_read_of_a_stream_that_is_given_up_blocks_no_longer(clock: Clockwork) -> None:
    reader, orders = clock.submit()
    worker = runs(orders)[0][0]
    stream = 1 << 40
    options = TaskOptions(name="g", function="g", num_returns=STREAMING)
    clock.dispatch(e.Submitted, [TaskSpec(stream, options, caller=worker, parent=reader, returns=1)])
    clock.dispatch(e.NextItemAsked, worker, 1, reader, stream, 2)
    assert clock.machine.pool.table[worker].state == "BLOCKED"
    clock.dispatch(e.RequestDropped, worker, 1)
    assert clock.machine.pool.table[worker].state == "BUSY"


def test_cancelling_a_queued_task_is_immediate(clock: Clockwork) -> None:
    for _ in range(2):
        clock.submit()
    queued, _ = clock.submit()
    clock.dispatch(e.CancelAsked, queued, False, True)
    assert clock.state(queued) == "CANCELLED"
    assert clock.value(queued)[1] == "TaskCancelledError"


def test_a_swallowed_interrupt_is_followed_by_a_kill(clock: Clockwork) -> None:
    task, orders = clock.submit()
    worker = runs(orders)[0][0]
    assert any(isinstance(o, c.Interrupt) for o in clock.dispatch(e.CancelAsked, task, False, True))
    clock.now += clock.machine.config.cancel_grace + 0.1
    assert any(isinstance(o, c.KillWorker) and o.worker == worker for o in clock.dispatch(e.Ticked))
    clock.dispatch(e.WorkerDied, worker, "SIGKILL", current=task)
    assert clock.value(task)[1] == "TaskCancelledError"


@pytest.mark.parametrize("told_of_the_cancel", [False, True])
def test_a_cancel_during_an_attempt_that_fails_is_the_end_of_its_task(
    clock: Clockwork, told_of_the_cancel: bool
) -> None:
    """The cancel takes the attempts that are left: the attempt's own error is not the task's."""
    task, orders = clock.submit(TaskOptions(name="f", function="f", max_retries=3))
    clock.dispatch(e.CancelAsked, task, False, True)
    flags = ends.FAILED | ends.RETRYABLE | told_of_the_cancel * ends.CANCELLED
    clock.finish(runs(orders)[0][0], task, value=b"error", flags=flags, error=("OSError", "never"))
    assert clock.state(task) == "CANCELLED"
    assert clock.value(task)[1] == "TaskCancelledError"


def test_calls_of_a_sync_actor_keep_their_order_behind_an_argument(clock: Clockwork) -> None:
    number, _ = actor(clock)
    late, orders = clock.submit()
    method = TaskOptions(name="A.m", function="m", resources=(), max_retries=0)
    first, sent = clock.submit(method, actor=number, deps=(object_id(late, 1),))
    second, more = clock.submit(method, actor=number)
    assert not runs(sent)
    assert not runs(more)
    assert [t for _, t in runs(clock.finish(runs(orders)[0][0], late))] == [first, second]


def test_an_actor_dies_with_its_calls_and_restarts_as_often_as_allowed(clock: Clockwork) -> None:
    number, worker = actor(clock, max_restarts=1)
    method = TaskOptions(name="A.m", function="m", resources=(), max_retries=0)
    call, _ = clock.submit(method, actor=number)
    clock.dispatch(e.WorkerDied, worker, "SIGKILL", current=call)
    assert clock.value(call)[1] == "ActorUnavailableError"
    again = clock.machine.actors.table[number]
    assert again.state == "RESTARTING"
    clock.now += 10
    clock.dispatch(e.Ticked)
    clock.finish(again.worker, number)
    assert again.state == "ALIVE"
    clock.dispatch(e.WorkerDied, again.worker, "SIGKILL")
    assert again.state == "DEAD"


def test_an_actor_has_nothing_to_do_with_deaths_before_its_constructor(clock: Clockwork) -> None:
    number = 900
    creation = TaskSpec(number, TaskOptions(name="A.__init__", max_retries=0), creates_actor=True)
    [(worker, _)] = runs(clock.dispatch(e.ActorSubmitted, ActorSpec(number, "A", "a"), creation))
    made = clock.machine.actors.table[number]
    call, _ = clock.submit(TaskOptions(name="A.m", function="m", resources=(), max_retries=0), actor=number)
    for ran in (-1, 555, -1):  # nothing yet; something else
        clock.dispatch(e.WorkerDied, worker, "SIGKILL", current=ran)
        if not made.worker:
            fresh = next(w for w in clock.machine.pool.table.values() if w.state == "STARTING")
            clock.dispatch(e.WorkerReady, fresh.id, 9)
        assert (made.state, made.restarts) == ("PENDING_CREATION", 0)
        worker = made.worker
    clock.dispatch(e.WorkerDied, worker, "SIGKILL", current=-1)  # now it is given up
    assert made.state == "DEAD"
    assert clock.value(call)[1] == "ActorDiedError"


def test_an_actor_that_died_in_its_constructor_is_dead(clock: Clockwork) -> None:
    number = 900
    creation = TaskSpec(number, TaskOptions(name="A.__init__", max_retries=0), creates_actor=True)
    [(worker, _)] = runs(clock.dispatch(e.ActorSubmitted, ActorSpec(number, "A", "a"), creation))
    clock.dispatch(e.WorkerDied, worker, "SIGKILL", current=number)
    assert clock.machine.actors.table[number].state == "DEAD"


def test_the_last_handle_ends_the_actor_after_its_calls(clock: Clockwork) -> None:
    number, worker = actor(clock)
    call, _ = clock.submit(TaskOptions(name="A.m", function="m", resources=(), max_retries=0), actor=number)
    assert not any(isinstance(o, c.StopWorker) for o in clock.dispatch(e.RefsChanged, [object_id(number, 1)]))
    assert any(isinstance(o, c.StopWorker) for o in clock.finish(worker, call))


def called(clock: Clockwork, number: int) -> int:
    return clock.submit(TaskOptions(name="A.m", function="m", resources=(), max_retries=0), actor=number)[0]


def exits(clock: Clockwork, worker: int, call: int) -> list[Any]:
    died = ("err", "ActorDiedError", ("", "died", "A.m", "", 0, "exit_actor() was called"))
    return clock.finish(worker, call, value=died, flags=ends.FAILED | ends.EXITS)


def test_a_concurrent_actor_that_leaves_ends_its_calls_first(clock: Clockwork) -> None:
    number, worker = actor(clock, max_concurrency=2, name="A")
    calls = [called(clock, number) for _ in range(4)]
    exits(clock, worker, calls[0])
    assert clock.machine.actors.names.listed(None) == []
    late = called(clock, number)
    assert clock.state(late) == "FAILED"
    for call in calls[1:]:
        orders = clock.finish(worker, call)
        assert clock.state(call) == "FINISHED"
    assert c.StopWorker(worker) in orders
    assert clock.machine.actors.table[number].state == "DEAD"


def test_behind_the_exit_of_a_sync_actor_everything_fails(clock: Clockwork) -> None:
    number, worker = actor(clock)
    calls = [called(clock, number) for _ in range(3)]
    assert c.StopWorker(worker) in exits(clock, worker, calls[0])
    assert [clock.state(call) for call in calls] == ["FAILED"] * 3


def test_an_exit_outside_of_a_call_ends_the_actor_when_nothing_runs(clock: Clockwork) -> None:
    number, worker = actor(clock)
    call = called(clock, number)
    assert c.StopWorker(worker) not in clock.dispatch(e.ExitAsked, worker)
    assert c.StopWorker(worker) in clock.finish(worker, call)
    assert clock.state(call) == "FINISHED"


@pytest.mark.parametrize("first", ["handle", "exit"])
def test_calls_that_nobody_waits_for_hold_no_actor_that_leaves(clock: Clockwork, first: str) -> None:
    number, worker = actor(clock, max_concurrency=2)
    endless = called(clock, number)
    drop = [object_id(number, 1)]
    orders = []
    if first == "handle":
        clock.dispatch(e.RefsChanged, drop)
    orders += clock.dispatch(e.ExitAsked, worker)
    if first == "exit":
        orders += clock.dispatch(e.RefsChanged, drop)
    clock.now += ABANDONED_SECONDS
    orders += clock.dispatch(e.Ticked)
    assert c.KillWorker(worker) not in orders  # somebody has the ref of the call that runs
    clock.dispatch(e.RefsChanged, [object_id(endless, 1)])
    clock.now += ABANDONED_SECONDS
    assert c.KillWorker(worker) in clock.dispatch(e.Ticked)


def test_a_kill_ends_an_actor_that_leaves_and_one_that_takes_too_long_to_end(clock: Clockwork) -> None:
    number, worker = actor(clock, max_concurrency=2)
    called(clock, number)
    clock.dispatch(e.ExitAsked, worker)
    assert c.KillWorker(worker) in clock.dispatch(e.KillAsked, number, True)
    clock.dispatch(e.WorkerDied, worker, "killed")
    number, worker = actor(clock)
    assert c.StopWorker(worker) in clock.dispatch(e.RefsChanged, [object_id(number, 1)])
    clock.now += ORDERLY_SECONDS
    assert c.KillWorker(worker) in clock.dispatch(e.Ticked)


def test_an_impossible_transition_tells_the_story(clock: Clockwork) -> None:
    task, _ = clock.submit()
    record = clock.machine.tasks.table[task]
    with pytest.raises(ImpossibleState, match="submitted"):
        clock.machine.tasks.move(record, "PENDING_ARGS_AVAIL")


def test_what_can_never_run_is_said_once(clock: Clockwork) -> None:
    greedy = TaskOptions(name="g", function="g", resources=(("CPU", 990_000),))
    _, orders = clock.submit(greedy)
    assert any(isinstance(o, c.Warn) and "CPU" in o.text for o in orders)
    assert not any(isinstance(o, c.Warn) for o in clock.submit(greedy)[1])


def test_a_crash_loop_goes_on_ever_slower_and_is_told_now_and_then(clock: Clockwork) -> None:
    task, orders = clock.submit(TaskOptions(name="f", function="f", max_retries=-1))
    pauses, told = [], []
    for death in range(1, 31):
        (worker,) = [w for w, t in runs(orders) if t == task]
        died = clock.now
        orders = clock.dispatch(e.WorkerDied, worker, "it was ended by SIGSEGV", current=task)
        told += [death for order in orders if isinstance(order, c.Warn) and "SIGSEGV" in order.text]
        while not runs(orders):
            orders = clock.dispatch(e.Ticked)
            orders = orders + all_ready(clock)
            due = clock.machine.next_tick()
            if not runs(orders) and due is not None:
                clock.now = max(clock.now, due)
        pauses.append(clock.now - died)
    assert pauses == sorted(pauses[:9]) + pauses[9:]
    assert pauses[0] < 0.1 < pauses[5] < pauses[8]
    assert all(9.9 < pause < 10.5 for pause in pauses[10:])
    assert told == [3, 5, 10, 15, 20, 25, 30]
    assert max(clock.machine.pool.table) < 40  # no worker is started for a task that is to wait


def test_nobody_waits_behind_a_task_in_a_crash_loop() -> None:
    clock = Clockwork(cpus=1, workers=1)
    looping, _ = clock.submit(TaskOptions(name="f", function="f", max_retries=-1))
    task = clock.machine.tasks.table[looping]
    while task.deaths < 7:
        if task.worker:
            clock.dispatch(e.WorkerDied, task.worker, "it was ended by SIGSEGV", current=looping)
        else:
            clock.now += 1.0
            clock.dispatch(e.Ticked)
            all_ready(clock)
    bystander, orders = clock.submit()
    assert [t for _, t in runs(orders + all_ready(clock))] == [bystander]


def test_environments_fail_by_themselves(clock: Clockwork) -> None:
    env = (("env_vars", (("A", "1"),)),)
    bad, _ = clock.submit(TaskOptions(name="f", function="f", runtime_env=env))
    good, others = clock.submit()
    assert runs(others)
    for _ in range(3):
        starting = [w.id for w in clock.machine.pool.table.values() if w.env == env]
        assert starting
        for worker in starting:
            clock.dispatch(e.WorkerDied, worker, "runtime_env: no such thing")
        clock.now += 1.0
        clock.dispatch(e.Ticked)
    assert clock.state(bad) == "FAILED"
    assert clock.value(bad) == ("err", "RuntimeEnvSetupError", ("no such thing",))
    assert clock.state(good) == "RUNNING"
    assert not [w for w in clock.machine.pool.table.values() if w.env == env]


def test_a_worker_that_an_actor_took_is_replaced_when_the_actor_has_started(clock: Clockwork) -> None:
    actor(clock)
    assert not clock.dispatch(e.Ticked)  # nothing competes with its start
    clock.now += REPLACE_SECONDS
    assert [type(order) for order in clock.dispatch(e.Ticked)] == [c.StartWorker]
    clock.now += REPLACE_SECONDS
    assert not clock.dispatch(e.Ticked)


def test_no_worker_is_kept_for_cpus_that_an_actor_holds(clock: Clockwork) -> None:
    actor(clock, held=((CPU, 20_000),))
    clock.now += REPLACE_SECONDS
    assert not clock.dispatch(e.Ticked)


def test_a_task_knows_the_input_that_it_waited_for_last_and_its_peak_memory(clock: Clockwork) -> None:
    first, orders = clock.submit()
    second, more = clock.submit()
    both = (object_id(first, 1), object_id(second, 1))
    third, _ = clock.submit(deps=both)
    clock.finish(runs(orders)[0][0], first)
    clock.finish(runs(more)[0][0], second)
    clock.dispatch(e.MemoryMeasured, {1: 500, 2: 500}, fresh=90)
    clock.dispatch(e.MemoryMeasured, {1: 300, 2: 300}, fresh=90)
    row = snapshot.rows(clock.machine, clock.now, 0.0, [third], [], []).tasks[0]
    assert (row.after, row.inputs, row.peak, row.added) == (second, 2, 500, 410)  # of a worker that has done nothing
    assert [one.id for one in snapshot.running(clock.machine)] == [third]
    clock.finish(row.worker, third)
    row = snapshot.rows(clock.machine, clock.now, 0.0, [third], [], []).tasks[0]
    assert (row.state, row.after, row.peak, row.added) == ("FINISHED", second, 500, 410)
    assert snapshot.running(clock.machine) == []
    added = []
    for before, samples in ((120, (150, 700)), (700, (200, 300))):  # it has just given back what one before had
        clock.dispatch(e.MemoryMeasured, {1: before, 2: before})
        fourth, orders = clock.submit()
        for rss in samples:
            clock.dispatch(e.MemoryMeasured, {1: rss, 2: rss})
        row = snapshot.rows(clock.machine, clock.now, 0.0, [fourth], [], []).tasks[0]
        added.append(row.added)
        clock.finish(row.worker, fourth)
    assert added == [580, 100]
