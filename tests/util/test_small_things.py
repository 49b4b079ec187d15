"""Scheduling strategies, progress bars, `inspect_serializability`, names of the package."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import threading
from types import ModuleType

import pytest

import raynb
from raynb import util
from raynb.runtime_env import RuntimeEnv
from raynb.util import scheduling_strategies as strategies
from raynb.util.tqdm_ray import tqdm


def test_every_name_of_the_package_is_there() -> None:
    for name in util.__all__:
        assert getattr(util, name) is not None
    assert set(util.__all__) <= set(dir(util))
    with pytest.raises(AttributeError, match="nothing"):
        _ = util.nothing


def test_a_function_keeps_its_name_though_a_module_has_it_too() -> None:
    module = importlib.import_module("raynb.util.placement_group")
    assert isinstance(module, ModuleType)
    assert util.placement_group is module.placement_group


def test_importing_the_utilities_loads_nothing_heavy() -> None:
    code = (
        "import raynb.util, sys; "
        "heavy = ('joblib', 'tqdm', 'numpy', 'asyncio', 'multiprocessing.pool'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_node_affinity_wants_a_node_id() -> None:
    good = strategies.NodeAffinitySchedulingStrategy("ab" * 28, soft=True)
    assert good.node_id == "ab" * 28
    with pytest.raises(ValueError, match="xyz"):
        strategies.NodeAffinitySchedulingStrategy("xyz", soft=False)
    with pytest.raises(ValueError, match="soft=True"):
        strategies.NodeAffinitySchedulingStrategy("ab" * 28, soft=False, _spill_on_unavailable=True)
    with pytest.raises(ValueError, match="soft=False"):
        strategies.NodeAffinitySchedulingStrategy("ab" * 28, soft=True, _fail_on_unavailable=True)


def test_node_labels_want_conditions() -> None:
    made = strategies.NodeLabelSchedulingStrategy({"zone": strategies.In("a", "b")})
    assert made.hard["zone"].values == ["a", "b"]
    with pytest.raises(ValueError, match="zone"):
        strategies.NodeLabelSchedulingStrategy({"zone": "a"})
    with pytest.raises(ValueError, match="condition"):
        strategies.NodeLabelSchedulingStrategy(None)


def test_a_bar_counts_and_ends_with_a_newline(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tqdm(range(3), desc="things", unit="thing")) == [0, 1, 2]
    shown = capsys.readouterr().err
    assert "things: 100%" in shown
    assert "3/3" in shown
    assert shown.endswith("\n")


def test_a_bar_without_a_total_shows_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    with tqdm(desc="endless", flush_interval_s=0) as bar:
        bar.update(5)
        bar.set_description("renamed")
    assert "renamed: 5 it" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no iterable"):
        list(tqdm())


def test_inspection_finds_the_innermost_part() -> None:
    lock = threading.Lock()

    def uses() -> object:
        return lock

    out = io.StringIO()
    good, failures = util.inspect_serializability({"deep": [1, uses]}, name="box", print_file=out)
    assert not good
    assert [failure.obj for failure in failures] == [lock]
    assert [failure.path for failure in failures] == [("box", "deep", "[1]", "lock")]
    assert "non-serializable" in out.getvalue()
    assert util.inspect_serializability([1, "a"], print_file=io.StringIO()) == (True, set())


def test_a_message_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    debug = util.debug
    monkeypatch.setattr(debug, "_seen", {})
    monkeypatch.setattr(debug, "_periodic", False)
    monkeypatch.setattr(debug, "_disabled", False)
    assert [util.log_once("a"), util.log_once("a"), util.log_once("b")] == [True, False, True]
    util.enable_periodic_logging()
    assert not util.log_once("a")
    monkeypatch.setitem(debug._seen, "a", debug._seen["a"] - 61)
    assert util.log_once("a")
    util.disable_log_once_globally()
    assert not util.log_once("new")


def test_a_runtime_env_is_a_checked_dict() -> None:
    env = RuntimeEnv(env_vars={"A": "1"})
    assert env == {"env_vars": {"A": "1"}} == env.to_dict()
    with pytest.raises(TypeError, match="env_vars"):
        RuntimeEnv(env_vars={"A": 1})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="colour"):
        RuntimeEnv(colour="red")


def test_joblib_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ImportError, match="pip install joblib"):
        util.joblib.register_ray()


def test_the_address_of_this_machine() -> None:
    assert util.get_node_ip_address().count(".") == 3


def test_the_top_package_knows_its_utilities() -> None:
    assert raynb.util is util
    assert raynb.as_completed is util.as_completed
