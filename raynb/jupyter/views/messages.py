"""The messages between the kernel and the views: their one definition.

`scripts/make_messages.py` writes the same types for the browser, `labextension/src/ui/messages.ts`; a
test fails when that file is stale. Rows travel as arrays in the order of their fields, because ten
thousand tasks are then 1 MB instead of 4. Ids are hex strings, because an object's id doesn't fit a
JavaScript number; ``""`` means none. Times are the kernel's monotonic seconds, sizes are bytes.

To add a column: a field here, its value in `view_model`, run the script, and use it in a view.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

from raynb.jupyter.views import requests
from raynb.jupyter.views.output_messages import CellOutputs, Live

#: Version of the messages; a view that knows another one says so instead of guessing.
VERSION = 3

TaskState = Literal[
    "PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER", "RUNNING", "FINISHED", "FAILED",
    "CANCELLED",
]  # fmt: skip


# -- rows ------------------------------------------------------------------------------------------
class Task(NamedTuple):
    """A task. ``after``: the task whose result it waited for last; ``peak``: the most bytes of its worker."""
    id: str
    name: str
    kind: str
    state: TaskState
    worker: int
    pid: int
    attempt: int
    scope: int
    actor: str
    parent: str
    submitted: float
    started: float
    fetched: float
    ran: float
    ended: float
    error_type: str
    error: str
    size: int
    inputs: int
    after: str
    peak: int  # memory that its worker had more at most than before
    title: str  # what a task of a loop is called: "In[6] depth=7"


class Actor(NamedTuple):
    """An actor. ``rss`` is its worker's memory in bytes."""
    id: str
    class_name: str
    name: str
    namespace: str
    state: str
    worker: int
    pid: int
    pending: int
    restarts: int
    max_restarts: int
    rss: int
    death_cause: str
    scope: int
    detached: bool


class Obj(NamedTuple):
    """An object. ``held`` says what keeps it, the notebook's ``names`` first."""
    id: str
    size: int
    where: str
    task: str
    scope: int
    names: list[str]
    held: list[str]
    error: bool
    stale: str  # why it is no longer true; empty: it is


class Worker(NamedTuple):
    """A worker process. ``cpu`` is its share of one core; ``exit`` says how it ended, empty while it lives."""
    id: int
    pid: int
    state: str
    task: str
    actor: str
    rss: int
    cpu: float
    started: float
    finished: int
    exit: str
    node: int


class Node(NamedTuple):
    """A machine of a Ray cluster. Figures that Ray does not report are 0."""

    id: int
    node_id: str
    host: str
    address: str
    alive: bool
    head: bool
    driver: bool
    cpus: float
    cpus_used: float
    gpus: float
    gpus_used: float
    cpu: float
    memory: int
    memory_used: int
    store: int
    store_used: int
    spilled: int
    workers: int
    resources: dict[str, float]
    labels: dict[str, str]
    death_cause: str


class Store(TypedDict):
    """The object store, in bytes; ``objects`` counts them, ``inline`` is what the kernel keeps in its own memory."""
    limit: int
    used: int
    spilled: int
    pinned: int
    inline: int
    objects: int
    resident: int


class Columns(TypedDict):
    """The order of each row's fields."""

    tasks: list[str]
    actors: list[str]
    objects: list[str]
    workers: list[str]
    nodes: list[str]


class Gone(TypedDict, total=False):
    """Ids of rows that are no longer kept."""

    tasks: list[str]
    actors: list[str]
    objects: list[str]
    workers: list[int]


# -- from the kernel -------------------------------------------------------------------------------
class PictureMessage(TypedDict):
    """The whole picture ("full"), or rows to lay over the one that is there ("change").

    ``running`` names every task that runs at ``now``, whatever rows were left out; ``nodes`` are always
    all. ``groups`` counts every task by function and state, ``cells`` says what scopes are called.
    """

    v: int
    kind: Literal["full", "change"]
    runtime: str  # names one start of the runtime
    version: int
    since: int
    now: float
    wall: float
    columns: Columns
    tasks: list[Task]
    actors: list[Actor]
    objects: list[Obj]
    workers: list[Worker]
    nodes: list[Node]
    running: list[str]
    paused: list[str]  # ids of the tasks at a breakpoint, always all
    store: Store
    total: dict[str, float]
    available: dict[str, float]
    groups: dict[str, dict[str, int]]
    cells: dict[str, str]
    graph: int  # counts the changes of the graph of cells; 0: there is none
    gone: Gone


