"""What a worker writes down before it has sent it, as the driver finds it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from raynb.store.backing import FileBacking
from raynb.store.pages.ledger import SLOTS
from raynb.store.pages.unsent import MAX_BYTES, Unsent, UnsentRows


@pytest.fixture(params=["memory", "file"])
def rows(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[UnsentRows]:
    made = UnsentRows(None if request.param == "memory" else FileBacking(str(tmp_path)))
    yield made
    made.close()


def attach(rows: UnsentRows, row: int) -> Unsent:
    return Unsent(os.dup(rows.fd), row)


def test_notes_are_there_for_who_has_not_received_their_frame(rows: UnsentRows) -> None:
    worker = attach(rows, 3)
    assert worker.record(7, b"one")
    assert worker.record(7, b"two")
    assert rows.read(3, 7) == b"onetwo"
    assert rows.read(3, 8) == b""  # it was sent, and the process died before it could cross out the notes
    assert rows.read(4, 7) == b""


def test_what_was_crossed_out_is_gone(rows: UnsentRows) -> None:
    worker = attach(rows, SLOTS - 1)
    worker.record(0, b"x" * 100)
    worker.clear_sent()
    assert rows.read(SLOTS - 1, 0) == b""
    worker.record(1, b"y")
    assert rows.read(SLOTS - 1, 1) == b"y"


def test_a_full_row_takes_no_more(rows: UnsentRows) -> None:
    worker = attach(rows, 0)
    assert not worker.record(0, bytes(MAX_BYTES + 1))
    assert worker.record(0, bytes(MAX_BYTES - 1))
    assert not worker.record(0, b"ab")
    assert worker.record(0, b"c")
    assert rows.read(0, 0) == bytes(MAX_BYTES - 1) + b"c"


def test_a_row_is_empty_for_its_next_worker(rows: UnsentRows) -> None:
    attach(rows, 5).record(0, b"left behind")
    rows.clear(5)
    assert rows.read(5, 0) == b""
