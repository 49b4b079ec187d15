"""Answers what workers ask of the driver by name (`wire.messages.Call`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from raynb.base.process import shelter
from raynb.engine.loop.connections import WorkerConnection
from raynb.engine.loop.effects import Effects
from raynb.engine.loop.loop import Loop
from raynb.serde import pickling
from raynb.wire import messages as w

#: Answered at once, under the lock; the other methods take it themselves, or take long.
UNDER_LOCK = frozenset((
    "create_actor_for", "actor_named_for", "actor_names", "pin", "reserve_group", "group_ready", "return_group",
    "groups_table",
))  # fmt: skip


class WorkerCalls:
    """Answers workers' calls.

    Args:
        loop: of the machine.
        effects: sends the answers.
        make_room: frees bytes in the store, and then calls with whether there are so many.
        methods: name → what workers may call; every other name is refused.

    Thread contract: under the lock.
    """

    def __init__(
        self,
        loop: Loop,
        effects: Effects,
        make_room: Callable[[int, Callable[[bool], None]], None],
        methods: Mapping[str, Callable[..., object]],
    ) -> None:
        self._loop = loop
        self._effects = effects
        self._make_room = make_room
        # Where a call is answered, nothing can interrupt it.
        self._methods = {name: shelter.unsheltered(method) for name, method in methods.items()} | {"pin": self.pin}

    def pin(self, identity: int) -> None:
        """Pins the object of a ref that a worker pickled out of band: it stays for good."""
        obj = self._loop.machine.objects.table.get(identity)
        if obj is not None:
            obj.refs += 1

    def answer(self, peer: WorkerConnection, message: w.Call) -> None:
        """Answers a worker's `Call`; long work is done by the thread that leaves the lock."""
        if message.method == "make_room":
            (size,) = _arguments_of(message)
            self._make_room(size, lambda ok: self._send(peer, message, True, ok))
        elif message.method in UNDER_LOCK:
            self._answer(peer, message)
        else:
            self._loop.callbacks.append(lambda: self._answer_later(peer, message))

    def _answer_later(self, peer: WorkerConnection, message: w.Call) -> None:
        self._answer(peer, message)
        self._loop.flush()

    def _answer(self, peer: WorkerConnection, message: w.Call) -> None:
        try:
            method = self._methods.get(message.method)
            if method is None:
                raise ValueError(f"workers may not call {message.method!r}")
            result, ok = method(*_arguments_of(message)), True
        except Exception as error:
            result, ok = error, False
        self._send(peer, message, ok, result)

    def _send(self, peer: WorkerConnection, message: w.Call, ok: bool, result: object) -> None:
        number = message.request
        connection = peer.control if number & w.ON_CONTROL else peer.data
        blob = pickling.in_band(pickling.pack(result))
        self._effects.send(connection, w.Answer(number & ~w.ON_CONTROL, ok, blob, ()))


def _arguments_of(message: w.Call) -> Any:
    args: Any = message.blob  # unpickled already: see `Inbox.prepare`
    if isinstance(args, Exception):
        raise args
    return args


__all__ = ["WorkerCalls"]
