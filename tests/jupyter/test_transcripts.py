"""What the kernel remembers of what its cells have shown."""

from __future__ import annotations

from typing import Any

import pytest

from raynb.jupyter.output import transcripts
from raynb.jupyter.output.transcripts import Transcripts


class Session:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, stream: Any, message: Any, content: Any = None, parent: Any = None, ident: Any = None) -> None:
        self.sent.append(message if isinstance(message, str) else message["msg_type"])


class Kernel:
    def __init__(self) -> None:
        self.session = Session()


class Shell:
    """A kernel's shell, as far as it is listened to; ``run`` and ``tell`` send what a kernel sends."""

    execution_count = 1

    def __init__(self) -> None:
        self.kernel = Kernel()
        self.requests = 0
        self.parent: dict[str, Any] = {}

    def get_parent(self) -> dict[str, Any]:
        return self.parent

    def run(self, cell: str) -> dict[str, Any]:
        self.requests += 1
        header = {"msg_id": f"request-{self.requests}", "msg_type": "execute_request", "session": "page"}
        self.parent = {"header": header, "metadata": {"cellId": cell}}
        self.tell(self.parent, "execute_input", execution_count=self.requests)
        return self.parent

    def tell(self, parent: dict[str, Any], kind: str, **content: Any) -> None:
        self.kernel.session.send(None, kind, content, parent)

    def write(self, parent: dict[str, Any], text: str) -> None:
        # Streams and displays are built before they are sent, as ipykernel does.
        content = {"name": "stdout", "text": text}
        message = {"msg_type": "stream", "content": content, "parent_header": parent["header"]}
        self.kernel.session.send(None, message, ident=b"")

    def show(self, parent: dict[str, Any], text: str, display_id: str = "", update: bool = False) -> None:
        content = {"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": display_id}}
        self.tell(parent, "update_display_data" if update else "display_data", **content)


def outputs(found: dict[str, Any], cell: str) -> list[Any]:
    return [one.get("text") or one["data"]["text/plain"] for one in found["cells"][cell]["outputs"].values()]


def test_a_page_gets_what_it_has_missed_in_order_and_once() -> None:
    shell = Shell()
    known = Transcripts(shell)
    undo = known.install()
    first = shell.run("a")
    shell.write(first, "one\n")
    second = shell.run("b")
    shell.write(second, "other\n")
    shell.show(first, "figure", "d")
    shell.write(first, "bar 10%\rbar 50%")
    found = known.since({})
    assert outputs(found, "a") == ["one\n", "figure", "bar 50%"]
    assert outputs(found, "b") == ["other\n"]
    assert found["cells"]["a"]["running"]
    seen = {cell: [run["request"], run["version"]] for cell, run in found["cells"].items()}
    assert known.since(seen) == {"cells": {}, "more": False}
    # What changes later is told alone: a line drawn over, a display updated from another cell, the cell's end.
    shell.write(first, "\rbar 9\n")  # leaves "0%" of the line before
    shell.show(second, "better figure", "d", update=True)
    shell.tell(first, "status", execution_state="idle")
    (news,) = known.since(seen)["cells"].values()
    assert news["outputs"]["1"]["updated"]
    assert (news["outputs"].keys(), news["length"], news["running"]) == ({"1", "2"}, 3, False)
    assert outputs(known.since(seen), "a") == ["better figure", "bar 90%\n"]
    shell.tell(first, "clear_output", wait=True)
    assert known.since(seen)["cells"]["a"]["length"] == 3
    shell.write(first, "new\n")
    assert outputs(known.since(seen), "a") == ["new\n"]
    # Another run of the cell takes the place of the one before, whose late output belongs nowhere.
    shell.run("a")
    shell.write(first, "late\n")
    assert known.since(seen)["cells"]["a"]["length"] == 0
    undo()
    shell.write(second, "unheard\n")
    assert outputs(known.since({}), "b") == ["other\n"]
    assert shell.kernel.session.sent.count("stream") == 7


def test_memory_is_bounded_and_answers_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcripts, "CELL_BYTES", 1_000)
    monkeypatch.setattr(transcripts, "TOTAL_BYTES", 2_000)
    monkeypatch.setattr(transcripts, "ANSWER_BYTES", 500)
    shell = Shell()
    known = Transcripts(shell)
    known.install()
    for cell in "abc":
        shell.write(shell.run(cell), "x" * 900)
    found = known.since({})
    assert (list(found["cells"]), found["more"]) == (["b"], True)  # the oldest is gone
    seen = {"b": [found["cells"]["b"]["request"], found["cells"]["b"]["version"]]}
    assert list(known.since(seen)["cells"]) == ["c"]
    flood = shell.run("d")
    for _ in range(50):
        shell.write(flood, "y" * 100)
    assert "d" not in known.since(seen)["cells"]  # half of it would be shown as if it were all


def test_the_cell_that_loads_raynb_is_known_not_to_be_whole_and_odd_messages_go_out() -> None:
    shell = Shell()
    loading = shell.run("a")
    known = Transcripts(shell)
    known.install()
    shell.write(loading, "after\n")
    assert known.since({})["cells"]["a"]["whole"] is False
    shell.tell(loading, "stream")  # without what a stream has
    shell.kernel.session.send(None, "stream", None, None)
    assert shell.kernel.session.sent[-2:] == ["stream", "stream"]
    assert known.since({"a": "nonsense", "b": 3})["cells"]["a"]["length"] == 1
