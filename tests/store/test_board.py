"""The page that says who runs what."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from raynb.store.pages.board import Board
from raynb.store.pages.ledger import SLOTS


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create()
    yield made
    made.close()


def test_an_empty_board(board: Board) -> None:
    assert [(board.running(w), board.interrupts(w)) for w in (0, 1, SLOTS - 1)] == [(0, 0)] * 3


def test_everybody_sees_what_one_writes(board: Board) -> None:
    other = Board.attach(os.dup(board.fd))
    board.begin(3, 1 << 60)
    other.interrupt(3)
    other.interrupt(3)
    assert (other.running(3), board.interrupts(3)) == (1 << 60, 2)
    assert (board.running(4), board.interrupts(2)) == (0, 0)
    board.clear(3)
    assert (other.running(3), other.interrupts(3)) == (0, 0)
    other.close()


def test_it_has_a_row_for_each_slot_of_the_ledger(board: Board) -> None:
    board.begin(SLOTS - 1, 7)
    board.interrupt(SLOTS - 1)
    assert (board.running(SLOTS - 1), board.interrupts(SLOTS - 1)) == (7, 1)
    with pytest.raises(IndexError):
        board.begin(SLOTS, 7)


def test_another_descriptor_is_refused() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(ValueError, match="isn't a board"):
            Board.attach(read)
    finally:
        os.close(read)
        os.close(write)
