"""Loading a module again in such a way that everybody sees its new code, as ``%autoreload`` does it.

Its functions and classes stay the same objects and get new insides: definitions that a worker has
already, and names that were imported from the module, need not be found and changed.
"""

from __future__ import annotations

import importlib
from types import FunctionType, ModuleType
from typing import Any


def renew(module: ModuleType) -> None:
    """Loads a module again, in place."""
    before = dict(module.__dict__)
    importlib.reload(module)
    for name, old in before.items():
        new = module.__dict__.get(name)
        if new is not old and getattr(old, "__module__", None) == module.__name__ and _taken_over(old, new):
            module.__dict__[name] = old


def _taken_over(old: Any, new: Any) -> bool:
    """Gives an old function or class the insides of the new one; returns whether that was possible."""
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        try:
            old.__code__ = new.__code__
        except ValueError:  # another number of free variables
            return False
        old.__defaults__, old.__kwdefaults__, old.__doc__ = new.__defaults__, new.__kwdefaults__, new.__doc__
        old.__dict__.clear()
        old.__dict__.update(new.__dict__)
        return True
    if type(old) is not type(new) or not isinstance(old, type) or old.__mro__[1:] != new.__mro__[1:]:
        return False
    try:
        for name in vars(old).keys() - vars(new).keys() - {"__dict__", "__weakref__"}:
            delattr(old, name)
        for name, value in vars(new).items():
            kept = vars(old).get(name)
            if name not in ("__dict__", "__weakref__") and not (kept is not value and _taken_over(kept, value)):
                setattr(old, name, value)
    except (AttributeError, TypeError):  # slots, or a metaclass that forbids it
        return False
    return True
