"""The search for leftovers finds them: a test of the tests in this folder."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from raynb.testing import leaks

from .kernels import GRACE, converse, kernel, send_signal, served_kernel

LEAVE_A_PROCESS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
"""


def test_a_process_that_outlives_its_kernel_is_found_and_ended(tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        one.run(LEAVE_A_PROCESS)
        assert leaks.until(lambda: len(one.others()) == 1)  # a process has no environment in the middle of an exec
        pid = one.pid
        send_signal(pid, signal.SIGKILL)
        one.wait_dead(pid)
        with pytest.raises(AssertionError, match="1 process.*still alive"):
            one.check_nothing_left(grace=1.0)
        assert leaks.until(lambda: not leaks.marked(one.mark))


def test_a_file_that_outlives_its_kernel_is_found(tmp_path: Path) -> None:
    with kernel(tmp_path) as one:
        one.run("import tempfile; tempfile.mkdtemp(prefix='raynb-')")
        pid = one.pid
        one.manager.shutdown_kernel()
        one.wait_dead(pid)
        with pytest.raises(AssertionError, match="files left: .*raynb-"):
            one.check_nothing_left()


def test_a_plain_kernel_leaves_nothing_whichever_way_it_was_started(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with kernel(tmp_path / "a") as one:
        assert one.text("print(6 * 7)") == "42\n"
        pid = one.pid
        one.manager.shutdown_kernel()
        one.wait_dead(pid)
        one.check_nothing_left()
    with served_kernel(tmp_path / "b") as (server, pid, client, value):
        assert converse(client, "1 / 0", 60)[0]["ename"] == "ZeroDivisionError"
        server.kill()
        server.wait()
        assert leaks.until(lambda: pid not in leaks.marked(value), 60)
        leaks.check_gone(value, GRACE)
