"""The store under the real engine: hypothesis decides what a driver, workers and actors do with objects.

Each step ends when nothing is under way any more. Then every byte must be accounted for: what the
machine believes, what the ledger says, what lies in files, and what the driver can still name are
the same, and every value that is looked at is right. Workers are killed, objects are spilled, freed
and lost in between.

``RAYNB_STORE_EXAMPLES=100`` runs so many examples with new seeds, instead of a few fixed ones.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

import raynb
from raynb.base.rows import DEAD
from raynb.exceptions import RayError, TaskCancelledError
from tests.store import engine_world as world
from tests.store.engine_world import DICE, MAX_REFS, MB, SIZES, Keeper, Kept, Simulation, build, same

EXAMPLES = int(os.environ.get("RAYNB_STORE_EXAMPLES", "0"))


class EngineMachine(Simulation):
    # -- what happens --------------------------------------------------------------------------
    @rule(size=SIZES, kind=st.sampled_from(["array", "bytes", "parts"]))
    def put(self, size: int, kind: str) -> None:
        if not (len(self.kept) < MAX_REFS):
            return
        spec = self.fresh(size, kind)
        self.add(raynb.put(build(spec)), spec)

    @rule(over=st.sampled_from([0, 8, 1 * MB]), by_task=st.booleans())
    def as_large_as_the_store(self, over: int, by_task: bool) -> None:
        if not (len(self.kept) < MAX_REFS):
            return
        spec = self.fresh(self.limit // 8 * 8 + over, "array")
        self.add(world.make.remote(spec) if by_task else raynb.put(build(spec)), spec)

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=4), kind=st.sampled_from(["array", "parts"]))
    def results(self, sizes: list[int], kind: str) -> None:
        if not (len(self.kept) < MAX_REFS):
            return
        for size in sizes:
            spec = self.fresh(size, kind)
            self.add(world.make.remote(spec), spec)

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=4), take=st.integers(0, 4))
    def stream_items(self, sizes: list[int], take: int) -> None:
        """Some are taken, the rest is dropped with the generator."""
        if not (len(self.kept) < MAX_REFS):
            return
        specs = [self.fresh(size, "array") for size in sizes]
        items = world.stream.remote(specs)
        for spec, ref in zip(specs[:take], items, strict=False):
            self.add(ref, spec)

    @rule(dice=DICE, count=st.integers(1, 3))
    def nest(self, dice: random.Random, count: int) -> None:
        """Refs in a put; the driver may forget its own."""
        if not (self.kept and len(self.kept) < MAX_REFS):
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
        if not (len(self.kept) < MAX_REFS):
            return
        specs = [self.fresh(size, "array") for size in sizes]
        ref = world.make_inside.remote(specs)
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
            assert raynb.get(world.look_inside.remote([m.spec for m in members], refs), timeout=60)
        for member in members:
            self.read(member)
            if len(self.kept) < MAX_REFS:
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
        answers = [world.check.remote(kept.spec, kept.ref) for _ in range(times)]
        try:
            assert all(raynb.get(answers, timeout=60))
        except RayError:
            assert self.tainted(kept)

    @rule(dice=DICE)
    def pass_through(self, dice: random.Random) -> None:
        if not (self.kept and len(self.kept) < MAX_REFS):
            return
        kept = self.pick(dice)
        self.add(world.echo.remote(kept.ref), kept.spec, kept.inner, on=(kept,))

    @rule(size=SIZES)
    def pass_by_value(self, size: int) -> None:
        if not (len(self.kept) < MAX_REFS):
            return
        spec = self.fresh(size, "array")
        assert raynb.get(world.check.remote(spec, build(spec)), timeout=60)

    @rule(dice=DICE, caught=st.booleans())
    def task_fails(self, dice: random.Random, caught: bool) -> None:
        if not (self.kept):
            return
        kept = self.pick(dice)
        ref = world.fail.remote(kept.ref, [kept.ref])
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
            raynb.get(world.die.remote(self.fresh(size, "array"), kept.ref), timeout=60)
            raise AssertionError("the dead don't answer")
        except RayError:
            pass

    @rule(dice=DICE, sizes=st.lists(SIZES, min_size=2, max_size=6))
    def kill_under_load(self, dice: random.Random, sizes: list[int]) -> None:
        """A worker is killed at any moment while results are made and passed on."""
        if not (len(self.kept) < MAX_REFS):
            return
        chains = []
        for size in sizes:
            spec = self.fresh(size, "array")
            made = world.make.remote(spec)
            chains.append((spec, made, world.echo.remote(made)))
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
        if not (len(self.kept) < MAX_REFS):
            return
        refs = [(s, world.make.remote(s)) for s in (self.fresh(size, "array") for _ in range(4))]
        raynb.cancel(refs[-1][1], force=force)
        for spec, ref in refs:
            try:
                assert same(raynb.get(ref, timeout=60), spec)
            except TaskCancelledError:
                assert ref is refs[-1][1]

    @rule(share=st.sampled_from([0.3, 1.0]))
    def spill(self, share: float) -> None:
        self.engine.spilling.make(int(self.limit * share))

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


EngineMachine.TestCase.settings = settings(
    max_examples=EXAMPLES or 8,
    stateful_step_count=60 if EXAMPLES else 40,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # finding a smaller example would run the engine for many minutes
    suppress_health_check=list(HealthCheck),
)
TestEngineMachine = pytest.mark.timeout(600)(EngineMachine.TestCase)
