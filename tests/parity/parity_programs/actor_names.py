"""Named actors, namespaces, get_if_exists."""

from __future__ import annotations

from typing import Any

from parity_programs import program
from parity_programs._tools import counter, error, kind, says, sub, until


@program
def a_named_actor(ray: Any) -> Any:
    actor = counter(ray).options(name="tally").remote(5)
    ray.get(actor.add.remote())
    found = ray.get_actor("tally")
    return [ray.get(found.add.remote()), found == actor]


@program
def a_name_can_be_taken_only_once(ray: Any) -> Any:
    cls = counter(ray)
    first = cls.options(name="single").remote()
    ray.get(first.add.remote())
    caught = error(cls.options(name="single").remote)
    return [type(caught).__name__, isinstance(caught, ValueError), says(caught, "single", "already")]


@program
def get_if_exists(ray: Any) -> Any:
    cls = counter(ray).options(name="shared", get_if_exists=True)
    first, second = cls.remote(1), cls.remote(100)
    return [ray.get(first.add.remote()), ray.get(second.add.remote())]


@program
def get_if_exists_needs_a_name(ray: Any) -> Any:
    return kind(lambda: counter(ray).options(get_if_exists=True).remote())


@program
def an_unknown_name(ray: Any) -> Any:
    caught = error(ray.get_actor, "nobody")
    return [type(caught).__name__, says(caught, "nobody"), kind(ray.get_actor, "")]


@program
def namespaces_keep_names_apart(ray: Any) -> Any:
    cls = counter(ray)
    here = cls.options(name="twin").remote(1)
    there = cls.options(name="twin", namespace="elsewhere").remote(50)
    found = ray.get_actor("twin", namespace="elsewhere")
    return [ray.get([here.add.remote(), found.add.remote(), there.add.remote()])]


@program
def list_named_actors(ray: Any) -> Any:
    util = sub(ray, "util")
    cls = counter(ray)
    kept = [cls.options(name="listed").remote(), cls.options(name="far", namespace="away").remote()]
    ray.get([actor.add.remote() for actor in kept])
    everywhere = util.list_named_actors(all_namespaces=True)
    return [
        "listed" in util.list_named_actors(),
        "far" in util.list_named_actors(),
        {"name": "far", "namespace": "away"} in everywhere,
    ]


@program
def a_name_is_free_after_kill(ray: Any) -> Any:
    cls = counter(ray)
    first = cls.options(name="phoenix").remote()
    ray.get(first.add.remote())
    ray.kill(first)
    gone = until(lambda: kind(ray.get_actor, "phoenix") == "ValueError")
    second = cls.options(name="phoenix").remote(10)
    return [gone, ray.get(second.add.remote())]
