"""Assigns queued tasks to workers.

Theory of operation. Tasks of one shape (resources, environment) share a queue. A worker leased by a shape takes its
tasks, one after the other. Behind the running task the scheduler sends it others (prefetched), as much as
`prefetch_seconds` of measured work, so that the worker never starves while the driver is busy. Tasks that a
blocked worker waits for go first: a hundred nested tasks then need a few workers, not a hundred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from raynb.base.rows import PENDING_NODE_ASSIGNMENT, RUNNING, SUBMITTED_TO_WORKER
from raynb.base.spec import TaskOptions
from raynb.core.scheduling.resources import Amounts, Resources, gpu_amount, to_floats
from raynb.core.step import Step
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.records import Env, Task, Worker

if TYPE_CHECKING:
    from raynb.core.tasks.table import Tasks

PREFETCH_MAX_TASKS = 500  # tasks a worker may have waiting, however short they are
UNKNOWN_SECONDS = 1e9  # estimated seconds of a function that has not run yet


@dataclass(slots=True, eq=False)
class Shape:
    """Tasks that any worker of one kind can run: the same resources and environment. They share a queue and workers."""

    key: int
    need: Amounts
    env: Env
    prefetch: bool
    queue: deque[Task] = field(default_factory=deque)
    leased: list[Worker] = field(default_factory=list)
    warned: bool = False
    turn: int = 0  # whose turn it is to have a task prefetched
    full: bool = False  # every worker has enough; until one of them finishes a task


class Scheduler:
    """Assigns queued tasks to workers.

    Rules: urgent tasks (what a blocked worker waits for) go first, then shapes in turn. A worker stays leased
    by a shape from task to task; it is sent more tasks ahead while the estimated seconds of its queue are below
    ``prefetch_seconds``.
    """

    def __init__(self, step: Step, tasks: Tasks, resources: Resources, prefetch_seconds: float) -> None:
        self._step = step
        self._tasks = tasks
        self._resources = resources
        self.prefetch_seconds = prefetch_seconds
        self.shapes: dict[int, Shape] = {}
        self._by_signature: dict[tuple[object, ...], int] = {}
        self.estimates: dict[str, float] = {}
        self.blocking: set[str] = set()  # functions that wait for others: no line may form behind them
        self.restless: set[str] = set()  # of these, those that wait again after their first answer
        self.load: dict[int, float] = {}  # worker → estimated seconds of what it has
        self.cost: dict[int, float] = {}  # task → what it added to its worker's load
        self.waiting: dict[int, None] = {}  # keys of shapes with a queue, round robin
        self.urgent: deque[Task] = deque()
        self.parked: dict[int, Task] = {}  # tasks that crashed their workers, until they are tried again
        self._holds = False  # tasks end, and their workers are not free yet
        self._held: dict[int, None] = {}  # keys of shapes to look at then

    def connect(
        self, *, idle: Mapping[Env, list[Worker]], take_idle: Callable[[Env], Worker | None],
        lease: Callable[[Worker, int], None], want: Callable[[Env, int], None],
        place_actor: Callable[[Task, Worker], None],
    ) -> None:  # fmt: skip
        """Sets what is called in policies that are made after this one.

        Args:
            idle: environment → idle workers.
            take_idle: removes and returns one of them.
            lease: makes a worker busy with a shape (its key).
            want: so many workers of an environment could run something now.
            place_actor: binds an actor to the worker that its creation task was assigned to.
        """
        self._idle = idle
        self._take_idle = take_idle
        self._lease_worker = lease
        self._want_workers = want
        self._place_actor = place_actor

    def shape_of(self, options: TaskOptions) -> Shape:
        """Returns the shape (resources, environment) of a task's options, and makes it if it is new."""
        if not options.key:
            signature = (options.resources, options.runtime_env, options.max_calls > 0, options.bundle)
            key = self._by_signature.get(signature)
            if key is None:
                key = self._by_signature[signature] = len(self._by_signature) + 1
                self.shapes[key] = Shape(
                    key, options.resources, options.runtime_env,
                    # GPUs are handed out by number when the task is sent
                    not options.max_calls and not gpu_amount(options.resources),
                )  # fmt: skip
            options.key = key
        return self.shapes[options.key]

    # -- queueing ------------------------------------------------------------------------------
    def enqueue(self, task: Task, front: bool = False) -> None:
        """Places a task whose arguments are ready, or queues it."""
        if task.not_before > self._step.now:  # after a crash: beside the queue, so that nobody waits behind it
            self.parked[task.spec.task_id] = task
            self._step.timer(task.not_before, "queue", task.spec.task_id)
            return
        options = task.spec.options
        shape = self.shapes[options.key] if options.key else self.shape_of(options)
        queue = shape.queue
        if not queue and not self.urgent and self._idle.get(shape.env) and self._place(shape, task):
            return
        worker = None
        if not shape.full and not front and shape.leased:
            shape.turn = turn = (shape.turn + 1) % len(shape.leased)
            worker = shape.leased[turn]
            if not queue and _takes(self, worker, shape, task):  # by way of the queue "1,000 tasks" takes 2 % longer
                self.send(worker, task)
                return
        if front:
            queue.appendleft(task)
        else:
            queue.append(task)
        self.waiting[shape.key] = None
        if worker is not None:
            if self.load[worker.id] < self.prefetch_seconds:
                self.fill(worker, shape)
            else:
                shape.full = min(self.load[w.id] for w in shape.leased) >= self.prefetch_seconds
        if (queue and self._resources.fits(shape.need)) or not shape.leased:
            if self._holds:
                self._held[shape.key] = None
            else:
                self._look(shape)

    def hold(self) -> None:
        """Starts no workers until `release`: a worker whose task ends is about to be free."""
        self._holds = True

    def release(self) -> None:
        """Places what was queued since `hold`, or starts workers for it."""
        self._holds = False
        while self._held:
            shape = self.shapes[self._held.popitem()[0]]
            if shape.queue:
                self._look(shape)

    def holds(self) -> bool:
        """Returns whether starts of workers are held back; never between two events."""
        return self._holds or bool(self._held)

    def _look(self, shape: Shape) -> None:
        if self._idle.get(shape.env) and self._resources.fits(shape.need):
            self.pump()
        else:
            self._want(shape)

    def unpark(self, task_id: int) -> None:
        """Queues a task whose pause after a crash is over."""
        task = self.parked.pop(task_id, None)
        if task is not None and task.state == PENDING_NODE_ASSIGNMENT:  # not cancelled meanwhile
            self.enqueue(task)

    def make_urgent(self, object_ids: list[int]) -> None:
        """Puts the queued tasks that make these objects before all others: a blocked worker waits for them."""
        for object_id in object_ids:
            task = self._tasks.of_object(object_id)
            if task is not None and task.state == PENDING_NODE_ASSIGNMENT and not task.spec.actor \
                    and task.not_before <= self._step.now:  # fmt: skip
                self.urgent.append(task)

    def pump(self) -> None:
        """Places every queued task that can be placed now."""
        urgent = self.urgent
        while urgent:
            task = urgent[0]
            if task.state != PENDING_NODE_ASSIGNMENT:
                urgent.popleft()
                continue
            shape = self.shape_of(task.spec.options)
            if not self._place(shape, task):
                self._want(shape, urgent)
                break
            urgent.popleft()
        for key in list(self.waiting):
            self._pump_shape(self.shapes[key])

    def _pump_shape(self, shape: Shape) -> None:
        queue = shape.queue
        while queue:
            task = queue[0]
            if task.state != PENDING_NODE_ASSIGNMENT:  # cancelled, or placed as urgent
                queue.popleft()
                continue
            if not self._place(shape, task):
                break
            queue.popleft()
        if queue:
            self._want(shape)
            del self.waiting[shape.key]  # to the end: shapes take turns
            self.waiting[shape.key] = None
        else:
            self.waiting.pop(shape.key, None)

    def _place(self, shape: Shape, task: Task) -> bool:
        if not self._resources.fits(shape.need):
            return False
        worker = self._take_idle(shape.env)
        if worker is None:
            return False
        if task.spec.creates_actor:
            self._place_actor(task, worker)
        else:
            self._lease(worker, shape)
            self.send(worker, task)
        return True

    def _want(self, shape: Shape, urgent: Iterable[Task] = ()) -> None:
        """Starts workers for queued tasks that no idle worker can take, if resources allow; warns if they never do."""
        slots = self._resources.slots(shape.need)
        if slots <= 0:
            if not shape.warned and not self._resources.feasible(shape.need):
                shape.warned = True
                self._step.out.append(_infeasible((shape.queue or self.urgent)[0], shape.need, self._resources.total))
            return
        # Of urgent ones, some of which have been placed, as many as there may be workers for: there are thousands.
        count = sum(1 for _ in islice((t for t in urgent if t.state == PENDING_NODE_ASSIGNMENT), slots))
        self._want_workers(shape.env, min(slots, count or len(shape.queue)))

    # -- leases --------------------------------------------------------------------------------
    def _lease(self, worker: Worker, shape: Shape) -> None:
        self._lease_worker(worker, shape.key)
        shape.leased.append(worker)
        self.load[worker.id] = 0.0

    def end_lease(self, worker: Worker) -> None:
        """Ends the worker's lease by a shape."""
        if worker.key:
            self.shapes[worker.key].leased.remove(worker)
            worker.key = 0
            self.load.pop(worker.id, None)

    def send(self, worker: Worker, task: Task) -> None:
        """Sends a task to a worker, where it runs at once or waits behind others."""
        task.worker = worker.id
        options = task.spec.options
        cost = self.estimates.get(options.function, UNKNOWN_SECONDS)
        self.cost[task.spec.task_id] = cost
        self.load[worker.id] += cost
        queue = worker.queue
        if queue:
            self._tasks.move(task, SUBMITTED_TO_WORKER)
        else:
            self.start(task)
        queue.append(task)
        spec = task.spec
        lent = self._tasks.lend_arguments(task, worker.id) if spec.deps or spec.contained else ()
        self._step.out.append(c.Run(worker.id, task, lent))

    def start(self, task: Task) -> None:
        """Starts the worker's first task: it acquires its resources."""
        options = task.spec.options
        task.started = self._step.now
        task.took = need = options.resources
        self._resources.take(need)
        if self._resources.gpus:
            task.gpus = self._resources.take_gpus(need)
        self._tasks.move(task, RUNNING)
        if options.timeout is not None:
            self._step.timer(self._step.now + options.timeout, "timeout", task.spec.task_id)

    def left(self, worker: Worker, task: Task) -> None:
        """Removes a task (done, or handed back) from the worker's estimated load."""
        cost = self.cost.pop(task.spec.task_id, 0.0)
        load = self.load
        if worker.key:
            self.shapes[worker.key].full = False
        if worker.id in load:
            load[worker.id] -= cost
            if load[worker.id] < 0 or not worker.queue:
                load[worker.id] = 0.0

    def blocks(self, function: str) -> None:
        """Marks a function whose task waited for others: tasks behind it would only be handed back."""
        self.blocking.add(function)
        self.estimates[function] = UNKNOWN_SECONDS

    def follow(self, worker: Worker) -> None:
        """Sends the next task with the answer that unblocks a worker: most such tasks end soon, and one message does.

        """
        shape = self.shapes.get(worker.key)
        if shape is None or not shape.queue or not shape.prefetch or self.urgent or worker.retiring \
                or len(worker.queue) != 1:  # fmt: skip
            return
        task = shape.queue[0]
        if task.state != PENDING_NODE_ASSIGNMENT or task.not_before > self._step.now or task.spec.creates_actor \
                or worker.queue[0].spec.options.function in self.restless:  # fmt: skip
            return
        shape.queue.popleft()
        if not shape.queue:
            self.waiting.pop(shape.key, None)
        worker.follower = task.spec.task_id
        self.send(worker, task)

    def measured(self, function: str, seconds: float) -> None:
        """Updates the estimate of a function's run time in seconds."""
        if function in self.blocking:
            return
        old = self.estimates.get(function)
        if old is None:
            self.estimates[function] = seconds
        else:  # quick to believe that it is slow, slow to believe that it is quick
            self.estimates[function] = seconds if seconds > 4 * old else old + 0.2 * (seconds - old)

    def fill(self, worker: Worker, shape: Shape) -> None:
        """Prefetches tasks for a worker from its shape's queue."""
        if not shape.prefetch or worker.retiring or worker.blocked:
            return
        queue = shape.queue
        load = self.load
        seconds = self.prefetch_seconds
        fair = len(queue) // max(1, len(shape.leased)) + 1  # leave the others their share
        most = min(PREFETCH_MAX_TASKS, fair)
        sent = 0
        while queue and load[worker.id] < seconds and sent < most and len(worker.queue) < PREFETCH_MAX_TASKS:
            task = queue[0]
            if task.state != PENDING_NODE_ASSIGNMENT:
                queue.popleft()
                continue
            if task.spec.creates_actor:  # an actor needs a worker of its own
                break
            if self.estimates.get(task.spec.options.function, UNKNOWN_SECONDS) > seconds and worker.queue:
                break
            queue.popleft()
            self.send(worker, task)
            sent += 1
        if not queue:
            self.waiting.pop(shape.key, None)


def _takes(scheduler: Scheduler, worker: Worker, shape: Shape, task: Task) -> bool:
    """Returns whether `Scheduler.fill` would send the worker this task, if nothing else were queued."""
    seconds = scheduler.prefetch_seconds
    line = worker.queue
    return (
        scheduler.load[worker.id] < seconds and shape.prefetch and not (worker.retiring or worker.blocked)
        and not task.spec.creates_actor and len(line) < PREFETCH_MAX_TASKS
        and (not line or scheduler.estimates.get(task.spec.options.function, UNKNOWN_SECONDS) <= seconds)
    )  # fmt: skip


def _infeasible(task: Task, need: Amounts, total: dict[str, int]) -> c.Warn:
    """Returns the warning that a task asks for more than the whole machine has."""
    there = to_floats(total)
    lacking = {k: v for k, v in to_floats(need).items() if v > there.get(k, 0)}
    return c.Warn(
        f"{task.spec.options.name} asks for {to_floats(need)}, but this machine has only "
        f"{there}: it waits until there is more of {', '.join(lacking)} "
        "(raynb.init(num_cpus=..., resources=...) says how much there is).", task.spec.scope)  # fmt: skip
