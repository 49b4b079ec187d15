"""How actors of `InlineEngine` begin and end."""

from __future__ import annotations

import bdb
import contextvars
import os
import time
from typing import TYPE_CHECKING, Any

from raynb.base import ids
from raynb.base.rows import ACTOR_CREATION_TASK, ALIVE, CANCELLED, DEAD, FAILED, FINISHED, TaskRow
from raynb.engine.inline.records import InlineActor, InlineTask, running
from raynb.run import environment
from raynb.serde import errors

if TYPE_CHECKING:
    from raynb.engine.inline.engine import InlineEngine
    from raynb.engine.inline.tasks import Tasks

_now = time.monotonic


class ActorLives:
    """Runs constructors, restarts actors and ends them.

    Thread contract: any thread.
    """

    def __init__(self, engine: InlineEngine, tasks: Tasks) -> None:
        self.engine = engine
        self._tasks = tasks

    def start(self, row: TaskRow, host: InlineActor) -> None:
        """Runs the constructor. What it raises is what calls will raise."""
        now = InlineTask(row, host.options, host.row.scope, host)
        row.started = row.fetched = _now()
        token = running.set(now)
        book = self.engine.book
        try:
            with environment.temporary(host.options.runtime_env):
                made: list[Any] = []

                async def on_loop() -> None:
                    made.append(self._construct(host))

                if host.loop is None:
                    made.append(self._construct(host))
                else:
                    job = host.loop.start(on_loop(), contextvars.copy_context())
                    loop = host.loop
                    job.add_done_callback(lambda _: loop.interrupt())
                    loop.drive(job.done, None, patient=True)
                    job.result()
            host.instance = made[0]
            host.row.state = ALIVE
            self._tasks.ended(now, FINISHED)
        except (KeyboardInterrupt, bdb.BdbQuit):
            self._tasks.ended(now, CANCELLED)
            self.end(host, self.engine.actors.died(host, "its constructor was interrupted"), restart=False)
            raise
        except BaseException as raised:
            value, described, _ = errors.task_error(raised, host.options.name, "")
            row.error_type, row.error = described
            self._tasks.ended(now, FAILED)
            actor = self.engine.spell(host.spec.actor_id, ids.ACTOR_HEX)
            self.end(host, ("err", "ActorDiedError", (actor, "creation", value)), restart=False)
            self.engine.unasked.actor_failed(actor, row)
        finally:
            running.reset(token)
        book.put("actors", host.row)

    def _construct(self, host: InlineActor) -> Any:
        cls = self.engine.function(host.spec.class_key)
        args, kwargs = self.engine.arguments(host.packed)
        return cls(*args, **kwargs)

    def end(self, host: InlineActor, value: Any, restart: bool) -> None:
        """Ends an actor; with ``restart`` it is made again if it has restarts left."""
        if host.dead is not None:
            return
        for now in [one for one in self._tasks.open.values() if one.host is host and one.job is not None]:
            self._tasks.fail_all(now, FAILED, value, ("ActorDiedError", "the actor died"), (), None)
            assert now.job is not None
            now.job.cancel()
        spec = host.spec
        host.instance = None
        if restart and (spec.max_restarts < 0 or host.restarts < spec.max_restarts):
            host.restarts += 1
            host.row.restarts += 1
            again = TaskRow(self.engine.next_id(), host.options.name, ACTOR_CREATION_TASK, actor=spec.actor_id,
                            scope=host.row.scope, worker=1, pid=os.getpid(), submitted=_now())  # fmt: skip
            self.engine.book.new_task(again)
            self.start(again, host)
            return
        host.dead = value
        host.row.state = DEAD
        host.row.death_cause = " ".join(part for part in value[2][1:] if isinstance(part, str))
        self.engine.book.put("actors", host.row)
        self.engine.actors.forget_name(host)
        if host.loop is not None and not host.loop.driven_here():
            host.loop.close()
