"""The main thread's wait for data: what ends it, and that nothing ends it for ever."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.base import interrupts
from raynb.run.inspection import dumps
from raynb.testing.leaks import until
from raynb.wire import messages as w
from raynb.wire.channel import Channel, Closed, pair
from raynb.wire.codec import decode_all
from raynb.worker.link import Link


@pytest.fixture
def ends() -> Iterator[tuple[Link, socket.socket]]:
    """A link, and the other end of its data channel."""
    (data, far), (control, other) = pair(), pair()
    worker: Any = SimpleNamespace(on_message=lambda message: None)
    link = Link(Channel(data, blocking=False), Channel(control, blocking=False), worker)
    yield link, far
    for end in (data, far, control, other):
        end.close()
    for fd in (link._main_read, link._main_write, link._wake_read, link._wake_write):
        os.close(fd)


@pytest.mark.parametrize("eager", [True, False])
def test_being_woken_ends_one_wait_only(ends: tuple[Link, socket.socket], eager: bool) -> None:
    link, _ = ends
    link.wake_main()
    assert link.wait_data(None, eager)  # a worker that is woken is not at rest, although there is nothing to read
    assert not link.wait_data(0.0, eager)
    # Had it been left in the pipe, an idle worker would go round at full speed from now on.
    assert not link._poll_data.poll(0)


@pytest.mark.parametrize("eager", [True, False])
def test_data_ends_a_wait_and_is_left_to_be_read(ends: tuple[Link, socket.socket], eager: bool) -> None:
    link, far = ends
    far.sendall(b"x")
    assert link.wait_data(None, eager)
    assert [fd for fd, _ in link._poll_data.poll(0)] == [link.data.fd]


def test_while_the_driver_does_not_read_nobody_is_kept_out_and_the_collector_goes_on(
    ends: tuple[Link, socket.socket],
) -> None:
    link, far = ends
    first, second = w.Output("stdout", 0, 0, "", 0, "x" * 5_000_000, b""), w.Leaving("nothing more")
    link.post(first)
    thread = threading.Thread(target=link.flush)
    thread.start()
    try:
        assert until(lambda: link.data.unsent and not link.sender._send.locked())
        assert until(interrupts._gc_isenabled)
        link.post(second)
        assert list(link.outbox) == [first, second]  # what is not out yet
    finally:
        reader, came = Channel(far, blocking=False), []
        while thread.is_alive():
            came += reader.receive()
        thread.join()
    link.flush()
    while reader.readable():
        came += reader.receive()
    assert came == [first, second]
    assert not link.outbox


def test_a_descriptor_that_is_not_sent_is_closed(ends: tuple[Link, socket.socket]) -> None:
    """B16: where the driver had gone, each try to send the arena left a copy of its descriptor."""
    link, far = ends
    end, given = os.pipe()
    os.set_blocking(end, False)
    far.close()
    link.post(w.Leaving("before it"))
    with pytest.raises(Closed):
        link.send_fd(w.Arena(1), given)
    link.data.close()
    assert os.read(end, 1) == b""  # nobody has the other end
    os.close(end)


def test_what_is_written_down_is_sent_as_it_was_coded_with_what_came_after(
    ends: tuple[Link, socket.socket],
) -> None:
    link, far = ends
    notes: list[bytes] = []
    unsent: Any = SimpleNamespace(
        record=lambda frame, text: len(notes) < 2 and not notes.append(text), clear_sent=notes.clear
    )
    link.sender._unsent = unsent
    first, second, third = (w.Done(number, ((b"v", 1, ()),)) for number in range(3))
    reader = Channel(far, blocking=False)
    for _ in range(2):
        link.post(first)
        assert link.record_unsent()
        link.post(second)
        assert link.record_unsent()
        assert decode_all(b"".join(notes)) == [first, second]
        link.post(third)
        assert not link.record_unsent()  # no room: it is to be sent now
        link.flush()
        assert reader.receive() == [first, second, third]
        assert not notes
        assert not link.outbox
    link.post(third)
    link.flush()
    assert reader.receive() == [third]


def test_a_worker_can_be_asked_for_its_stacks_before_its_control_thread_has_run(
    ends: tuple[Link, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, _ = ends
    offered: list[int] = []
    ran: list[int] = []
    monkeypatch.setattr(dumps, "offer", offered.append)
    monkeypatch.setattr(link, "_serve", lambda: ran.append(threading.get_native_id()))
    link.start()  # a task that holds Python's lock may begin as soon as this is over
    assert len(offered) == 1
    assert until(lambda: ran)
    assert offered == ran
