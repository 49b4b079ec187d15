"""Names that libraries written for Ray touch, and what they mean here."""

from __future__ import annotations

import json
import pdb
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

import raynb as ray
from raynb.api import session
from raynb.api.runtime import _config
from raynb.base import engine as engines
from raynb.base.ray_names import hook as ray_hook

IDS = ("ActorClassID", "ActorID", "ClusterID", "FunctionID", "JobID", "NodeID", "PlacementGroupID", "TaskID",
       "UniqueID", "WorkerID")  # fmt: skip


@pytest.mark.parametrize("name", IDS)
def test_ids_are_bytes_of_a_fixed_width(name: str) -> None:
    kind = getattr(ray, name)
    one = kind.from_random()
    assert len(one.binary()) == kind.size()
    assert kind.from_hex(one.hex()) == kind.from_binary(one.binary()) == pickle.loads(pickle.dumps(one)) == one
    assert kind.nil().is_nil()
    assert not one.is_nil()
    assert repr(one) == f"{name}({one.hex()})"
    with pytest.raises(ValueError, match=f"{name} takes {kind.size()} bytes, got 3"):
        kind(b"abc")
    with pytest.raises(TypeError, match="takes bytes"):
        kind("abc")


def test_constants_and_small_names() -> None:
    assert (ray.SCRIPT_MODE, ray.WORKER_MODE, ray.LOCAL_MODE) == (0, 1, 2)
    assert ray.ObjectID is ray.ObjectRef is ray.types.ObjectRef
    assert ray.util.pdb.set_trace is ray.util.rpdb.set_trace is pdb.set_trace
    assert ray.logger.name == "raynb"
    assert ray.JobID.from_int(1).hex() == "01000000"
    assert ray.JobID.from_int(7).int() == 7
    logging = ray.LoggingConfig(log_level="DEBUG")
    assert ray.LoggingConfig.from_dict(logging.to_dict()) == logging
    assert ray.ObjectRef.size() == 28
    assert ray.LoggingConfig(encoding="JSON", log_level="DEBUG").encoding == "JSON"
    with pytest.raises(ValueError, match="Invalid encoding"):
        ray.LoggingConfig(encoding="XML")
    with pytest.raises(ValueError, match="Invalid log level"):
        ray.LoggingConfig(log_level="LOUD")
    assert ray._raylet.ObjectRef is ray.ObjectRef
    assert ray._raylet.NodeID is ray.NodeID
    assert ray._private.worker.RayContext is ray._private.worker.BaseContext is ray.Runtime
    assert ray._private.worker.get is ray.get
    with pytest.raises(NotImplementedError, match="one node"):
        ray.cluster_utils.Cluster()


def test_ray_version_is_the_one_that_parity_is_recorded_with() -> None:
    recorded = json.loads((Path(__file__).parents[1] / "parity" / "recorded.json").read_text(encoding="utf-8"))
    assert recorded["ray"] == ray_hook.RAY_VERSION


def test_each_part_of_raynb_is_a_module_of_rays_or_its_own() -> None:
    parts = {path.stem for path in Path(ray.__file__).parent.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - ray_hook.OWN - {"__init__", "__pycache__"} == {
        "_private", "_raylet", "actor", "cluster_utils", "data", "exceptions", "experimental", "internal",
        "runtime_env", "types", "util",
    }  # fmt: skip


def test_annotations_mark_and_change_nothing() -> None:
    from raynb.util.annotations import Deprecated, DeveloperAPI, PublicAPI, RayDeprecationWarning

    @PublicAPI(stability="beta")
    def public(x: int) -> int:
        return x + 1

    @DeveloperAPI
    class Tool: ...

    @Deprecated(message="Use public.", warning=True)
    def old() -> int:
        return 1

    assert public(1) == 2
    assert Tool().__class__ is Tool
    with pytest.warns(RayDeprecationWarning, match=r"old is deprecated\. Use public\."):
        assert old() == 1


def test_a_timer_averages_its_last_runs() -> None:
    from raynb.util.timer import _Timer

    timer = _Timer(window_size=2)
    for seconds in (5.0, 1.0, 3.0):
        timer.push(seconds)
    timer.push_units_processed(8)
    assert (timer.mean, timer.count, timer.mean_throughput) == (2.0, 3, 2.0)
    with timer, pytest.raises(RuntimeError, match="running already"), timer:
        pass


def test_data_is_refs_of_blocks_and_no_more(raynb_runtime: Any) -> None:
    import pandas as pd

    frames = [pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [3]})]
    refs = [ray.put(frame) for frame in frames]
    table = ray.data.from_pandas_refs(refs)
    assert table.to_pandas_refs() == refs
    assert (table.num_blocks(), table.count(), list(table.to_pandas()["a"])) == (2, 3, [1, 2, 3])
    assert [t.num_rows for t in ray.get(table.to_arrow_refs())] == [2, 1]
    assert list(ray.data.from_arrow(ray.get(table.to_arrow_refs())).to_pandas()["a"]) == [1, 2, 3]
    with pytest.raises(NotImplementedError, match="Dataset.map_batches is not part of raynb"):
        table.map_batches(len)


