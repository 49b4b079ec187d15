"""What `test_engine_machine` plays with: values that are told apart, tasks, and the books that must agree."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

import raynb
from raynb.core import invariants
from raynb.exceptions import ObjectFreedError, ObjectLostError, RayTaskError
from raynb.store.disk import HEADER_BYTES
from raynb.testing import leaks

cloudpickle.register_pickle_by_value(sys.modules[__name__])

KB, MB = 1 << 10, 1 << 20
SIZES = st.sampled_from([1 * KB, 40 * KB, 120 * KB, 300 * KB, 1 * MB, 1 * MB + 8, 2 * MB])
# What is there depends on timing, so what is drawn must not depend on what is there.
DICE = st.integers(0, 1 << 32).map(random.Random)
MAX_REFS = 24  # refs held by the driver

Spec = tuple[Any, ...]


def build(spec: Spec) -> Any:
    """Makes the value that a spec stands for; no two specs have a byte pattern in common."""
    kind, stamp, size = spec[:3]
    whole = np.arange(size // 8, dtype=np.int64) * 31 + stamp * 1_000_003
    if kind == "array":
        return whole
    if kind == "bytes":
        return whole.tobytes()
    return {"parts": np.array_split(whole, 5), "stamp": stamp}


def same(value: Any, spec: Spec) -> bool:
    expected = build(spec)
    if spec[0] == "array":
        return bool(np.array_equal(value, expected))
    if spec[0] == "bytes":
        return bool(value == expected)
    parts = zip(value["parts"], expected["parts"], strict=True)
    return value["stamp"] == spec[1] and all(np.array_equal(a, b) for a, b in parts)


@raynb.remote(max_retries=-1)
def make(spec: Spec) -> Any:
    return build(spec)


@raynb.remote(max_retries=-1)
def check(spec: Spec, value: Any) -> bool:
    return same(value, spec)


@raynb.remote(max_retries=-1)
def echo(value: Any) -> Any:
    return value


@raynb.remote(max_retries=-1)
def look_inside(specs: list[Spec], refs: list[Any]) -> bool:
    return all(same(raynb.get(ref), spec) for spec, ref in zip(specs, refs, strict=True))


@raynb.remote(max_retries=-1)
def make_inside(specs: list[Spec]) -> list[Any]:
    """Refs in a result: some put here, some of tasks that this one submits."""
    return [raynb.put(build(s)) if n % 2 else make.remote(s) for n, s in enumerate(specs)]


@raynb.remote(max_retries=-1, num_returns="streaming")
def stream(specs: list[Spec]) -> Any:
    for spec in specs:
        yield build(spec)


@raynb.remote(max_retries=0)
def fail(value: Any, kept: Any) -> None:
    own = raynb.put(np.zeros(20_000))
    del own
    raise ValueError(f"on purpose, with {type(value).__name__} and {type(kept).__name__} in this frame")


@raynb.remote(max_retries=0)
def die(spec: Spec, value: Any) -> Any:
    kept = [raynb.put(build(spec)), value]
    os.kill(os.getpid(), signal.SIGKILL)
    return kept


class Keeper:
    """An actor that holds views, whole ones and slices, and refs."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def keep(self, value: Any, part: bool) -> None:
        self.held.append(value[10:20] if part else value)

    def keep_refs(self, refs: list[Any]) -> None:
        self.held.append(refs)

    def first(self) -> list[int]:
        return [int(v[0]) for v in self.held if isinstance(v, np.ndarray)]

    def forget(self, position: int) -> None:
        del self.held[position]


class Kept:
    """What the driver holds a ref to."""

    def __init__(self, ref: Any, spec: Spec | None, inner: tuple[tuple[int, Spec], ...] = ()) -> None:
        self.ref = ref
        self.spec = spec  # None: a list of refs
        self.inner = inner  # of what is in that list


