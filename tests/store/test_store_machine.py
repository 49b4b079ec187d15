"""Random histories of several stores against a plain dict, compared after every step."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raynb.exceptions import ObjectLostError
from raynb.store import DiskTier, GuestDiskTier, Ledger, NoRoom, Store
from raynb.store.backing import FileBacking, MemfdBacking
from tests.store.copies import copied

MB = 1 << 20
SIZES = st.one_of(st.integers(0, 300), st.integers(0, 70_000), st.integers(0, MB + 100))


class StoreMachine(RuleBasedStateMachine):
    """A driver (slot 0) and workers that write, read, spill, restore, free, die and are adopted."""

    @initialize(limit=st.sampled_from([64 * 1024, MB, 4 * MB]), kind=st.sampled_from(["memfd", "file"]))
    def start(self, limit: int, kind: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="raynb-test-")
        self.backing = MemfdBacking() if kind == "memfd" else FileBacking(self.folder)
        self.limit = limit
        self.ledger = Ledger.create(self.backing)
        self.ledgers = [self.ledger]
        self.driver_disk = DiskTier(self.folder)
        self.stores = {0: Store(0, limit, self.ledger, self.driver_disk, self.backing)}
        self.next_slot = 1
        self.objects: list[tuple[Any, list[bytes]]] = []  # location, parts
        self.views: list[
            tuple[Any, bytes, list[int], int, Any]
        ] = []  # array, bytes, released, slot, location
        self.stamp = 0

    def teardown(self) -> None:
        if not hasattr(self, "stores"):
            return
        try:
            for view in self.views:
                assert bytes(view[0]) == view[1]
        finally:
            self.views.clear()
            for store in self.stores.values():
                store.close()
            for ledger in self.ledgers:
                ledger.close()
            left = os.listdir(self.folder)
            shutil.rmtree(self.folder)
        assert left == []

    def body(self, n: int) -> bytes:
        self.stamp += 1
        return random.Random(self.stamp).randbytes(n)

    def some_store(self, data: st.DataObject) -> Store:
        return self.stores[data.draw(st.sampled_from(sorted(self.stores)), label="store")]

    def some_object(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.objects) - 1), label="object")

    def owner_of(self, location: Any) -> Store:
        """The process that may free it: its writer, or the driver for the dead and for files."""
        return self.stores.get(location[1], self.stores[0]) if location[0] == "shm" else self.stores[0]

    def lend(self, location: Any, reader: Store) -> None:
        if location[0] == "shm" and not reader.knows(location[1]):
            holder = self.stores.get(location[1], self.stores[0])
            reader.attach(location[1], os.dup(holder.fd_of(location[1])))

    def pinned(self, location: Any) -> bool:
        return any(view[4] == location for view in self.views)

    # -- what can happen -----------------------------------------------------------------------
    @precondition(lambda self: len(self.stores) < 4)
    @rule()
    def start_worker(self) -> None:
        slot, self.next_slot = self.next_slot, self.next_slot + 1
        ledger = Ledger.attach(os.dup(self.ledger.fd))
        self.ledgers.append(ledger)
        self.stores[slot] = Store(
            slot, self.limit, ledger, GuestDiskTier(self.driver_disk.home, slot), self.backing
        )

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=4), data=st.data())
    def write(self, sizes: list[int], data: st.DataObject) -> None:
        store, parts = self.some_store(data), [self.body(n) for n in sizes]
        need = sum(-(-n // 64) * 64 for n in sizes) or 64
        try:
            location = store.write(parts[0], parts[1:])
        except NoRoom:
            assert need + self.accounted() > self.limit
            return
        assert location[3] == need
        self.objects.append((location, parts))

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=4), data=st.data())
    def write_file(self, sizes: list[int], data: st.DataObject) -> None:
        parts = [self.body(n) for n in sizes]
        self.objects.append((self.some_store(data).write_file(parts[0], parts[1:]), parts))

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        store, (location, parts) = self.some_store(data), self.objects[self.some_object(data)]
        self.lend(location, store)
        released: list[int] = []
        stream, buffers = store.read(location, lambda: released.append(1))
        assert bytes(stream) == parts[0]
        assert [bytes(b) for b in buffers] == parts[1:]
        whole = [stream, *buffers]
        held = data.draw(st.integers(0, len(parts) - 1), label="kept part")
        if len(parts) == 1 and len(parts[0]) <= 64 * 1024:
            assert released == [1]
            return
        assert not released
        if isinstance(whole[held], bytes):  # a small stream doesn't pin
            del stream, buffers, whole
            assert released == [1]
            return
        array = np.frombuffer(whole[held], "u1")[1:] if len(whole[held]) > 1 else whole[held]
        self.views.append((array, bytes(array), released, store.slot, location))
        del stream, buffers, whole
        assert not released

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def drop_view(self, data: st.DataObject) -> None:
        i = data.draw(st.integers(0, len(self.views) - 1), label="view")
        array, expected, released, slot, _ = self.views.pop(i)
        assert bytes(array) == expected
        assert not released
        del array
        assert released == ([1] if slot in self.stores else [])

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def spill(self, data: st.DataObject) -> None:
        i = self.some_object(data)
        location, parts = self.objects[i]
        if location[0] == "shm" and not self.pinned(location):
            self.lend(location, self.stores[0])
            self.objects[i] = (self.stores[0].spill(location), parts)
            self.owner_of(location).free(location)

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        i, store = self.some_object(data), self.some_store(data)
        location, parts = self.objects[i]
        if location[0] == "file":
            try:
                self.objects[i] = (store.restore(location), parts)
            except NoRoom:
                assert location[2] + self.accounted() > self.limit
            else:
                self.stores[0].free(location)

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        i = self.some_object(data)
        location, _ = self.objects[i]
        if location[0] == "file" or not self.pinned(location):
            del self.objects[i]
            self.owner_of(location).free(location)

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def damage_a_file(self, data: st.DataObject) -> None:
        i = self.some_object(data)
        location, _ = self.objects[i]
        if location[0] == "file" and not self.pinned(location):  # views would see it, being mapped
            os.truncate(location[1], location[2])
            with pytest.raises(ObjectLostError):
                self.some_store(data).read(location)
            del self.objects[i]
            self.stores[0].free(location)

    @rule(data=st.data(), keep=st.sampled_from([0, 100_000]))
    def trim(self, data: st.DataObject, keep: int) -> None:
        store = self.some_store(data)
        store.trim(keep)
        stats = store.stats()
        assert stats.resident - stats.used <= keep + stats.objects * 2 * 4096

    @precondition(lambda self: len(self.stores) > 1)
    @rule(data=st.data(), reported=st.booleans())
    def worker_dies(self, data: st.DataObject, reported: bool) -> None:
        """With its last object never reported, sometimes; its descriptor is with the driver."""
        slot = data.draw(st.sampled_from(sorted(self.stores)[1:]), label="victim")
        worker = self.stores[slot]
        mine = [at for at, _ in self.objects if at[0] == "shm" and at[1] == slot]
        if mine:
            self.lend(mine[0], self.stores[0])
        if not reported:
            try:
                worker.write(b"lost", [bytes(10_000)])
            except NoRoom:
                worker.write_file(b"lost")
        del self.stores[slot]
        worker.close()
        self.stores[0].adopt(slot, [at for at, _ in self.objects])()

    # -- what is always true -------------------------------------------------------------------
    def accounted(self) -> int:
        return sum(at[3] for at, _ in self.objects if at[0] == "shm")

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "stores"):
            return
        for store in self.stores.values():
            mine = [at for at, _ in self.objects if at[0] == "shm" and at[1] == store.slot]
            stats = store.stats()
            assert stats.used == sum(at[3] for at in mine)
            assert stats.objects == len(mine)
            assert store.live_views() == sum(view[3] == store.slot for view in self.views)
        assert self.ledger.total() == self.accounted() <= self.limit
        files = {at[1] for at, _ in self.objects if at[0] == "file"}
        assert {
            os.path.join(self.driver_disk.path, name) for name in os.listdir(self.driver_disk.path)
        } == files

    @invariant()
    def bytes_agree(self) -> None:
        if hasattr(self, "objects") and self.objects:
            location, parts = self.objects[self.stamp % len(self.objects)]
            self.lend(location, self.stores[0])
            stream, buffers = copied(self.stores[0], location)
            assert [stream, *buffers] == parts
        for array, expected, _, _, _ in getattr(self, "views", ())[-2:]:
            assert bytes(array) == expected


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=40, stateful_step_count=50, deadline=None, database=None)
