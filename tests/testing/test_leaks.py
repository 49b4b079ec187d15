"""The leak checks find each kind of leak, and only that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from raynb.testing import leaks

SLEEPER = "import signal; print('up', flush=True); signal.pause()"


def start_sleeper(environ: dict[str, str] | None = None, **kwargs: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(  # type: ignore[call-overload]
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True, env=environ, **kwargs
    )
    assert process.stdout.readline() == "up\n"
    return process


def test_nothing_left_passes() -> None:
    leaks.check(leaks.Held.now(), timeout=0)


def test_a_thread_is_named() -> None:
    before, done = leaks.Held.now(), threading.Event()
    thread = threading.Thread(target=done.wait, name="straggler")
    thread.start()
    with pytest.raises(AssertionError, match="my step left 1 thing.*\n.*thread 'straggler'"):
        leaks.check(before, timeout=0, what="my step")
    done.set()
    leaks.check(before)
    thread.join()


def test_a_descriptor_is_told_by_what_it_is_and_not_by_its_number() -> None:
    first = os.open(os.devnull, os.O_RDONLY)
    before = leaks.Held.now()
    read, write = os.pipe()
    os.dup2(read, first)
    news = leaks.left(before, timeout=0)
    assert len(news) == 3
    assert f"descriptor {first}:" in "\n".join(news)
    for number in (read, write, first):
        os.close(number)
    leaks.check(before, timeout=0)


def test_a_child_process_is_found_by_descent() -> None:
    before = leaks.Held.now()
    with start_sleeper() as process:
        news = [line for line in leaks.left(before, timeout=0) if line.startswith("process")]
        assert len(news) == 1
        assert str(process.pid) in news[0]
        process.kill()
    leaks.check(before)


def test_an_orphan_in_its_own_session_is_found_by_its_mark() -> None:
    environ = dict(os.environ)
    value = leaks.mark(environ)
    assert leaks.marked(value) == {}
    # The middle process starts the sleeper in a session of its own and ends.
    middle = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
    subprocess.run([sys.executable, "-c", middle, sys.executable, "-c", SLEEPER], env=environ, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    assert leaks.until(lambda: leaks.marked(value))  # in the middle of its exec a process shows no environment
    orphans = leaks.marked(value)
    assert len(orphans) == 1
    assert os.getpid() not in [p.parent for p in orphans.values()]
    with pytest.raises(AssertionError, match=f"1 process.*\n.*process {next(iter(orphans))}"):
        leaks.check_gone(value, timeout=0)
    # check_gone killed what it complained about.
    assert leaks.until(lambda: not leaks.marked(value))
    assert leaks.check_gone(value) >= 0


def test_a_zombie_counts_as_a_process_left() -> None:
    before = leaks.Held.now()
    process = start_sleeper()
    os.kill(process.pid, signal.SIGKILL)
    assert leaks.until(lambda: leaks.all_processes()[process.pid].state == "Z")
    assert any("state Z" in line for line in leaks.left(before, timeout=0))
    process.communicate()
    leaks.check(before)


def test_own_temporary_files_are_seen_and_those_of_other_processes_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = leaks.Held.now()
    mine = tmp_path / f"raynb-spill-{os.getpid()}-x"
    mine.mkdir()
    (tmp_path / "raynb-spill-1-x").mkdir()
    (tmp_path / f"other-{os.getpid()}").mkdir()
    assert leaks.left(before, timeout=0) == [f"file {mine}"]
    assert leaks.files_under(tmp_path) >= {str(mine)}


def test_names_in_shared_memory_and_sockets_are_seen(tmp_path: Path) -> None:
    import socket

    path = str(tmp_path / "raynb-test.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        assert leaks.until(lambda: path in leaks.socket_names())  # read in pieces, while sockets of others come and go
    assert path not in leaks.socket_names()
    assert not leaks.shared_names()


def test_without_proc_ps_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "LINUX", False)
    before = leaks.Held.now()
    with start_sleeper() as process:
        assert process.pid in leaks.descendants()
        assert any(str(process.pid) in line for line in before.left(leaks.Held.now()))
        process.kill()


def test_waiting_for_a_condition_ends_with_it_or_with_the_time() -> None:
    seen: list[int] = []
    assert leaks.until(lambda: seen.append(1) or len(seen) == 3)
    assert len(seen) == 3
    assert not leaks.until(lambda: False, timeout=0)
