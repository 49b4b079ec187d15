"""A12, E45: workers that cannot be started, and a system that refuses what a start or a `put` needs. It ends, and the
reason is told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raynb.exceptions import RaySystemError, RuntimeEnvSetupError
from raynb.testing import faults
from raynb.testing.faults import Counter

from ..lifecycle.scripts import run


@pytest.mark.raynb(num_cpus=2)
def test_a12_an_environment_that_cannot_be_set_up(ray: Any, counter: Counter) -> None:
    def hook() -> None:
        counter.add()
        raise ValueError("the hook is broken")

    @ray.remote
    def f() -> int:
        return 1

    broken = f.options(runtime_env={"worker_process_setup_hook": hook})
    with pytest.raises(RuntimeEnvSetupError, match="the hook is broken"):
        ray.get(broken.remote(), timeout=60)
    tries = counter.value
    assert 1 <= tries <= 8
    assert ray.get([f.remote() for _ in range(4)], timeout=60) == [1] * 4
    assert counter.value == tries  # nobody goes on trying


@pytest.mark.raynb(num_cpus=2)
def test_a12_an_actor_whose_environment_cannot_be_set_up(ray: Any) -> None:
    def hook() -> None:
        raise ValueError("the hook is broken")

    @ray.remote(num_cpus=0, max_restarts=-1)
    class A:
        def m(self) -> int:
            return 1

    actor = A.options(runtime_env={"worker_process_setup_hook": hook}).remote()
    with pytest.raises(Exception, match="the hook is broken"):
        ray.get(actor.m.remote(), timeout=60)


@pytest.mark.raynb(num_cpus=2)
@pytest.mark.parametrize("action", ["os._exit(3)", "segfault"])
def test_a12_workers_that_crash_while_they_start(ray: Any, counter: Counter, action: str) -> None:
    def hook() -> None:
        counter.add()
        faults.strike(action)

    @ray.remote
    def f() -> int:
        return 1

    broken = f.options(runtime_env={"worker_process_setup_hook": hook})
    refs = [broken.remote() for _ in range(3)]
    for ref in refs:
        with pytest.raises(RaySystemError, match="cannot be started.*(code 3|SIGSEGV)"):
            ray.get(ref, timeout=60)
    assert counter.value <= 24
    assert ray.get(f.remote(), timeout=60) == 1


#: Lets the process and its children have only so many processes and threads. The superuser knows no
#: such limit, so it becomes nobody first, who may still read everything.
FEW_PROCESSES = """
import ctypes, os, resource, struct
def few(more):
    # A user of its own for each process of a test, since the limit counts all that a user has, other test runs' too.
    user = 20_000 + os.getpid() % 40_000
    if os.getuid() == 0:
        libc = ctypes.CDLL(None)
        libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        may_read = 1 << 1  # CAP_DAC_OVERRIDE
        libc.capset(struct.pack("Ii", 0x20080522, 0), struct.pack("IIIIII", may_read, may_read, may_read, 0, 0, 0))
        libc.prctl(47, 2, 1, 0, 0)  # PR_CAP_AMBIENT_RAISE: kept by the supervisor's exec
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: its own /proc is readable again
    used = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/status") as file:
                    facts = dict(line.split(":", 1) for line in file)
            except OSError:
                continue
            if int(facts["Uid"].split()[0]) == os.getuid():
                used += int(facts["Threads"])
    resource.setrlimit(resource.RLIMIT_NPROC, (used + more, used + more))
"""


def test_e45_no_more_processes_is_a_clear_error(tmp_path: Path) -> None:
    out = run(
        FEW_PROCESSES
        + """
from raynb.exceptions import RayError
few(16)
ray.init(num_cpus=2)
@ray.remote(num_cpus=0)
class A:
    def m(self):
        return 1
@ray.remote
def f(x):
    return x
actors, told = [], ""
try:
    for _ in range(100):
        actor = A.remote()
        ray.get(actor.m.remote(), timeout=60)
        actors.append(actor)
except RayError as error:
    told = str(error)
assert told, len(actors)
assert "ulimit -u" in told, told
assert ray.get(actors[0].m.remote(), timeout=60) == 1
del actors[1:]
actor = None
assert ray.get([f.remote(n) for n in range(20)], timeout=60) == list(range(20))
ray.shutdown()
print("told")
""",
        tmp_path,
    )
    assert out == "told\n"


def test_e45_not_even_the_first_one(tmp_path: Path) -> None:
    out = run(
        FEW_PROCESSES
        + """
few(0)
from raynb.exceptions import RayError
try:
    ray.init(num_cpus=2)
except (RayError, RuntimeError, OSError) as error:
    print("told:", error)