StatusState = Literal["stopped", "starting", "failed"]


class StatusMessage(TypedDict):
    """There is nothing to show; ``why`` is a sentence to show as it is."""

    v: int
    kind: Literal["status"]
    state: StatusState
    why: str


class BeatMessage(TypedDict):
    """Nothing has changed; the kernel lives."""

    v: int
    kind: Literal["beat"]


class ReplyMessage(TypedDict):
    """The answer to request number ``n``; some have more fields (see the requests)."""

    v: int
    kind: Literal["reply"]
    n: int | None
    do: str | None
    ok: bool
    text: str


KernelMessage = PictureMessage | StatusMessage | BeatMessage | ReplyMessage


class StoryLine(NamedTuple):
    """One thing that has happened to a task."""
    when: float
    what: str


class DetailReply(ReplyMessage):
    """A closer look at a task: why it waits, its whole error, the end of its output, what happened when."""

    task: str
    why: str
    error: str
    log: str
    cut: int
    story: list[StoryLine]


class HistoryReply(ReplyMessage):
    """The life of the runtime: one value per time (seconds of the kernel's clock) in every list.

    ``cpu`` is the machine's share of busy cores (0..1), ``workers_cpu`` the workers' part of it;
    ``rate`` counts tasks that ran to an end per second.
    """

    wall: float
    memory_limit: int
    times: list[float]
    cpu: list[float]
    workers_cpu: list[float]
    memory: list[int]
    workers_memory: list[int]
    store: list[int]
    spilled: list[int]
    busy: list[float]
    rate: list[float]


class GraphReply(ReplyMessage):
    """Which cell took what from which: markup with an SVG, whose boxes have ``data-cell`` (the front end's id)."""

    markup: str


class StackReply(ReplyMessage):
    """The stacks of a process, as text."""
    stack: str


class FlameNode(TypedDict):
    """A frame of a profile and what it called. Times are seconds."""

    label: str
    kind: Literal["user", "library", "other"]
    wall: float
    cpu: float
    children: list[FlameNode]


class ProfileReply(ReplyMessage):
    """A profile; ``text`` of the reply is its verdict."""

    summary: str
    root: FlameNode


class KernelInfo(TypedDict):
    """A runtime of this user on this machine. ``kernel``: Jupyter's id. ``cpus`` are the slots that it may use now,
    ``base`` those of its own; ``started`` is seconds since the epoch."""

    key: str
    name: str
    kernel: str
    own: bool
    pid: int
    cpus: float
    base: float
    busy: float
    unfinished: int
    memory: int
    store: int
    store_used: int
    spilled: int
    share: str
    started: float


class KernelsReply(ReplyMessage):
    """Every runtime of this user on this machine, and what the machine has."""

    kernels: list[KernelInfo]
    cores: int
    memory_total: int
    memory_available: int


class DisplaysReply(ReplyMessage):
    """What displays say now, as mime bundles; those that are missing are of a kernel that is gone."""

    displays: dict[str, dict[str, object]]


class OutputsReply(ReplyMessage):
    """Id of a cell → what it has shown; ``more``: ask again for the rest."""

    cells: dict[str, CellOutputs]
    more: bool


#: What the script writes out, in this order.
EXPORTED = (
    Task, Actor, Obj, Worker, Node, Store, Columns, Gone,
    PictureMessage, StatusMessage, BeatMessage, ReplyMessage, StoryLine, DetailReply, HistoryReply, GraphReply,
    StackReply,
    FlameNode, ProfileReply, KernelInfo, KernelsReply, Live, DisplaysReply, CellOutputs, OutputsReply,
    *requests.EXPORTED,
)  # fmt: skip
UNIONS: dict[str, object] = {
    "TaskState": TaskState, "StatusState": StatusState, "KernelMessage": KernelMessage, "Request": requests.Request,
}  # fmt: skip
