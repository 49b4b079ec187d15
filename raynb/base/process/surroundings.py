"""The surroundings that a task takes along: which are in force in this process, and who looks at them.

In a notebook the extension looks, before each submission, whether `sys.path`, the environment and
the like have changed. In a worker the surroundings in force are those of the task that ran last; what
that task submits inherits them. In a script nobody looks, and nothing but what the runtime started
with is in force.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from raynb.base.process.module_path import folder as folder
from raynb.base.process.waits import time

if TYPE_CHECKING:
    from raynb.base.interfaces import Engine


class Mark:
    """One state of the surroundings, as it travels. Compared by identity.

    A new mark with the same content says that a new cell runs: definitions are checked again.

    Attributes:
        key: the hash of the content; empty: nothing follows.
        blob: the pickled parts, see `raynb.run.surroundings`.
    """

    __slots__ = ("blob", "key")

    def __init__(self, key: str = "", blob: bytes = b"") -> None:
        self.key = key
        self.blob = blob


#: In force in this process.
mark = Mark()

#: Looks whether the surroundings have changed; called with the engine before each submission.
look: Callable[[Engine], Mark] | None = None

#: When the latest submission was over (`time.monotonic`); kept only where somebody looks.
submitted_at = 0.0
now = time.monotonic  # by this name: what submits may be pickled with the code that names it, and a clock cannot

#: Settings in force that are applied by others, when they need them: name → pickled value.
pending: dict[str, bytes] = {}


def in_force(engine: Engine) -> Mark:
    """Returns the surroundings that what is submitted now takes along."""
    return mark if look is None else look(engine)
