"""Warns once of results that are no longer true.

The notebook fills `known`; whatever brings results to the user's code looks at it, which costs one comparison
while nothing is stale.

Thread contract: single operations on a dict; `warn` from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from raynb.base.ids import task_of

#: (runtime, task) → what is said when somebody waits for one of its results.
known: dict[tuple[int, int], str] = {}

#: Refs of one `wait` that are looked at before it; of more, those that are ready are looked at after it. Else a loop
#: that waits for the next of many would look at all of them each time.
MAX_REFS_BEFORE_WAIT = 64

#: Shows a sentence to the user, set by the notebook.
say: Callable[[str], None] | None = None


def warn(refs: Iterable[Any]) -> None:
    """Warns of the stale ones among the refs, with the reason, each sentence once."""
    texts: dict[str, None] = {}
    for ref in refs:
        text = known.get((ref._engine.nonce, task_of(ref._id)))
        if text is not None:
            texts[text] = None
    if texts:
        for task in [task for task, other in list(known.items()) if other in texts]:
            known.pop(task, None)
    for text in texts:
        if say is not None:
            say(text)
