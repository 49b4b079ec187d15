"""Snapshots made by hand, in the engine's own rows, for the tests of the views."""

from __future__ import annotations

import random

from raynb.base.ids import object_id
from raynb.base.rows import (
    ACTOR,
    ACTOR_TASK,
    ALIVE,
    BUSY,
    CANCELLED,
    FAILED,
    FINISHED,
    IDLE,
    MEMORY,
    PENDING_ARGS_AVAIL,
    PENDING_NODE_ASSIGNMENT,
    RUNNING,
    SHARED,
    SPILLED,
    SUBMITTED_TO_WORKER,
    ActorRow,
    NodeRow,
    ObjectRow,
    Snapshot,
    StoreRow,
    TaskRow,
    WorkerRow,
)

MB = 1_000_000


def count_groups(tasks: list[TaskRow]) -> dict[str, dict[str, int]]:
    """Returns function name → state → count, as the engine counts them."""
    groups: dict[str, dict[str, int]] = {}
    for row in tasks:
        states = groups.setdefault(row.name, {})
        states[row.state] = states.get(row.state, 0) + 1
    return groups


def small(version: int = 1, since: int = -1) -> Snapshot:
    """Returns two tasks, one running, on one of two CPUs."""
    tasks = [
        TaskRow(
            1,
            "add",
            state=FINISHED,
            worker=1,
            pid=101,
            scope=2,
            submitted=9.0,
            started=9.1,
            fetched=9.2,
            ran=9.4,
            ended=9.5,
            size=8,
        ),
        TaskRow(
            2, "slow", state=RUNNING, worker=2, pid=102, scope=3, submitted=9.6, started=9.7, fetched=9.71
        ),
    ]
    return Snapshot(
        version=version,
        now=10.0,
        wall=1_000_000.0,
        since=since,
        tasks=tasks,
        workers=[
            WorkerRow(1, 101, IDLE, rss=50 * MB, finished=1),
            WorkerRow(2, 102, BUSY, task=2, rss=70 * MB),
        ],
        objects=[ObjectRow(object_id(1, 1), 8, MEMORY, 1, 2, local_refs=1)],
        store=StoreRow(limit=1000 * MB, used=100 * MB, objects=1),
        total={"CPU": 2.0},
        available={"CPU": 1.0},
        groups=count_groups(tasks),
        running=[row for row in tasks if row.state == RUNNING],
    )


def ended_tasks(finished: int, dice: random.Random) -> tuple[list[TaskRow], dict[int, float]]:
    """Returns tasks that ended on four workers, and when each worker came free."""
    tasks: list[TaskRow] = []
    clock = dict.fromkeys(range(1, 5), 100.0)
    error = 'Traceback (most recent call last):\n  In[4], line 3\nValueError: page 17 has no "text"'
    for number in range(1, finished + 1):
        worker = min(clock, key=lambda w: clock[w])
        start = clock[worker] + dice.uniform(0.0005, 0.004)
        fetched = start + dice.uniform(0.001, 0.01)
        ran = fetched + dice.uniform(0.02, 0.3)
        name = dice.choice(["load_page", "load_page", "tokenize", "tokenize", "score", "train_fold"])
        state = FAILED if dice.random() < 0.01 else CANCELLED if dice.random() < 0.005 else FINISHED
        row = TaskRow(number, name, state=state, worker=worker, pid=4000 + worker, scope=3 + number % 3)
        row.submitted = max(100.0, start - dice.uniform(0.1, 2))
        row.started, row.fetched, row.ran = start, fetched, ran
        row.ended = clock[worker] = ran + dice.uniform(0.001, 0.02)
        row.size = dice.randrange(4 * MB)
        if state == FAILED:
            row.error_type, row.error = "ValueError", error
        tasks.append(row)
    return tasks, clock