assert not ray.is_initialized()
""",
        tmp_path,
    )
    assert out.startswith("told:"), out
    assert any(word in out for word in ("unavailable", "ulimit", "thread")), out


def test_e45_tasks_go_on_with_the_workers_that_there_are(tmp_path: Path) -> None:
    out = run(
        FEW_PROCESSES
        + """
few(10)
ray.init(num_cpus=8)
said = []
ray.runtime().engine.on_output.append(lambda output: said.append(output.text))
@ray.remote
def f(x):
    time.sleep(0.01)
    return x
while not any("cannot be started" in text and "goes on" in text for text in said):
    assert ray.get([f.remote(n) for n in range(20)], timeout=60) == list(range(20))
ray.shutdown()
print("done")
""",
        tmp_path,
    )
    assert out == "done\n"


def test_a_start_that_the_system_refuses_names_the_limit_and_leaves_nothing(tmp_path: Path) -> None:
    out = run(
        """
import errno, resource, tempfile
from raynb.exceptions import RayError
def refused(*_, **__):
    raise OSError(errno.EPERM, "Operation not permitted")
def told(*words):
    before = len(os.listdir("/dev/fd"))
    try:
        ray.init(num_cpus=1)
    except RayError as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError(f"it started where {words} was expected")
    assert not ray.is_initialized()
    assert len(os.listdir("/dev/fd")) == before, words
def limited(kind, soft, *words):
    old = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, old[1]))
    try:
        told(*words)
    finally:
        resource.setrlimit(kind, old)
used = len(os.listdir("/dev/fd"))
limited(resource.RLIMIT_NOFILE, used + 1, "ulimit -n")  # nothing can be begun
limited(resource.RLIMIT_NOFILE, used + 6, "ulimit -n")  # half of it
limited(resource.RLIMIT_NOFILE, used + 14, "ulimit -n")  # all but the first worker
limited(resource.RLIMIT_FSIZE, 1 << 20, "ulimit -f", "1,048,576 bytes")
here = tempfile.gettempdir()
tempfile.tempdir = "/proc/none"
told("/proc/none", "TMPDIR", "object_spilling_directory")
if hasattr(os, "memfd_create"):
    real, os.memfd_create = os.memfd_create, refused
    told("/proc/none", "TMPDIR")
    os.memfd_create = real
tempfile.tempdir = here
ray.init(num_cpus=1)
assert ray.get(ray.remote(lambda: 5).remote()) == 5
ray.shutdown()
print("told")
""",
        tmp_path,
    )
    assert out == "told\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    path = tmp_path / "small"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", path]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_or_read_only_temporary_folder_where_memory_without_a_name_is_refused(
    small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    out = run(
        f"small = {str(small_disk)!r}"
         """
import errno, subprocess, tempfile
from raynb.exceptions import ObjectStoreFullError, OutOfDiskError, RaySystemError
def refused(*_, **__):
    raise OSError(errno.EPERM, "Operation not permitted")
real, os.memfd_create = getattr(os, "memfd_create", refused), refused
tempfile.tempdir = small
def told(kind, *words):
    try:
        ray.init(num_cpus=1, object_spilling_directory=small)
    except kind as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError(f"it started where {words} was expected")
    assert [name for name in os.listdir(small) if not name.startswith("raynb-runtimes-")] in ([], ["fill"])
with open(f"{small}/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC
told((RaySystemError, OutOfDiskError), "No space left", "TMPDIR")  # not a SIGBUS
os.unlink(f"{small}/fill")
ray.init(num_cpus=1, object_spilling_directory=small)
refs = []
try:
    while len(refs) < 20:
        refs.append(ray.put(bytes([len(refs)]) * 300_000))
except ObjectStoreFullError as error:
    assert all(word in str(error) for word in ("object_spilling_directory", "Shared memory", "TMPDIR")), error
assert len(refs) < 20
assert [ray.get(ref) for ref in refs] == [bytes([number]) * 300_000 for number in range(len(refs))]
del refs
ray.shutdown()
os.memfd_create = real
subprocess.run(["mount", "-o", "remount,ro", small], check=True)
told(OutOfDiskError, "Read-only file system", "TMPDIR", "object_spilling_directory")
print("told")
""",
        tmp_path / "tmp",
    )
    assert out == "told\n"


def test_a_cluster_that_was_not_started_is_not_replaced_by_this_machine(tmp_path: Path) -> None:
    out = run(
        """
try:
    ray.init(cluster="of no kind")
except Exception as error:  # Ray is not installed, or has no such cluster
    print(isinstance(error, (ValueError, ImportError)))
try:
    ray.put(1)
except ray.exceptions.RuntimeGoneError as error:
    print("of cluster='of no kind' could not be reached" in str(error))
ray.init(num_cpus=1)
print(ray.get(ray.put(2)))
""",
        tmp_path,
    )
    assert out.splitlines() == ["True", "True", "2"]
