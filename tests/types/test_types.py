"""The public types: right programs pass, wrong ones fail where they are wrong, in mypy and pyright alike."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import raynb
from raynb.api import options as o
from raynb.api.runtime import _IGNORED
from raynb.base.config import Config

PROGRAM = Path(__file__).with_name("programs.py")
PACKAGE = Path(raynb.__file__).parent
WRONG = {
    number
    for number, line in enumerate(PROGRAM.read_text(encoding="utf-8").splitlines(), 1)
    if re.search(r"# E: ", line)
}


#: The samples of the how-to, which says with `# error` where a checker finds one.
SAMPLES = "\n".join(
    re.findall(
        r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "docs/how-to/types.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)  # fmt: skip


def lines_with_errors(output: str, program: str) -> set[int]:
    return {int(number) for number in re.findall(rf"{program}\.py:(\d+)(?::\d+)?[: -]+error", output)}


def checked(command: list[str], folder: Path) -> str:
    # The package of pyright asks PyPI for a newer version of itself, and waits for the answer.
    environ = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=350, check=False)
    return done.stdout + done.stderr


@pytest.mark.timeout(400)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_users_program_is_checked(checker: str, tmp_path: Path) -> None:
    shutil.copy(PROGRAM, tmp_path)
    (tmp_path / "samples.py").write_text(SAMPLES, encoding="utf-8")
    if checker == "mypy":
        cache = str(tmp_path / "cache")
        command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", f"--cache-dir={cache}",
                   PROGRAM.name, "samples.py"]  # fmt: skip
    else:
        programs = [PROGRAM.name, "samples.py"]
        settings = {"include": programs, "extraPaths": [str(PACKAGE.parent)], "typeCheckingMode": "strict"}
        (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "pyright", "-p", "."]
    output = checked(command, tmp_path)
    assert len(WRONG) >= 15
    assert lines_with_errors(output, "programs") == WRONG, output
    said = {number for number, line in enumerate(SAMPLES.splitlines(), 1) if "# error" in line}
    assert len(said) >= 4
    assert lines_with_errors(output, "samples") == said, output


def stub() -> dict[str, set[str]]:
    """Class of the stub → the names that it annotates."""
    trees = [ast.parse((PACKAGE / name).read_text(encoding="utf-8")) for name in ("__init__.pyi", "actor.pyi")]
    return {
        node.name: {
            item.target.id for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }  # fmt: skip


def test_the_stub_has_every_option_and_every_argument_of_init() -> None:
    found = stub()
    common = found["_CommonOptions"]
    changing = {"num_returns"}  # it changes the result's type, so it stands in the signatures

    def of(where: int) -> set[str]:
        return {name for name, option in o.OPTIONS.items() if option.where & where} - changing

    assert found["TaskOptions"] | common == of(o.TASK)
    assert found["ActorOptions"] | common == of(o.ACTOR)
    assert found["MethodOptions"] == of(o.METHOD)
    own = set(Config.__slots__) - {"isolated", "address"}
    assert own <= found["_InitArguments"]
    assert found["_InitArguments"] - own <= _IGNORED | {"object_spilling_directory"}


@pytest.mark.parametrize("package", [raynb, raynb.util])
def test_the_stub_has_every_public_name(package: ModuleType) -> None:
    stub = Path(package.__path__[0]) / "__init__.pyi"
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
    inside = {"_private", "_raylet", "jupyter"}
    assert {*package.__all__, *package._MODULES} - names == inside & package._MODULES


def test_what_the_stub_calls_generic_takes_a_parameter_when_the_program_runs() -> None:
    for generic in (raynb.ObjectRef, raynb.ObjectRefGenerator, raynb.ActorHandle, raynb.ActorClass, raynb.ActorProxy):
        assert generic[int].__args__  # in an annotation that Python evaluates


def test_the_mark_of_a_method_does_nothing_to_it() -> None:
    def add(self: object, n: int) -> int:
        return n

    assert raynb.method(add) is add
