"""Every way a kernel ends: soon afterwards no process, descriptor or file of ours is left.

The runtime is at its worst each time: shared memory is in use, an actor ignores SIGTERM and
computes, and has a child in a session of its own that ignores polite signals too.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from raynb.testing import leaks

from .kernels import BUSY_RUNTIME, GRACE, Kernel, converse, kernel, send_signal, served_kernel, wait_until_busy

#: A cell that waits for ever on a remote call, as a user's does.
WAITING = "print('waiting', flush=True); ray.get(spinning)"


def shut_down(one: Kernel) -> None:
    one.manager.shutdown_kernel()


def request_shutdown(one: Kernel) -> None:
    """Only the message, as a client may send it; no signal follows."""
    one.client.shutdown()


def by_signal(number: signal.Signals, group: bool = False) -> Callable[[Kernel], None]:
    def end(one: Kernel) -> None:
        send_signal(one.pid, number, group)

    end.__name__ = f"{'killpg_' if group else ''}{number.name}"
    return end


def by_code(name: str, code: str) -> Callable[[Kernel], None]:
    def end(one: Kernel) -> None:
        one.send(code)

    end.__name__ = name
    return end


AT_REST = [
    shut_down,
    request_shutdown,
    by_signal(signal.SIGTERM),
    by_signal(signal.SIGKILL),
    by_signal(signal.SIGHUP),
    by_signal(signal.SIGABRT),
    by_signal(signal.SIGKILL, group=True),
    by_code("os_exit", "import os; os._exit(3)"),
    by_code("segfault", "import ctypes; ctypes.string_at(0)"),
    by_code("quit", "quit()"),
    by_code("exit", "exit"),
    by_code("kill_after_fork", "import os, signal, time\n"
            "if os.fork() == 0:\n    time.sleep(0.3); os._exit(0)\n"
            "os.kill(os.getpid(), signal.SIGKILL)"),
]  # fmt: skip

BUSY = [
    shut_down,
    by_signal(signal.SIGTERM),
    by_signal(signal.SIGKILL),
    by_signal(signal.SIGKILL, group=True),
]


@pytest.mark.parametrize("end", AT_REST, ids=lambda end: end.__name__)
def test_nothing_is_left_when_an_idle_kernel_ends(end: Callable[[Kernel], None], tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        pids = one.text(BUSY_RUNTIME).split()[1:]
        assert {int(pid) for pid in pids} <= set(one.others())
        pid = one.pid
        end(one)
        one.wait_dead(pid)
        one.check_nothing_left()


@pytest.mark.parametrize("end", BUSY, ids=lambda end: end.__name__)
def test_nothing_is_left_when_a_busy_kernel_ends(end: Callable[[Kernel], None], tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        one.run(BUSY_RUNTIME)
        one.send(WAITING)
        wait_until_busy(one)
        pid = one.pid
        end(one)
        one.wait_dead(pid)
        one.check_nothing_left()


@pytest.mark.parametrize("now", [False, True], ids=["restart", "restart_now"])
def test_a_restarted_kernel_starts_with_nothing_and_works(now: bool, tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        one.run(BUSY_RUNTIME)
        before = set(one.others())
        assert len(before) >= 3
        one.client.stop_channels()
        one.manager.restart_kernel(now=now)
        assert leaks.until(lambda: not before & set(one.others()), GRACE), [
            str(process) for pid, process in one.others().items() if pid in before
        ]
        one.check_files()
        one.client = one.connect()
        one.run(BUSY_RUNTIME)
        assert not before & set(one.others())
        pid = one.pid
        shut_down(one)
        one.wait_dead(pid)
        one.check_nothing_left()


def test_sys_exit_in_a_cell_leaves_kernel_and_runtime_alone(tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        pids = {int(pid) for pid in one.text(BUSY_RUNTIME).split()[1:]}
        reply, _ = converse(one.client, "import sys; sys.exit(1)", 60)
        assert reply["ename"] == "SystemExit"
        assert "ok 2 64" in one.text("print('ok', ray.get(counter.add.remote()), ray.get(square.remote(8)))")
        assert pids <= set(one.others())


def test_reset_clears_the_names_and_leaves_the_runtime_usable(tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        one.run(BUSY_RUNTIME)
        workers = len(one.others())
        one.run("%reset -f")
        again = "import raynb as ray\nprint(ray.is_initialized(), ray.get(ray.remote(lambda: 42).remote()))"
        assert "True 42" in one.text(again)
        assert workers > 0
        pid = one.pid
        shut_down(one)
        one.wait_dead(pid)
        one.check_nothing_left()


def test_nothing_is_left_when_the_server_of_the_kernel_is_killed(tmp_path: Path) -> None:
    with served_kernel(tmp_path) as (server, pid, client, value):
        reply, outputs = converse(client, BUSY_RUNTIME, 60)
        assert reply["status"] == "ok", outputs
        assert len(leaks.marked(value)) >= 5
        server.kill()
        server.wait()
        # The kernel looks after its parent once a second; our clock starts when it has gone.
        assert leaks.until(lambda: pid not in leaks.marked(value), 60)
        leaks.check_gone(value, GRACE)


def test_a_shutdown_in_a_cell_leaves_only_the_kernel(tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        one.run(BUSY_RUNTIME)
        one.run("ray.shutdown()")
        assert leaks.until(lambda: not one.others(), GRACE), one.others()
        one.check_files()
        assert "again 4" in one.text("ray.init(num_cpus=1); print('again', ray.get(square.remote(2)))")


def test_an_interrupted_wait_fails_the_cell_and_the_runtime_works_on(tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        one.run(BUSY_RUNTIME)
        one.send(WAITING)
        wait_until_busy(one)
        one.manager.interrupt_kernel()
        reply = one.client.get_shell_msg(timeout=60)["content"]
        assert reply["ename"] == "KeyboardInterrupt"
        assert "ok 9" in one.text("print('ok', ray.get(square.remote(3)))")
