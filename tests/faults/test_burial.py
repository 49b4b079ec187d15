"""B11: whoever ends, and however, no process and no spill folder is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from raynb.testing import leaks
from raynb.worker import burial

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

CHILDREN = 40
#: A kernel whose tasks have started processes in sessions of their own, some without our environment.
KERNEL = textwrap.dedent("""
    import os, signal, subprocess, sys
    import raynb as ray
    from raynb.base.engine import current

    ray.init(num_cpus=2, object_store_memory=80_000_000, object_spilling_directory=sys.argv[1])

    @ray.remote
    def start(number):
        subprocess.Popen(["sleep", "600"], start_new_session=True)

    ray.get([start.remote(number) for number in range({children})])
    kept = [ray.put(bytes(30_000_000)) for _ in range(4)]
    assert os.listdir(current().disk.path)
    supervisor = current().supervised.process.pid
    {end}
""")
ENDS = {
    "shutdown": "ray.shutdown()",
    "shutdown, supervisor stopped": "os.kill(supervisor, signal.SIGSTOP); ray.shutdown()",
    "supervisor killed, work, shutdown": "os.kill(supervisor, 9); ray.get(start.remote(0)); ray.shutdown()",
    "kernel killed": "os.kill(os.getpid(), 9)",
    "both killed": "os.kill(supervisor, 9); os.kill(os.getpid(), 9)",
    "supervisor stopped, kernel killed": "os.kill(supervisor, signal.SIGSTOP); os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left(end: str, tmp_path: Path) -> None:
    environ = dict(os.environ)
    marker = leaks.mark(environ)
    spill = tmp_path / "spill"
    kernel = subprocess.run(
        [sys.executable, "-c", KERNEL.format(children=CHILDREN, end=ENDS[end]), str(spill)],
        env=environ, check=False, timeout=120, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    expected = -signal.SIGKILL if "kernel killed" in end or end == "both killed" else 0
    assert kernel.returncode == expected, kernel.stderr
    try:
        assert leaks.until(lambda: not leaks.marked(marker)), list(leaks.marked(marker).values())
        assert leaks.until(lambda: not os.listdir(spill))
    finally:
        leaks.kill_all(leaks.marked(marker).values())


def test_a_process_in_the_middle_of_an_exec_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = f"A=1\0{burial.MARKER}=m\0".encode()
    files = {  # of each process: environment, arguments, has it a program?
        "10": (ours, b"x\0", True), "11": (b"", b"", True), "12": (b"", b"", False), "13": (b"", b"x\0", True),
        "14": (f"{burial.MARKER}=other\0".encode(), b"x\0", True), "self": (ours, b"", True),
    }  # fmt: skip
    for name, (environment, arguments, program) in files.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "environ").write_bytes(environment)
        (folder / "cmdline").write_bytes(arguments)
        if program:
            (folder / "exe").symlink_to(sys.executable)
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 3:  # the exec is over
            (tmp_path / "11" / "environ").write_bytes(ours)

    monkeypatch.setattr(burial, "PROC", str(tmp_path))
    monkeypatch.setattr(burial.time, "sleep", pause)
    assert sorted(burial.marked("m")) == [10, 11]
    assert len(paused) == 3
    (tmp_path / "11" / "environ").write_bytes(b"")
    assert burial.marked("m") == [10]  # it never has one: not looked at for ever
    assert len(paused) == 3 + burial.EXEC_LOOKS - 1
