"""Runtimes of one user on one machine: memory, slots, and stopping one from another."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import raynb as ray
from raynb.base.config import Config
from raynb.base.process import trace
from raynb.base.process.registry import Registry
from raynb.base.rows import KernelRow
from raynb.engine.local import neighbours
from raynb.testing import leaks


@ray.remote
def held(gate: str) -> str:
    leaks.until(lambda: os.path.exists(gate), 110)
    return gate


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYNB_RUNTIME_DIR", str(tmp_path / "runtimes"))
    return tmp_path


def rows() -> list[KernelRow]:
    return Registry().rows()


def test_runtimes_share_memory_and_slots_and_one_stops_another(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "LOOK_SECONDS", 0.1)
    gate = str(alone / "gate")
    ray.init(num_cpus=1, share="fair")
    with ray.Runtime(num_cpus=1, share="fair") as own, ThreadPoolExecutor(1) as elsewhere:
        stores = [row.store for row in rows()]
        assert len(stores) == 2
        assert stores[1] < stores[0]  # of what is left beside the first one's
        slots = lambda: [(row.cpus, row.busy) for row in rows()]
        refs = [held.remote(gate) for _ in range(4)]  # in the block's own
        assert leaks.until(lambda: slots() == [(1, 0), (2, 2)], 60), rows()
        mine = elsewhere.submit(held.remote, gate).result()  # in the global one
        # Lent slots come back when what runs there ends; the first has its own at once.
        assert leaks.until(lambda: slots() == [(1, 1), (1, 2)], 60), rows()
        Path(gate).touch()
        assert elsewhere.submit(ray.get, mine).result() == gate
        assert ray.get(refs) == [gate] * 4
        told: list[str] = []
        own.engine.on_output.append(lambda output: told.append(output.text))
        Registry().ask_to_stop(rows()[1].key, "train.ipynb")
        assert leaks.until(lambda: not own.engine.alive, 60)
        assert "raynb: the runtime was stopped from train.ipynb.\n" in told
    Registry().ask_to_stop(rows()[0].key, "train.ipynb")
    assert leaks.until(lambda: not ray.is_initialized() and rows() == [], 60)


def test_a_folder_of_others_leaves_a_runtime_alone(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone.chmod(0o755)
    monkeypatch.setenv("RAYNB_RUNTIME_DIR", str(alone))
    one = neighbours.Neighbours(Config(object_store_memory=80), 1)
    assert one.store_limit == 80
    assert any("not a folder of this user alone" in kept.error for kept in list(trace.ring))
    one.tick(1.0)
    one.leave()
