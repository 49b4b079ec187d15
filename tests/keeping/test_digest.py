"""Digests: the same in every process, and another for everything that a program could tell apart."""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raynb
from raynb.base.ray_names import hook
from raynb.keeping.digest import digest
from raynb.keeping.mentions import all_code, environment_of, imports_of
from raynb.keeping.versions import Unsure, changed_since, import_token, module_token, watching

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(...)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    | st.sets(st.integers() | st.text(max_size=3), max_size=4),
    max_leaves=12,
)  # fmt: skip


def told_apart(one: Any, other: Any) -> bool:
    """The slow, obviously right answer: types, values and, of dicts, the order."""
    if type(one) is not type(other):
        return True
    if isinstance(one, float):
        return repr(one) != repr(other)
    if isinstance(one, (list, tuple)):
        return len(one) != len(other) or any(map(told_apart, one, other))
    if isinstance(one, dict):
        return told_apart(list(one.items()), list(other.items()))
    return bool(one != other)


@settings(max_examples=400, deadline=None)
@given(VALUES, VALUES)
def test_two_values_have_one_digest_exactly_if_no_program_tells_them_apart(one: Any, other: Any) -> None:
    assert (digest(one) != digest(other)) == told_apart(one, other)
    assert digest(copy.deepcopy(one)) == digest(one)


def test_sharing_counts_because_a_change_would_show_it() -> None:
    inner: list[int] = []
    assert digest([inner, inner]) != digest([[], []])
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert digest(cycle) == digest(copy.deepcopy(cycle))


PROGRAM = """
import dataclasses, enum, functools
from raynb.keeping.digest import digest
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Point:
    x: int = {x}
    tags: set = dataclasses.field(default_factory=lambda: {{"a", "b", "c"}})
{lines}LIMIT = {limit}
def inner(v, k={default}):
    # comment {comment}
    return v + LIMIT * k
def outer(v):
    return [inner(item) for item in v] + [Point(), Colour.RED]
print(digest([outer, Point, Point(), functools.partial(outer, 1), {{"x", "y", "z"}}, Colour.RED]))
"""


def program(**facts: Any) -> str:
    return PROGRAM.format(**{"x": 1, "limit": 3, "default": 2, "comment": "", "lines": "", **facts})


