"""The last state of raynb's changing displays, for pages that have missed updates.

A page that was reloaded gets no updates of the outputs that it loaded from the file: nothing in a saved notebook
says under which id a display was shown. So ours carry it (`LIVE`), and the page asks for what they say by now.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

#: What `labextension/src/lab/live.ts` draws, with the fields of `messages.Live`.
LIVE = "application/vnd.raynb.live+json"

#: What `labextension/src/lab/outputs.ts` draws of the card of ``%load_ext raynb``.
CARD_TYPE = "application/vnd.raynb.card+json"

#: Displays whose last state is remembered; of more, those that changed longest ago are forgotten.
MAX_DISPLAYS = 2_000


def live(display_id: str, goes_on: bool, text: str, gone: str = "", **looks: object) -> dict[str, Any]:
    """Returns the mark that the extension draws a display from.

    Args:
        display_id: the id under which it is updated.
        goes_on: whether it may change.
        text: what it says now.
        gone: what it says once its kernel is gone and it can no longer change.
        looks: more fields of `messages.Live`.
    """
    return {LIVE: {"id": display_id, "live": goes_on, "text": text, "gone": gone or text, **looks}}


class Displays:
    """The last state of each display, by its id.

    Thread contract: any thread.
    """

    def __init__(self, most: int = MAX_DISPLAYS) -> None:
        self._most = most
        self._last: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def record(self, bundle: dict[str, Any]) -> None:
        """Keeps a marked display that is being shown; ignores others."""
        data = bundle.get("data") or {}
        mark = data.get(LIVE) or data.get(CARD_TYPE)
        if mark is None:
            return
        with self._lock:
            self._last[mark["id"]] = data
            self._last.move_to_end(mark["id"])
            while len(self._last) > self._most:
                self._last.popitem(last=False)

    def of(self, wanted: list[str]) -> dict[str, dict[str, Any]]:
        """Returns id → data of those that are known."""
        with self._lock:
            return {one: self._last[one] for one in wanted if one in self._last}


#: Of this process: displays outlive the extension and the runtime.
shown = Displays()
