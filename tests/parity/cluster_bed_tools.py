"""What the checks of `cluster_bed.py` are written with."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from cluster_shared import CHECKS, WAIT, check, raised, until  # noqa: F401  the checks have them from here

import raynb
from raynb.engine.cluster.local_nodes import LocalNodes

MB = 1 << 20
heard: list[str] = []
beds: list[LocalNodes] = []


class Skipped(Exception):
    """What a check needs is not here; the text says what."""


class _Bed:
    """The nodes, once they are started."""

    def __getattr__(self, name: str) -> Any:
        return getattr(beds[0], name)


bed: Any = _Bed()


def connect() -> None:
    """Has this process connected to the bed, whichever check is its first; `heard` gets what tasks print."""
    if not raynb.is_initialized():
        raynb.init(bed.address, namespace="bed")
        raynb.runtime().engine.on_output.append(lambda output: heard.append(output.text))


def script(
    body: str, *arguments: str, address: str = "", within: Sequence[str] = (), environ: dict[str, str] | None = None,
    options: str = "",
) -> subprocess.Popen[str]:
    """Starts a program that is connected to a cluster, the bed's by default; what it prints can be read.

    Args:
        body: its text after the connection.
        arguments: its `sys.argv` from 1 on.
        address: of the cluster.
        within: words that its command begins with.
        environ: of the program, beside this process's.
        options: of its `init`, as they are written there.
    """
    where = ", ".join((repr(address or bed.address), *([options] if options else [])))
    head = f"import sys, os, time\nimport raynb as ray\nray.init({where}, namespace='bed')\n"
    text = head + textwrap.dedent(body)
    return subprocess.Popen([*within, sys.executable, "-c", text, *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
                            env={**os.environ, **(environ or {})})  # fmt: skip


def ended(program: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = program.communicate(timeout=WAIT)
    assert program.returncode == 0, f"{program.returncode}: {out}{err}"
    return out, err


def failing(actor: Any) -> Exception | None:
    """Returns the error of a call, or None if it was answered, or Ray does not know yet whether the actor lives."""
    try:
        raynb.get(actor.ping.remote(), timeout=WAIT)
    except raynb.exceptions.ActorUnavailableError:
        return None
    except raynb.exceptions.RayActorError as error:
        return error
    return None


def node_on(side: str) -> Any:
    """Returns the row of the node that has this resource."""
    return next(row for row in raynb.runtime().engine.snapshot().nodes if side in row.resources)
