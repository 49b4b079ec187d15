"""A call as it came to a worker of Ray's."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

from raynb.base.spec import TaskOptions
from raynb.engine.cluster import rays
from raynb.engine.cluster.bridge import Value
from raynb.engine.cluster.submission import DEBUGGABLE, ClusterCall, Static, bare_options, opened

#: Returns the actor that this process is, once it is one. Ray alone holds it: the user's ``__del__`` runs with its end.
the_host: list[Callable[[], Any]] = []
#: Options as they travelled → what they are; a function's calls all have the same.
_options: dict[bytes, TaskOptions] = {}
MAX_OPTIONS = 5000


class Arrived:
    """A call as it came: its `ClusterCall`, and what of Ray's arguments is which.

    Args:
        static: what all calls of this function or class share.
        head: what `Submission.head` made.
        rest: Ray's further arguments.
        actor: the actor's id, in an actor.
    """

    __slots__ = ("args", "call", "definition", "deps", "plain")

    def __init__(self, static: Static, head: bytes, rest: Sequence[Any], actor: int = 0) -> None:
        told, task, scope, parent, setups, said, flags, self.plain, to = opened(head)
        options = _options.get(told)
        if options is None:
            if len(_options) > MAX_OPTIONS:
                _options.clear()
            options = _options[told] = pickle.loads(told)
        self.call = ClusterCall(static.nonce, task, scope, parent, options, static.namespace, setups, said, actor,
                         bool(flags & DEBUGGABLE), to)  # fmt: skip
        place = flags & 1
        self.definition = rest[0] if place else None
        self.args: Value | None = None
        if flags & 2:
            self.args = rest[place]
            place += 1
        self.deps = rest[place:]


class Bare(Arrived):
    """A call without arguments: nothing of raynb's is sent, and Ray's id of the task identifies it.

    Args:
        method: the name of the user's method.
    """

    __slots__ = ("host",)

    def __init__(self, method: str) -> None:
        host = self.host = the_host[0]()
        static, spec, number = host._raynb_static, host.spec, rays.number_here()
        options = bare_options(spec.class_name, method)
        self.call = ClusterCall(static.nonce, number, number, 0, options, static.namespace, 0, None, spec.actor_id)
        self.plain = self.args = self.definition = None
        self.deps = ()