def test_every_exception_of_ray_has_its_name_here() -> None:
    names = (
        "RayError CrossLanguageError TaskCancelledError RayTaskError LocalRayletDiedError WorkerCrashedError "
        "RayActorError ActorDiedError ActorUnavailableError RaySystemError AuthenticationError UserCodeException "
        "ObjectStoreFullError OutOfDiskError OutOfMemoryError NodeDiedError ObjectLostError ObjectFetchTimedOutError "
        "RpcError ReferenceCountingAssertionError ObjectFreedError OwnerDiedError ObjectReconstructionFailedError "
        "GetTimeoutError PlasmaObjectNotAvailable AsyncioActorExit RuntimeEnvSetupError TaskPlacementGroupRemoved "
        "ActorPlacementGroupRemoved PendingCallsLimitExceeded TaskUnschedulableError ActorUnschedulableError "
        "ObjectRefStreamEndOfStreamError StreamingGeneratorReplayInconsistentError RayChannelError "
        "OufOfBandObjectRefSerializationException RayChannelTimeoutError RayCgraphCapacityExceeded "
        "RayDirectTransportError UnserializableException ActorAlreadyExistsError ActorHandleNotFoundError"
    )
    missing = [n for n in names.split() if not issubclass(getattr(ray.exceptions, n, int), ray.exceptions.RayError)]
    assert not missing


def test_a_generator_and_the_runtime_context_have_rays_methods(raynb_runtime: Any) -> None:
    @ray.remote
    def items() -> Any:
        yield from range(2)

    made = items.remote()
    ray.wait([made.completed()])
    assert made.next_ready()
    assert ray.get([next(made), next(made)]) == [0, 1]
    assert not made.next_ready()
    for name in ("send", "throw"):
        with pytest.raises(NotImplementedError, match=f"gen.{name}"):
            getattr(made, name)(None)
    with pytest.raises(NotImplementedError, match=r"ray\.cancel\(gen\)"):
        made.close()
    ref = ray.put(1)
    assert (ref.call_site(), ref.owner_address(), ref.tensor_transport()) == ("", b"", None)
    context = ray.get_runtime_context()
    assert context.get_resource_ids() == context.get_accelerator_ids()
    assert isinstance(context.get_node_labels(), dict)
    assert context.get_session_name().startswith("raynb_")
    assert context.should_capture_child_tasks_in_placement_group is False


def test_a_runtime_env_is_read_and_changed_with_checks() -> None:
    env = ray.runtime_env.RuntimeEnv(env_vars={"A": "1"})
    assert (env.env_vars(), env.working_dir(), env.has_working_dir(), env.py_modules()) == ({"A": "1"}, None, False, [])
    env.set("env_vars", {"B": "2"})
    assert ray.runtime_env.RuntimeEnv.deserialize(env.serialize()) == env
    with pytest.raises(TypeError):
        env.set("env_vars", 3)
    assert env.env_vars() == {"B": "2"}


def test_the_folders_of_a_runtime_env_are_those_where_init_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path)
    given = {"working_dir": "code", "py_modules": ["code"], "env_vars": {"A": "1"}}
    found = _config({"runtime_env": given}).runtime_env
    place = str(tmp_path / "code")
    assert found == {"working_dir": place, "py_modules": [place], "env_vars": {"A": "1"}}
    assert given["working_dir"] == "code"
    rays = _config({"runtime_env": ray.runtime_env.RuntimeEnv(working_dir="code")}).runtime_env
    assert isinstance(rays, ray.runtime_env.RuntimeEnv)
    assert rays["working_dir"] == place
    assert _config({"runtime_env": given, "cluster": "local"}).runtime_env == given  # Ray itself looks for them


def test_a_runtime_on_its_way_counts_as_initialized(monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go = threading.Event(), threading.Event()
    inside: list[bool] = []

    def held(config: Any) -> Any:
        inside.append(ray.is_initialized())
        reached.set()
        go.wait()
        raise RuntimeError("not today")

    monkeypatch.setattr(session, "make_engine", held)
    told: list[BaseException] = []

    def start() -> None:
        try:
            ray.init(num_cpus=1)
        except RuntimeError as error:
            told.append(error)

    thread = threading.Thread(target=start)
    assert not ray.is_initialized()
    session.global_slot().expected = thread
    thread.start()
    assert ray.is_initialized()  # however far the thread has come
    reached.wait()
    assert ray.is_initialized()
    go.set()
    thread.join()
    assert inside == [False]  # its own start is nothing that it could wait for
    assert [str(error) for error in told] == ["not today"]
    assert not ray.is_initialized()


def test_every_step_before_a_runtimes_end_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def step(name: str, error: BaseException | None = None) -> Any:
        def take() -> None:
            taken.append(name)
            if error is not None:
                raise error

        return take

    steps = [step("a", ValueError("first")), step("b", KeyError("second")), step("c")]
    monkeypatch.setattr(engines, "before_stop", steps)
    with pytest.raises(ValueError, match="first"):
        session.run_before_stop()
    assert taken == ["a", "b", "c"]
    steps.insert(0, step("d", KeyboardInterrupt()))  # Ctrl-C ends the wait for all of them
    with pytest.raises(KeyboardInterrupt):
        session.run_before_stop()
    assert taken[3:] == ["d"]
