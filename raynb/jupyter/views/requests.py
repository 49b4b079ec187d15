"""The requests of the views to the kernel; `raynb.jupyter.views.messages` has what the kernel sends."""

from __future__ import annotations

from typing import Literal, TypedDict


class Hello(TypedDict):
    """Send me the picture ("hello"); I still look ("ping"); I don't any more ("bye").

    ``page`` names one of those who share a comm: windows of one notebook, and consoles of its kernel.
    """

    do: Literal["hello", "ping", "bye"]
    page: str


class _Forced(TypedDict, total=False):
    force: bool


class Configure(TypedDict):
    """What a person has set in the front end; ``"kernel"`` leaves it to the kernel's settings."""

    do: Literal["configure"]
    progress: Literal["kernel", "on", "off"]


class CancelTask(_Forced):
    """``force`` kills the worker instead of interrupting it."""

    do: Literal["cancel_task"]
    task: str


class CancelGroup(TypedDict):
    """Cancel every unfinished task of this function."""
    do: Literal["cancel_group"]
    name: str


class CancelCell(TypedDict):
    """Cancel every unfinished task of this cell."""
    do: Literal["cancel_cell"]
    scope: int


class CancelAll(TypedDict):
    """Cancel every unfinished task."""
    do: Literal["cancel_all"]


class KillActor(TypedDict):
    """End this actor, or its process only, so that it restarts."""
    do: Literal["kill_actor", "restart_actor"]
    actor: str


class Free(TypedDict):
    """Free this object, whoever still names it."""
    do: Literal["free"]
    object: str


class Detail(TypedDict):
    """Look closer at this task (`DetailReply`)."""
    do: Literal["detail"]
    task: str


class History(TypedDict):
    """What was the load so far (`HistoryReply`)?"""
    do: Literal["history"]


class Graph(TypedDict):
    """Draw which cell took what from which (`GraphReply`)."""
    do: Literal["graph"]


class _Target(TypedDict, total=False):
    """One of these: what is meant."""

    task: str
    actor: str
    worker: int
    kernel: bool


class Stack(_Target):
    """What is executed right now (`StackReply`)?"""
    do: Literal["stack"]


class ProfileFor(_Target):
    """Sample what runs for some seconds."""

    do: Literal["profile"]
    seconds: float


class Runtime(TypedDict):
    """Start the runtime, stop it, or both; or which runtimes there are on this machine."""

    do: Literal["start", "stop", "restart", "kernels"]


class StopKernel(TypedDict):
    """Stop another runtime of this user, by its `KernelInfo.key`."""
    do: Literal["stop_kernel"]
    key: str


class Scale(TypedDict):
    """Let the runtime use so many slots."""
    do: Literal["scale"]
    cpus: int


class Displays(TypedDict):
    """What do these displays say now? Their ids are in their marks (`Live`)."""

    do: Literal["displays"]
    ids: list[str]


class Outputs(TypedDict):
    """What have cells shown? ``seen``: id of a cell → [``request``, ``version``], as it is known here."""

    do: Literal["outputs"]
    seen: dict[str, list[object]]


Request = (
    CancelTask | CancelGroup | CancelCell | CancelAll | KillActor | Free | Detail | History
    | Graph | Displays | Outputs | Stack | ProfileFor | Runtime | StopKernel | Scale
)

#: What `scripts/make_messages.py` writes out, in this order.
EXPORTED = (
    Hello, Configure, CancelTask, CancelGroup, CancelCell, CancelAll, KillActor, Free, Detail, History, Graph, Displays,
    Outputs, Stack, ProfileFor, Runtime, StopKernel, Scale,
)  # fmt: skip