class Simulation(RuleBasedStateMachine):
    """One runtime, what the test holds of it, and what must be true after each step."""

    @initialize(limit=st.sampled_from([3 * MB, 6 * MB, 20 * MB]))
    def start(self, limit: int) -> None:
        self.folder = tempfile.mkdtemp(prefix="raynb-test-")
        self.before = leaks.Held.now()
        self.limit = limit
        self.runtime = raynb.Runtime(
            num_cpus=2, object_store_memory=limit, spill_directory=self.folder, validate=True,
            namespace="store",
        )  # fmt: skip
        self.runtime.__enter__()
        self.engine = self.runtime.engine
        self.kept: list[Kept] = []
        self.views: list[tuple[Any, Any, int]] = []  # array, a copy of it, object id
        self.actors: list[tuple[Any, list[tuple[int, int | None]]]] = []  # handle, held: (id, first number)
        self.gone: set[int] = set()  # freed by us
        self.damaged: set[int] = set()  # its file was removed: right, or lost
        self.stamp = 0

    def teardown(self) -> None:
        if not hasattr(self, "runtime"):
            return
        try:
            self.kept.clear()
            self.views.clear()
            self.actors.clear()
            self.settled()
            engine = self.engine
            assert leaks.until(lambda: not engine.machine.objects.table), engine.machine.objects.table
            assert engine.store.total() == 0
            assert self.files() == {}
            assert engine.store.live_views() == 0
        finally:
            self.runtime.__exit__(None, None, None)
            del self.engine, self.runtime
            left = os.listdir(self.folder)
            shutil.rmtree(self.folder)
        assert left == []
        leaks.check(self.before)

    # -- helpers -------------------------------------------------------------------------------
    def fresh(self, size: int, kind: str) -> Spec:
        self.stamp += 1
        return (kind, self.stamp, size)

    def add(self, ref: Any, spec: Spec | None, inner: Any = (), on: tuple[Kept, ...] = ()) -> None:
        if any(self.tainted(kept) for kept in on):
            self.damaged.add(ref._id)
        self.kept.append(Kept(ref, spec, tuple(inner)))

    def tainted(self, kept: Kept) -> bool:
        ids = {kept.ref._id, *(i for i, _ in kept.inner)}
        return bool(ids & (self.damaged | self.gone))

    def pick(self, dice: random.Random) -> Kept:
        return dice.choice(self.kept)

    def files(self) -> dict[str, int]:
        found = {}
        for path in sorted(Path(self.engine.disk.path).iterdir()):
            with contextlib.suppress(FileNotFoundError):  # just being removed
                found[str(path)] = path.stat().st_size
        return found

    def read(self, kept: Kept) -> Any:
        """Returns the right value, or None where it may be gone and is."""
        identity = kept.ref._id
        try:
            value = raynb.get(kept.ref, timeout=60)
        except ObjectFreedError:
            assert identity in self.gone or self.tainted(kept)
            return None
        except ObjectLostError:
            assert self.tainted(kept)
            return None
        except RayTaskError:
            assert self.tainted(kept)
            return None
        assert identity not in self.gone
        if kept.spec is not None:
            assert same(value, kept.spec), kept.spec
        return value

    def settled(self) -> None:
        """Waits until nothing is under way: no task, no message, no count that must still come back."""
        if not leaks.until(self.agrees, 0.3, 0.002):  # unless only the collector can
            gc.collect()
        assert leaks.until(self.agrees, 60, 0.002), self.disagreement()

    # -- what is always true -------------------------------------------------------------------
    def agrees(self) -> bool:
        return not self.disagreement()

    def disagreement(self) -> str:
        engine = self.engine
        machine = engine.machine
        with engine.loop.lock:
            engine.loop.drain_logs(engine.now())
            invariants.check(machine)
            if machine.tasks.table:
                return f"unfinished tasks: {machine.tasks.table}"
            objects = machine.objects
            total = engine.store.total()
            if total != objects.shared_bytes:
                return f"the ledger has {total} bytes, the objects {objects.shared_bytes}"
            stored = {
                o.value[1]: o.value[-2] for o in objects.table.values()
                if type(o.value) is tuple and o.value[0] == "file"
            }  # fmt: skip
            files = self.files()
            if set(stored) != set(files):
                return f"files {sorted(files)}, spilled objects {sorted(stored)}"
            if sum(stored.values()) != objects.spilled_bytes:
                return f"{stored} spilled, {objects.spilled_bytes} counted"
            for path, size in files.items():
                if size not in (size and stored[path] + HEADER_BYTES, 0):
                    return f"{path} has {size} bytes for an object of {stored[path]}"
            extra = set(objects.table) - self.nameable()
            if extra:
                found = [objects.table[i] for i in sorted(extra)]
                return f"nobody can name {[(o, machine.story(o.id)) for o in found]}"
            if engine.store.live_views() != sum(o.views for o in objects.table.values()):
                return f"{engine.store.live_views()} views alive"
        engine.loop.flush()
        return ""

    def nameable(self) -> set[int]:
        """The objects that can be named, from what this test holds, not from any count."""
        machine = self.engine.machine
        ids = [kept.ref._id for kept in self.kept] + [identity for _, _, identity in self.views]
        for actor, held in self.actors:
            ids += [identity for identity, _ in held] + [actor._ray_ref._id]
        found: set[int] = set()
        while ids:
            identity = ids.pop()
            if identity in found:
                continue
            found.add(identity)
            obj = machine.objects.table.get(identity)
            ids.extend(obj.contained if obj is not None else ())
            maker = machine.lineage.table.get(identity >> 32)
            if maker is not None:
                ids.extend((*maker.spec.deps, *maker.spec.contained))
        return found

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "engine"):
            return
        self.settled()
        assert self.engine.store.total() <= self.limit
        for view, copy, _ in self.views:
            assert np.array_equal(view, copy)
