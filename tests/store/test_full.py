"""What is said when nothing fits any more, and where `init` is told to spill to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raynb
from raynb.engine.local.objects import spilling
from raynb.exceptions import ObjectStoreFullError, OutOfDiskError
from raynb.store.disk import Files, GuestDiskTier

MB = 1 << 20


class Full(Files):
    def free_room(self, path: str) -> int:
        return 0


@pytest.fixture
def engine(raynb_runtime: Any) -> Any:
    raynb_runtime.engine.disk._files = Full()
    return raynb_runtime.engine


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_the_error_says_sizes_holders_and_what_to_do(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = raynb.put(np.zeros(MB // 4)), raynb.put(np.zeros(MB))
    view = raynb.get(large)
    monkeypatch.setattr("sys.modules", {**__import__("sys").modules, "__main__": _Main(table=[small], df=large)})
    with pytest.raises(ObjectStoreFullError) as caught:
        raynb.put(np.zeros(MB))
    text = str(caught.value)
    for part in (
        "8.4 MB fits neither",
        "10.5 MB of 16.8 MB used",
        "8.4 MB of it being read",
        "0 free",
        "8.4 MB " + large.hex() + " held by df, 1 arrays in the driver",
        "2.1 MB " + small.hex() + " held by table[0]",
        "object_store_memory",
        "object_spilling_directory",
        "raynb.free",
    ):
        assert part in text, text
    assert isinstance(caught.value, OutOfDiskError)
    del view


class _Main:
    def __init__(self, **names: Any) -> None:
        vars(self).update(names)


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_a_task_is_told_the_same(engine: Any) -> None:
    class Keeper:
        def keep(self, value: Any) -> None:
            self.value = value

    keeper = raynb.remote(num_cpus=0)(Keeper).remote()
    raynb.get(keeper.keep.remote(raynb.put(np.zeros(MB))))

    @raynb.remote(max_retries=0)
    def make() -> Any:
        import raynb.store.disk as disk

        disk.Files.free_room = lambda self, path: 0  # type: ignore[method-assign]
        return np.zeros(3 * MB // 2)

    with pytest.raises(ObjectStoreFullError) as caught:
        raynb.get(make.remote(), timeout=60)
    assert isinstance(caught.value, OutOfDiskError)
    assert "held by" in str(caught.value)
    assert "actor Keeper (pid" in str(caught.value)


@pytest.mark.raynb(num_cpus=1, object_store_memory=16 * MB)
def test_a_destructor_that_puts_while_objects_are_spilled_exchanges_no_values(
    raynb_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    write = GuestDiskTier.write

    def collected(self: GuestDiskTier, *given: Any) -> Any:
        if not made:  # as if the collector ran here, and called a destructor
            made.append(None)
            made.append(raynb.put(np.full(MB // 4, 777.0)))
        return write(self, *given)

    monkeypatch.setattr(GuestDiskTier, "write", collected)
    refs = [raynb.put(np.full(MB // 4, float(number))) for number in range(12)]
    assert made
    assert [set(raynb.get(ref).tolist()) for ref in refs] == [{float(number)} for number in range(12)]
    assert set(raynb.get(made[1]).tolist()) == {777.0}


def test_names() -> None:
    class Ref(spilling.ObjectRef):  # type: ignore[type-arg]
        def __init__(self, identity: int) -> None:
            self._id = identity

        def __del__(self) -> None:
            pass

    a, b = Ref(1), Ref(2)
    names = {"a": a, "_": a, "_5": a, "Out": {5: a}, "rows": [0, b], "by": {"x": b}, "number": 5}
    assert spilling.names_of_refs(names) == {1: ["a", "Out[5]"], 2: ["rows[1]", "by['x']"]}


@pytest.mark.parametrize("name", ["object_spilling_directory", "spill_directory"])
def test_where_to_spill(name: str, tmp_path: Path) -> None:
    given: Any = {name: tmp_path / "deeper" if name == "spill_directory" else str(tmp_path)}
    with raynb.Runtime(num_cpus=1, object_store_memory=8 * MB, **given) as runtime:
        assert os.path.realpath(runtime.engine.disk.path).startswith(os.path.realpath(given[name]) + os.sep)
        kept = [raynb.put(np.full(MB // 2, n)) for n in range(4)]
        assert runtime.engine.snapshot().store.spilled > 0
        assert [raynb.get(ref)[0] for ref in kept] == [0, 1, 2, 3]
    assert list(Path(given[name]).iterdir()) == []


def test_rays_variable_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_object_spilling_directory", str(tmp_path))
    with raynb.Runtime(num_cpus=1) as runtime:
        assert runtime.engine.disk.path.startswith(os.path.realpath(tmp_path))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"object_spilling_directory": 5}, TypeError),
        ({"object_spilling_directory": ["/tmp"]}, TypeError),
        ({"object_spilling_directory": "/tmp/a", "spill_directory": "/tmp/b"}, ValueError),
        ({"object_spilling_directory": "/proc/no/such"}, OutOfDiskError),
    ],
)
def test_a_place_that_cannot_be(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="spill"):
        raynb.Runtime(num_cpus=1, **given).start()
