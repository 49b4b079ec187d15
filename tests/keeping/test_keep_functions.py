"""`raynb.util.keep` on a real runtime."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raynb as ray
from raynb.keeping import session
from raynb.keeping.box import Box
from raynb.keeping.keeper import Keeper
from raynb.testing.leaks import until
from raynb.util import keep


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keeper]:
    box = Box(str(tmp_path / "kept"), lambda: 10**9, print)
    made = Keeper(box)
    monkeypatch.setattr(session, "provider", lambda: made)
    yield made
    assert made.flush(60)
    box.close()


def test_a_call_is_kept_by_its_code_arguments_and_the_calls_that_made_its_refs(
    raynb_runtime: Any, keeper: Keeper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"

    @ray.remote
    def load(n: int) -> bytes:
        with open(log, "a") as file:
            file.write("l")
        return bytes(n)

    @ray.remote(num_returns=2)
    def both(data: bytes, extra: dict[str, int]) -> tuple[int, bytes]:
        with open(log, "a") as file:
            file.write("b")
        return len(data) + extra["k"], data

    for _ in range(2):
        size, data = keep(both).remote(keep(load).remote(100_000), {"k": 1})
        assert ray.get(size) == 100_001
        assert ray.get(data) == bytes(100_000)
        assert keeper.flush(60)
        until(lambda: len(keeper.box.entries()) == 2)
    assert log.read_text() == "lb"
    assert ray.get(keep(both).remote(keep(load, fresh=True).remote(100_000), {"k": 1})[0]) == 100_001
    assert log.read_text() == "lblb"  # made of another run of load
    assert ray.get(keep(both).options(num_returns=2).remote(keep(load).remote(7), {"k": 1})[0]) == 8
    assert capsys.readouterr().err == ""
    ray.get(keep(both).remote(ray.put(b"x"), {"k": 1})[0])
    assert "argument 0" in capsys.readouterr().err

    @ray.remote
    def fails() -> None:
        raise ValueError

    count = len(keeper.box.entries())
    with pytest.raises(ValueError):
        ray.get(keep(fails).remote())
    keeper.flush(60)
    assert len(keeper.box.entries()) <= count + 3
    assert not any(entry.title == "fails" for entry in keeper.box.entries())

    @ray.remote
    def stream() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="yields"):
        keep(stream)
    with pytest.raises(TypeError, match=r"@raynb\.remote"):
        keep(len)


def test_a_script_names_the_place_of_its_results(
    raynb_runtime: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"

    @ray.remote
    def counted(x: int) -> int:
        with open(runs, "a") as file:
            file.write("x")
        return x

    monkeypatch.setattr(session, "provider", None)
    monkeypatch.setattr(session, "_own", {})
    monkeypatch.setenv(session.DIRECTORY, str(tmp_path / "named"))
    places = {None: tmp_path / "named", tmp_path / "given": tmp_path / "given"}
    for number, (given, place) in enumerate(places.items(), 1):
        for _ in range(2):
            assert ray.get(keep(counted, directory=given).remote(3)) == 3
            assert session.keeper(given).flush(60)
        assert len(runs.read_text()) == number
        assert (place / "index.sqlite").exists()
    shutil.rmtree(tmp_path / "given")  # as people clean up
    assert ray.get(keep(counted, directory=tmp_path / "given").options(num_cpus=1).remote(3)) == 3
    assert session.keeper(tmp_path / "given").flush(60)
    assert len(runs.read_text()) == 3
    assert (tmp_path / "given" / "index.sqlite").exists()
    for made in session._own.values():
        made.box.close()
    assert capsys.readouterr().err == ""


def test_a_result_that_is_there_at_the_end_of_a_runtime_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "FLUSH_SECONDS", 120.0)
    log = tmp_path / "log"

    def make(size: int) -> bytes:
        with open(log, "a") as file:
            file.write("x")
        return bytes(size)

    def runs(size: int) -> int:
        """Returns how many calls have really run by now."""
        assert ray.get(keep(ray.remote(make), directory=tmp_path / "kept").remote(size)) == bytes(size)
        return len(log.read_text())

    with ray.Runtime(num_cpus=1):
        assert runs(3_000_000) == 1
    ray.init(num_cpus=1, log_to_driver=False)
    try:
        assert [runs(3_000_000), runs(3_000_001)] == [1, 2]
    finally:
        ray.shutdown()
    with ray.Runtime(num_cpus=1):
        assert runs(3_000_001) == 2
