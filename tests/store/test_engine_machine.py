"""The store under the real engine: hypothesis decides what a driver, workers and actors do with objects.

Each step ends when nothing is under way any more. Then every byte must be accounted for: what the
machine believes, what the ledger says, what lies in files, and what the driver can still name are
the same, and every value that is looked at is right. Workers are killed, objects are spilled, freed
and lost in between.

``RAYNB_STORE_EXAMPLES=100`` runs so many examples with new seeds, instead of a few fixed ones.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import raynb
from raynb.base.rows import DEAD
from raynb.core import invariants
from raynb.exceptions import ObjectFreedError, ObjectLostError, RayError, RayTaskError, TaskCancelledError
from raynb.store.disk import HEADER
from raynb.testing import leaks

KB, MB = 1 << 10, 1 << 20
SIZES = st.sampled_from([1 * KB, 40 * KB, 120 * KB, 300 * KB, 1 * MB, 1 * MB + 8, 2 * MB])
# What is there depends on timing, so what is drawn must not depend on what is there.
DICE = st.integers(0, 1 << 32).map(random.Random)
MOST = 24  # refs held by the driver
EXAMPLES = int(os.environ.get("RAYNB_STORE_EXAMPLES", "0"))

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


class EngineMachine(RuleBasedStateMachine):
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
        assert leaks.until(self.agrees, 15, 0.002), self.disagreement()

    # -- what happens --------------------------------------------------------------------------
    @rule(size=SIZES, kind=st.sampled_from(["array", "bytes", "parts"]))
    def put(self, size: int, kind: str) -> None:
        if not (len(self.kept) < MOST):
            return
        spec = self.fresh(size, kind)
        self.add(raynb.put(build(spec)), spec)

    @rule(over=st.sampled_from([0, 8, 1 * MB]), by_task=st.booleans())
    def as_large_as_the_store(self, over: int, by_task: bool) -> None:
        if not (len(self.kept) < MOST):
            return
        spec = self.fresh(self.limit // 8 * 8 + over, "array")
        self.add(make.remote(spec) if by_task else raynb.put(build(spec)), spec)

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=4), kind=st.sampled_from(["array", "parts"]))
    def results(self, sizes: list[int], kind: str) -> None:
        if not (len(self.kept) < MOST):
            return
        for size in sizes:
            spec = self.fresh(size, kind)
            self.add(make.remote(spec), spec)

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=4), take=st.integers(0, 4))
    def stream_items(self, sizes: list[int], take: int) -> None:
        """Some are taken, the rest is dropped with the generator."""
        if not (len(self.kept) < MOST):
            return
        specs = [self.fresh(size, "array") for size in sizes]
        items = stream.remote(specs)
        for spec, ref in zip(specs[:take], items, strict=False):
            self.add(ref, spec)

    @rule(dice=DICE, count=st.integers(1, 3))
    def nest(self, dice: random.Random, count: int) -> None:
        """Refs in a put; the driver may forget its own."""
        if not (self.kept and len(self.kept) < MOST):
            return
        inside = [self.pick(dice) for _ in range(count)]
        if any(k.spec is None for k in inside):
            return
        inner = [(k.ref._id, k.spec) for k in inside]
        self.add(raynb.put([k.ref for k in inside]), None, inner)
        if dice.random() < 0.5:
            self.kept = [k for k in self.kept if k not in inside]

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=3))
    def nested_results(self, sizes: list[int]) -> None:
        if not (len(self.kept) < MOST):
            return
        specs = [self.fresh(size, "array") for size in sizes]
        ref = make_inside.remote(specs)
        inner = [(r._id, s) for r, s in zip(raynb.get(ref, timeout=60), specs, strict=True)]
        self.add(ref, None, inner)

    @rule(dice=DICE, inside=st.booleans())
    def unnest(self, dice: random.Random, inside: bool) -> None:
        """The refs in a value: read here, or by a task that gets them."""
        if not (any(k.spec is None for k in self.kept)):
            return
        lists = [k for k in self.kept if k.spec is None]
        kept = lists[dice.randrange(len(lists))]
        refs = self.read(kept)
        if refs is None:
            return
        members = [Kept(ref, spec) for ref, (_, spec) in zip(refs, kept.inner, strict=True)]
        if inside and not any(self.tainted(m) for m in members):
            assert raynb.get(look_inside.remote([m.spec for m in members], refs), timeout=60)
        for member in members:
            self.read(member)
            if len(self.kept) < MOST:
                self.kept.append(member)

    @rule(dice=DICE, keep=st.sampled_from(["nothing", "whole", "slice", "cycle"]))
    def get(self, dice: random.Random, keep: str) -> None:
        if not (self.kept):
            return
        kept = self.pick(dice)
        value = self.read(kept)
        if isinstance(value, np.ndarray) and keep != "nothing" and len(self.views) < 6:
            assert not value.flags.writeable
            part = value[5:25] if keep == "slice" else value
            self.views.append((part, part.copy(), kept.ref._id))
        if keep == "cycle":
            ring: list[Any] = [value]
            ring.append(ring)

    @rule(dice=DICE)
    def get_in_a_frame_that_fails(self, dice: random.Random) -> None:
        """The exception's traceback holds the view; its end gives it back."""
        if not (self.kept):
            return
        kept = self.pick(dice)

        def use() -> None:
            value = self.read(kept)
            raise KeyError(type(value).__name__)

        with contextlib.suppress(KeyError):
            use()

    @rule(dice=DICE)
    def drop_view(self, dice: random.Random) -> None:
        if not (self.views):
            return
        view, copy, _ = self.views.pop(dice.randrange(len(self.views)))
        assert np.array_equal(view, copy)

    @rule(dice=DICE, count=st.integers(1, 6))
    def drop(self, dice: random.Random, count: int) -> None:
        if not (self.kept):
            return
        for _ in range(min(count, len(self.kept))):
            del self.kept[dice.randrange(len(self.kept))]

    @rule(dice=DICE, times=st.integers(1, 8))
    def pass_on(self, dice: random.Random, times: int) -> None:
        if not (self.kept):
            return
        kept = self.pick(dice)
        if kept.spec is None:
            return
        answers = [check.remote(kept.spec, kept.ref) for _ in range(times)]
        try:
            assert all(raynb.get(answers, timeout=60))
        except RayError:
            assert self.tainted(kept)

    @rule(dice=DICE)
    def pass_through(self, dice: random.Random) -> None:
        if not (self.kept and len(self.kept) < MOST):
            return
        kept = self.pick(dice)
        self.add(echo.remote(kept.ref), kept.spec, kept.inner, on=(kept,))

    @rule(size=SIZES)
    def pass_by_value(self, size: int) -> None:
        if not (len(self.kept) < MOST):
            return
        spec = self.fresh(size, "array")
        assert raynb.get(check.remote(spec, build(spec)), timeout=60)

    @rule(dice=DICE, caught=st.booleans())
    def task_fails(self, dice: random.Random, caught: bool) -> None:
        if not (self.kept):
            return
        kept = self.pick(dice)
        ref = fail.remote(kept.ref, [kept.ref])
        if caught:
            try:
                raynb.get(ref, timeout=60)
            except ValueError:
                pass
            except RayError:
                assert self.tainted(kept)

    @rule(dice=DICE, size=SIZES)
    def task_kills_its_worker(self, dice: random.Random, size: int) -> None:
        if not (self.kept):
            return
        kept = self.pick(dice)
        try:
            raynb.get(die.remote(self.fresh(size, "array"), kept.ref), timeout=60)
            raise AssertionError("the dead don't answer")
        except RayError:
            pass

    @rule(dice=DICE, sizes=st.lists(SIZES, min_size=2, max_size=6))
    def kill_under_load(self, dice: random.Random, sizes: list[int]) -> None:
        """A worker is killed at any moment while results are made and passed on."""
        if not (len(self.kept) < MOST):
            return
        chains = []
        for size in sizes:
            spec = self.fresh(size, "array")
            made = make.remote(spec)
            chains.append((spec, made, echo.remote(made)))
        self.kill_one(dice)
        for spec, made, echoed in chains:
            self.add(echoed, spec)
            if spec[1] % 2:
                self.add(made, spec)

    @rule(dice=DICE)
    def kill_one(self, dice: random.Random) -> None:
        workers = [w for w in self.engine.snapshot().workers if w.pid and w.state != DEAD and not w.actor]
        if workers:
            victim = workers[dice.randrange(len(workers))]
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it was on its way out

    @rule(size=SIZES, force=st.booleans())
    def cancel(self, size: int, force: bool) -> None:
        if not (len(self.kept) < MOST):
            return
        refs = [(s, make.remote(s)) for s in (self.fresh(size, "array") for _ in range(4))]
        raynb.cancel(refs[-1][1], force=force)
        for spec, ref in refs:
            try:
                assert same(raynb.get(ref, timeout=60), spec)
            except TaskCancelledError:
                assert ref is refs[-1][1]

    @rule(share=st.sampled_from([0.3, 1.0]))
    def spill(self, share: float) -> None:
        self.engine.room.make(int(self.limit * share))

    @rule(dice=DICE)
    def free(self, dice: random.Random) -> None:
        if not (self.kept):
            return
        kept = self.pick(dice)
        raynb.free([kept.ref])
        self.gone.add(kept.ref._id)

    @rule(dice=DICE)
    def lose(self, dice: random.Random) -> None:
        """A file is emptied (not removed, so that the books can still be compared with what is there)."""
        # Who cuts a file under its readers kills them: only what nobody reads is damaged.
        idle = {
            obj.value[1]: obj.id for obj in self.engine.machine.objects.table.values()
            if type(obj.value) is tuple and obj.value[0] == "file" and not obj.views and not obj.lends
        }  # fmt: skip
        if idle:
            path = sorted(idle)[dice.randrange(len(idle))]
            self.damaged.add(idle[path])
            os.truncate(path, 0)

    # -- actors --------------------------------------------------------------------------------
    @rule()
    def start_actor(self) -> None:
        if not (len(self.actors) < 2):
            return
        self.actors.append((raynb.remote(num_cpus=0)(Keeper).remote(), []))

    @rule(dice=DICE, part=st.booleans(), nested=st.booleans())
    def actor_keeps(self, dice: random.Random, part: bool, nested: bool) -> None:
        if not (self.actors and self.kept):
            return
        kept = self.pick(dice)
        actor, held = self.actors[dice.randrange(len(self.actors))]
        if self.tainted(kept) or kept.spec is None or kept.spec[0] != "array":
            return
        if nested:
            raynb.get(actor.keep_refs.remote([kept.ref]), timeout=60)
            held.append((kept.ref._id, None))
        else:
            raynb.get(actor.keep.remote(kept.ref, part), timeout=60)
            held.append((kept.ref._id, int(build(kept.spec)[10 if part else 0])))

    @rule(dice=DICE)
    def actor_forgets(self, dice: random.Random) -> None:
        if not (any(held for _, held in self.actors)):
            return
        actor, held = next((a, h) for a, h in self.actors if h)
        firsts = [number for _, number in held if number is not None]
        assert raynb.get(actor.first.remote(), timeout=60) == firsts
        position = dice.randrange(len(held))
        raynb.get(actor.forget.remote(position), timeout=60)
        del held[position]

    @rule(dice=DICE, kill=st.booleans())
    def end_actor(self, dice: random.Random, kill: bool) -> None:
        if not (self.actors):
            return
        actor, _ = self.actors.pop(dice.randrange(len(self.actors)))
        if kill:
            raynb.kill(actor)

    # -- what is always true -------------------------------------------------------------------
    def agrees(self) -> bool:
        return not self.disagreement()

    def disagreement(self) -> str:
        engine = self.engine
        machine = engine.machine
        with engine.loop.lock:
            engine.loop.settle(engine.now())
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
                if size not in (size and stored[path] + HEADER, 0):
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
            maker = machine.tasks.lineage.get(identity >> 32)
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


EngineMachine.TestCase.settings = settings(
    max_examples=EXAMPLES or 8,
    stateful_step_count=60 if EXAMPLES else 40,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # finding a smaller example would run the engine for many minutes
    suppress_health_check=list(HealthCheck),
)
TestEngineMachine = EngineMachine.TestCase
