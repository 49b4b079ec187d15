"""Packs what a task returned."""

from __future__ import annotations

import pickle

from raynb.base import engine as slot
from raynb.base.engine import Packed
from raynb.base.spec import FailedReturn
from raynb.serde import pickling


def pack_result(value: object) -> Packed:
    """Pickles a result.

    Raises:
        TypeError: it cannot be pickled; the text names the part that can't.
    """
    if type(value) is FailedReturn:
        if value.name:  # the error is to say which of the task's items it was
            slot.name_task(value.name)
        raise value.error
    try:
        return pickling.pack(value)
    except RecursionError:
        raise TypeError("the result is nested too deeply to be pickled") from None
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        path = pickling._culprit(value, "the result")
        where = path if path != "the result" else f"{path} (of type {type(value).__qualname__})"
        raise TypeError(f"Could not serialize {where}: {error}") from error
