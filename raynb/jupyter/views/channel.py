"""One front end's side of a conversation: what it says in, view messages out.

Shared by the dashboard widget and the lab panel; they differ only in how bytes travel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynb.jupyter.views import actions
from raynb.jupyter.views.coalescing import Send
from raynb.jupyter.views.feed import Feed, Watcher


def take_any_subshell(comm: Any) -> bool:
    """Lets requests on ``comm`` be handled while a cell is busy; returns whether that is possible.

    ipykernel 7.4 hands a browser's message to the shell that published last on the comm, which is
    the busy one. The front end's own choice, a subshell, is the right one. This is private API:
    where it doesn't exist, messages take their usual way, and interrupting the kernel is the
    second way to cancel.
    """
    if not hasattr(comm, "_reply_subshell_for"):
        return False
    try:
        comm._reply_subshell_for = lambda data, default: default
    except AttributeError:
        return False
    return True


class Conversation:
    """Answers one front end.

    Args:
        feed: where the picture comes from.
        send: sends one message to the front end; called from several threads.
        engine: returns the engine that runs, or None.
        configure: takes what a person has set in the front end (whether bars are shown).
        lease: whether the front end's messages arrive while a cell is busy, so that one which
            falls silent can be taken for gone.

    Thread contract: `receive` may be called from any thread, also from two at once.
    """

    def __init__(
        self, feed: Feed, send: Send, engine: Any, lease: bool, configure: Callable[[str], None] | None = None
    ) -> None:
        self._feed = feed
        self._send = send
        self._engine = engine
        self._lease = lease
        self._configure = configure
        self._watcher: Watcher | None = None

    def receive(self, request: Any) -> None:
        """Handles one message of the front end; a wrong one is answered, never raised."""
        do = request.get("do") if isinstance(request, dict) else None
        if do in ("hello", "ping"):
            self._greet(again=do == "hello")
        elif do == "bye":
            self.close()
        elif do == "configure":
            if self._configure is not None:
                self._configure(str(request.get("progress", "kernel")))
        else:
            asked = request if isinstance(request, dict) else {}
            self._send(actions.answer(self._engine(), asked, self._feed.labels))

    def _greet(self, again: bool) -> None:
        watcher = self._watcher
        if watcher is None:
            watcher = self._watcher = self._feed.watch(self._send)
        elif again or not self._feed.has(watcher):
            self._feed.again(watcher)
        if self._lease:
            self._feed.renew(watcher)

    def close(self) -> None:
        """Stops sending."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            self._feed.unwatch(watcher)
