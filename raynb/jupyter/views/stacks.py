"""The stack of a task, an actor, a worker or the kernel, for the views' buttons."""

from __future__ import annotations

from typing import Any

from IPython import get_ipython
from IPython.core.error import UsageError

from raynb.base.interfaces import DriverEngine
from raynb.base.rows import RUNNING
from raynb.jupyter.inspection import stack_text
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
