"""Programs written for Ray run on raynb unchanged: ``raynb.as_ray``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raynb.base.ray_names import hook as ray_hook
from raynb.testing import leaks

pytestmark = pytest.mark.timeout(300)  # each program starts a runtime, on a machine that may be slow


def run(program: str, folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> str:
    """Runs a program in a process of its own; returns what it prints. Nothing of it may be left."""
    script = folder / "program.py"
    script.write_text(program, encoding="utf-8")
    env = {**os.environ, **(environ or {})}
    value = leaks.mark(env)
    done = subprocess.run(
        [sys.executable, *arguments, str(script)], cwd=folder, env=env, capture_output=True, text=True, timeout=250,
        check=False,
    )  # fmt: skip
    leaks.check_gone(value, 60.0)
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORTS = """
import raynb
ray = raynb.as_ray()
import ray as again
assert again is ray and ray.__version__ == raynb.base.ray_names.hook.RAY_VERSION
from ray.util.placement_group import placement_group
from ray.util.queue import Queue
from ray.util.annotations import Deprecated, DeveloperAPI, PublicAPI
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from ray.exceptions import GetTimeoutError, RayTaskError, RpcError
from ray.runtime_env import RuntimeEnv
from ray.util.timer import _Timer
import ray.util.state.common, ray.util.state.exception, ray._private.services, ray.types, ray.cluster_utils
import ray.util.multiprocessing, ray.util.joblib, ray.experimental.internal_kv as kv
# The module of the same name must not hide the function.
assert callable(ray.util.placement_group) and ray.util.placement_group is placement_group
assert Queue is raynb.util.queue.Queue
assert ray.types.ObjectRef is ray.ObjectRef is ray.ObjectID
ray._private.worker.blocking_get_inside_async_warned = True

@ray.remote
def inside():
    import ray
    from ray.util.queue import Queue
    return ray.__version__, ray.get(ray.remote(lambda: 5).remote()), Queue.__module__

@ray.remote
class Keeper:
    def version(self):
        import ray
        return ray.__version__

assert ray.get(inside.remote()) == (ray.__version__, 5, "raynb.util.queue")
keeper = Keeper.remote()
assert ray.get(keeper.version.remote()) == ray.__version__
assert ray.worker.get_dashboard_url() is None
from ray._private.state import actors
row = actors(keeper._actor_id.hex())
assert row["Address"]["NodeID"] == ray.get_runtime_context().get_node_id() and row == actors()[row["ActorID"]]
assert actors("00" * 16) == {}
assert kv._internal_kv_put("a", b"1") is False
assert kv._internal_kv_put("ab", "2", namespace="other") is False
assert kv._internal_kv_get("a") == b"1" and kv._internal_kv_list("a") == [b"a"]
assert kv._internal_kv_del("a") == 1 and not kv._internal_kv_exists("a")
ray.shutdown(wait_for_processes=True)
import sys
assert "ray" not in sys.modules
print("good")
"""


def test_import_ray_means_raynb_here_and_in_workers_until_shutdown(tmp_path: Path) -> None:
    assert run(IMPORTS, tmp_path) == "good\n"


LATE = """
import raynb
raynb.init(num_cpus=2)
before = raynb.get(raynb.remote(lambda: 1).remote())
ray = raynb.as_ray()

@raynb.remote
def inside():
    import ray
    return ray.get(ray.put(7))

assert raynb.get([inside.remote() for _ in range(8)]) == [7] * 8
raynb.shutdown()
print("good")
"""


def test_a_runtime_that_runs_already_gets_it_too(tmp_path: Path) -> None:
    assert run(LATE, tmp_path) == "good\n"


PROGRAM = """
import sys
import ray
ray.init(num_cpus=2)
def make():
    import ray
    import ray.util.queue as q
    return ray.remote(lambda: (ray.get(ray.put(ray.__version__)), q.__name__))
found = ray.get(make().remote())  # the modules are in its closure
assert found[1] == "ray.util.queue", found
print(found[0])
ray.shutdown()
import ray.util.queue          # after a shutdown too
print(ray.get(ray.put(1)), sys.argv[0].endswith("program.py"), __name__)
"""


def test_a_whole_program_runs_from_the_command_line_and_by_the_environment(tmp_path: Path) -> None:
    expected = f"{ray_hook.RAY_VERSION}\n1 True __main__\n"
    assert run(PROGRAM, tmp_path, "-m", "raynb.as_ray") == expected
    # Whatever imports raynb first makes it work.
    assert run(f"import raynb\n{PROGRAM}", tmp_path, environ={"RAYNB_AS_RAY": "1"}) == expected


REAL = """
import sys, types
sys.modules["ray"] = types.ModuleType("ray")
sys.modules["ray"].__version__ = "2.60.0"
import raynb
try:
    raynb.as_ray()
except RuntimeError as error:
    assert "real Ray 2.60.0 is imported" in str(error) and "Restart the kernel" in str(error), error
    del sys.modules["ray"]
raynb.as_ray()
try:
    raynb.init("auto")
except RuntimeError as error:
    print(error)
"""


def test_the_real_ray_and_a_cluster_are_not_mixed_with_it(tmp_path: Path) -> None:
    assert "Start without raynb.as_ray()" in run(REAL, tmp_path)


REFUSED = """
import importlib
import raynb
raynb.as_ray()
# Attributes after a plain import, as in Ray, whatever else has been imported.
assert raynb.experimental.internal_kv._internal_kv_get and raynb._private.services.get_node_ip_address()
import ray.data, ray.tune, ray.serve, ray.rllib, ray.air, ray.llm
from ray.tune import Tuner, schedulers
from ray.train.torch import TorchTrainer
import ray
assert not isinstance(3, Tuner)
uses = [lambda: Tuner(1), lambda: TorchTrainer.restore("x"), lambda: ray.data.read_csv("x")]
for use in [*uses, lambda: ray.serve.run(1), lambda: raynb.tune.run(1)]:
    try:
        use()
    except NotImplementedError as error:
        print(error)
for name in ("nonsense", "ClientBuilder"):
    try:
        getattr(ray, name)
    except AttributeError as error:
        print(error)
for name in ("ray.util.nonsense", "ray.worker", "ray.engine.local"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error)
# Neither has the attempt hidden the former module of that name, nor are raynb's own parts Ray's.
assert ray.worker.get_dashboard_url() is None and not hasattr(ray, "engine")
assert not {"engine", "worker", "wire"} & set(dir(ray)) and "get" in dir(ray)
"""


def test_libraries_that_raynb_lacks_import_and_refuse_on_use(tmp_path: Path) -> None:
    lines = run(REFUSED, tmp_path).splitlines()
    assert [line.partition(" ")[0] for line in lines[:5]] == [
        "ray.tune.Tuner", "ray.train.torch.TorchTrainer.restore", "ray.data.read_csv", "ray.serve.run", "ray.tune.run",
    ]  # fmt: skip
    assert all("is not part of raynb. " in line and line.endswith(".") for line in lines[:5])
    assert "raynb has no ray.nonsense" in lines[5]
    assert "raynb.init('ray://" in lines[6]
    assert lines[7:] == [
        "No module named 'ray.util.nonsense'", "No module named 'ray.worker'", "No module named 'ray.engine'",
    ]  # fmt: skip
