"""Runs constructors of `InlineEngine`'s actors, restarts actors and ends them."""

from __future__ import annotations

import bdb
import contextvars
import os

from raynb.base import ends, ids
from raynb.base.process.waits import time
from raynb.base.rows import ACTOR_CREATION_TASK, ALIVE, CANCELLED, DEAD, FAILED, FINISHED, TaskRow
from raynb.base.spec import Location
from raynb.core.actors import restarts
from raynb.core.actors.names import ActorNames
from raynb.engine.inline.ending import Endings
from raynb.engine.inline.records import InlineActor, InlineTask, running, users_part
from raynb.engine.inline.runtime import InlineRuntime
from raynb.run import environment
from raynb.serde import errors

_now = time.monotonic


class ActorLives:
    """Runs constructors, restarts actors and ends them.

    Thread contract: any thread.
    """

    def __init__(self, runtime: InlineRuntime, endings: Endings, names: ActorNames) -> None:
        self._runtime = runtime
        self._endings = endings
        self._names = names

    def spell(self, host: InlineActor) -> str:
        """Returns the actor's id in Ray's hexadecimal form."""
        return self._runtime.spell(host.spec.actor_id, ids.ACTOR_HEX)

    def died(self, host: InlineActor, why: str) -> Location:
        """Returns the error value of an actor's death."""
        spec = host.spec
        return ends.actor_died(self.spell(host), spec.class_name, spec.name, os.getpid(), why)

    def start(self, row: TaskRow, host: InlineActor) -> None:
        """Runs the constructor. What it raises is what calls will raise."""
        now = InlineTask(row, host.options, host.row.scope, host)
        row.started = row.fetched = _now()
        token = running.set(now)
        row_store = self._runtime.row_store
        try:
            with environment.temporary(host.options.runtime_env):
                async def on_loop() -> None:
                    self._construct(host)

                if host.loop is None or host.loop.driven_here():  # a call of it asked for the restart
                    self._construct(host)
                else:
                    job = host.loop.start(on_loop(), contextvars.copy_context())
                    loop = host.loop
                    job.add_done_callback(lambda _: loop.interrupt())
                    loop.drive(job.done, None, patient=True)
                    job.result()
            host.row.state = ALIVE
            self._endings.ended(now, FINISHED)
        except (KeyboardInterrupt, bdb.BdbQuit):
            self._endings.ended(now, CANCELLED)
            self.end(host, self.died(host, "its constructor was interrupted"), restart=False)
            raise
        except BaseException as raised:
            value, described, _ = errors.task_error(raised, host.options.name, "")
            host.traceback = users_part(raised.__traceback__)
            row.error_type, row.error = described
            self._endings.ended(now, FAILED)
            actor = self.spell(host)
            self.end(host, ends.actor_not_made(actor, value), restart=False)
            self._runtime.unasked.actor_failed(actor, row)
        finally:
            running.reset(token)
        row_store.put("actors", host.row)

    def _construct(self, host: InlineActor) -> None:
        cls = self._runtime.function(host.spec.class_key)
        args, kwargs = self._runtime.arguments(host.packed)
        host.instance = cls(*args, **kwargs)

    def end(self, host: InlineActor, value: Location, restart: bool, asking: InlineTask | None = None) -> None:
        """Ends an actor, whose calls fail with ``value``; with ``restart`` it is made again if it has restarts left.

        Args:
            asking: the call that asked for it; the caller of `end` ends that one.
        """
        if host.dead is not None:
            return
        restart = restart and restarts.are_left(host.spec.max_restarts, host.restarts)
        for now in [one for one in self._endings.open.values() if one.host is host and one.job is not None]:
            if now is asking:
                continue
            if not restart:
                self._endings.fail_all(now, FAILED, value, ("ActorDiedError", "the actor died"), (), None)
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
        self._runtime.row_store.put("actors", host.row)
        self._names.release(host.spec)
        if host.loop is not None and not host.loop.driven_here():
            host.loop.close()

    def runs_again(self, now: InlineTask, host: InlineActor) -> bool:
        """Returns whether a call runs again at its actor, which restarts; if not, it has ended."""
        retries = 0 if self._endings.has_yielded(now) else now.retries  # what was read of a stream is not made again
        fate = restarts.fate_of_call(retries, now.cancelled)
        if fate == restarts.AGAIN:
            return True
        if fate == restarts.CANCEL:
            self._endings.end_cancelled(now)
        else:
            spelled = self.spell(host)
            value = ends.actor_unavailable(spelled, host.spec.class_name)
            self._endings.fail_all(now, FAILED, value, ("ActorUnavailableError", "the actor restarts"), (), None)
        return False

    def _restart(self, host: InlineActor) -> None:
        host.restarts += 1
        host.row.restarts += 1
        again = TaskRow(self._runtime.next_id(), host.options.name, ACTOR_CREATION_TASK, actor=host.spec.actor_id,
                        scope=host.row.scope, worker=1, pid=os.getpid(), submitted=_now())  # fmt: skip
        self._runtime.row_store.new_task(again)
        self.start(again, host)
