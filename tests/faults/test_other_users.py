"""Other users of the same machine: nothing to connect to, nothing to open, nothing to read."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb.exceptions import OutOfDiskError
from raynb.testing import leaks
from raynb.wire.channel import Channel
from raynb.wire.codec import FRAME_MAX_BYTES, BadFrame, Decoder, encode
from raynb.wire.messages import Ready

MB = 1 << 20
pytestmark = pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="looks at Linux's /proc")


def processes(engine: Any) -> list[int]:
    """Returns the pids of a runtime: the driver's, the supervisor's, the workers'."""
    return [os.getpid(), engine.supervised.process.pid, *(p.pid for p in list(engine.effects.peers.values()) if p.pid)]


def sockets_of(pids: list[int]) -> set[str]:
    """Returns the inode numbers of the sockets that the processes hold."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # a worker too many has just left
            targets = leaks.descriptors(pid).values()
            found |= {number[1] for target in targets if (number := re.fullmatch(r"socket:\[(\d+)\]", target))}
    return found


@pytest.fixture
def busy(ray: Any) -> list[Any]:
    """Objects of every kind: small, in memory, spilled; a task and an actor that ran."""

    @ray.remote
    def make(size: int) -> bytes:
        return bytes(size)

    @ray.remote(num_cpus=0)
    class Keeper:
        def ping(self) -> str:
            return "pong"

    keeper = Keeper.remote()
    assert ray.get(keeper.ping.remote(), timeout=60) == "pong"
    refs = [make.remote(20 * MB) for _ in range(6)]
    ray.wait(refs, num_returns=6, timeout=60)
    return [keeper, *refs]


STORE = {"num_cpus": 2, "object_store_memory": 80 * MB}


@pytest.mark.raynb(**STORE)
def test_1_nobody_listens_for_tcp_or_udp(ray: Any, busy: list[Any]) -> None:
    mine = sockets_of(processes(ray.runtime().engine))
    assert mine
    for table in ("tcp", "tcp6", "udp", "udp6", "raw"):
        path = f"/proc/net/{table}"
        if os.path.exists(path):
            with open(path) as file:
                inodes = {line.split()[9] for line in file.readlines()[1:]}
            assert not mine & inodes, table


@pytest.mark.raynb(**STORE)
def test_2_and_3_no_socket_has_a_name(ray: Any, busy: list[Any]) -> None:
    mine = sockets_of(processes(ray.runtime().engine))
    with open("/proc/net/unix") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    ours = [row for row in rows if row[6] in mine]
    assert ours
    assert [row for row in ours if len(row) > 7] == []  # an eighth column is a name, or "@" and one


@pytest.mark.raynb(**STORE)
def test_6_memory_is_anonymous(ray: Any, busy: list[Any]) -> None:
    before = leaks.shared_names()
    ray.get(busy[1:3])
    assert leaks.shared_names() == before
    for target in leaks.descriptors().values():
        assert not target.startswith("/dev/shm/"), target


def test_7_directories_and_files_are_ones_own_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with raynb.Runtime(spill_directory=str(tmp_path), **STORE):

            @raynb.remote
            def make(size: int) -> bytes:
                os.umask(0)
                return bytes(size)

            refs = [make.remote(20 * MB) for _ in range(6)] + [raynb.put(bytes(20 * MB)) for _ in range(3)]
            raynb.wait(refs, num_returns=len(refs), timeout=60)
            found = list(tmp_path.rglob("*"))
            assert any(path.is_file() for path in found)
            for path in found:
                with contextlib.suppress(FileNotFoundError):  # it has its name by now
                    mode = stat.S_IMODE(path.lstat().st_mode)
                    assert mode & 0o077 == 0, (path, oct(mode))
            del refs
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_8_a_directory_that_somebody_may_tamper_with_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)  # without the sticky bit, anybody can exchange what is in it
    with pytest.raises((OutOfDiskError, ValueError), match="open"):
        raynb.Runtime(spill_directory=str(open_to_all), num_cpus=1).__enter__()
    assert list(open_to_all.iterdir()) == []
    assert list(target.iterdir()) == []


def test_8_a_link_in_the_place_of_a_directory_is_never_written_through(tmp_path: Path) -> None:
    """The names are random and made by the system, so nobody can put a link there before."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    names = set()
    for _ in range(3):
        with raynb.Runtime(spill_directory=str(home), num_cpus=1):
            (made,) = home.iterdir()
            assert not made.is_symlink()
            assert raynb.get(raynb.put(1)) == 1
            names.add(made.name)
    assert len(names) == 3


@pytest.mark.raynb(num_cpus=2, runtime_env={"env_vars": {"PASSWORD": "hunter2-of-the-env"}})
def test_9_secrets_are_in_no_command_line_log_or_repr(ray: Any) -> None:
    engine = ray.runtime().engine
    said: list[str] = []
    engine.on_output.append(lambda output: said.append(output.text))

    @ray.remote
    def use(secret: str) -> int:
        return len(secret) + len(os.environ["PASSWORD"])

    ref = use.remote("hunter2-of-the-call")
    assert ray.get(ref, timeout=60) == 19 + 18
    texts = [repr(ref), repr(use), repr(engine.snapshot()), *said]
    for pid in processes(engine):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            texts.append(file.read().decode(errors="replace"))
    # What a worker was started with is the kernel's environment and a marker that opens nothing.
    for pid in processes(engine)[1:]:
        with open(f"/proc/{pid}/environ", "rb") as file:
            texts.append(file.read().decode(errors="replace"))
    assert not [text[:200] for text in texts if "hunter2" in text]


def test_5_frames_are_capped_before_anything_is_read() -> None:
    decoder = Decoder()
    with pytest.raises(BadFrame):
        decoder.feed(encode([Ready(1)])[:4] + (FRAME_MAX_BYTES + 1).to_bytes(4, "little") + bytes(4))
    with pytest.raises(BadFrame):
        Decoder().feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def test_4_a_stranger_at_a_socket_cannot_have_anything_unpickled() -> None:
    """Frames are plain values, checked by their header; only messages known by number are made."""
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.abort, ()

    left, right = socket.socketpair()
    channel = Channel(right, blocking=False)
    try:
        for attempt in (pickle.dumps(Evil()), encode([])[:12] + b"\x00" * len(encode([])[12:])):
            left.sendall(attempt)
            with pytest.raises(BadFrame):
                channel.receive()
    finally:
        channel.close()
        left.close()
