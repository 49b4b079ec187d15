"""The codec by itself: bytes in, messages out."""

from __future__ import annotations

import enum
import os
import random
from typing import Any

import pytest

from raynb.wire import messages as w
from raynb.wire.channel import Channel, Closed, pair
from raynb.wire.codec import HEADER_SIZE, BadFrame, Decoder, code_of, decode_all, encode, encode_coded, encode_one

SAMPLES = [
    w.Run(1 << 70, 3, b"x", (), (), (), 0, 7, 0),
    w.Done(5, ((b"v", 1, ()), (("shm", 1, 64, 128, (100, 28)), 128, (9,))), w.FAILED, ("E", "no"), 1.0, 2.0, 3.0),
    w.Output("stdout", 1, 2, "f", 0, "Zeile\n", b""),
    w.Stop(),
]


def test_messages_come_back_as_they_were() -> None:
    assert Decoder().feed(encode(SAMPLES)) == SAMPLES


def test_messages_one_behind_the_other_come_back_too() -> None:
    assert decode_all(b"".join(map(encode_one, SAMPLES))) == SAMPLES
    assert decode_all(b"") == []
    for data in (encode_one(SAMPLES[0])[:-3], b"\x00" * 8, encode_one(SAMPLES[0]) + b"\xfe"):
        with pytest.raises(BadFrame):
            decode_all(data)


def test_messages_that_were_coded_before_make_a_frame() -> None:
    coded = list(map(encode_one, SAMPLES))
    decoder = Decoder()
    assert decoder.feed(encode_coded(coded, 0) + encode(SAMPLES, 1) + encode_coded(coded[:1], 2)) == [
        *SAMPLES, *SAMPLES, SAMPLES[0],
    ]  # fmt: skip
    assert decoder.frames == 3
    with pytest.raises(BadFrame):
        decoder.feed(encode_coded(coded, 2))


def test_a_message_may_come_coded() -> None:
    run = w.Run(1, 2, b"x", (), (), (), 0, 7, 0)
    assert Decoder().feed(encode([(code_of(w.Run), *run), w.Stop()])) == [run, w.Stop()]


def test_strings_and_numbers_of_the_users_classes_arrive_as_pythons_own() -> None:
    class Text(str):
        pass

    class Count(enum.IntEnum):
        TWO = 2

    odd, own = w.Call(Count.TWO, Text("pin"), b""), w.Call(2, "pin", b"")
    assert Decoder().feed(encode([odd])) == [own]
    assert decode_all(encode_one(odd)) == [own]


def test_every_way_of_cutting_gives_the_same_messages() -> None:
    stream = encode(SAMPLES[:2]) + encode(SAMPLES[2:], 1) + encode([], 2)
    for seed in range(50):
        chance = random.Random(seed)
        decoder, got, at = Decoder(), [], 0
        while at < len(stream):
            step = chance.randint(1, 40)
            got += decoder.feed(stream[at : at + step])
            at += step
        assert got == SAMPLES
        assert decoder.pending == 0


@pytest.mark.parametrize("cut", range(1, HEADER_SIZE))
def test_a_part_of_a_header_is_not_a_frame_yet(cut: int) -> None:
    decoder = Decoder()
    assert decoder.feed(encode(SAMPLES)[:cut]) == []
    assert decoder.pending == cut


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x00" * 64,
        encode(SAMPLES)[:4] + b"\xff" * 8,
        encode(SAMPLES)[:HEADER_SIZE] + b"\xfe" * 4096,
    ],
    ids=["text", "zeros", "too long", "body"],
)
def test_what_is_not_ours_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        Decoder().feed(data)


