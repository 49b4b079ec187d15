"""The folder of kept results: never a wrong value, whatever happens to its files, its writers or its disk."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynb.exceptions import ObjectLostError
from raynb.keeping import values
from raynb.keeping.box import Box, BoxFull, Entry
from raynb.keeping.folder import FolderError
from raynb.keeping.policy import KeptEntry, to_evict

ROOT = str(Path(__file__).resolve().parents[2])


def value_of(key: str) -> dict[str, Any]:
    """What is kept under a key: a small value and a large one that both say which key it is."""
    return {"small": {"key": key}, "large": (key * (100_000 // len(key))).encode()}


def keep(box: Box, key: str) -> None:
    entry = Entry(key, "In[1]", "code", {name: values.write(box.folder, v) for name, v in value_of(key).items()})
    box.add([entry])


def read(box: Box, entry: Entry) -> dict[str, Any]:
    return {name: pickle.loads(pickle.dumps(box.stub(stored))) for name, stored in entry.values.items()}


def change(path: Path, data: bytes) -> None:
    """Writes a file, until the system says so: its clock of changes may stand still for milliseconds."""
    before = os.stat(path).st_ctime_ns
    path.write_bytes(data)
    while os.stat(path).st_ctime_ns == before:
        path.write_bytes(data)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def box(tmp_path: Path, said: list[str]) -> Iterator[Box]:
    made = Box(str(tmp_path / "kept"), lambda: 10**9, said.append)
    yield made
    made.close()


def test_what_is_kept_comes_back_in_another_kernel(box: Box, said: list[str]) -> None:
    keep(box, "a")
    other = Box(box.folder, lambda: 10**9, said.append)
    assert read(other, other.lookup(["a", "b"])["a"]) == value_of("a")
    assert [(entry.key, entry.names) for entry in other.entries()] == [("a", ("small", "large"))]
    assert other.forget(lambda entry: True)[0] == 1
    assert not box.lookup(["a"])
    assert len(os.listdir(os.path.join(box.folder, "values"))) == 1  # refs of this kernel may still read it
    other.close()
    box.close()
    Box(box.folder, lambda: 10**9, said.append).close()
    assert os.listdir(os.path.join(box.folder, "values")) == []
    assert said == []


def test_one_flipped_bit_anywhere_is_a_miss_and_said(tmp_path: Path) -> None:
    chance = random.Random(7)
    for turn in range(60):
        said: list[str] = []
        folder = tmp_path / f"kept{turn}"
        box = Box(str(folder), lambda: 10**9, said.append)
        keep(box, "a")
        keep(box, "b")
        box.close()
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ("secret", "lock"))
        path = files[turn % len(files)]
        data = bytearray(path.read_bytes())
        place = chance.randrange(len(data))
        data[place] ^= 1 << chance.randrange(8)
        change(path, bytes(data))
        try:
            again = Box(str(folder), lambda: 10**9, said.append)
        except (OSError, FolderError):
            continue  # an index that cannot be used is no wrong value either
        try:
            found = again.lookup(["a", "b"])
        except OSError:
            again.close()
            continue
        for key, entry in found.items():
            assert read(again, entry) == value_of(key), path
        if path.parent.name == "values":
            assert len(found) == 1
            assert len(said) == 1
        keep(again, "a")
        assert read(again, again.lookup(["a"])["a"]) == value_of("a")
        again.close()


def test_a_file_that_is_damaged_after_the_hit_is_an_error_not_a_value(box: Box) -> None:
    keep(box, "a")
    entry = box.lookup(["a"])["a"]
    path = Path(box.folder, "values", entry.values["large"].name)
    data = bytearray(path.read_bytes())
    data[5_000] ^= 4
    change(path, bytes(data))
    with pytest.raises(ObjectLostError, match="run its cell again"):
        read(box, entry)
    path.unlink()
    with pytest.raises(ObjectLostError, match="run its cell again"):
        read(box, entry)


WRITER = """
import sys
sys.path.insert(0, {root!r})
from raynb.keeping.box import Box
from tests.keeping.test_box import keep
box = Box({folder!r}, lambda: 10**9, print)
print("ready", flush=True)
number = 0
while True:
    keep(box, f"{name}{{number % 20}}")
    print(number, flush=True)
    number += 1
