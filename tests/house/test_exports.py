"""The public names of `raynb`: a name that comes or goes is a decision, made here."""

from __future__ import annotations

import inspect

import pytest

import raynb
from raynb import exceptions

#: Ray's names that raynb has at the top, and its own after the blank line.
PUBLIC = """
ActorClass ActorHandle DynamicObjectRefGenerator ObjectRef ObjectRefGenerator actor available_resources
cancel cloudpickle cluster_resources exceptions get get_actor get_gpu_ids get_runtime_context init
is_initialized kill method nodes put remote show_in_dashboard shutdown timeline util wait __version__
ObjectID LOCAL_MODE SCRIPT_MODE WORKER_MODE

ActorProxy Runtime TypedActor api free init_async load_ipython_extension runtime shutdown_async unload_ipython_extension
"""


def test_the_public_names_are_the_listed_ones() -> None:
    # `util` is loaded when asked for, so a star import leaves it out.
    assert sorted({*raynb.__all__, "util"}) == sorted(PUBLIC.split())


@pytest.mark.parametrize("name", sorted(PUBLIC.split()))
def test_each_public_name_is_there_and_says_what_it_is(name: str) -> None:
    thing = getattr(raynb, name)
    if inspect.isfunction(thing) or inspect.isclass(thing):
        assert (inspect.getdoc(thing) or "").strip(), f"raynb.{name} has no docstring"


def test_every_exception_of_the_tree_is_exported_and_drawn() -> None:
    classes = {
        name
        for name, thing in vars(exceptions).items()
        if inspect.isclass(thing) and issubclass(thing, exceptions.RayError)
    }
    drawn = {name for name in classes if name in (exceptions.__doc__ or "")}
    assert classes - drawn <= {"AsyncioActorExit", "NodeDiedError"}, "draw it in the tree of exceptions.py"
    assert {thing.__name__ for thing in exceptions.RAY_EXCEPTION_TYPES} <= classes


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = raynb.no_such_thing
