"""Handles one front end: its requests in, view messages out.

Shared by the dashboard widget and the lab panel; they differ only in how bytes travel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from raynb.base.interfaces import DriverEngine
from raynb.jupyter.output import transcripts
from raynb.jupyter.output.displays import shown as displays
from raynb.jupyter.views import actions, messages
from raynb.jupyter.views.coalescing import Send
from raynb.jupyter.views.feed import Feed, Watcher


def take_any_subshell(comm: object) -> bool:
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


#: Messages that are dealt with at once; others ask the engine for something, which may last.
QUICK = ("hello", "ping", "bye", "configure", "displays", "outputs")


#: Requests that take seconds.
SLOW = ("profile", "start", "stop", "restart")


def listen_on_control(kernel: Any, comm: Any, receive: Callable[[Any], None]) -> Callable[[], None] | None:
    """Takes the messages to ``comm`` on the kernel's control channel, which a running cell doesn't keep.

    Unlike subshells, a page can use that channel before the kernel has answered what it supports, which a page
    that is reloaded waits for as long as a cell runs; and older kernels and JupyterLabs have it too.

    Args:
        kernel: an ipykernel.
        comm: an open comm.
        receive: called on the kernel's control thread with what a message says; must not block.

    Returns:
        What ends it; None where the kernel has no such channel.
    """
    handlers = getattr(kernel, "control_handlers", None)
    if not isinstance(handlers, dict):
        return None
    before = handlers.get("comm_msg")

    def take(stream: Any, ident: Any, message: Any) -> Any:
        content = message["content"]
        if content.get("comm_id") == comm.comm_id:
            return receive(content.get("data"))
        return before(stream, ident, message) if before is not None else None

    handlers["comm_msg"] = take

    def leave() -> None:
        if handlers.get("comm_msg") is take:
            del handlers["comm_msg"]
            if before is not None:
                handlers["comm_msg"] = before

    return leave


def _shown(request: dict[str, Any]) -> dict[str, Any]:
    """Answers a page that has missed what displays came to say, or what cells have shown; also without a runtime."""
    do = request["do"]
    if do == "displays":
        found: dict[str, Any] = {"displays": displays.of([one for one in request.get("ids") or () if type(one) is str])}
    else:
        seen = request.get("seen")
        found = transcripts.missed(seen if isinstance(seen, dict) else {})
    head = {"v": messages.VERSION, "kind": "reply", "n": request.get("n"), "do": do, "ok": True, "text": ""}
    return head | found


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
        self,
        feed: Feed,
        send: Send,
        engine: Callable[[], DriverEngine | None],
        lease: bool,
        configure: Callable[[str], None] | None = None,
    ) -> None:
        self._feed = feed
        self._send = send
        self._engine = engine
        self._lease = lease
        self._configure = configure
        self._watcher: Watcher | None = None
        self._pages: set[str] = set()  # that look; one that vanished without a word is let go with the lease
        self._greeting = threading.Lock()

    def receive(self, request: Any) -> None:
        """Handles one message of the front end; a wrong one is answered, never raised."""
        do = request.get("do") if isinstance(request, dict) else None
        if do in ("hello", "ping"):
            self._greet(str(request.get("page", "")), again=do == "hello")
        elif do == "bye":
            self._leave(str(request.get("page", "")))
        elif do == "configure":
            if self._configure is not None:
                self._configure(str(request.get("progress", "kernel")))
        elif do in ("displays", "outputs"):
            self._send(_shown(request))
        elif do in SLOW:  # what comes after it must not wait
            threading.Thread(target=self._answer, args=(request,), name="raynb-request", daemon=True).start()
        else:
            self._answer(request if isinstance(request, dict) else {})

    def _answer(self, request: dict[str, Any]) -> None:
        self._send(actions.answer(self._engine(), request, self._feed.labels))

    def _greet(self, page: str, again: bool) -> None:
        with self._greeting:
            watcher = self._watcher
            if watcher is None:
                watcher = self._watcher = self._feed.watch(self._send)
            elif again or not self._feed.has(watcher):
                self._feed.again(watcher)
            self._pages.add(page)
            if self._lease:
                self._feed.renew(watcher)

    def _leave(self, page: str) -> None:
        with self._greeting:
            self._pages.discard(page)
            if not (self._pages and self._lease):
                self._stop()

    def close(self) -> None:
        """Stops sending."""
        with self._greeting:
            self._stop()

    def _stop(self) -> None:
        self._pages.clear()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            self._feed.unwatch(watcher)
