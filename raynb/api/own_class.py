"""An actor class's own name inside its methods means the class.

``@remote`` puts an `ActorClass` in the class's place. Python's older idiom, ``super(B, self).__init__()``,
then names something that is no type, and fails (on Ray too). The methods of a class are looked
through when it is decorated: where one calls ``super`` with the class's name, the name ``super`` in its
code is replaced by one that means `own_super`. `isinstance` and `issubclass` need no such help.
"""

from __future__ import annotations

import builtins
import sys
from types import CodeType, FunctionType
from typing import Any

_NAME = "__raynb_super__"


def own_super(*args: Any) -> Any:
    """As the builtin ``super``; an actor class among its arguments means its class."""
    if args:
        return builtins.super(*(args[0].__ray_own_class__() if _is_actor_class(args[0]) else args[0], *args[1:]))
    frame = sys._getframe(1)  # without arguments: of the calling method, as Python itself finds them
    names = frame.f_code.co_varnames
    if not names or "__class__" not in frame.f_locals:
        raise RuntimeError("super(): no arguments")
    return builtins.super(frame.f_locals["__class__"], frame.f_locals[names[0]])


def _is_actor_class(value: Any) -> bool:
    return hasattr(type(value), "__ray_own_class__")


def resolve_own_name(cls: type) -> None:
    """Lets the methods of a class that is about to be decorated name it in ``super``."""
    for member in list(vars(cls).values()):
        if type(member) in (staticmethod, classmethod):
            functions = [member.__func__]
        elif type(member) is property:
            functions = [member.fget, member.fset, member.fdel]
        else:
            functions = [member]
        for function in functions:
            if type(function) is FunctionType:
                code = _with_own_super(function.__code__, cls.__name__)
                if code is not function.__code__:
                    function.__globals__.setdefault(_NAME, own_super)
                    function.__code__ = code


def _with_own_super(code: CodeType, name: str) -> CodeType:
    consts = tuple(_with_own_super(const, name) if type(const) is CodeType else const for const in code.co_consts)
    if any(new is not old for new, old in zip(consts, code.co_consts, strict=True)):
        code = code.replace(co_consts=consts)
    if "super" in code.co_names and (name in code.co_names or name in code.co_freevars):
        code = code.replace(co_names=tuple(_NAME if used == "super" else used for used in code.co_names))
    return code


__all__ = ["own_super", "resolve_own_name"]
