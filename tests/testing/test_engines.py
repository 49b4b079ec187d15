"""Every engine keeps the promises that `check_engine` lists; one that does not is named."""

from __future__ import annotations

from typing import Any

import pytest

import raynb
from raynb.api.session import make_engine
from raynb.base.config import Config
from raynb.testing import leaks
from raynb.testing.engines import CHECKS, Broken, check_engine


@pytest.mark.timeout(400)
def test_the_embedded_engine_keeps_every_promise() -> None:
    before = leaks.Held.now()
    made: list[Any] = []

    def make() -> Any:
        made.append(make_engine(Config(num_cpus=2)))
        return made[-1]

    check_engine(make)
    assert len(made) == len(CHECKS)
    assert not any(engine.alive for engine in made)
    leaks.check(before)


def test_the_engine_in_one_process_keeps_every_promise_but_running_beside() -> None:
    before = leaks.Held.now()
    # A call runs where it is made, so no get can time out while it runs.
    check_engine(
        lambda: make_engine(Config(num_cpus=2, local_mode=True)),
        without=("unknown_ends_in_time", "what_tasks_print_arrives"),  # it prints where the caller prints
    )
    leaks.check(before)


@pytest.mark.timeout(400)
@pytest.mark.raynb(num_cpus=2)
def test_the_engine_inside_a_task_keeps_every_promise_but_the_drivers(raynb_runtime: Any) -> None:
    @raynb.remote(num_cpus=0)
    def check() -> str:
        from raynb.base import engine as slot
        from raynb.testing.engines import DRIVERS, check_engine

        check_engine(slot.current, without=DRIVERS, end=lambda engine: None)
        return slot.current().__class__.__name__

    assert raynb.get(check.remote(), timeout=300) == "WorkerEngine"


def test_an_engine_that_loses_values_is_named() -> None:
    def make() -> Any:
        engine = make_engine(Config(num_cpus=1))
        engine.get = lambda refs, timeout: [None for _ in refs]
        return engine

    with pytest.raises(Broken, match=r"values_come_back: What goes in"):
        check_engine(make)


def test_checks_can_be_left_out_by_name() -> None:
    check_engine(lambda: pytest.fail("made"), without=tuple(check.__name__ for check in CHECKS))
