"""Every runtime of this user on this machine: their figures, and stopping one of another notebook."""

from __future__ import annotations

import os
from typing import Any

from raynb.base import limits
from raynb.base.process.registry import Registry, program
from raynb.base.rows import KernelRow
from raynb.jupyter.formatting import counted, format_bytes
from raynb.jupyter.views import messages


def found() -> list[KernelRow]:
    """Returns the runtimes, oldest first.

    Raises:
        ValueError: the folder in which they find each other cannot be used; the text says why.
    """
    try:
        return Registry().rows()
    except OSError as error:
        raise ValueError(f"Other runtimes cannot be looked for: {error}.") from None


def title(row: KernelRow) -> str:
    """Returns what a runtime's program is called, for people."""
    return os.path.basename(row.program) or row.program


def is_own(row: KernelRow) -> bool:
    """Returns whether the runtime is this process's."""
    return row.pid == os.getpid()


def listed() -> dict[str, Any]:
    """Returns the fields of a `messages.KernelsReply`."""
    memory = limits.memory()
    kernels: list[messages.KernelInfo] = [
        {
            "key": row.key, "name": title(row), "kernel": row.kernel, "own": is_own(row),
            "pid": row.pid, "cpus": row.cpus, "base": row.base, "busy": row.busy, "unfinished": row.unfinished,
            "memory": row.memory, "store": row.store, "store_used": row.store_used, "spilled": row.spilled,
            "share": row.share, "started": row.started,
        }
        for row in found()
    ]  # fmt: skip
    return {
        "kernels": kernels, "cores": limits.cpu_count(), "memory_total": memory.total,
        "memory_available": memory.available,
    }  # fmt: skip


def stop(key: str) -> str:
    """Asks the runtime of another notebook to stop; its kernel goes on.

    Raises:
        ValueError: it is gone, or it is this kernel's own.
    """
    row = next((row for row in found() if row.key == key), None)
    if row is None:
        raise ValueError("That runtime is gone already.")
    if is_own(row):
        raise ValueError("That is this notebook's own runtime; stop it with %raynb stop.")
    Registry().ask_to_stop(key, title(KernelRow("", program=program()[0])))
    return f"Asked {title(row)} to stop its runtime; it does so within about a second."


def named(name: str) -> KernelRow:
    """Returns the runtime of another notebook by its name, its path, or its process.

    Raises:
        ValueError: there is none, or there are several.
    """
    others = [row for row in found() if not is_own(row)]
    matching = [row for row in others if name in (title(row), row.program, str(row.pid))]
    if len(matching) == 1:
        return matching[0]
    told = ", ".join(f"{title(row)} ({row.pid})" for row in others) or "none"
    why = "several are called so; say its process" if matching else "there is none"
    raise ValueError(f"No other runtime is meant by {name!r}: {why}. The others: {told}.")


def slots(row: KernelRow) -> str:
    """Returns ``"3 of 4"``, and how many of these are others'."""
    borrowed = row.cpus - row.base
    return f"{row.busy:g} of {row.cpus:g}" + (f" ({borrowed:g} borrowed)" if borrowed > 0 else "")


def others_line() -> str:
    """Returns a line on the other notebooks' runtimes; empty when there are none, or nobody can say."""
    try:
        others = [row for row in found() if not is_own(row)]
    except ValueError:
        return ""
    if not others:
        return ""
    told = ", ".join(f"{title(row)} {slots(row)} CPUs" for row in others[:3])
    more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
    stores = format_bytes(sum(row.store for row in others))
    return f"{counted(len(others), 'other runtime')} of yours here: {told}{more}; stores of {stores}"
