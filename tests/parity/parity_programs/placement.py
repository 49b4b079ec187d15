"""Where things run: who is inside a placement group, groups made in tasks, accelerators by name."""

from __future__ import annotations

from typing import Any

from parity_programs import program
from parity_programs._tools import PATIENCE, kind, sub, until


@program
def children_captured_by_a_placement_group(ray: Any) -> Any:
    util = sub(ray, "util")
    groups = sub(ray, "util.placement_group")
    strategies = sub(ray, "util.scheduling_strategies")
    group = util.placement_group([{"CPU": 1}, {"CPU": 1}])
    ray.get(group.ready(), timeout=PATIENCE)

    @ray.remote(num_cpus=1)
    def child() -> bool:
        return groups.get_current_placement_group() is not None

    @ray.remote(num_cpus=1)
    def parent() -> bool:
        return bool(ray.get(child.remote()))

    strategy = strategies.PlacementGroupSchedulingStrategy(
        placement_group=group, placement_group_capture_child_tasks=True
    )
    found = ray.get(parent.options(scheduling_strategy=strategy).remote())
    util.remove_placement_group(group)
    return found


@program
def who_is_captured_by_a_placement_group(ray: Any) -> Any:
    util = sub(ray, "util")
    groups = sub(ray, "util.placement_group")
    strategies = sub(ray, "util.scheduling_strategies")
    group = util.placement_group([{"CPU": 1}, {"CPU": 1}])
    ray.get(group.ready(), timeout=PATIENCE)
    nowhere = strategies.PlacementGroupSchedulingStrategy(placement_group=None)
    inside = strategies.PlacementGroupSchedulingStrategy(
        placement_group=group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )

    @ray.remote(num_cpus=0)
    def child() -> bool:
        return groups.get_current_placement_group() is not None

    @ray.remote(num_cpus=0)
    class Child:
        def there(self) -> bool:
            return groups.get_current_placement_group() is not None

        def below(self) -> bool:
            return bool(ray.get(child.remote(), timeout=PATIENCE))

    @ray.remote(num_cpus=0)
    def between() -> bool:
        return bool(ray.get(child.remote(), timeout=PATIENCE))

    def children() -> list[Any]:
        actor = Child.remote()
        return [
            ray.get(child.remote(), timeout=PATIENCE),
            ray.get(child.options(num_cpus=1).remote(), timeout=PATIENCE),
            ray.get(child.options(scheduling_strategy=nowhere).remote(), timeout=PATIENCE),
            ray.get(child.options(scheduling_strategy="DEFAULT").remote(), timeout=PATIENCE),
            ray.get(between.remote(), timeout=PATIENCE),
            ray.get(actor.there.remote(), timeout=PATIENCE),
            ray.get(actor.below.remote(), timeout=PATIENCE),
            kind(child.options(num_cpus=2).remote),
        ]

    class Parent:
        def run(self) -> list[Any]:
            return children()

    task = ray.remote(num_cpus=1)(children).options(scheduling_strategy=inside)
    found = [ray.get(task.remote(), timeout=PATIENCE)]
    actor = ray.remote(num_cpus=1)(Parent).options(scheduling_strategy=inside).remote()
    found.append(ray.get(actor.run.remote(), timeout=PATIENCE))
    outside = ray.get(between.remote(), timeout=PATIENCE)
    util.remove_placement_group(group)
    return [*found, outside]


@program
def a_placement_group_made_in_a_task(ray: Any) -> Any:
    util = sub(ray, "util")
    groups = sub(ray, "util.placement_group")
    strategies = sub(ray, "util.scheduling_strategies")

    @ray.remote(num_cpus=1)
    def inside() -> bool:
        return groups.get_current_placement_group() is not None

    @ray.remote(num_cpus=0)
    def outer() -> list[Any]:
        group = util.placement_group([{"CPU": 1}])
        placed = [group.wait(PATIENCE), ray.get(group.ready(), timeout=PATIENCE) == group]
        strategy = strategies.PlacementGroupSchedulingStrategy(placement_group=group)
        there = ray.get(inside.options(scheduling_strategy=strategy).remote(), timeout=PATIENCE)
        state = util.placement_group_table(group)["state"]
        util.remove_placement_group(group)
        return [*placed, there, state, until(lambda: util.placement_group_table(group)["state"] == "REMOVED")]

    return ray.get(outer.remote(), timeout=PATIENCE)


@program(init={"num_cpus": 2, "resources": {"accelerator_type:L4": 1}})
def an_accelerator_by_its_name(ray: Any) -> Any:
    names = sub(ray, "util.accelerators")

    @ray.remote(num_cpus=0, accelerator_type=names.NVIDIA_L4)
    def here() -> str:
        return "on one"

    others = [names.NVIDIA_TESLA_V100, names.NVIDIA_H100, names.AMD_INSTINCT_MI250, names.GOOGLE_TPU_V5P]
    return [ray.get(here.remote(), timeout=PATIENCE), *others]
