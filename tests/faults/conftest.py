"""After every fault the runtime must be as good as before, and leave nothing at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb.testing.faults import Counter, Gate


@pytest.fixture
def ray(raynb_runtime: Any) -> Iterator[Any]:
    """A runtime that is tried again when the test is over. The plugin looks for leaks after that."""
    yield raynb
    check_healthy(raynb)


def check_healthy(ray: Any) -> None:
    """A fresh task, a put and an actor work."""

    @ray.remote(num_cpus=0.01)
    def add(a: int, b: int) -> int:
        return a + b

    class Echo:
        def say(self, word: str) -> str:
            return word

    assert ray.get(add.remote(20, ray.put(22)), timeout=60) == 42
    echo = ray.remote(num_cpus=0)(Echo).remote()
    assert ray.get(echo.say.remote("well"), timeout=60) == "well"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    folder = tmp_path / "gate"
    folder.mkdir()
    return Gate(folder)


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    return Counter(tmp_path / "count")
