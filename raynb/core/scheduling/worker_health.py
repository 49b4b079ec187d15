"""Workers that cannot be started, and workers that do not answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from raynb.base.config import ENV_FAILED
from raynb.base.rows import BUSY, IDLE, PENDING_NODE_ASSIGNMENT
from raynb.base.spec import Value
from raynb.core.step import Step
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import WorkerDied, WorkerSilent
from raynb.core.vocabulary.records import Actor, Env, Worker

if TYPE_CHECKING:
    from raynb.core.history import History
    from raynb.core.scheduling.scheduler import Scheduler
    from raynb.core.tasks.table import Tasks

PAUSE_SECONDS = (0.2, 0.5)  # seconds between the rounds of tries; after the last one it is given up
WORKING_PAUSE_SECONDS = 5.0  # the same, while other workers do the work


class SupervisorDeaths:
    """Counts deaths of the supervisor process: those long ago don't count.

    Thread contract: under the engine's lock, or one thread.

    Args:
        most: so many within `WINDOW` seconds are survived.
    """

    WINDOW = 60.0

    def __init__(self, most: int) -> None:
        self._most = most
        self._recent: deque[float] = deque()

    def is_last(self, now: float) -> bool:
        """Counts a death at ``now`` (seconds of a monotonic clock); returns whether the runtime is given up."""
        self._recent.append(now)
        while now - self._recent[0] > self.WINDOW:
            self._recent.popleft()
        return len(self._recent) > self._most

    def story(self, words: str) -> str:
        """Returns the error text of a runtime that is given up.

        Args:
            words: what the supervisor wrote before it died; may be empty.
        """
        return (
            f"The process that starts raynb's workers died {len(self._recent)} times within {self.WINDOW:.0f} s, so "
            f"the runtime was given up. It said: {words or 'nothing'}. Its objects and actors are gone. To go on: "
            "`%raynb restart`, or raynb.shutdown() and raynb.init()."
        )


class WorkerHealth:
    """Pauses and gives up starts of workers that fail, an environment at a time; warns of workers that do not answer.

    Rule: after a failed start the next one waits (`PAUSE_SECONDS`); then the tasks queued for the environment fail
    with the reason, unless workers that are there can run them.
    """

    def __init__(
        self, step: Step, history: History, workers: Mapping[int, Worker], actors: Mapping[int, Actor],
        tasks: Tasks, scheduler: Scheduler,
    ) -> None:  # fmt: skip
        self._step = step
        self._history = history
        self._workers = workers
        self._actors = actors
        self._tasks = tasks
        self._scheduler = scheduler
        self.failures: dict[Env, int] = {}  # environment → starts that failed, one after the other
        self.paused: dict[Env, float] = {}  # environment → no worker is started before
        self.up = False  # there has been a worker
        self.gave_up = ""  # why there never was one

    def connect(self, *, start: Callable[[], object]) -> None:
        """Sets what starts a worker."""
        self._start = start

    def started(self, worker: Worker) -> None:
        """Clears the failures of the worker's environment: one of its workers is up."""
        self.up = True
        if self.failures:
            self.failures.pop(worker.env, None)
            self.paused.pop(worker.env, None)

    def may_start(self, env: Env) -> bool:
        """Returns whether a worker of the environment may be started now, or must wait for a pause to end."""
        return not self.paused or self._step.now >= self.paused.get(env, 0.0)

    def start_failed(self, worker: Worker, event: WorkerDied) -> None:
        """Counts a worker that died before it was ready: pauses further starts, or gives the environment up."""
        env = worker.env
        if self._step.now < self.paused.get(env, 0.0):
            return  # several were started at once: it is the same failure
        failures = self.failures[env] = self.failures.get(env, 0) + 1
        if failures <= len(PAUSE_SECONDS):
            self._pause(env, PAUSE_SECONDS[failures - 1])
            return
        del self.failures[env]
        if event.reason.startswith(ENV_FAILED):
            self._fail_queued(env, ("err", "RuntimeEnvSetupError", (event.reason.removeprefix(ENV_FAILED),)))
            return
        text = f"Workers cannot be started: {event.reason}"
        if any(w.state in (IDLE, BUSY) and not w.actor and w.env == env for w in self._workers.values()):
            # Those there are do the work, one task after the other. Perhaps there is room for more later.
            self._pause(env, WORKING_PAUSE_SECONDS)
            self._step.out.append(c.Warn(f"{text}. The work goes on with the workers that there are."))
            return
        if not self.up:
            self.gave_up = text
        self._fail_queued(env, ("err", "RaySystemError", (text,)))

    def _pause(self, env: Env, seconds: float) -> None:
        self.paused[env] = self._step.now + seconds
        self._step.timer(self.paused[env], "start", 0)

    def again(self) -> None:
        """Ends a pause, and starts workers again."""
        if not self.up and not self.gave_up and not self._workers:
            self._start()
        self._scheduler.pump()

    def _fail_queued(self, env: Env, value: Value) -> None:
        """Fails everything that waits for a worker of an environment that was given up."""
        for task in list(self._tasks.table.values()):
            spec = task.spec
            if task.state == PENDING_NODE_ASSIGNMENT and not spec.actor and spec.options.runtime_env == env:
                self._tasks.fail(task, value)

    def silent(self, event: WorkerSilent) -> None:
        """Warns that a worker with work has not answered for a while, with what the user can do."""
        worker = self._workers.get(event.worker)
        if worker is None:
            return
        self._history.record(self._step.now, "worker", worker.id, "does not answer")
        scope = 0
        if worker.actor:
            name = f"actor {self._actors[worker.actor].spec.class_name}"
        elif worker.queue:
            name, scope = worker.queue[0].spec.options.name, worker.queue[0].spec.scope
        else:
            return
        who = f"The worker (pid {worker.pid}) that runs {name}"
        if event.stopped:
            text = f"{who} is stopped (by SIGSTOP or a debugger). `kill -CONT {worker.pid}` lets it go on."
        else:
            text = (f"{who} has not answered for {event.seconds:.0f} s: native code there holds Python's lock, "
                    "or it hangs.")  # fmt: skip
        remedy = "cancel(ref, force=True) or the option timeout= ends it."
        if worker.actor:
            remedy = "raynb.kill(handle) ends it."
        where = "\n".join((" It is here:", *event.stack)) if event.stack else ""
        self._step.out.append(c.Warn(f"{text} {remedy}{where}", scope))
