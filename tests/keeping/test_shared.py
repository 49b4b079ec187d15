"""Kept results at an fsspec place: another machine has them, and nothing that happens there makes a wrong value."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raynb.keeping import place as places
from raynb.keeping import values
from raynb.keeping.box import Box, Entry
from raynb.keeping.folder import FolderError
from raynb.keeping.shared import SharedBox, folder_of, open_box
from tests.keeping.test_box import keep, read, value_of

fsspec = pytest.importorskip("fsspec")

ROOT = str(Path(__file__).resolve().parents[2])
URL = "memory://kept/notebook"
#: Opens the box of another machine: with a folder of its own.
Machine = Callable[..., Box]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def machine(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    boxes: list[Box] = []
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def begin(url: str = URL) -> Box:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine{len(boxes)}"))
        boxes.append(open_box(url, lambda: 10**9, said.append))
        return boxes[-1]

    yield begin
    for box in boxes:
        box.close()
    memory = fsspec.filesystem("memory")
    if memory.exists("/kept"):
        memory.rm("/kept", recursive=True)


def objects() -> dict[str, bytes]:
    memory = fsspec.filesystem("memory")
    return {path: memory.cat_file(path) for path in memory.find("/kept/notebook")}


def test_what_one_machine_keeps_another_one_has_and_forgets(machine: Machine, said: list[str]) -> None:
    first = machine()
    assert first.lookup(["a"]) == {}
    assert first.entries() == []
    for key in "abcdefghijk":
        keep(first, key)
    assert sorted(objects()) == [f"/kept/notebook/{key}.kept" for key in "abcdefghijk"], "nothing beside them"
    second = machine()
    assert second.folder != first.folder
    assert second.where == first.where == URL
    assert [(e.key, e.title, e.names) for e in second.entries()] == [(e.key, e.title, e.names) for e in first.entries()]
    assert os.listdir(os.path.join(second.folder, "values")) == [], "a list copies nothing"
    found = second.lookup(list("abcdefghijkz"))
    assert sorted(found) == list("abcdefghijk")
    assert all(read(second, found[key]) == value_of(key) for key in found)
    assert second.forget(lambda entry: entry.key != "b")[0] == 10
    assert list(objects()) == ["/kept/notebook/b.kept"]
    # A new result of the same key takes the older one's place.
    first.add([Entry("b", "In[9]", values={"new": values.write(first.folder, "new")}, output=pickle.dumps(1))])
    third = machine()
    entry = third.lookup(["b"])["b"]
    assert (entry.title, read(third, entry), entry.output) == ("In[9]", {"new": "new"}, pickle.dumps(1))
    assert said == []


def test_what_is_damaged_cut_or_another_ones_is_a_miss_and_said(machine: Machine, said: list[str]) -> None:
    keep(machine(), "a")
    memory = fsspec.filesystem("memory")
    ((path, whole),) = objects().items()
    chance = random.Random(7)
    places_of_bits = [*range(60), *(chance.randrange(len(whole)) for _ in range(20))]
    wrongs = [whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :] for at in places_of_bits]
    second = machine()
    for wrong in [*wrongs, b"", whole[:20], whole[:-1], whole + b"x"]:
        memory.pipe_file(path, wrong)
        assert second.lookup(["a"]) == {}
        assert "made anew" in said.pop()
    memory.pipe_file("/kept/notebook/c.kept", whole)  # a result under another one's name
    assert second.lookup(["c"]) == {}
    assert "checksum" in said.pop()
    memory.pipe_file(path, whole)
    assert read(second, second.lookup(["a"])["a"]) == value_of("a")
    assert len(os.listdir(os.path.join(second.folder, "values"))) == 1, "the copies of what was damaged are gone"
    memory.rm_file(path)
    assert machine().lookup(["a"]) == {}
    assert said == []


def test_a_store_that_fails_loses_nothing_and_gets_it_with_the_next(
    machine: Machine, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    with monkeypatch.context() as broken:
        for name in ("find", "get_file", "open"):
            broken.setattr(type(fsspec.filesystem("memory")), name, fail)
        keep(first, "a")
        assert read(first, first.lookup(["a", "b"])["a"]) == value_of("a")
        assert [entry.key for entry in first.entries()] == ["a"]
    assert [text.partition(" (")[0].split(":")[0] for text in said] == [
        "Results are kept on this machine only", "A kept result cannot be copied to this machine, and is made anew",
        "Only what is kept on this machine is known",
    ]  # fmt: skip
    assert all("no network" in text and URL in text for text in said)
    keep(first, "b")
    second = machine()
    assert sorted(second.lookup(["a", "b"])) == ["a", "b"]


def test_with_a_key_only_what_was_signed_with_it_is_read(machine: Machine, said: list[str], tmp_path: Path) -> None:
    keep(machine(), "unsigned")
    path = tmp_path / "config" / "raynb" / "keep.key"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"k" * 32)
    path.chmod(0o644)
    with pytest.raises(FolderError, match="chmod 600"):
        machine()
    path.chmod(0o600)
    with_key = machine()
    keep(with_key, "signed")
    assert with_key.lookup(["unsigned"]) == {}
    assert "keep.key" in said.pop()
    assert list(machine().lookup(["signed"])) == ["signed"]
    path.write_bytes(b"short")
    with pytest.raises(FolderError, match="16 to 64 bytes"):
        machine()
    path.unlink()
    assert machine().lookup(["signed"]) == {}
    assert "keep.key" in said.pop()


def test_addresses_that_cannot_be_used_are_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FolderError, match="nosuch://place cannot be used: .*nosuch"):
        machine("nosuch://place")
    assert folder_of("s3://bucket/kept/") == folder_of("s3://bucket/kept") != folder_of("s3://bucket/other")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(FolderError, match=r'memory://kept/notebook needs fsspec, .*: pip install "raynb\[fsspec\]"'):
        machine()


WRITER = """
import sys
from raynb.keeping.shared import open_box
from tests.keeping.test_box import keep
box = open_box(sys.argv[1], lambda: 10**9, print)
number = 0
while True:
    keep(box, f"key{number}")
    number += 1
    print(number, flush=True)
"""


def test_another_process_that_is_killed_while_it_writes_leaves_whole_results_at_a_file_url(
    machine: Machine, said: list[str], tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/shared/kept"
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "elsewhere"), "PYTHONPATH": ROOT}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, env=environ, cwd=ROOT, text=True
    ) as writer:
        assert writer.stdout is not None
        written = [int(writer.stdout.readline()) for _ in range(5)][-1]
        writer.kill()
    names = [name for name in os.listdir(tmp_path / "shared" / "kept") if name.endswith(places.SUFFIX)]
    assert len(names) >= written
    old = tmp_path / "shared" / "kept" / ".part-1000-dead"
    old.write_bytes(b"half")
    box = machine(url)
    assert isinstance(box, SharedBox)
    keys = [name[: -len(places.SUFFIX)] for name in names]
    found = box.lookup(keys)
    assert sorted(found) == sorted(keys)
    assert all(read(box, found[key]) == value_of(key) for key in keys)
    keep(box, "mine")
    assert not old.exists(), "what a dead process wrote beside goes"
    assert said == []
