"""Checks what must be true between any two events. Run after every test that has a machine."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from raynb.base.config import RESOURCE_UNIT
from raynb.base.rows import (
    ACTOR,
    DEAD,
    IDLE,
    PENDING_ARGS_AVAIL,
    PENDING_NODE_ASSIGNMENT,
    RUNNING,
    SUBMITTED_TO_WORKER,
    TASK_ENDED,
)  # fmt: skip
from raynb.core.scheduling.resources import Amounts, cpu_part, gpu_amount
from raynb.core.vocabulary.transitions import O_FREED, O_READY

if TYPE_CHECKING:
    from raynb.core.machine import Machine


class InvariantBroken(AssertionError):
    """Raised by `check`; names every rule that does not hold."""


def check(m: Machine) -> None:
    """Raises `InvariantBroken` unless every rule holds."""
    wrong: list[str] = []
    _tasks(m, wrong)
    _resources(m, wrong)
    if m.resources.gpus:
        _gpus(m, wrong)
    _objects(m, wrong)
    _actors(m, wrong)
    if wrong:
        raise InvariantBroken("\n".join(wrong))


def _tasks(m: Machine, wrong: list[str]) -> None:
    at_workers = {t.spec.task_id: w.id for w in m.pool.table.values() for t in w.queue}
    for task_id, task in m.tasks.table.items():
        if task.state in TASK_ENDED:
            wrong.append(f"task {task_id} ended ({task.state}) but is in the table")
        if task.state == PENDING_ARGS_AVAIL and not task.waiting and not task.spec.actor:
            wrong.append(f"task {task_id} waits for no argument")
        if task.state in (RUNNING, SUBMITTED_TO_WORKER):
            if task.worker not in m.pool.table:
                wrong.append(f"task {task_id} is {task.state} at worker {task.worker}, which is gone")
            elif not task.spec.actor and not task.spec.creates_actor and at_workers.get(task_id) != task.worker:
                wrong.append(f"task {task_id} is {task.state} but in no worker's line")
        if task.state == PENDING_NODE_ASSIGNMENT and not task.spec.actor:
            shape = m.scheduler.shapes.get(task.spec.options.key)
            if task_id in m.scheduler.parked:
                continue
            if shape is None or (task not in shape.queue and task not in m.scheduler.urgent):
                wrong.append(f"task {task_id} is queued but in no queue")
    if m.scheduler.holds():
        wrong.append("starts of workers are held back")
    for worker in m.pool.table.values():
        for position, task in enumerate(worker.queue):
            expected = RUNNING if position == 0 else SUBMITTED_TO_WORKER
            if task.state != expected:
                wrong.append(f"task {task.spec.task_id} is number {position} at worker {worker.id} but {task.state}")


def _resources(m: Machine, wrong: list[str]) -> None:
    taken: Counter[str] = Counter()
    for worker in m.pool.table.values():
        if worker.actor:
            held = m.actors.table[worker.actor].spec.held
        else:
            held = worker.queue[0].took if worker.queue else ()
        for name, amount in held:
            taken[name] += amount
        if worker.blocked:
            for name, amount in cpu_part(held):
                taken[name] -= amount
    for bundles in m.groups.placed.values():
        for bundle in bundles:
            for name, amount in bundle:
                taken[name] += amount
    for name, total in m.resources.total.items():
        if total - taken[name] != m.resources.available.get(name, 0):
            wrong.append(f"{name}: total {total}, taken {taken[name]}, available {m.resources.available.get(name)}")


def _gpus(m: Machine, wrong: list[str]) -> None:
    left = [RESOURCE_UNIT] * len(m.resources.gpus)
    for worker in m.pool.table.values():
        held: Amounts = ()
        numbers = worker.gpus
        if worker.actor:
            held = m.actors.table[worker.actor].spec.held
        elif worker.queue:
            held, numbers = worker.queue[0].took, worker.queue[0].gpus
        amount = gpu_amount(held)
        if len(numbers) != -(-amount // RESOURCE_UNIT):
            wrong.append(f"worker {worker.id} was given GPUs {numbers} for {amount}")
        for number in numbers:
            left[number] -= min(amount, RESOURCE_UNIT)
    if left != m.resources.gpus:
        wrong.append(f"of the GPUs {m.resources.gpus} is counted as left, {left} is")


def _objects(m: Machine, wrong: list[str]) -> None:
    args: Counter[int] = Counter()
    containers: Counter[int] = Counter()
    pinning = {id(t): t for t in (*m.tasks.table.values(), *m.lineage.table.values())}
    for task in pinning.values():
        args.update(task.spec.deps)
        args.update(task.spec.contained)
    shared = inline = spilled = 0
    for obj in m.objects.table.values():
        containers.update(obj.contained)
        value = obj.value
        if type(value) is bytes:
            inline += obj.size
        elif type(value) is tuple and value[0] == "shm":
            shared += obj.size
        elif type(value) is tuple and value[0] == "file":
            spilled += obj.size
        if obj.state == O_READY and obj.value is None:
            wrong.append(f"object {obj.id} is ready but has no value")
        if obj.state == O_FREED:
            wrong.append(f"object {obj.id} is freed but in the table")
        wrong.extend(
            f"object {obj.id} is lent to {worker}, which does not know"
            for worker in obj.lends or ()
            if obj.id not in m.objects.lent.get(worker, ())
        )
    for stream in m.streams.table.values():
        for index in range(stream.taken, stream.next):
            if not stream.dropped:
                containers[stream.task << 32 | index] += 1
    for actor in m.actors.table.values():
        if actor.spec.lifetime == "detached" and actor.state != DEAD:
            containers[actor.spec.actor_id << 32 | 1] += 1
    for obj in m.objects.table.values():
        if obj.args != args[obj.id]:
            wrong.append(f"object {obj.id}: {obj.args} pending arguments counted, {args[obj.id]} exist")
        if obj.containers != containers[obj.id]:
            wrong.append(f"object {obj.id}: {obj.containers} containers counted, {containers[obj.id]} exist")
        named = obj.refs or obj.lends or obj.args or obj.containers or obj.views
        if obj.state == O_READY and not named and not obj.actor:
            wrong.append(f"object {obj.id} can be named by nobody but is not freed")
    counted = (m.objects.shared_bytes, m.objects.inline_bytes, m.objects.spilled_bytes)
    if counted != (shared, inline, spilled):
        wrong.append(f"bytes counted {counted}, stored {(shared, inline, spilled)}")


def _actors(m: Machine, wrong: list[str]) -> None:
    pending: Counter[int] = Counter(t.spec.actor for t in m.tasks.table.values() if t.spec.actor)
    for actor_id, actor in m.actors.table.items():
        if actor.pending != pending[actor_id]:
            wrong.append(f"actor {actor_id}: {actor.pending} calls counted, {pending[actor_id]} unfinished")
        running = sum(1 for t in actor.inflight.values() if t.state == RUNNING)
        if actor.running != running:
            wrong.append(f"actor {actor_id}: {actor.running} running counted, {running} are")
        if actor.state == DEAD and (actor.inflight or actor.queues):
            wrong.append(f"actor {actor_id} is dead but has calls")
    for worker in m.pool.table.values():
        if worker.state == ACTOR and not worker.actor:
            wrong.append(f"worker {worker.id} is an actor's but has none")
        if worker.state == IDLE and worker.queue:
            wrong.append(f"worker {worker.id} is idle with tasks")
