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
    ObjectRow,
    Snapshot,
    StoreRow,
    TaskRow,
    WorkerRow,
)

MB = 1 << 20


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
    )


def many(finished: int, seed: int = 7) -> Snapshot:
    """Returns a lively picture: ``finished`` ended tasks on four workers, some waiting, actors."""
    dice = random.Random(seed)
    tasks: list[TaskRow] = []
    clock = dict.fromkeys(range(1, 5), 100.0)
    for number in range(1, finished + 1):
        worker = min(clock, key=lambda w: clock[w])
        start = clock[worker] + dice.uniform(0.0005, 0.004)
        fetch, run, store = dice.uniform(0.001, 0.01), dice.uniform(0.02, 0.3), dice.uniform(0.001, 0.02)
        name = dice.choice(["load_page", "load_page", "tokenize", "tokenize", "score", "train_fold"])
        state = FAILED if dice.random() < 0.01 else CANCELLED if dice.random() < 0.005 else FINISHED
        error = 'Traceback (most recent call last):\n  In[4], line 3\nValueError: page 17 has no "text"'
        tasks.append(
            TaskRow(
                number,
                name,
                state=state,
                worker=worker,
                pid=4000 + worker,
                scope=3 + number % 3,
                submitted=max(100.0, start - dice.uniform(0.1, 2)),
                started=start,
                fetched=start + fetch,
                ran=start + fetch + run,
                ended=start + fetch + run + store,
                size=dice.randrange(4 * MB),
                error_type="ValueError" if state == FAILED else "",
                error=error if state == FAILED else "",
            )
        )
        clock[worker] = tasks[-1].ended
    now = max(clock.values())
    number = finished
    for worker in (1, 2, 3):
        number += 1
        tasks.append(
            TaskRow(
                number,
                "train_fold",
                state=RUNNING,
                worker=worker,
                pid=4000 + worker,
                scope=5,
                submitted=now - 2,
                started=clock[worker] + 0.01,
                fetched=clock[worker] + 0.02,
            )
        )
    number += 1
    tasks.append(
        TaskRow(
            number,
            "Counter.add",
            kind=ACTOR_TASK,
            state=RUNNING,
            worker=5,
            pid=4005,
            scope=6,
            actor=900,
            submitted=now - 0.4,
            started=now - 0.3,
            fetched=now - 0.29,
        )
    )
    for state, how_many in (
        (SUBMITTED_TO_WORKER, 8),
        (PENDING_NODE_ASSIGNMENT, 60),
        (PENDING_ARGS_AVAIL, 24),
    ):
        for _ in range(how_many):
            number += 1
            tasks.append(
                TaskRow(number, dice.choice(["train_fold", "score"]), state=state, scope=5, submitted=now - 1)
            )
    workers = [
        WorkerRow(
            w,
            4000 + w,
            BUSY,
            task=finished + w,
            rss=(180 + 60 * w) * MB,
            cpu=0.93 - w / 20,
            started=100.0,
            finished=finished // 4,
        )
        for w in (1, 2, 3)
    ]
    workers.append(WorkerRow(4, 4004, IDLE, rss=96 * MB, started=100.0, finished=finished // 4))
    workers.append(
        WorkerRow(5, 4005, ACTOR, task=finished + 4, actor=900, rss=61 * MB, cpu=0.11, started=101.0)
    )
    workers.append(WorkerRow(6, 4006, ACTOR, actor=901, rss=340 * MB, cpu=0.02, started=101.0))
    actors = [
        ActorRow(
            900,
            "Counter",
            "hits",
            state=ALIVE,
            worker=5,
            pid=4005,
            pending=3,
            rss=61 * MB,
            scope=6,
            max_restarts=2,
        ),
        ActorRow(
            901,
            "Model",
            "",
            state=ALIVE,
            worker=6,
            pid=4006,
            rss=340 * MB,
            scope=6,
            restarts=1,
            max_restarts=-1,
        ),
        ActorRow(902, "Loader", "", state="DEAD", death_cause="The worker was killed by signal 9.", scope=4),
    ]
    objects = [
        ObjectRow(
            object_id(i, 1),
            int(2 ** dice.uniform(4, 28)),
            dice.choice([MEMORY, SHARED, SHARED, SPILLED]),
            i,
            3 + i % 3,
            local_refs=1 + i % 2,
            pending_args=i % 3,
            borrowers=(5,) if i % 4 == 0 else (),
        )
        for i in range(1, 40)
    ]
    return Snapshot(
        version=finished,
        now=now,
        wall=1_000_000.0,
        tasks=tasks,
        actors=actors,
        objects=objects,
        workers=workers,
        store=StoreRow(limit=6000 * MB, used=2300 * MB, spilled=410 * MB, pinned=900 * MB, objects=39),
        total={"CPU": 4.0, "GPU": 1.0},
        available={"CPU": 1.0, "GPU": 0.5},
        groups=count_groups(tasks),
    )
