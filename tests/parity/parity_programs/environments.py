"""runtime_env: env_vars, working_dir, py_modules."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from parity_programs import program
from parity_programs._tools import error, kind, says, sub


def reader(ray: Any) -> Any:
    @ray.remote
    def read(name: str) -> Any:
        return os.environ.get(name)

    return read


@program(timeout=60)
def env_vars_of_a_task(ray: Any) -> Any:
    read = reader(ray)
    with_it = read.options(runtime_env={"env_vars": {"PARITY_A": "1"}})
    return ray.get([with_it.remote("PARITY_A"), read.remote("PARITY_A")])


@program(timeout=60)
def env_vars_do_not_leak(ray: Any) -> Any:
    read = reader(ray)
    first = ray.get(read.options(runtime_env={"env_vars": {"PARITY_B": "1"}}).remote("PARITY_B"))
    later = ray.get([read.remote("PARITY_B") for _ in range(8)])
    other = ray.get(read.options(runtime_env={"env_vars": {"PARITY_C": "2"}}).remote("PARITY_B"))
    return [first, later, other]


@program(timeout=60)
def env_vars_of_an_actor(ray: Any) -> Any:
    @ray.remote(runtime_env={"env_vars": {"PARITY_D": "actor"}})
    class Actor:
        def read(self, name: str) -> Any:
            return os.environ.get(name)

    return ray.get(Actor.remote().read.remote("PARITY_D"))


@program(timeout=60)
def env_vars_pass_to_children(ray: Any) -> Any:
    read = reader(ray)

    @ray.remote(runtime_env={"env_vars": {"PARITY_E": "parent"}})
    def parent() -> Any:
        return ray.get(read.remote("PARITY_E"))

    return ray.get(parent.remote())


@program(timeout=60)
def env_vars_can_use_others(ray: Any) -> Any:
    read = reader(ray).options(runtime_env={"env_vars": {"PATH": "/somewhere/else:${PATH}"}})
    path = ray.get(read.remote("PATH"))
    return [path.startswith("/somewhere/else:"), len(path) > len("/somewhere/else:")]


@program
def env_vars_must_be_strings(ray: Any) -> Any:
    read = reader(ray)
    return [
        kind(lambda: ray.get(read.options(runtime_env={"env_vars": {"A": 1}}).remote("A"), timeout=20)),
        kind(lambda: ray.get(read.options(runtime_env={"env_vars": ["A"]}).remote("A"), timeout=20)),
    ]


@program
def a_runtime_env_that_is_no_dict(ray: Any) -> Any:
    return kind(lambda: reader(ray).options(runtime_env="env").remote("A"))


@program(timeout=60)
def the_runtime_env_in_the_context(ray: Any) -> Any:
    @ray.remote(runtime_env={"env_vars": {"PARITY_F": "x"}})
    def look() -> Any:
        return ray.get_runtime_context().runtime_env.get("env_vars")

    return ray.get(look.remote())


JOB = {"num_cpus": 2, "runtime_env": {"env_vars": {"PARITY_JOB": "job", "PARITY_G": "job"}}}


@program(init=JOB, timeout=60)
def env_vars_of_the_whole_job(ray: Any) -> Any:
    read = reader(ray)
    own = read.options(runtime_env={"env_vars": {"PARITY_G": "task"}})
    return ray.get([read.remote("PARITY_JOB"), own.remote("PARITY_JOB"), own.remote("PARITY_G")])


def _folder() -> str:
    folder = tempfile.mkdtemp(dir=os.environ.get("PARITY_FOLDER"))
    Path(folder, "parity_local.py").write_text("ANSWER = 42\n")
    Path(folder, "data.txt").write_text("content")
    return folder


@program(init=None, timeout=90)
def a_working_dir_and_py_modules(ray: Any) -> Any:
    folder, package = _folder(), Path(_folder(), "parity_package")
    package.mkdir()
    (package / "__init__.py").write_text("NAME = 'packed'\n")
    env = {"working_dir": folder, "py_modules": [str(package)]}
    ray.init(num_cpus=1, log_to_driver=False, runtime_env=env)

    @ray.remote
    def look() -> list:
        import parity_local  # type: ignore[import-not-found]
        import parity_package  # type: ignore[import-not-found]

        return [parity_local.ANSWER, Path("data.txt").read_text(), parity_package.NAME]

    return ray.get(look.remote())


@program(init=None, timeout=90)
def a_working_dir_that_does_not_exist(ray: Any) -> Any:
    caught = error(ray.init, num_cpus=1, log_to_driver=False, runtime_env={"working_dir": "/no/such/folder"})
    return [type(caught).__name__, says(caught, "/no/such/folder")]


@program(timeout=60)
def a_runtime_env_object(ray: Any) -> Any:
    env_class = sub(ray, "runtime_env").RuntimeEnv
    read = reader(ray).options(runtime_env=env_class(env_vars={"PARITY_H": "object"}))
    return [ray.get(read.remote("PARITY_H")), kind(lambda: env_class(env_vars={"A": 1}))]
