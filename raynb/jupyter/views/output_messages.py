"""What the view messages say of outputs: displays that change, and what cells have shown. See `messages`."""

from __future__ import annotations

from typing import TypedDict


class Live(TypedDict, total=False):
    """A display of raynb's that changes: a bar, a ref, a handle, a line that a task draws over and over.

    ``live``: it may change. ``gone`` is what it says once its kernel is gone. A bar has ``share`` (0..1) and
    ``failed``, a ref or handle its ``kind``, ``state`` (Ray's) and ``code``.
    """

    id: str
    live: bool
    text: str
    gone: str
    share: float
    failed: bool
    kind: str
    state: str
    code: str


class CellOutputs(TypedDict):
    """What a run of a cell has shown: ``length`` outputs, of which those are given that a page doesn't know.

    ``request`` and ``session`` (a page's) name the run; ``count``: its prompt number; ``first``: when it showed
    something first, seconds since the epoch, 0: not yet; not ``whole``: raynb was loaded in the middle of it. Each
    output is as in a notebook's file, with ``updated``: it has changed since it was shown.
    """

    request: str
    session: str
    count: int
    whole: bool
    running: bool
    first: float
    version: int
    length: int
    outputs: dict[str, dict[str, object]]
