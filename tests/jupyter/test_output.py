"""Output finds its cell: the router over a sink that takes notes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.base import scope as scopes
from raynb.base.rows import Output
from raynb.jupyter.output.registry import UNNUMBERED, Cell, Cells
from raynb.jupyter.output.router import Router
from raynb.testing.leaks import until


class Notes:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.news = threading.Event()

    def _note(self, *what: Any) -> None:
        self.said.append(what)
        self.news.set()

    def text(self, cell: Cell | None, stream: str, text: str) -> None:
        self._note(cell and cell.scope, stream, text)

    def rich(self, cell: Cell | None, kind: str, bundle: Any) -> None:
        self._note(cell and cell.scope, kind, bundle)

    def line(self, cell: Cell | None, key: str, text: str, update: bool, final: bool) -> None:
        self._note(cell and cell.scope, "line", text, update)

    def error(self, cell: Cell | None, name: str, value: str, traceback: list[str]) -> None:
        self._note(cell and cell.scope, "error", name)


class Events:
    def register(self, name: str, function: Any) -> None: ...
    def unregister(self, name: str, function: Any) -> None: ...


class Shell:
    """As much of a shell as cells look at."""

    events = Events()

    def __init__(self) -> None:
        self.execution_count = 1
        self.parent: dict[str, Any] = {}

    async def run_cell_async(self) -> None:  # an IPython that counts a cell after it ran
        ...

    def get_parent(self) -> dict[str, Any]:
        return self.parent


def run(cells: Cells, parent: dict[str, Any] | None = None, stored: bool = True, result: Any = None) -> int:
    """Runs an empty cell; returns its scope."""
    shell = cells.shell
    shell.parent = parent or {"header": {"msg_id": str(shell.execution_count)}}
    cells.begin(SimpleNamespace(store_history=stored, raw_cell="x"))
    scope = scopes.current_scope()
    cells.end(result)
    if stored:
        shell.execution_count += 1
    return scope


def said(text: str, scope: int, task: int = 1) -> Output:
    return Output("stdout", task, scope, 1, 1, "f", text=text)


@pytest.fixture
def cells() -> Iterator[Cells]:
    yield Cells(Shell())
    scopes.set_running(0)


@pytest.fixture
def router(cells: Cells) -> Iterator[Router]:
    router = Router(cells, Notes(), lambda: 3)
    router.start()
    yield router
    router.stop()


def notes(router: Router) -> list[tuple[Any, ...]]:
    return router.sink.said  # type: ignore[attr-defined]


def test_output_goes_to_the_cell_that_submitted_it(cells: Cells, router: Router) -> None:
    first, second = run(cells), run(cells)
    assert (first, second) == (1, 2)
    router.receive(said("late\n", first))
    router.receive(said("now\n", second, 2))
    router.receive(said("nobody's\n", 0, 3))
    router.drain()
    assert notes(router) == [(1, "stdout", "late\n"), (2, "stdout", "now\n"), (2, "stdout", "nobody's\n")]


def test_output_is_shown_without_a_drain(cells: Cells, router: Router) -> None:
    run(cells)
    router.receive(said("by itself", 1))
    assert router.sink.news.wait(60)  # type: ignore[attr-defined]
    assert notes(router) == [(1, "stdout", "by itself")]


def test_the_fold_and_what_is_shown_after_output(cells: Cells) -> None:
    router = Router(cells, Notes(), lambda: 3)  # not started: its thread would count what is left out when it likes
    run(cells)
    router.receive(said("1\n2\n3\n4\n5\n", 1))
    router.show_error(1, "ValueError", "no", [])
    router.receive(said("6\n", 1))
    router.drain()
    assert notes(router) == [
        (1, "stdout", "1\n2\n3\n"),
        (1, "error", "ValueError"),
        (1, "line", "… and 3 more lines (see them all: %raynb logs 1)", False),
    ]


def test_many_writers_lose_nothing(cells: Cells) -> None:
    run(cells)
    router = Router(cells, Notes(), lambda: 100_000)
    router.start()

    def write(task: int) -> None:
        for number in range(500):
            router.receive(said(f"{task}-{number}\n", 1, task))

    writers = [threading.Thread(target=write, args=(task,)) for task in range(1, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    router.stop()
    text = "".join(note[2] for note in notes(router))
    lines = [line.rsplit(" ", 1)[-1] for line in text.splitlines()]
    for task in range(1, 5):
        own = [line for line in lines if line.startswith(f"{task}-")]
        assert own == [f"{task}-{number}" for number in range(500)]
    assert len(lines) == 2000


def test_scopes_of_cells(cells: Cells) -> None:
    assert run(cells) == 1
    assert run(cells, stored=False) == UNNUMBERED
    assert run(cells) == 2
    assert scopes.current_scope() == 0
    assert cells.latest().scope == 2  # type: ignore[union-attr]
    assert cells.get(1).ended  # type: ignore[union-attr]
    assert cells.get(77) is None


def test_cells_inside_cells(cells: Cells) -> None:
    cells.begin(SimpleNamespace(store_history=True, raw_cell=""))
    outer = cells.running()
    cells.shell.execution_count = 2
    cells.begin(SimpleNamespace(store_history=True, raw_cell=""))
    assert scopes.current_scope() == 2
    cells.end(None)
    assert scopes.current_scope() == 1
    assert cells.running() is outer
    cells.end(None)
    assert cells.running() is None


def test_cells_beside_the_main_thread_have_their_own_scope(cells: Cells) -> None:
    cells.begin(SimpleNamespace(store_history=True, raw_cell=""))
    seen: list[int] = []

    def beside() -> None:
        cells.begin(SimpleNamespace(store_history=False, raw_cell=""))
        seen.append(scopes.current_scope())
        cells.end(None)
        seen.append(scopes.current_scope())

    thread = threading.Thread(target=beside)
    thread.start()
    thread.join()
    assert seen == [UNNUMBERED, 1]
    assert scopes.current_scope() == 1
    cells.end(None)


def test_front_ends_that_nobody_watches(cells: Cells) -> None:
    run(cells, {"content": {"allow_stdin": False}})
    assert cells.latest().batch  # type: ignore[union-attr]
    run(cells, {"content": {"allow_stdin": True}})
    assert not cells.latest().batch  # type: ignore[union-attr]


def test_the_end_of_a_cell_is_told_with_its_result(cells: Cells) -> None:
    heard: list[Any] = []
    cells.on_end.append(lambda cell, result: heard.append((cell.scope, result)))
    run(cells, result="result")
    assert heard == [(1, "result")]


def test_receiving_never_waits_for_showing(cells: Cells) -> None:
    gate = threading.Event()
    released: list[bool] = []

    class Slow(Notes):
        def text(self, cell: Cell | None, stream: str, text: str) -> None:
            gate.wait(60)
            released.append(gate.is_set())
            super().text(cell, stream, text)

    run(cells)
    router = Router(cells, Slow(), lambda: 1000)
    router.start()
    router.receive(said("a\n", 1))
    for _ in range(100):
        router.receive(said("b\n", 1))
    gate.set()
    router.stop()
    assert all(released), "receiving waited until showing gave up"
    assert "".join(note[2] for note in notes(router)).count("b\n") == 100


def test_who_waits_for_what_came_waits_for_nothing_later(cells: Cells) -> None:
    class Flood(Notes):
        def text(self, cell: Cell | None, stream: str, text: str) -> None:
            super().text(cell, stream, text)
            router.receive(said("more\n", 1))

    run(cells)
    router = Router(cells, Flood(), lambda: 1_000_000)
    router.receive(said("first\n", 1))
    router.drain()
    assert notes(router) == [(1, "stdout", "first\n")]
    router.drain()
    assert notes(router) == [(1, "stdout", "first\n"), (1, "stdout", "more\n")]


def test_a_stream_that_wants_a_lock_of_who_waits_is_not_waited_for_for_ever(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Locked(Notes):
        def text(self, cell: Cell | None, stream: str, text: str) -> None:
            entered.set()
            with lock:
                super().text(cell, stream, text)

    lock, entered, told = threading.RLock(), threading.Event(), []
    monkeypatch.setattr("raynb.jupyter.output.patience.PATIENCE_SECONDS", 0.1)
    run(cells)
    router = Router(cells, Locked(), lambda: 1000)
    router.start()
    try:
        with lock:
            router.receive(said("a\n", 1))
            assert entered.wait(60)
            router.receive(said("b\n", 1))
            router.after(lambda: told.append(len(notes(router))))
            for exposed in (True, False):
                monkeypatch.setattr("raynb.base.process.shelter.exposed", lambda found=exposed: found)
                router.show()
                router.drain()
            assert not notes(router)
        assert until(lambda: told)
    finally:
        router.stop()
    assert [note[2] for note in notes(router)] == ["a\n", "b\n"]
    assert told == [2]
