"""The kernel's surroundings, as each submission takes them along."""

from __future__ import annotations

import logging
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from raynb.base.process import surroundings as taken
from raynb.base.process import waits
from raynb.jupyter.cells import kernel_state, surroundings
from raynb.jupyter.cells.surroundings import Surroundings


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    monkeypatch.setattr(taken, "mark", taken.Mark())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(logging.root, "_cache", {})  # where a look leaves a sign
    shell = SimpleNamespace(display_formatter=None)
    router = SimpleNamespace(redirections=SimpleNamespace(look=lambda: None))
    config = SimpleNamespace(follow=["path"])
    made: Any = SimpleNamespace(shell=shell, router=router, config=config)
    found = Surroundings(made)
    monkeypatch.setattr(found, "_shows_differently", lambda: False)
    return found


class Growing(dict[str, Any]):
    """A table to which another thread adds while it is gone through."""

    def items(self) -> Any:
        for item in list(super().items()):
            self[f"new {len(self)}"] = 0
            yield item
        raise RuntimeError("dictionary changed size during iteration")


def test_what_another_thread_imports_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    loud = logging.getLogger("raynb-test-loud")
    monkeypatch.setattr(logging.root.manager, "loggerDict", Growing({"loud": loud}))
    monkeypatch.setattr(loud, "level", 17)
    assert kernel_state.logging_levels()["loggers"] == {"loud": 17}
    display = Growing({"width": 1, "html": Growing({"border": 2})})
    config = SimpleNamespace(_global_config={"display": display}, _registered_options={})
    monkeypatch.setitem(sys.modules, "pandas._config.config", config)
    assert kernel_state.pandas_options({"display.html.border"}) == {"display.html.border": 2}
    monkeypatch.setitem(sys.modules, "matplotlib", SimpleNamespace(rcParams=Growing({"lines": 3})))
    assert kernel_state.rc_options(set()) == {"lines": 3}


def test_a_thread_that_submits_while_another_looks_takes_what_that_one_has_seen(
    watched: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = None
    before = watched.look(engine)
    sys.path.insert(0, "new")
    found: list[taken.Mark] = []
    other = threading.Thread(target=lambda: found.append(watched.look(engine)))
    take = watched._take

    def held(part: str, value: object) -> None:
        if part == "path":  # half way: what differs is noted, the mark is the former one
            other.start()
            other.join(0.2)  # it waits for this one
        take(part, value)

    monkeypatch.setattr(watched, "_take", held)
    mark = watched.look(engine)
    other.join(60)
    assert mark.key != before.key
    assert [one.key for one in found] == [mark.key]


def test_options_are_compared_although_a_test_of_the_users_has_stopped_time(watched: Surroundings) -> None:
    assert vars(surroundings)["_now"] is waits.time.monotonic  # which freezegun does not find
