"""Asks the cluster for what the views show of it: its nodes, what is taken of them, which actors have died.

Asked of Ray only while somebody looks, on a thread of its own, so that no look waits for a slow node: the first one
after a silence waits for a moment, as what was known then may be long over.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any, Protocol

import ray

from raynb.base.process import trace
from raynb.base.rows import NodeRow, WorkerRow
from raynb.engine.cluster import rays, shipping

FRESH_SECONDS = 1.0  # seconds for which an answer is good
STALE_SECONDS = 3.0  # seconds after which it is nothing to show any more
PATIENCE_SECONDS = 1.0  # seconds that a look waits for a new answer then
_ROLES = ("CPU", "GPU", "memory", "object_store_memory")


class _Driver(Protocol):
    alive: bool

    def apply_actors(self, found: dict[str, dict[str, Any]]) -> None:
        """Applies the rows of actors that Ray reports as dead, by their ids."""
    def apply_nodes(self, dead: set[int]) -> None:
        """Applies the numbers of nodes that have died."""


class ClusterView:
    """Keeps the latest answers of the cluster.

    Thread contract: any thread.
    """

    def __init__(self, driver: _Driver) -> None:
        self._driver = driver
        self._asked = self._answered = float("-inf")
        self._asking = threading.Lock()
        self._resources: tuple[dict[str, float], dict[str, float]] = ({}, {})
        self._nodes: dict[str, NodeRow] = {}
        self._machines: dict[str, tuple[float, int, int]] = {}  # node id → cpu, memory, memory used
        self._here = ""

    def resources(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns (total, available) resources as of the last look; starts a new look."""
        self._look()
        return self._resources

    def number_of(self, node_id: str) -> int:
        """Returns the small number of a node, a new one if it is new."""
        row = self._nodes.get(node_id)
        if row is None:
            row = self._nodes[node_id] = NodeRow(len(self._nodes) + 1, node_id)
        return row.id

    def name_of(self, number: int) -> str:
        """Returns the name that messages use for a node."""
        row = next((row for row in list(self._nodes.values()) if row.id == number), None)
        if row is None:
            return "a node that is not known"
        host = row.host or row.address
        return f"node {host} ({row.node_id[:8]})" if host else f"node {row.node_id[:8]}"

    def examine(self, modules: tuple[str, ...]) -> dict[str, Any]:
        """Looks at every node, for `%raynb doctor`: node id → what `shipping.examine_node` found, or the error."""
        return shipping.ask_nodes(modules)

    def machine(self, node_id: str, cpu: float, memory: int, used: int) -> None:
        """Applies the figures that a worker has read of its machine."""
        self._machines[node_id] = (cpu, memory, used)

    def nodes(self, workers: list[WorkerRow]) -> list[NodeRow]:
        """Returns a row for each node, with how many workers of ours are there."""
        counts: dict[int, int] = {}
        for worker in workers:
            counts[worker.node] = counts.get(worker.node, 0) + (not worker.exit)
        for row in list(self._nodes.values()):
            row.workers = counts.get(row.id, 0)
            row.cpu, row.memory, row.memory_used = self._machines.get(row.node_id, (0.0, row.memory, row.memory_used))
        return [row for row in list(self._nodes.values()) if row.address]

    # -- asking --------------------------------------------------------------------------------
    def _look(self) -> None:
        first = not self._resources[0]
        if time.monotonic() - self._asked < FRESH_SECONDS or not self._asking.acquire(blocking=first):
            return
        self._asked = time.monotonic()
        if first:
            self._ask_all()
            return
        is_stale = time.monotonic() - self._answered > STALE_SECONDS
        asking = threading.Thread(target=self._ask_all, name="raynb-cluster-view", daemon=True)
        try:
            asking.start()
        except RuntimeError as error:  # the system has no more threads: the next look tries again
            self._asking.release()
            trace.swallowed("starting a look at the cluster", error)
            return
        if is_stale:
            asking.join(PATIENCE_SECONDS)

    def _ask_all(self) -> None:
        try:
            if not (self._driver.alive and rays.is_connected()):
                return
            self._resources = (
                dict(ray.cluster_resources()), {k: v for k, v in ray.available_resources().items() if v > 0}
            )  # fmt: skip
            self._ask_nodes()
            with contextlib.suppress(Exception):  # Ray Client has no such table
                self._driver.apply_actors(ray._private.state.actors())
            self._answered = time.monotonic()
        except Exception as error:  # between two states of the cluster: the next look asks again
            trace.swallowed("looking at the cluster", error, logging.DEBUG)
        finally:
            self._asking.release()

    def _ask_nodes(self) -> None:
        if not self._here:
            self._here = rays.context().get_node_id()
        free: dict[str, dict[str, float]] = {}
        with contextlib.suppress(Exception):
            free = ray._private.state.available_resources_per_node()
        for told in ray.nodes():
            self.number_of(told["NodeID"])
            row = self._nodes[told["NodeID"]]
            row.host, row.address = told.get("NodeManagerHostname", ""), told["NodeManagerAddress"]
            row.alive, row.death_cause = bool(told["Alive"]), told.get("DeathReasonMessage") or ""
            row.driver = row.node_id == self._here
            row.labels = {k: v for k, v in (told.get("Labels") or {}).items() if not k.startswith("ray.io/")}
            has = told.get("Resources") or {}
            if not row.alive:
                row.cpus_used = row.gpus_used = row.cpu = 0.0
                row.store_used = 0
                self._machines.pop(row.node_id, None)
                continue
            left = free.get(row.node_id, has)
            row.head = "node:__internal_head__" in has
            row.cpus, row.gpus = has.get("CPU", 0.0), has.get("GPU", 0.0)
            row.cpus_used = round(row.cpus - left.get("CPU", 0.0), 4)
            row.gpus_used = round(row.gpus - left.get("GPU", 0.0), 4)
            row.resources = {k: v for k, v in has.items() if k not in _ROLES and not k.startswith("node:")
                             and "_group_" not in k and not k.startswith("accelerator_type:")}  # fmt: skip
            row.store = int(has.get("object_store_memory", 0))
            row.memory = row.memory or int(has.get("memory", 0))
            self._ask_store(row, told)
        self._driver.apply_nodes({row.id for row in list(self._nodes.values()) if row.address and not row.alive})

    @staticmethod
    def _ask_store(row: NodeRow, told: dict[str, Any]) -> None:
        with contextlib.suppress(Exception):  # it is busy, or dies in this moment: the last answer stays
            from ray._private.internal_api import node_stats

            found = node_stats(told["NodeManagerAddress"], told["NodeManagerPort"], include_memory_info=False)
            store = found.store_stats
            row.store_used = int(store.object_store_bytes_used)
            row.spilled = max(0, int(store.spilled_bytes_total) - int(store.restored_bytes_total))
