"""What every engine must do, as one function: `check_engine`.

Whoever writes an `Engine` runs it on theirs::

    from raynb.testing.engines import check_engine

    def test_my_engine():
        check_engine(lambda: MyEngine(Config(num_cpus=2)))

Each check gets a fresh engine, works through the public API with that engine in place, and names
the promise that was broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynb import api
from raynb.base import engine as slot
from raynb.base.rows import FINISHED
from raynb.exceptions import GetTimeoutError, RayTaskError, RuntimeGoneError

WAIT = 30.0  # seconds after which an answer counts as missing


class Broken(AssertionError):
    """An engine does not keep a promise; the message names the check."""


def values_come_back(_: Any) -> None:
    """What goes in by `put`, by argument and by result comes out equal."""
    echo = api.remote(lambda x: x)
    for value in (None, 0, "text", b"bytes", [1, {"a": (2, 3)}], bytearray(300_000)):
        assert api.get(api.put(value), timeout=WAIT) == value
        assert api.get(echo.remote(value), timeout=WAIT) == value


def refs_are_resolved_at_the_top_only(_: Any) -> None:
    """A ref that is an argument arrives as its value, one inside a list as a ref."""
    one = api.put(1)
    kinds = api.remote(lambda top, inner: (top, type(inner[0]).__name__))
    assert api.get(kinds.remote(one, [one]), timeout=WAIT) == (1, "ObjectRef")


def errors_arrive_as_their_class(_: Any) -> None:
    """A task that raises fails whoever gets it, and whoever depends on it."""

    def fail() -> None:
        raise LookupError("not there")

    first = api.remote(fail).remote()
    second = api.remote(lambda x: x).remote(first)
    for ref in (first, second):
        caught: BaseException | None = None
        try:
            api.get(ref, timeout=WAIT)
        except LookupError as error:
            caught = error
        assert isinstance(caught, RayTaskError), f"get gave {caught!r}"


def waiting_tells_ready_from_pending(_: Any) -> None:
    """`wait` gives as many as were asked for, in the order of the question."""
    ready = [api.put(n) for n in range(4)]
    first, rest = api.wait(ready, num_returns=3, timeout=WAIT)
    assert first == ready[:3]
    assert rest == ready[3:]


def unknown_ends_in_time(_: Any) -> None:
    """`get` with a timeout raises `GetTimeoutError`, and the task goes on."""
    import threading

    class Slow:
        def __init__(self) -> None:
            self.gate = threading.Event()

        def stay(self) -> str:
            self.gate.wait(WAIT)
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
    api.get(slow.open.remote(), timeout=WAIT)
    assert api.get(ref, timeout=WAIT) == "stayed"


def several_returns_are_several_objects(_: Any) -> None:
    """``num_returns=2`` gives two refs, each with its own value."""
    left, right = api.remote(num_returns=2)(lambda: ("l", "r")).remote()
    assert api.get([right, left], timeout=WAIT) == ["r", "l"]


def actors_keep_state_and_order(_: Any) -> None:
    """Calls of one caller run in the order they were made, on one state."""

    class Log:
        def __init__(self, start: int) -> None:
            self.seen = [start]

        def add(self, n: int) -> list[int]:
            self.seen.append(n)
            return list(self.seen)

    log = api.remote(num_cpus=0)(Log).remote(-1)
    refs = [log.add.remote(n) for n in range(20)]
    assert api.get(refs[-1], timeout=WAIT) == list(range(-1, 20))
    api.kill(log)


def tasks_can_nest(_: Any) -> None:
    """A task may submit tasks and wait for them."""

    def outer(n: int) -> int:
        inner = api.remote(lambda x: x + 1)
        return sum(api.get([inner.remote(i) for i in range(n)]))

    assert api.get([api.remote(outer).remote(3) for _ in range(4)], timeout=WAIT) == [6] * 4


def the_picture_shows_what_ran(engine: Any) -> None:
    """`snapshot` names the task, its state, and the resources."""

    def seen() -> int:
        return 1

    api.get(api.remote(name="to_be_seen")(seen).remote(), timeout=WAIT)
    picture = engine.snapshot()
    rows = [row for row in picture.tasks if row.name == "to_be_seen"]
    assert [row.state for row in rows] == [FINISHED], rows
    assert picture.total.get("CPU", 0) > 0
    later = engine.changes(picture.version)
    assert later.version >= picture.version
    only = engine.rows(tasks=[rows[0].id, 1 << 60])
    assert [(row.id, row.name) for row in only.tasks] == [(rows[0].id, "to_be_seen")], only.tasks
    assert not picture.running, picture.running


def after_shutdown_everything_is_refused(engine: Any) -> None:
    """Refs of a runtime that is gone raise `RuntimeGoneError` at once."""
    ref = api.put(1)
    engine.shutdown(2.0)
    try:
        api.get(ref, timeout=WAIT)
    except RuntimeGoneError:
        return
    raise AssertionError("get worked after shutdown")


CHECKS: tuple[Callable[[Any], None], ...] = (
    values_come_back,
    refs_are_resolved_at_the_top_only,
    errors_arrive_as_their_class,
    waiting_tells_ready_from_pending,
    unknown_ends_in_time,
    several_returns_are_several_objects,
    actors_keep_state_and_order,
    tasks_can_nest,
    the_picture_shows_what_ran,
    after_shutdown_everything_is_refused,
)


def check_engine(make_engine: Callable[[], Any], *, without: tuple[str, ...] = ()) -> None:
    """Runs every check on an engine of its own.

    Args:
        make_engine: gives a started engine.
        without: names of checks that do not apply (an engine in one process has no concurrent
            actor methods, say).

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
                engine.shutdown(2.0)
