"""A failure that nobody asks about is told once, in the cell or on stderr; one that somebody catches is not."""

from __future__ import annotations

from typing import Any

import pytest

import raynb as ray
from raynb.base.rows import Output
from raynb.core.vocabulary.events import RefsChanged
from raynb.engine.loop.pace import MAX_REFS_PER_DRAIN
from raynb.testing import leaks


@ray.remote
def fails(text: str = "no") -> None:
    raise ValueError(text)


@ray.remote
class Broken:
    def __init__(self) -> None:
        raise KeyError("constructor")

    def method(self) -> None: ...


@pytest.fixture
def told(raynb_runtime: Any) -> list[str]:
    """What the runtime tells by itself, as it comes."""
    lines: list[str] = []

    def listen(output: Output) -> None:
        if output.name == "raynb" and "asks for" not in output.text:
            lines.append(output.text)

    raynb_runtime.engine.on_output.append(listen)
    return lines


def settle() -> None:
    """Waits until the machine has heard of the refs that were dropped before."""
    ray.get(ray.remote(lambda: 0).remote())
    ray.get(ray.remote(lambda: 0).remote())


def test_a_dropped_ref_of_a_failed_task_is_told_once(told: list[str]) -> None:
    fails.remote("first")
    said = "raynb: fails failed, and nobody has asked for its result: ValueError: first\n"
    assert leaks.until(lambda: told == [said]), told


def test_a_terminal_finds_nothing_to_obey_in_what_is_told(told: list[str]) -> None:
    fails.options(name="na\x1b]0;title\x07me").remote("te\x9b31mxt")
    said = "raynb: na\\x1b]0;title\\x07me failed, and nobody has asked for its result: ValueError: te\\x9b31mxt\n"
    assert leaks.until(lambda: told == [said]), told


def test_what_somebody_catches_is_not_told(told: list[str]) -> None:
    with pytest.raises(ValueError, match="got"):
        ray.get(fails.remote("got"))
    ref = fails.remote("waited for")
    ray.wait([ref])
    assert isinstance(ref.future().exception(), ValueError)
    del ref
    one, two = fails.options(num_returns=2).remote("of two")
    ray.wait([one])
    del one
    with pytest.raises(ValueError, match="of two"):
        ray.get(two)
    del two

    @ray.remote
    def catches() -> bool:
        try:
            ray.get(fails.remote("inside"))
        except ValueError:
            return True
        return False

    assert ray.get(catches.remote())
    ray.cancel(fails.options(resources={"nothing": 1}).remote())
    settle()
    fails.options(name="last").remote()
    assert leaks.until(lambda: bool(told)), told
    assert [line.split()[1] for line in told] == ["last"]


def test_of_a_chain_the_last_is_told_with_the_first_ones_reason(told: list[str]) -> None:
    ref = ray.remote(lambda x: x).options(name="second").remote(fails.remote("deep"))
    ray.wait([ref])
    del ref
    said = "raynb: second failed, and nobody has asked for its result: ValueError: deep\n"
    assert leaks.until(lambda: told == [said]), told


def test_an_actor_whose_constructor_fails_is_told_unless_a_call_tells_of_it(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raynb.core.tasks.unasked.GRACE_SECONDS", 5.0)  # in which the call below is made
    known = Broken.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(known.method.remote())
    silent = Broken.options(name="silent").remote()
    assert leaks.until(lambda: told == ["raynb: the actor Broken could not be made: KeyError: 'constructor'\n"]), told
    del silent, known


def test_of_many_failures_a_few_are_told(told: list[str]) -> None:
    ray.wait([fails.remote() for _ in range(100)], num_returns=100)
    settle()
    assert leaks.until(lambda: any("failed 100 times" in line for line in told)), told
    assert len(told) == 7


def test_what_waits_to_be_told_is_told_at_the_end() -> None:
    with ray.Runtime(num_cpus=1, log_to_driver=False) as runtime:
        lines: list[str] = []
        runtime.engine.on_output.append(lambda output: lines.append(output.text))
        handle = Broken.remote()
        ray.wait([handle._ray_ref])
    assert lines == ["raynb: the actor Broken could not be made: KeyError: 'constructor'\n"]


def test_of_what_is_dropped_just_before_the_end_only_failures_matter() -> None:
    """A million refs need not be freed one by one before a runtime ends; a failure among them is told all the same."""
    with ray.Runtime(num_cpus=1, log_to_driver=False) as runtime:
        lines: list[str] = []
        engine = runtime.engine
        engine.on_output.append(lambda output: lines.append(output.text))
        kept: Any = [ray.put(number) for number in range(2 * MAX_REFS_PER_DRAIN)]
        failed = fails.remote("late")
        ray.wait([failed, kept[-1]], num_returns=2)
        engine.loop.io.stop()  # from now on only this thread tells the machine
        with engine.loop.lock:
            engine.loop.drain_logs(engine.now())
        events: list[Any] = []
        apply = engine.loop.apply
        engine.loop.apply = lambda event: (events.append(event), apply(event))[1]
        del kept, failed
        engine.loop.drain_all()  # nobody who enters is kept waiting by all of them
    assert lines == ["raynb: fails failed, and nobody has asked for its result: ValueError: late\n"]
    assert [len(event.changes) for event in events if type(event) is RefsChanged] == [MAX_REFS_PER_DRAIN, 1]
