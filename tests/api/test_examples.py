"""Every public name has an example in its docstring, and the examples run."""

from __future__ import annotations

import doctest
import gc
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raynb
from raynb.keeping import session
from raynb.util.state import common

MODULES = (
    "raynb", "raynb.runtime_env", "raynb.util", "raynb.util.frames", "raynb.util.joblib",
    "raynb.util.metrics", "raynb.util.multiprocessing", "raynb.util.queue", "raynb.util.scheduling_strategies",
    "raynb.util.state", "raynb.util.tqdm_ray",
    *(["raynb.util.dask"] if importlib.util.find_spec("dask") else []),  # an extra
)  # fmt: skip
#: Public names without an example → why.
WITHOUT = {
    "get_node_instance_id": "a cloud's name",
    "disable_log_once_globally": "changes the whole process",
    "enable_periodic_logging": "changes the whole process",
    "register_serializer": "its class is one of a module, see docs/how-to",
    "deregister_serializer": "see register_serializer",
    "AsyncResult": "what Pool's methods return",
    "IMapIterator": "what Pool's methods return",
    "GroupBy": "what groupby returns",
    "RuntimeEnvConfig": "accepted for Ray's sake",
    **dict.fromkeys(("In", "NotIn", "Exists", "DoesNotExist"), "see NodeLabelSchedulingStrategy"),
    **{name: "a row of a list" for name in vars(common) if name.endswith(("State", "StateRow"))},
}


def public() -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for place in MODULES:
        module = importlib.import_module(place)
        for name in getattr(module, "__all__", vars(module)):
            value = getattr(module, name)
            ours = (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("raynb.")
            ours = ours and (hasattr(module, "__all__") or value.__module__ == place)
            if ours and name[0] != "_" and id(value) not in seen:
                seen.add(id(value))
                yield name, value


def test_every_public_name_has_an_example() -> None:
    lacking = {name for name, value in public() if ">>>" not in (inspect.getdoc(value) or "")}
    assert lacking == set(WITHOUT)


@pytest.mark.timeout(600)
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_first_folder", str(tmp_path))  # what `keep` keeps is not beside the tests
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    parser = doctest.DocTestParser()
    told: list[str] = []
    try:
        for name, value in public():
            text = inspect.getdoc(value) or ""
            if ">>>" in text:
                raynb.init(num_cpus=2, log_to_driver=False)
                space = {"ray": raynb, "__name__": "__main__"}
                runner.run(parser.get_doctest(text, space, name, None, None), out=told.append)
                space.clear()
    finally:
        raynb.shutdown()
        gc.collect()
    assert not told, "".join(told)
    assert runner.tries >= 80