def unfinished_tasks(first: int, now: float, clock: dict[int, float], dice: random.Random) -> list[TaskRow]:
    """Returns three tasks and an actor's call that run, and 92 that wait in three ways."""
    tasks: list[TaskRow] = []
    for worker in (1, 2, 3):
        row = TaskRow(first + worker, "train_fold", state=RUNNING, worker=worker, pid=4000 + worker, scope=5)
        row.submitted, row.started = now - 2, clock[worker] + 0.01
        tasks.append(row)
    call = TaskRow(first + 4, "Counter.add", kind=ACTOR_TASK, state=RUNNING, worker=5, pid=4005, scope=6)
    call.actor, call.submitted, call.started = 900, now - 0.4, now - 0.3
    tasks.append(call)
    waiting = ((SUBMITTED_TO_WORKER, 8), (PENDING_NODE_ASSIGNMENT, 60), (PENDING_ARGS_AVAIL, 24))
    for state, how_many in waiting:
        for _ in range(how_many):
            name = dice.choice(["train_fold", "score"])
            tasks.append(TaskRow(first + len(tasks) + 1, name, state=state, scope=5, submitted=now - 1))
    return tasks


def some_workers(finished: int) -> list[WorkerRow]:
    """Returns three busy workers, an idle one, and two with actors."""
    workers = [
        WorkerRow(w, 4000 + w, BUSY, finished + w, rss=(180 + 60 * w) * MB, cpu=0.93 - w / 20, started=100.0)
        for w in (1, 2, 3)
    ]
    workers.append(WorkerRow(4, 4004, IDLE, rss=96 * MB, started=100.0, finished=finished // 4))
    workers.append(WorkerRow(5, 4005, ACTOR, finished + 4, 900, rss=61 * MB, cpu=0.11, started=101.0))
    workers.append(WorkerRow(6, 4006, ACTOR, actor=901, rss=340 * MB, cpu=0.02, started=101.0))
    return workers


def some_actors() -> list[ActorRow]:
    """Returns a named actor, one that may restart for ever, and a dead one."""
    return [
        ActorRow(900, "Counter", "hits", "", ALIVE, 5, 4005, pending=3, rss=61 * MB, scope=6, max_restarts=2),
        ActorRow(901, "Model", "", "", ALIVE, 6, 4006, rss=340 * MB, scope=6, restarts=1, max_restarts=-1),
        ActorRow(902, "Loader", state="DEAD", death_cause="The worker was killed by signal 9.", scope=4),
    ]


def some_objects(dice: random.Random) -> list[ObjectRow]:
    """Returns 39 objects of all sizes, in memory and on disk, held in several ways."""
    places = [MEMORY, SHARED, SHARED, SPILLED]
    objects = []
    for i in range(1, 40):
        row = ObjectRow(object_id(i, 1), int(2 ** dice.uniform(4, 28)), dice.choice(places), i, 3 + i % 3)
        row.local_refs, row.pending_args = 1 + i % 2, i % 3
        row.borrowers = (5,) if i % 4 == 0 else ()
        objects.append(row)
    return objects


def some_nodes() -> list[NodeRow]:
    """Returns a cluster's head, a node with a GPU, and one that died."""
    return [
        NodeRow(1, "a1" * 28, "head-0", "10.0.0.1", head=True, driver=True, cpus=4, cpus_used=1, cpu=0.5,
                memory=8000 * MB, memory_used=2000 * MB, store=2000 * MB, store_used=300 * MB, workers=3),
        NodeRow(2, "b2" * 28, "gpu-0", "10.0.0.2", cpus=8, cpus_used=8, gpus=1, gpus_used=0.5, cpu=1.0,
                memory=16000 * MB, memory_used=9000 * MB, store=4000 * MB, store_used=100 * MB, spilled=50 * MB,
                workers=8, resources={"disk": 2.0}, labels={"zone": "b"}),
        NodeRow(3, "c3" * 28, "cpu-0", "10.0.0.3", alive=False, death_cause="it stopped answering"),
    ]  # fmt: skip


def many(finished: int, seed: int = 7) -> Snapshot:
    """Returns a lively picture: ``finished`` ended tasks, and of everything else some."""
    dice = random.Random(seed)
    tasks, clock = ended_tasks(finished, dice)
    now = max(clock.values())
    tasks += unfinished_tasks(finished, now, clock, dice)
    return Snapshot(
        version=finished,
        now=now,
        wall=1_000_000.0,
        tasks=tasks,
        actors=some_actors(),
        objects=some_objects(dice),
        workers=some_workers(finished),
        store=StoreRow(limit=6000 * MB, used=2300 * MB, spilled=410 * MB, pinned=900 * MB, objects=39),
        total={"CPU": 4.0, "GPU": 1.0},
        available={"CPU": 1.0, "GPU": 0.5},
        groups=count_groups(tasks),
        running=[row for row in tasks if row.state == RUNNING],
    )