"""


def test_two_kernels_that_are_killed_while_they_write_leave_only_whole_results(tmp_path: Path) -> None:
    chance = random.Random(11)
    folder = str(tmp_path / "kept")
    for _ in range(3):
        command = [sys.executable, "-c", WRITER.format(root=ROOT, folder=folder, name="a")]
        writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 30)):  # a random moment, counted in what it wrote
                assert writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        for writer in writers:
            writer.wait()
            writer.stdout.close()  # type: ignore[union-attr]
        said: list[str] = []
        box = Box(folder, lambda: 10**9, said.append)
        found = box.lookup([f"a{number}" for number in range(20)])
        assert found
        assert said == []
        for key, entry in found.items():
            assert read(box, entry) == value_of(key)
        box.close()


def test_a_full_disk_and_the_limit_keep_nothing_and_lose_nothing(tmp_path: Path, said: list[str]) -> None:
    box = Box(str(tmp_path / "kept"), lambda: 250_000, said.append)
    keep(box, "a")
    keep(box, "b")
    with pytest.raises(BoxFull, match="keep_limit"):  # this kernel's refs may name both
        keep(box, "c")
    box.close()
    box = Box(str(tmp_path / "kept"), lambda: 250_000, said.append)
    assert box.lookup(["a"])  # used last
    keep(box, "c")
    assert set(box.lookup(["a", "b", "c"])) == {"a", "c"}

    class Failing(values.tier_of(box.folder)._files.__class__):  # type: ignore[misc]
        def write(self, fd: int, vectors: Any) -> int:
            raise OSError(28, "No space left on device")

    tier = values.tier_of(box.folder)
    tier._files, before = Failing(), tier._files
    with pytest.raises(Exception, match="No space left"):
        keep(box, "d")
    tier._files = before
    assert read(box, box.lookup(["a"])["a"]) == value_of("a")
    box.close()


def test_folders_that_others_could_tamper_with_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o700)
    folder.chmod(0o755)
    with pytest.raises(FolderError, match="chmod 700"):
        Box(str(folder), lambda: 1, print)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(FolderError, match="links"):
        Box(str(tmp_path / "link"), lambda: 1, print)


def test_a_kernel_that_goes_while_it_keeps_takes_nothing_with_it(box: Box, said: list[str]) -> None:
    keep(box, "a")
    stored = {name: values.write(box.folder, value) for name, value in value_of("b").items()}
    box.close()
    box.close()
    with pytest.raises(OSError, match="closed"):  # as the thread that still writes finds it
        box.add([Entry("b", "In[1]", "code", stored)])
    with pytest.raises(OSError, match="closed"):
        box.lookup(["a"])
    again = Box(box.folder, lambda: 10**9, said.append)
    assert read(again, again.lookup(["a"])["a"]) == value_of("a")
    assert oct(os.stat(os.path.join(box.folder, "index.sqlite-wal")).st_mode)[-3:] == "600"
    again.close()
    assert said == []


OPENER = """
import sys
sys.path.insert(0, {root!r})
from raynb.keeping.box import Box
for line in sys.stdin:
    Box(line.strip(), lambda: 10**9, print).close()
    print("opened", flush=True)
"""


def test_kernels_that_open_a_new_folder_at_once_all_get_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENER.format(root=ROOT)]
    pipe = subprocess.PIPE
    openers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for number in range(12):
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write(f"{tmp_path}/kept{number}\n")
            opener.stdin.flush()
        for opener in openers:
            assert opener.stdout is not None
            assert opener.stdout.readline() == "opened\n", opener.communicate()
    for opener in openers:
        assert opener.communicate() == ("", "")


FACTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9), st.booleans()))


@given(FACTS, st.integers(0, 60), st.integers(0, 300))
def test_the_least_recently_used_go_and_no_more_than_must(
    facts: list[tuple[int, int, bool]], needed: int, limit: int
) -> None:
    held = [KeptEntry(str(number), size, float(used), leased) for number, (size, used, leased) in enumerate(facts)]
    going = to_evict(held, needed, limit)
    free = sum(entry.size for entry in held if not entry.leased)
    total = sum(entry.size for entry in held)
    assert (going is None) == (total - free + needed > limit)
    if going is None:
        return
    gone = {entry.key: entry for entry in held if entry.key in going}
    assert total - sum(entry.size for entry in gone.values()) + needed <= limit
    assert not any(entry.leased for entry in gone.values())
    if gone:
        last = gone[going[-1]]
        assert total - sum(entry.size for entry in gone.values()) + last.size + needed > limit
        assert all(entry.used >= last.used for entry in held if not entry.leased and entry.key not in gone)
