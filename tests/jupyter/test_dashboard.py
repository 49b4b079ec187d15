"""The widget without a front end: its text and HTML, and a tree that was not built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raynb.jupyter.views import dashboard, panel
from raynb.jupyter.views.feed import Feed

from . import pictures
from .fake_engine import FakeEngine


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the built files, so that these tests need no Node."""
    (tmp_path / "widget.js").write_text("export default {}")
    (tmp_path / "widget.css").write_text("")
    monkeypatch.setattr(dashboard, "STATIC", tmp_path)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(pictures.small())


def test_text_and_html_say_what_the_views_show(built: None, engine: FakeEngine) -> None:
    feed = Feed(peek=lambda: engine)
    board = dashboard.Dashboard(feed=feed, engine=lambda: engine)
    data, _ = board._repr_mimebundle_()
    assert "1 of 2 busy" in data["text/plain"]
    assert "<table" in data["text/html"]
    assert "slow" in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data
    assert feed.watchers == 0  # nobody looks until a page says hello
    board.close()
    feed.close()


def test_names_are_escaped_in_html() -> None:
    picture = pictures.small()
    picture.groups = {"<script>": {"FINISHED": 1}}
    assert "<script>" not in dashboard.static_html(FakeEngine(picture))


def test_without_a_runtime_it_says_so(built: None) -> None:
    feed = Feed(peek=lambda: None)
    board = dashboard.Dashboard(feed=feed, engine=lambda: None)
    assert "no runtime" in repr(board)
    board.close()
    feed.close()


def test_an_unknown_view_is_named(built: None) -> None:
    with pytest.raises(ValueError, match="no view 'taks' .did you mean 'tasks'.*; the views are: overview"):
        dashboard.Dashboard("taks")


def test_a_tree_that_was_not_built_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "STATIC", tmp_path)
    with pytest.raises(dashboard.NotBuiltError, match="npm ci && npm run build"):
        dashboard.Dashboard()


def test_hello_on_the_widgets_comm_starts_the_updates(built: None, engine: FakeEngine) -> None:
    feed = Feed(peek=lambda: engine)
    board = dashboard.Dashboard(feed=feed, engine=lambda: engine)
    sent: list[Any] = []
    board.conversation._send = sent.append
    board._handle_custom_msg({"do": "hello"}, [])
    assert feed.watchers == 1
    board._handle_custom_msg({"do": "cancel_task", "task": "2", "n": 1}, [])
    # The feed's thread sends the picture before the reply, or after it.
    assert [message["text"] for message in sent if message["kind"] == "reply"] == ["Cancelling slow."]
    board.close()
    assert feed.watchers == 0
    feed.close()


def test_no_panel_in_a_plain_terminal() -> None:
    assert panel.open_panel(object()) is None


class FakeComm:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed = False

    def send(self, data: dict[str, Any]) -> None:
        self.sent.append(data)

    def on_msg(self, handler: Any) -> None:
        self.handler = handler

    def on_close(self, handler: Any) -> None:
        self.close_handler = handler

    def close(self) -> None:
        self.closed = True


def test_the_panel_answers_on_its_comm(engine: FakeEngine) -> None:
    comm, feed = FakeComm(), Feed(peek=lambda: engine)
    lab_panel = panel.LabPanel(comm, feed, lambda: engine)
    comm.handler({"content": {"data": {"do": "hello"}}})
    assert feed.watchers == 1
    comm.handler({"content": {"data": {"do": "cancel_cell", "scope": 3, "n": 9}}})
    assert [m["n"] for m in comm.sent if m["kind"] == "reply"] == [9]
    comm.close_handler({})
    assert feed.watchers == 0
    lab_panel.close()
    assert comm.closed
    feed.close()
