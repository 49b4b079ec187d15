"""Sends the rows of the runtime to the views that watch it.

One thread pulls ``engine.changes`` at most five times a second, and exists only while somebody
watches and a runtime runs. It is not the kernel's main thread, so the views stay live while a
cell computes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from raynb.base import engine as engines
from raynb.base.interfaces import DriverEngine
from raynb.base.rows import Snapshot
from raynb.exceptions import RuntimeGoneError
from raynb.jupyter.views import messages, view_model
from raynb.jupyter.views.coalescing import FeedPace, Leases, NameChanges, PendingChanges, Send
from raynb.jupyter.views.view_model import Labels

#: The most rows of a kind when a reader that fell behind gets the whole picture again.
CHANGE_MAX_ROWS = 1_000

#: Seconds after a flood of tasks after which the whole picture is sent.
CALM_SECONDS = 1.0

BEAT: messages.BeatMessage = {"v": messages.VERSION, "kind": "beat"}

log = logging.getLogger("raynb.feed")


class Watcher:
    """Somebody who looks: where to send, and whether the full picture is still owed.

    Thread contract: made and left from any thread; ``send`` is called on the feed's thread, or on
    the caller's of `Feed.watch` when no runtime runs.
    """

    __slots__ = ("fresh", "send", "status")

    def __init__(self, send: Send) -> None:
        self.send = send
        self.fresh = True
        self.status = ""  # the last status sent, so that none is sent twice


class Feed:
    """Sends view messages to watchers.

    Args:
        peek: returns the engine that runs, or None; never starts one.
        labels: the notebook's names for cells and objects.
        pace: how often.
        clock: monotonic seconds.

    Thread contract: every method may be called from any thread and none blocks for long.
    """

    def __init__(
        self,
        peek: Callable[[], DriverEngine | None] = engines.driver,
        labels: Labels | None = None,
        pace: FeedPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.labels = labels or Labels()
        self._peek = peek
        self._pace = pace or FeedPace()
        self._clock = clock
        self._changed = threading.Condition()
        self._watchers: list[Watcher] = []
        self._leases = Leases()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._flooded = 0.0  # when changes last came too fast to be told one by one
        engines.on_change.append(self._engine_changed)

    # -- for watchers --------------------------------------------------------------------------
    def watch(self, send: Send) -> Watcher:
        """Starts sending: the full picture first, then changes. Leave with `unwatch`."""
        watcher = Watcher(send)
        with self._changed:
            self._watchers.append(watcher)
        self.wake()
        return watcher

    def again(self, watcher: Watcher) -> None:
        """Sends the full picture once more (a page was reloaded), watching again if need be."""
        with self._changed:
            if watcher not in self._watchers:
                self._watchers.append(watcher)
            watcher.fresh = True
            watcher.status = ""
        self.wake()

    def retell(self) -> None:
        """Sends the full picture once more to everybody: names have changed that rows were sent with."""
        with self._changed:
            for watcher in self._watchers:
                watcher.fresh = True
        self.wake()

    def renew(self, watcher: Watcher) -> None:
        """Renews the watcher's lease; from then on it must be renewed once a minute."""
        with self._changed:
            self._leases.renew(watcher, self._clock())
        if self._thread is None:
            self.wake()

    def unwatch(self, watcher: Watcher) -> None:
        """Stops sending; leaving twice is fine."""
        with self._changed:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
            self._leases.drop(watcher)
            self._changed.notify_all()

    def has(self, watcher: Watcher) -> bool:
        """Returns whether the watcher is still sent to."""
        return watcher in self._watchers

    @property
    def watchers(self) -> int:
        """Returns how many views watch."""
        return len(self._watchers)

    @property
    def running(self) -> bool:
        """Returns whether the thread exists."""
        return self._thread is not None

    # -- lifecycle -----------------------------------------------------------------------------
    def wake(self) -> None:
        """Pulls at once; starts the thread if there is something to watch."""
        if not self._engine():
            self._send_stopped()
            return
        with self._changed:
            self._changed.notify_all()
            if self._thread is None and self._watchers and not self._closed:
                thread = threading.Thread(target=self._run, name="raynb-feed", daemon=True)
                thread.start()
                self._thread = thread  # only now: where no thread can be made, the next one tries again

    def close(self, timeout: float = 2.0) -> None:
        """Forgets every watcher and ends the thread (waits up to ``timeout`` seconds for it)."""
        if self._engine_changed in engines.on_change:
            engines.on_change.remove(self._engine_changed)
        with self._changed:
            self._closed = True
            self._watchers.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _engine_changed(self, engine: DriverEngine | None) -> None:
        self.wake()

    def _engine(self) -> DriverEngine | None:
        engine = self._peek()
        return engine if engine is not None and engine.alive else None

    # -- the thread ----------------------------------------------------------------------------
    def _run(self) -> None:
        why = ""
        try:
            why = self._follow()
        except RuntimeGoneError:
            pass
        except Exception as error:  # the views must say that they stopped, whatever the reason
            log.exception("The feed of the views stopped")
            why = f"The feed of the views stopped: {type(error).__name__}: {error}"
        finally:
            with self._changed:
                self._thread = None
            if why or not self._engine():
                self._send_stopped(why)
            elif self._watchers and not self._closed:
                self.wake()  # another runtime came while this one went

    def _follow(self) -> str:
        """Follows the engine as long as it lives and somebody watches; returns why it failed, if it did."""
        engine = self._engine()
        pending = PendingChanges()
        named = NameChanges()
        since: int | None = None
        self._pace.begin()
        with self._changed:
            for watcher in self._watchers:
                watcher.fresh = True
        while True:
            with self._changed:
                for late in self._leases.expired(self._clock()):
                    if late in self._watchers:
                        self._watchers.remove(late)
                watchers = list(self._watchers)
            if not watchers or self._engine() is not engine or engine is None:
                return ""
            if engine.failure:
                return engine.failure.partition(" The last events:")[0]
            before = time.thread_time()
            since = self._pull(engine, pending, named, since, watchers)
            rest = self._pace.rest(time.thread_time() - before)
            with self._changed:
                self._changed.wait_for(lambda: self._must_look(engine), timeout=rest)

    def _must_look(self, engine: DriverEngine) -> bool:
        """Returns whether the rest ends early: the feed closes, or a watcher waits for the full picture."""
        fresh = any(watcher.fresh for watcher in self._watchers)
        return self._closed or fresh or not self._watchers or self._engine() is not engine

    def _pull(
        self, engine: DriverEngine, pending: PendingChanges, named: NameChanges, since: int | None,
        watchers: list[Watcher],
    ) -> int:
        """Pulls once and sends what there is to send; returns the version reached."""
        full: messages.PictureMessage | None = None
        runtime = view_model.runtime_name(engine)
        self.labels.refresh()
        if since is not None:
            change = engine.changes(since)
            self._catch_up(change, watchers)
            since = change.version
            named.record(change)
            change.objects.extend(named.renamed(self.labels.everything, self._clock()))
            pending.add(change)
        fresh = [watcher for watcher in watchers if watcher.fresh]
        if fresh:
            snapshot: Snapshot = engine.snapshot()
            # The others go on from where they are; rows that come twice change nothing.
            if since is None:
                since = snapshot.version
                named.record(snapshot)
            full = view_model.message(snapshot, self.labels, runtime=runtime)
            pending.sent_picture(snapshot)
        told = pending.take()
        change_message = view_model.message(told, self.labels, CHANGE_MAX_ROWS, runtime) if told is not None else None
        now = self._clock()
        beat = BEAT if self._pace.beat_due(now) else None
        if full or change_message or beat:
            self._pace.sent(now)
        for watcher in watchers:
            if watcher.fresh and full is not None:
                watcher.fresh = False
                watcher.status = ""
                self._send(watcher, full)
            elif (update := change_message or beat) is not None:
                watcher.status = ""
                self._send(watcher, update)
        assert since is not None, "a watcher is fresh when the feed starts"
        return since

    def _catch_up(self, change: Snapshot, watchers: list[Watcher]) -> None:
        """Sends all rows once after a flood, during which the engine returned only the latest."""
        now = self._clock()
        if change.since < 0:
            self._flooded = now
        elif self._flooded and now - self._flooded > CALM_SECONDS:
            self._flooded = 0.0
            for watcher in watchers:
                watcher.fresh = True

    def _send(self, watcher: Watcher, message: messages.KernelMessage) -> None:
        try:
            watcher.send(message)
        except Exception:  # a closed comm or socket: this watcher has gone, the others have not
            log.debug("A view could not be reached", exc_info=True)
            self.unwatch(watcher)

    def _send_stopped(self, why: str = "") -> None:
        status = why or "stopped"
        with self._changed:
            # Marked before it is sent: whoever ended the runtime and the feed's thread may both be here.
            watchers = [watcher for watcher in self._watchers if watcher.status != status]
            for watcher in watchers:
                watcher.status = status
                watcher.fresh = True  # a later runtime starts with its full picture
        state: messages.StatusState = "failed" if why else "stopped"
        for watcher in watchers:
            self._send(watcher, view_model.no_runtime(state, why))


_shared: Feed | None = None
_shared_lock = threading.Lock()


def shared(labels: Labels | None = None) -> Feed:
    """Returns the process's feed; ``labels``, if given, replace the ones it has.

    It lives as long as the process: dashboards that are open go on with the next runtime. Without
    one it has no thread.
    """
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Feed(labels=labels)
        elif labels is not None:
            _shared.labels = labels
        return _shared
