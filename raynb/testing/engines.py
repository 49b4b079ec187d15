"""What every engine must do, as one function: `check_engine`.

Whoever writes an `Engine` runs it on theirs::

    from raynb.testing.engines import check_engine

    def test_my_engine():
        check_engine(lambda: MyEngine(Config(num_cpus=2)))

Each check gets a fresh engine, works through the public API with that engine in place, and names
the promise that was broken.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from raynb import api
from raynb.api.everywhere import run_on_workers
from raynb.base import engine as slot
from raynb.base.config import RESOURCE_UNIT
from raynb.base.rows import FINISHED
from raynb.exceptions import GetTimeoutError, RayTaskError, RuntimeGoneError, TaskCancelledError
from raynb.testing.leaks import until

ANSWER_SECONDS = 60.0  # seconds after which an answer counts as missing


class Broken(AssertionError):
    """An engine does not keep a promise; the message names the check."""


def values_come_back(_: object) -> None:
    """What goes in by `put`, by argument and by result comes out equal."""
    echo = api.remote(lambda x: x)
    for value in (None, 0, "text", b"bytes", [1, {"a": (2, 3)}], bytearray(300_000)):
        assert api.get(api.put(value), timeout=ANSWER_SECONDS) == value
        assert api.get(echo.remote(value), timeout=ANSWER_SECONDS) == value


def refs_are_resolved_at_the_top_only(_: object) -> None:
    """A ref that is an argument arrives as its value, one inside a list as a ref."""
    one = api.put(1)
    kinds = api.remote(lambda top, inner: (top, type(inner[0]).__name__))
    assert api.get(kinds.remote(one, [one]), timeout=ANSWER_SECONDS) == (1, "ObjectRef")


def errors_arrive_as_their_class(_: object) -> None:
    """The error of a task is raised by `get` of its ref, and of the tasks that depend on it."""

    def fail() -> None:
        raise LookupError("not there")

    first = api.remote(fail).remote()
    second = api.remote(lambda x: x).remote(first)
    for ref in (first, second):
        caught: BaseException | None = None
        try:
            api.get(ref, timeout=ANSWER_SECONDS)
        except LookupError as error:
            caught = error
        assert isinstance(caught, RayTaskError), f"get gave {caught!r}"


def wait_separates_ready_from_pending(_: object) -> None:
    """`wait` gives as many as were asked for, in the order of the question."""
    ready = [api.put(n) for n in range(4)]
    first, rest = api.wait(ready, num_returns=3, timeout=ANSWER_SECONDS)
    assert first == ready[:3]
    assert rest == ready[3:]


def unknown_ends_in_time(_: object) -> None:
    """`get` with a timeout raises `GetTimeoutError`, and the task goes on."""
    import threading

    class Slow:
        def __init__(self) -> None:
            self.gate = threading.Event()

        def stay(self) -> str:
            self.gate.wait(ANSWER_SECONDS)
            return "stayed"

        def open(self) -> None:
            self.gate.set()

    slow = api.remote(num_cpus=0, max_concurrency=2)(Slow).remote()
    ref = slow.stay.remote()
    try:
        api.get(ref, timeout=0.05)
    except GetTimeoutError:
        pass
    else:
        raise AssertionError("get did not time out")
    api.get(slow.open.remote(), timeout=ANSWER_SECONDS)
    assert api.get(ref, timeout=ANSWER_SECONDS) == "stayed"


def several_returns_are_several_objects(_: object) -> None:
    """``num_returns=2`` gives two refs, each with its own value."""
    left, right = api.remote(num_returns=2)(lambda: ("l", "r")).remote()
    assert api.get([right, left], timeout=ANSWER_SECONDS) == ["r", "l"]


def actors_keep_state_and_order(_: object) -> None:
    """Calls of one caller run in the order they were made, on one state."""

    class Log:
        def __init__(self, start: int) -> None:
            self.seen = [start]

        def add(self, n: int) -> list[int]:
            self.seen.append(n)
            return list(self.seen)

    log = api.remote(num_cpus=0)(Log).remote(-1)
    refs = [log.add.remote(n) for n in range(20)]
    assert api.get(refs[-1], timeout=ANSWER_SECONDS) == list(range(-1, 20))
    api.kill(log)


def tasks_can_nest(_: object) -> None:
    """A task may submit tasks and wait for them."""

    def outer(n: int) -> int:
        inner = api.remote(lambda x: x + 1)
        return sum(api.get([inner.remote(i) for i in range(n)]))

    assert api.get([api.remote(outer).remote(3) for _ in range(4)], timeout=ANSWER_SECONDS) == [6] * 4


def the_picture_shows_what_ran(engine: slot.DriverEngine) -> None:
    """`snapshot` names the task, its state, and the resources."""

    def seen() -> int:
        return 1

    ref = api.remote(name="to_be_seen")(seen).remote()
    api.get(ref, timeout=ANSWER_SECONDS)
    assert engine.kinds([ref._id, -1]) in ({ref._id: "int"}, {})  # {}: it cannot be told there
    picture = engine.snapshot()
    rows = [row for row in picture.tasks if row.name == "to_be_seen"]
    assert [row.state for row in rows] == [FINISHED], rows
    assert picture.total.get("CPU", 0) > 0
    later = engine.changes(picture.version)
    assert later.version >= picture.version
    only = engine.rows(tasks=[rows[0].id, 1 << 60])
    assert [(row.id, row.name) for row in only.tasks] == [(rows[0].id, "to_be_seen")], only.tasks
    assert not picture.running, picture.running


def streams_give_items_as_they_are_yielded(_: object) -> None:
    """A generator's items are refs in order; what it raises is its last item's error; one given up ends."""

    def count(n: int) -> Any:
        yield from range(n)
        if n > 3:
            raise LookupError("no more")

    function = api.remote(num_returns="streaming")(count)
    assert [api.get(ref, timeout=ANSWER_SECONDS) for ref in function.remote(3)] == [0, 1, 2]
    items = list(function.remote(4))
    assert [api.get(ref, timeout=ANSWER_SECONDS) for ref in items[:4]] == [0, 1, 2, 3]
    try:
        api.get(items[4], timeout=ANSWER_SECONDS)
    except LookupError:
        pass
    else:
        raise AssertionError("the generator's error was not raised")
    given_up = function.remote(3)
    assert api.get(next(given_up), timeout=ANSWER_SECONDS) == 0
    del given_up
    assert api.get(api.remote(lambda: 1).remote(), timeout=ANSWER_SECONDS) == 1


def what_is_cancelled_raises(_: object) -> None:
    """A call that waits is cancelled, and so is whatever depends on it; the actor goes on."""
    import asyncio

    class Waits:
        async def stay(self) -> None:
            await asyncio.Event().wait()

        async def here(self) -> str:
            return "here"

    actor = api.remote(num_cpus=0)(Waits).remote()
    assert api.get(actor.here.remote(), timeout=ANSWER_SECONDS) == "here"
    ref = actor.stay.remote()
    api.cancel(ref)
    for one in (ref, api.remote(lambda x: x).remote(ref)):
        caught = ""
        try:
            api.get(one, timeout=ANSWER_SECONDS)
        except (TaskCancelledError, RayTaskError) as error:
            caught = str(error)
        assert "cancel" in caught.lower(), f"get gave {caught or 'a value'}"
    assert api.get(actor.here.remote(), timeout=ANSWER_SECONDS) == "here"


def actors_are_found_by_name(_: object) -> None:
    """A name finds the actor it was given to, is taken meanwhile, and is free after its end."""

    class Named:
        def who(self) -> str:
            return api.get_runtime_context().get_actor_name() or ""

    name = f"check-{secrets.token_hex(4)}"
    make = api.remote(num_cpus=0)(Named)
    actor = make.options(name=name).remote()
    assert api.get(actor.who.remote(), timeout=ANSWER_SECONDS) == name
    assert api.get(api.get_actor(name).who.remote(), timeout=ANSWER_SECONDS) == name
    again = make.options(name=name, get_if_exists=True).remote()
    assert again._actor_id == actor._actor_id
    try:
        make.options(name=name).remote()
    except ValueError:
        pass
    else:
        raise AssertionError("a name was given twice")
    api.kill(actor)

    def is_gone() -> bool:
        try:
            api.get_actor(name)
        except ValueError:
            return True
        return False

    assert until(is_gone, ANSWER_SECONDS), "a dead actor is found by its name"


def groups_are_placed_and_given_back(engine: slot.DriverEngine) -> None:
    """A placement group becomes ready, is in the table, and is not once it was given back."""
    group = engine.reserve_group(((("CPU", RESOURCE_UNIT),),))
    assert until(lambda: engine.group_ready(group, 0), ANSWER_SECONDS), "the group was not placed"
    assert engine.groups_table()[group][0] == "CREATED"
    engine.return_group(group)
    assert until(lambda: group not in engine.groups_table(), ANSWER_SECONDS), "the group is still there"


def code_knows_where_it_runs(engine: slot.DriverEngine) -> None:
    """A task knows its ids, its name and its node, which is one of `nodes`."""

    def where() -> tuple[Any, ...]:
        context = api.get_runtime_context()
        return context.get_task_name(), bool(context.get_task_id()), context.get_node_id()

    name, has_id, node = api.get(api.remote(name="knows")(where).remote(), timeout=ANSWER_SECONDS)
    assert (name, has_id) == ("knows", True)
    assert node in [row["NodeID"] for row in engine.nodes()], node


def every_worker_runs_what_was_sent_to_all(_: object) -> None:
    """What was sent to every worker has run in it before its next task."""

    def leave(word: str) -> None:
        import builtins

        builtins.raynb_check_engine = word  # type: ignore[attr-defined]

    def look() -> str:
        import builtins

        return str(getattr(builtins, "raynb_check_engine", ""))

    for done in run_on_workers(api.remote(leave), "left"):
        done.result(ANSWER_SECONDS)
    assert api.get([api.remote(look).remote() for _ in range(4)], timeout=ANSWER_SECONDS) == ["left"] * 4


def what_tasks_print_arrives(engine: slot.DriverEngine) -> None:
    """The driver's listeners get what a task prints, with the task's name, and the log keeps it."""
    heard: list[Any] = []
    engine.on_output.append(heard.append)
    api.get(api.remote(name="speaks")(lambda: print("a word")).remote(), timeout=ANSWER_SECONDS)

    def has_arrived() -> bool:
        return "a word\n" in "".join(piece.text for piece in list(heard) if piece.name == "speaks")

    assert until(has_arrived, ANSWER_SECONDS), heard
    assert "a word\n" in "".join(piece.text for piece in engine.logs())


def after_shutdown_everything_is_refused(engine: slot.DriverEngine) -> None:
    """Refs of a runtime that is gone raise `RuntimeGoneError` at once."""
    ref = api.put(1)
    engine.shutdown(2.0)
    try:
        api.get(ref, timeout=ANSWER_SECONDS)
    except RuntimeGoneError:
        return
    raise AssertionError("get worked after shutdown")


CHECKS: tuple[Callable[[Any], None], ...] = (
    values_come_back,
    refs_are_resolved_at_the_top_only,
    errors_arrive_as_their_class,
    wait_separates_ready_from_pending,
    unknown_ends_in_time,
    several_returns_are_several_objects,
    actors_keep_state_and_order,
    tasks_can_nest,
    the_picture_shows_what_ran,
    streams_give_items_as_they_are_yielded,
    what_is_cancelled_raises,
    actors_are_found_by_name,
    groups_are_placed_and_given_back,
    code_knows_where_it_runs,
    every_worker_runs_what_was_sent_to_all,
    what_tasks_print_arrives,
    after_shutdown_everything_is_refused,
)


#: Checks that are about what only the driver's engine has.
DRIVERS = (
    "the_picture_shows_what_ran", "every_worker_runs_what_was_sent_to_all", "what_tasks_print_arrives",
    "after_shutdown_everything_is_refused",
)  # fmt: skip


def check_engine(
    make_engine: Callable[[], Any],
    *,
    without: tuple[str, ...] = (),
    end: Callable[[Any], object] = lambda engine: engine.shutdown(2.0),
) -> None:
    """Runs every check on an engine of its own.

    Args:
        make_engine: gives a started engine.
        without: names of checks that do not apply (an engine in one process has no concurrent
            actor methods, say; inside a task, `DRIVERS`).
        end: ends an engine that is still alive after its check.

    Raises:
        Broken: names the check, what it promises, and what happened.
    """
    for check in CHECKS:
        if check.__name__ in without:
            continue
        engine = make_engine()
        token = slot.enter_isolated(engine)
        try:
            check(engine)
        except Exception as error:
            raise Broken(f"{check.__name__}: {check.__doc__} {type(error).__name__}: {error}") from error
        finally:
            slot.leave_isolated(token)
            if engine.alive:
                end(engine)
