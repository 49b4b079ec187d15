"""How actors of `InlineEngine` begin and end."""

from __future__ import annotations

import bdb
import contextvars
import os
import time
from typing import TYPE_CHECKING, Any

from raynb.base import ends
from raynb.base.rows import ACTOR_CREATION_TASK, ALIVE, CANCELLED, DEAD, FAILED, FINISHED, TaskRow
from raynb.base.spec import Location
from raynb.core.actors import restarts
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

                if host.loop is None or host.loop.driven_here():  # a call of it asked for the restart
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
            actor = self.engine.actors.spell(host)
            self.end(host, ends.actor_not_made(actor, value), restart=False)
            self.engine.unasked.actor_failed(actor, row)
        finally:
            running.reset(token)
        book.put("actors", host.row)

    def _construct(self, host: InlineActor) -> Any:
        cls = self.engine.function(host.spec.class_key)
        args, kwargs = self.engine.arguments(host.packed)
        return cls(*args, **kwargs)

    def end(self, host: InlineActor, value: Location, restart: bool, asking: InlineTask | None = None) -> None:
        """Ends an actor, whose calls fail with ``value``; with ``restart`` it is made again if it has restarts left.

        Args:
            asking: the call that asked for it, whose end is its caller's affair.
        """
        if host.dead is not None:
            return
        restart = restart and restarts.are_left(host.spec.max_restarts, host.restarts)
        for now in [one for one in self._tasks.open.values() if one.host is host and one.job is not None]:
            if now is asking:
                continue
            if not restart:
                self._tasks.fail_all(now, FAILED, value, ("ActorDiedError", "the actor died"), (), None)
            elif self.runs_again(now, host):
                now.again = now.begun
                if not now.begun:
                    continue  # it will begin on the new instance
            assert now.job is not None
            now.job.cancel()
        host.instance = None
        if restart:
            self._restart(host)
            return
        host.dead = value
        host.row.state = DEAD
        host.row.death_cause = " ".join(part for part in value[2][1:] if isinstance(part, str))
        self.engine.book.put("actors", host.row)
        self.engine.actors.names.release(host.spec)
        if host.loop is not None and not host.loop.driven_here():
            host.loop.close()

    def runs_again(self, now: InlineTask, host: InlineActor) -> bool:
        """Returns whether a call runs again at its actor, which restarts; if not, it has ended."""
        retries = 0 if self._tasks.has_yielded(now) else now.retries  # what was read of a stream is not made again
        fate = restarts.fate_of_call(retries, now.cancelled)
        if fate == restarts.AGAIN:
            return True
        if fate == restarts.CANCEL:
            self._tasks.end_cancelled(now)
        else:
            spelled = self.engine.actors.spell(host)
            value = ends.actor_unavailable(spelled, host.spec.class_name)
            self._tasks.fail_all(now, FAILED, value, ("ActorUnavailableError", "the actor restarts"), (), None)
        return False

    def _restart(self, host: InlineActor) -> None:
        host.restarts += 1
        host.row.restarts += 1
        again = TaskRow(self.engine.next_id(), host.options.name, ACTOR_CREATION_TASK, actor=host.spec.actor_id,
                        scope=host.row.scope, worker=1, pid=os.getpid(), submitted=_now())  # fmt: skip
        self.engine.book.new_task(again)
        self.start(again, host)
