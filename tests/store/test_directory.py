"""The spill directory: private, locked while its owner lives, swept afterwards."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from raynb.exceptions import OutOfDiskError
from raynb.store import DiskTier
from raynb.store import directory as directories
from raynb.store.directory import SpillDirectory, default_parent, file_system_of, sweep

OWNER = """
import sys
from raynb.store import DiskTier
disk = DiskTier(sys.argv[1])
disk.write(b"spilled", [])
print(disk.path, flush=True)
sys.stdin.read()
"""


def start_owner(parent: Path) -> tuple[subprocess.Popen[str], str]:
    child = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_it_is_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for umask in (0, 0o077, 0o777):
            os.umask(umask)
            disk = DiskTier(str(tmp_path))
            try:
                assert stat.S_IMODE(os.stat(disk.path).st_mode) == 0o700
                if umask != 0o777:
                    path = disk.write(b"secret", [])[1]
                    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            finally:
                disk.close()
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_the_name_says_whose_it_is(tmp_path: Path) -> None:
    spill = SpillDirectory(str(tmp_path))
    assert os.path.basename(spill.path).startswith(f"raynb-spill-{os.getpid()}-")
    spill.close()
    spill.close()


def test_the_living_are_left_alone_and_the_dead_swept(tmp_path: Path) -> None:
    dead, dead_path = start_owner(tmp_path)
    alive, alive_path = start_owner(tmp_path)
    try:
        assert sweep(str(tmp_path)) == []
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert os.listdir(dead_path), "killed, so its files are still there"
        mine = SpillDirectory(str(tmp_path))  # the next start
        assert not os.path.exists(dead_path)
        assert os.listdir(alive_path)
        mine.close()
    finally:
        end(dead)
        end(alive)
    assert sweep(str(tmp_path)) == [alive_path]


def test_a_forked_child_neither_removes_nor_unlocks(tmp_path: Path) -> None:
    disk = DiskTier(str(tmp_path))
    location = disk.write(b"stream", [])
    pid = os.fork()
    if pid == 0:
        try:
            disk.after_fork_in_child()
            disk.close()
        except AttributeError:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert os.path.exists(location[1])
    assert sweep(str(tmp_path)) == []
    disk.close()


def test_sweeping_touches_only_real_directories_of_ours(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    link = tmp_path / "raynb-spill-1-link"
    link.symlink_to(precious)
    plain = tmp_path / "raynb-spill-2-file"
    plain.write_text("x")
    new = tmp_path / ".raynb-new-abc"
    new.mkdir()
    other = tmp_path / "raynb-other"
    other.mkdir()
    assert sweep(str(tmp_path)) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        "precious", "raynb-spill-1-link", "raynb-spill-2-file", ".raynb-new-abc", "raynb-other"
    }  # fmt: skip
    os.utime(new, (0, 0))
    assert sweep(str(tmp_path)) == [str(new)]
    assert (precious / "file").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give files to another user")
def test_directories_of_another_user(tmp_path: Path) -> None:
    theirs = tmp_path / "raynb-spill-3-theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    assert sweep(str(tmp_path)) == []
    with pytest.raises(OutOfDiskError, match=r"belongs to another user \(uid 12345\)"):
        DiskTier(str(theirs))
    link = tmp_path / "link"
    mine = tmp_path / "mine"
    mine.mkdir()
    link.symlink_to(mine)
    os.lchown(link, 12345, 12345)
    with pytest.raises(OutOfDiskError, match="is a symbolic link that another user made"):
        DiskTier(str(link))
    os.lchown(link, 0, 0)
    disk = DiskTier(str(link))
    assert os.path.dirname(disk.path) == str(mine)
    disk.close()


def test_a_parent_that_everybody_can_write(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(OutOfDiskError, match="has no sticky bit"):
        DiskTier(str(shared))
    shared.chmod(0o1777)
    DiskTier(str(shared)).close()


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_directory_far_above_that_others_can_write(tmp_path: Path, mode: int) -> None:
    shared = tmp_path / "shared"
    (shared / "mine" / "spill").mkdir(parents=True)
    shared.chmod(mode)
    with pytest.raises(OutOfDiskError, match=r"shared can be written by .* has no sticky bit.*chmod go-w"):
        DiskTier(str(shared / "mine" / "spill"))
    link = tmp_path / "link"
    link.symlink_to(shared / "mine" / "spill")
    with pytest.raises(OutOfDiskError, match="has no sticky bit"):
        DiskTier(str(link))
    shared.chmod(mode | stat.S_ISVTX)
    DiskTier(str(shared / "mine" / "spill")).close()


def test_a_parent_is_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        DiskTier(str(tmp_path / "a" / "b" / "c")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o700


def test_a_parent_is_made(tmp_path: Path) -> None:
    disk = DiskTier(str(tmp_path / "a" / "b"))
    assert stat.S_IMODE(os.stat(tmp_path / "a" / "b").st_mode) == 0o700
    disk.close()


def test_a_parent_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutOfDiskError, match=r"Cannot make a directory .*object_spilling_directory"):
        DiskTier(str(tmp_path / "file"))
    with pytest.raises(OutOfDiskError, match="Cannot make a directory"):
        DiskTier("/proc/self")


def test_without_locks_it_still_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems."""

    def refuse(*args: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(directories.fcntl, "flock", refuse)
    disk = DiskTier(str(tmp_path))
    disk.write(b"stream", [])
    assert sweep(str(tmp_path)) == []
    disk.close()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OutOfDiskError):
        SpillDirectory(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_files_appear_while_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill = SpillDirectory(str(tmp_path))
    real, rounds = directories.shutil.rmtree, []

    def busy(path: str, **kwargs: object) -> None:
        if len(rounds) < 2:
            Path(path, f"new{len(rounds)}").write_text("x")
        else:
            real(path, ignore_errors=True)
        rounds.append(1)

    monkeypatch.setattr(directories.shutil, "rmtree", busy)
    spill.close()
    assert len(rounds) == 3
    assert list(tmp_path.iterdir()) == []


MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
tmpfs /tmp/with\\040space xfs rw 0 0
proc /proc proc rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/tmp/x", "tmpfs"), ("/tmp", "tmpfs"), ("/tmpx", "ext4"), ("/tmp/with space/y", "xfs"), ("/", "ext4")],
)
def test_file_systems(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system_of(path, str(mounts)) == kind


def test_file_systems_unknown(tmp_path: Path) -> None:
    assert file_system_of("/tmp", str(tmp_path / "none")) == ""


def test_memory_is_no_place_to_spill_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories.tempfile, "gettempdir", lambda: "/tmp")
    monkeypatch.setattr(directories, "file_system_of", lambda path: "tmpfs" if path == "/tmp" else "ext4")
    assert default_parent() == "/var/tmp"
    monkeypatch.setattr(directories, "file_system_of", lambda path: "tmpfs")
    assert default_parent() == "/tmp"
    monkeypatch.setattr(directories, "file_system_of", lambda path: "ext4")
    assert default_parent() == "/tmp"
