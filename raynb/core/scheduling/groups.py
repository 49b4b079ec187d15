"""Placement groups: bundles of resources set aside, as resources of their own names (Ray's way)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raynb.base.rows import PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT
from raynb.core.scheduling.resources import Amounts, Resources
from raynb.core.step import Step
from raynb.core.vocabulary import commands as c
from raynb.core.vocabulary.events import BundleReserved

if TYPE_CHECKING:
    from raynb.core.actors.table import Actors
    from raynb.core.scheduling.scheduler import Scheduler
    from raynb.core.tasks.cancelling import Cancelling
    from raynb.core.tasks.table import Tasks

MARKER_UNITS = 10_000 * 1000  # as Ray: 1000 of "bundle", so that tasks of no resources have a place too


def group_names(group: int, index: int, name: str) -> tuple[str, str]:
    """Returns the names of a bundled resource: of this bundle, and of any bundle of the group."""
    return f"{name}_group_{index}_{group}", f"{name}_group_{group}"


class Groups:
    """Reserves and releases placement groups.

    On one machine a group is placed when all bundles' resources are free at once.
    """

    def __init__(
        self, step: Step, resources: Resources, tasks: Tasks, actors: Actors, scheduler: Scheduler,
        cancelling: Cancelling,
    ) -> None:  # fmt: skip
        self._step = step
        self._resources = resources
        self._tasks = tasks
        self._actors = actors
        self._scheduler = scheduler
        self._cancelling = cancelling
        self.placed: dict[int, tuple[Amounts, ...]] = {}
        self.waiting: dict[int, tuple[Amounts, ...]] = {}
        self._owned: dict[int, dict[str, int]] = {}  # placed group → the resources of its own names

    def reserve(self, event: BundleReserved) -> None:
        """Enters a placement group and places it if its resources are free."""
        self.waiting[event.group] = event.bundles
        self.try_waiting()

    def try_waiting(self) -> None:
        """Places the waiting groups whose resources are free now."""
        resources = self._resources
        for group, bundles in list(self.waiting.items()):
            need: dict[str, int] = {}
            for bundle in bundles:
                for name, amount in bundle:
                    need[name] = need.get(name, 0) + amount
            whole = tuple(need.items())
            if not resources.fits(whole):
                continue
            resources.take(whole)
            del self.waiting[group]
            self.placed[group] = bundles
            own = self._owned[group] = self._own(group, bundles)
            resources.add(own)
            self._step.out.append(c.Ready(-group))
            self._scheduler.pump()

    def _own(self, group: int, bundles: tuple[Amounts, ...]) -> dict[str, int]:
        own: dict[str, int] = {}
        any_of = f"_group_{group}"
        for index, bundle in enumerate(bundles):
            this = f"_group_{index}_{group}"  # as `group_names`
            for name, amount in (*bundle, ("bundle", MARKER_UNITS)):
                one, whole = name + this, name + any_of
                own[one] = own.get(one, 0) + amount
                own[whole] = own.get(whole, 0) + amount
        return own

    def _evict(self, group: int) -> None:
        """Ends the actors and tasks that run in a removed group."""
        ending = f"_{group}"

        def inside(need: Amounts) -> bool:
            return any("_group_" in name and name.endswith(ending) for name, _ in need)

        for actor_id, actor in list(self._actors.table.items()):
            if inside(actor.spec.placement):
                self._actors.kill(actor_id, True)
        for task in list(self._tasks.table.values()):
            if not inside(task.spec.options.resources) or task.spec.creates_actor:
                continue
            if task.state in (PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT):
                self._tasks.fail(task, ("err", "TaskPlacementGroupRemoved", ()))
            elif task.worker:
                task.retries = 0
                self._cancelling.kill_worker(task.worker, "WorkerCrashedError", "its placement group was removed")

    def give_back(self, group: int) -> None:
        """Removes a placement group: ends what runs in it and releases its resources."""
        if self.waiting.pop(group, None) is not None:
            return
        bundles = self.placed.pop(group, None)
        if bundles is None:
            return
        self._evict(group)
        self._resources.remove(self._owned.pop(group))
        for bundle in bundles:
            self._resources.give(bundle)
        if self.waiting:
            self.try_waiting()
        self._scheduler.pump()
