"""The stack and the profile of a task, an actor, a worker or the kernel, for the views' buttons."""

from __future__ import annotations

from typing import Any

from IPython import get_ipython
from IPython.core.error import UsageError

from raynb.base.interfaces import DriverEngine
from raynb.base.rows import RUNNING
from raynb.jupyter import notebook as notebooks
from raynb.jupyter.inspection import stack_text
from raynb.jupyter.inspection.collecting import of_targets
from raynb.jupyter.inspection.flame import SMALLEST_SHARE
from raynb.jupyter.inspection.profiles import FrameNode
from raynb.jupyter.inspection.targets import Target, inspection_of
from raynb.jupyter.output.tracebacks import Renderer
from raynb.jupyter.views.view_model import from_key


def stack_of(engine: DriverEngine, request: dict[str, Any]) -> dict[str, Any]:
    """Returns ``{"text", "stack"}`` for a request with ``task``, ``actor``, ``worker`` or ``kernel``.

    It runs where the request is answered, so the kernel's own stack is there also while a cell hangs.

    Raises:
        ValueError: it does not run.
        KeyError: the request names nothing.
    """
    renderer = Renderer(get_ipython())
    renderer.coloured = False
    if request.get("kernel"):
        return {"text": "", "stack": stack_text.of_kernel(renderer)}
    try:
        inspection_of(engine, "The stack")
    except UsageError as error:
        raise ValueError(str(error)) from None
    target = _target(engine, request)
    return {"text": "", "stack": stack_text.of_targets(renderer, engine, [target])}


#: Bounds of how long the views profile, seconds.
SHORTEST, LONGEST = 0.1, 60.0


def profile_of(engine: DriverEngine, request: dict[str, Any]) -> dict[str, Any]:
    """Samples a task, an actor or a worker for ``seconds``; returns the fields of a `messages.ProfileReply`.

    Raises:
        ValueError: it does not run, or is being profiled.
        KeyError: the request names nothing.
    """
    notebook = notebooks.loaded()
    if notebook is None:
        raise ValueError("The extension is not loaded; run %load_ext raynb.")
    try:
        inspection_of(engine, "The profile")
    except UsageError as error:
        raise ValueError(str(error)) from None
    seconds = min(LONGEST, max(SHORTEST, float(request["seconds"])))
    profile = of_targets(notebook, engine, [_target(engine, request)], seconds)
    root = profile.tree()
    return {"text": profile.verdict(), "summary": profile.text(), "root": _flame(root, root.wall or 1.0)}


def _flame(node: FrameNode, whole: float) -> dict[str, Any]:
    """Returns a node as `messages.FlameNode`, the longest calls first, without those too small to be seen."""
    children = sorted(node.children.values(), key=lambda child: -child.wall)
    return {
        "label": node.label, "kind": node.kind, "wall": round(node.wall, 6), "cpu": round(node.cpu, 6),
        "children": [_flame(child, whole) for child in children if child.wall / whole >= SMALLEST_SHARE],
    }  # fmt: skip


def _target(engine: DriverEngine, request: dict[str, Any]) -> Target:
    picture = engine.snapshot()
    workers = {row.id: row for row in picture.workers if not row.exit}
    if "task" in request:
        task = from_key(request["task"])
        found = next((row.worker for row in picture.tasks if row.id == task and row.state == RUNNING), 0)
        if found in workers:
            return Target(found, workers[found].pid, (task,))
        raise ValueError("This task does not run now.")
    if "actor" in request:
        actor = from_key(request["actor"])
        found = next((row.worker for row in picture.actors if row.id == actor), 0)
    else:
        found = int(request["worker"])
    if found not in workers:
        raise ValueError("It does not run now.")
    return Target(found, workers[found].pid)