def test_code_has_one_digest_in_every_process_and_another_when_anything_that_it_uses_is_another(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def here(**facts: Any) -> str:
        exec(compile(program(**facts), "", "exec", dont_inherit=True), {"__name__": "__main__"})
        return capsys.readouterr().out

    (tmp_path / "program.py").write_text(program(comment="more", lines="\n\n\n"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PYTHONHASHSEED": "7"}
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == here(), done.stderr
    assert len({here(x=2), here(limit=4), here(default=5), here()}) == 4


@pytest.mark.parametrize("value", [(i for i in []), threading.Lock(), [iter, sys.stdout.buffer], sys._getframe()])
def test_what_has_no_identity_is_refused(value: Any) -> None:
    with pytest.raises(Unsure):
        digest(value)


class Failing:
    """Says how it is rebuilt, up to an error."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (), None, map(int, ["1", "no number"])


def test_an_error_inside_a_value_that_a_function_holds_is_no_empty_cell() -> None:
    def holding(value: Any) -> Any:
        return lambda: value

    function = holding(Failing())
    with pytest.raises(Unsure, match="no number"):
        digest(function)
    empty = holding(1)
    full = digest(empty)
    del empty.__closure__[0].cell_contents
    assert digest(empty) != full


def test_a_module_that_somebody_edits_counts_by_its_files_and_those_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keeping_a.py").write_text("import keeping_b\n")
    (tmp_path / "keeping_b.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = module_token("keeping_a")
    assert module_token("keeping_a") == before
    (tmp_path / "keeping_b.py").write_text("VALUE = 22\n")
    assert module_token("keeping_a") != before
    assert module_token("numpy").startswith("numpy==numpy ")
    with pytest.raises(Unsure):
        module_token("no_such_module_anywhere")


IMPORTING = """
import importlib
def by_name():
    return importlib.import_module("keeping_c").VALUE
def reads():
    import keeping_c
    return keeping_c.VALUE
class Task:
    def run(self):
        from keeping_c import VALUE as value
        return [value for _ in "x"]
"""


def test_code_counts_with_the_modules_that_it_imports_when_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keeping_c.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(IMPORTING, space)
    with watching() as files:
        before = [digest(space[name]) for name in ("reads", "Task", "by_name")]
    assert [Path(path).name for path in files] == ["keeping_c.py"]
    assert changed_since(files) == ""
    (tmp_path / "keeping_c.py").write_text("VALUE = 22\n")
    assert changed_since(files) == str(tmp_path / "keeping_c.py")
    after = [digest(space[name]) for name in ("reads", "Task", "by_name")]
    assert all(one != other for one, other in zip(before, after, strict=True))
    (tmp_path / "keeping_c.py").unlink()
    importlib.invalidate_caches()
    assert digest(space["reads"]) not in (before[0], after[0])  # whether there is one counts, too


def test_imports_are_found_wherever_they_are_in_code() -> None:
    names = " ".join(f"name{number} = {number};" for number in range(300))  # more than one byte holds
    code = compile(f"{names}\nimport a.b as c\ndef f():\n    from d import e\n    import g, h", "", "exec")
    assert [list(imports_of(part)) for part in all_code(code)] == [["a.b"], ["d", "g", "h"]]


def test_environment_variables_that_code_names_count(monkeypatch: pytest.MonkeyPatch) -> None:
    space: dict[str, Any] = {"__name__": "__main__", "os": os}
    exec("def read(): return [os.environ.get(name) for name in ('KEEPING_A', 'KEEPING_B')]\n"
         "def passes(): return other('KEEPING_A')\ndef other(name): return 1", space)  # fmt: skip
    monkeypatch.setenv("KEEPING_A", "1")
    seen = {digest(space["read"])}
    passed = {digest(space["passes"])}
    for name, value in (("KEEPING_A", "2"), ("KEEPING_B", "1"), ("KEEPING_C", "1")):
        monkeypatch.setenv(name, value)
        seen.add(digest(space["read"]))
        passed.add(digest(space["passes"]))
    assert (len(seen), len(passed)) == (3, 2)


def test_texts_that_cannot_be_encoded_name_no_environment_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import os\ndef f(): return os.environ, '\\ud800'\n"
    (tmp_path / "keeping_half.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = compile(source, "", "exec")
    assert [environment_of(part) for part in all_code(code)][-1] == []
    assert import_token("keeping_half").startswith("keeping_half@")


NAMING = [
    "NAME = 'KEEPING_E'\ndef f(): return os.environ[NAME]",
    "NAMES = ['KEEPING_E']\ndef f(): return [os.getenv(name) for name in NAMES]",
    "def f(name='KEEPING_E'): return os.environ[name]",
    "def of(name):\n    return lambda: os.environ[name]\nf = of('KEEPING_E')",
]


@pytest.mark.parametrize("source", NAMING)
def test_environment_variables_count_that_values_name(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = made(source, "f", os=os)
    monkeypatch.delenv("KEEPING_E", raising=False)
    before = digest(function)
    monkeypatch.setenv("KEEPING_E", "1")
    assert digest(function) != before


def made(source: str, name: str, **space: Any) -> Any:
    space["__name__"] = "__main__"
    exec(source, space)
    return space[name]


def test_modules_count_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keeping_d").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "keeping_d" / "__init__.py").write_text("import os\ndef f(): return os.environ.get('KEEPING_D')\n")
    (tmp_path / "linked" / "inner.py").write_text("VALUE = 1\n")
    (tmp_path / "keeping_d" / "part").symlink_to(tmp_path / "linked", target_is_directory=True)
    (tmp_path / "linked" / "round").symlink_to(tmp_path / "keeping_d", target_is_directory=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("KEEPING_D", raising=False)
    module = importlib.import_module("keeping_d")
    seen = [digest(module.f)]
    monkeypatch.setenv("KEEPING_D", "1")
    seen.append(digest(module.f))
    (tmp_path / "linked" / "inner.py").write_text("VALUE = 22\n")
    seen.append(digest(module.f))
    cloudpickle.register_pickle_by_value(module)  # it travels as this process has it
    try:
        module.f.__defaults__ = ()
        module.f.__kwdefaults__ = {"x": 1}
        seen.append(digest(module.f))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert len(set(seen)) == 4
    with pytest.raises(Unsure, match="exists in this process only"):
        digest(ModuleType("math"))


def test_raynb_counts_by_its_version_also_under_rays_name() -> None:
    ours = module_token("raynb.util.queue")
    assert ours == f"raynb.util.queue=={raynb.__version__}"
    if "ray" in sys.modules:
        pytest.skip("the real Ray is loaded")
    ray = hook.install()
    try:
        assert digest(ray) == digest(raynb)
        assert import_token("ray.util.queue") == ours
    finally:
        hook.uninstall()


def test_the_text_of_a_class_counts_and_a_large_array() -> None:
    one, other = [type("C", (), {"__module__": "__main__", "__doc__": doc}) for doc in ("a", "b")]
    assert digest(one) != digest(other)
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros(3_000_000)
    before = digest(array)
    assert digest(array.copy()) == before
    array[2_999_999] = 1
    assert digest(array) != before