@pytest.mark.parametrize(
    "numbers", [[1], [0, 0], [0, 2], [0, 2, 1], [0, 1, 3], [0, 1, 0]], ids=lambda numbers: " ".join(map(str, numbers))
)
@pytest.mark.parametrize("together", [True, False], ids=["in one read", "one by one"])
def test_a_frame_that_is_not_the_next_is_refused(numbers: list[int], together: bool) -> None:
    decoder = Decoder()
    stream = [encode(SAMPLES, number) for number in numbers]
    with pytest.raises(BadFrame, match=r"frame \d came where frame \d was to come"):
        for part in [b"".join(stream)] if together else stream:
            decoder.feed(part)


def test_a_frame_that_lost_its_tail_is_refused_wherever_it_was_cut() -> None:
    """What comes next is taken for the tail; nothing wrong may come of that."""
    whole = encode([w.Call(1, "f", b"abc" * 20)], 0)
    follow = encode([w.Call(2, "g", b"xyz" * 20)], 1) + encode([w.Stop()], 2) + encode(SAMPLES, 3)
    for cut in range(1, len(whole)):
        decoder = Decoder()
        with pytest.raises(BadFrame):
            decoder.feed(whole[:cut] + follow)


def test_both_ends_count_frames() -> None:
    left, right = pair()
    sender, receiver = Channel(left, blocking=False), Channel(right, blocking=False)
    for _ in range(3):
        sender.send([w.Stop()])
    got: list[object] = []
    while len(got) < 3:
        got += receiver.receive()
    assert (sender.out, receiver.came) == (3, 3)
    assert (receiver.out, sender.came) == (0, 0)
    sender.close()
    receiver.close()


def test_descriptors_ride_with_their_message() -> None:
    left, right = pair()
    sender, receiver = Channel(left, blocking=False), Channel(right, blocking=False)
    read, write = os.pipe()
    try:
        sender.send([w.Arena(4)], [os.dup(write)])
        assert receiver.receive() == [w.Arena(4)]
        fd = receiver.fds.popleft()
        assert not os.get_inheritable(fd)
        os.write(fd, b"hello")
        os.close(fd)
        assert os.read(read, 5) == b"hello"
    finally:
        os.close(read)
        os.close(write)
        sender.close()
    with pytest.raises(Closed):
        receiver.receive()
    receiver.close()


class Short:
    """A socket's end where no large piece of memory can be had."""

    def __init__(self, end: Any) -> None:
        self.end = end
        self.recvmsg_into, self.close, self.fileno = end.recvmsg_into, end.close, end.fileno

    def recvmsg(self, *given: Any) -> Any:
        raise MemoryError


def test_where_memory_is_short_little_is_read_at_a_time_and_the_end_is_found() -> None:
    left, right = pair()
    sender, receiver = Channel(left, blocking=False), Channel(right, blocking=False)
    receiver.sock = Short(right)  # type: ignore[assignment]
    message = w.Output("stdout", 0, 0, "", 0, "x" * 3_000, b"")
    sender.send([message])
    got: list[object] = []
    while not got:
        got += receiver.receive()
    assert got == [message]
    sender.close()
    with pytest.raises(Closed, match="end of file"):
        receiver.receive()
    receiver.close()


def test_what_the_socket_does_not_take_waits() -> None:
    left, right = pair()
    sender, receiver = Channel(left, blocking=False), Channel(right, blocking=False)
    big = w.Output("stdout", 0, 0, "", 0, "x" * 3_000_000, b"")
    sender.send([big])
    sender.send([w.Stop()])
    assert sender.unsent
    assert sender.out == 0
    got: list[object] = []
    while len(got) < 2:
        got += receiver.receive()
        sender.flush()
    assert got == [big, w.Stop()]
    sender.close()
    receiver.close()


@pytest.mark.parametrize(
    "message",
    [w.Put("x", None, 2, (), 4), w.Release(5), w.Ask(1, 2, ("x",), 4, False, (), True), w.Interrupt(None)],  # type: ignore[arg-type]
    ids=lambda message: type(message).__name__,
)
def test_a_field_of_another_type_is_a_bad_frame(message: Any) -> None:
    with pytest.raises(BadFrame, match=type(message).__name__):
        Decoder().feed(encode([message]))
