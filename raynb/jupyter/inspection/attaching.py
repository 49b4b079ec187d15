"""``%raynb debug --dap``: an editor debugs a task, through debugpy in its worker."""

from __future__ import annotations

import concurrent.futures
import os
from typing import Any

from IPython.core.error import UsageError

from raynb.base.interfaces import Inspection
from raynb.exceptions import RayError
from raynb.jupyter.inspection.targets import Target

ANSWER_SECONDS = 60.0  # that a worker may take to import debugpy


def open_sockets(inspection: Inspection, sources: dict[str, tuple[str, str]], targets: list[Target]) -> str:
    """Has debugpy listen in the workers of running tasks; returns what a person does next.

    Args:
        inspection: of the runtime.
        sources: of the notebook's cells, by the names of their files.
        targets: the workers.

    Raises:
        UsageError: debugpy is not installed, or the worker has ended or does not answer.
    """
    lines = []
    for target in targets:
        path = os.path.join(inspection.sockets, f"dap-{target.worker}")
        asked = inspection.ask(target.worker, "dap", path, sources)
        lines.append(f"Worker {target.worker} (process {target.pid}): {_answer(asked, target)}")
    lines.append(
        "debugpy listens there (debug adapter protocol); only you can open these sockets. An editor on your own "
        "computer reaches one through `ssh -L 5678:SOCKET HOST` and attaches to localhost:5678. The timeouts of tasks "
        "go on meanwhile."
    )
    return "\n".join(lines)


def _answer(asked: concurrent.futures.Future[Any], target: Target) -> str:
    try:
        return str(asked.result(ANSWER_SECONDS))
    except (ValueError, OSError, RayError) as error:
        raise UsageError(f"%raynb debug --dap: {error}.") from None
    except concurrent.futures.TimeoutError:
        raise UsageError(
            f"%raynb debug --dap: worker {target.worker} does not answer: native code holds Python's lock there."
        ) from None
