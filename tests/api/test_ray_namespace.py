"""Every public name of Ray's modules is here and takes what Ray's takes, or is listed with the reason."""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raynb.base.ray_names import hook

RECORDED = json.loads((Path(__file__).parents[1] / "parity" / "names.json").read_text(encoding="utf-8"))

#: Names as ``module:name`` or ``module:Class.member``, with patterns → why raynb differs.
DIFFERS: dict[str, str] = {
    ":*ID.redis_shard_hash": "Ray's storage",
    ":ActorID.*": "ids have Ray's lengths, not Ray's bits: none is made of others, and none is inside another",
    ":TaskID.*": "as for ActorID",
    ":PlacementGroupID.of": "as for ActorID",
    ":Object*.from_*": "a ref is made by a task or `put` and counted; bytes alone name no object",
    ":Object*.nil": "a ref always names an object",
    ":*.redis_shard_hash": "Ray's storage",
    ":ObjectRefGenerator": "only engines make them",
    ":client": "Ray Client: `init('ray://…')` is its place, on a cluster",
    ":ClientBuilder": "Ray Client",
    ":Language": "Python only",
    ":java_*": "Python only",
    ":init": "re-running a cell that calls it is no error (ignore_reinit_error=True); output is shown by default",
    "actor:ActorClass": "made by `remote`",
    "actor:ActorHandle": "made by an actor class",
    "actor:ActorAlreadyExistsError": "Ray's own import there; it is in `exceptions`",
    "actor:ObjectRefGenerator": "Ray's own import there",
    "*:PlacementGroupSchedulingStrategy": "Ray's own import there; it is in `util.scheduling_strategies`",
    "remote_function:ObjectRefGenerator": "Ray's own import there",
    "*:log_once": "Ray's own import there; it is in `util.debug`",
    "runtime_context:RuntimeEnv": "Ray's own import there; it is in `runtime_env`",
    "*.from_ray_exception": "takes a message of Ray's protocol; `from_bytes` reads what `to_bytes` wrote",
    "exceptions:ObjectReconstructionFailedError.REASON_MESSAGES": "Ray's numbers of reasons",
    "cluster_utils:*": "one node: refused when it is made",
    "remote_function:RemoteFunction": "made by `remote`",
    "runtime_context:RuntimeContext": "made by `get_runtime_context`",
    "runtime_context:RuntimeContext.*placement_group_id": "seldom used; `util.get_current_placement_group()` has it",
    "runtime_context:RuntimeContext.get_temp_dir": "there is no folder of a session",
    "runtime_env:RuntimeEnv.get": "a dict's own; Ray's third argument reads data classes of plugins",
    "runtime_env:RuntimeEnv.[ceghijknpruvw]*": "of fields that one machine refuses (conda, pip, containers, plugins)",
    "runtime_env:RuntimeEnvConfig.*": "Ray's protocol",
    "util:*connect": "Ray Client",
    "util.debug:Suspect": "of Ray's leak detector",
    "util.multiprocessing:Pool.starmap_async": "the standard library's order of arguments, which Ray's lacks",
    "util.placement_group:PlacementGroup": "made by `placement_group`",
    "util.serialization:StandaloneSerializationContext": "Ray's own tests",
    "util.state:StateApiClient": "there is no server",
    "util.state:list_cluster_events": "there is no server",
    "util.state:list_logs": "there are no log files",
    "util.state.common:JobDetails": "the jobs API",
}


def missing_in(ours: list[inspect.Parameter], theirs: list[list[Any]]) -> list[str]:
    """Returns what Ray's callers may give that ours does not take, or takes otherwise."""
    named = {p.name: p for p in ours}
    kinds = {p.kind for p in ours}
    order = [p.name for p in ours if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wrong = []
    at = 0
    for name, kind, default in theirs:
        if kind.startswith("VAR_"):
            continue
        mine = named.get(name)
        if mine is None:
            if inspect.Parameter.VAR_KEYWORD not in kinds or kind == "POSITIONAL_ONLY":
                wrong.append(f"takes no {name}")
        elif default is not None and mine.default is mine.empty and mine.kind not in (mine.VAR_KEYWORD, 2):
            wrong.append(f"{name} has no default")
        elif default is not None and repr(mine.default)[:40] != default:
            wrong.append(f"{name}={mine.default!r}, Ray {default}")
        if kind == "POSITIONAL_OR_KEYWORD" and mine is not None:
            if mine.kind is not mine.KEYWORD_ONLY and (at >= len(order) or order[at] != name):
                wrong.append(f"{name} is not argument {at}")
            at += 1
    return wrong


def compared(where: str, value: Any, theirs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields (name, what differs)."""
    if theirs["kind"] != "value" and not callable(value):
        yield where, f"is no {theirs['kind']}"
        return
    yield from called(where, value, theirs.get("parameters"))
    for member, parameters in theirs.get("members", {}).items():
        if member == "add_note" and not hasattr(BaseException, member):
            continue  # Python's own, from 3.11 on
        if not hasattr(value, member) and member not in getattr(value, "__annotations__", {}):
            yield f"{where}.{member}", "is missing"
        elif parameters != "value":
            yield from called(f"{where}.{member}", getattr(value, member), parameters)


def called(where: str, value: Any, theirs: list[list[Any]] | None) -> Iterator[tuple[str, str]]:
    if theirs is None:
        return
    try:
        ours = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return
    for wrong in missing_in(ours, theirs):
        yield where, wrong


def differences() -> Iterator[tuple[str, str]]:
    for place, names in RECORDED["names"].items():
        module = importlib.import_module(f"raynb.{place}" if place else "raynb")
        for name, theirs in names.items():
            value = getattr(module, name, None)
            if value is None and theirs["kind"] != "value":
                yield f"{place}:{name}", "is missing"
            else:
                yield from compared(f"{place}:{name}", value, theirs)


def test_what_differs_from_rays_public_names_is_listed_with_a_reason() -> None:
    assert RECORDED["ray"] == hook.RAY_VERSION
    found = list(differences())
    unknown = [(where, why) for where, why in found if not any(fnmatch.fnmatchcase(where, p) for p in DIFFERS)]
    assert not unknown, "\n".join(f"{where}: {why}" for where, why in unknown)
    unused = [p for p in DIFFERS if not any(fnmatch.fnmatchcase(where, p) for where, _ in found)]
    assert not unused
    assert all(DIFFERS.values())
