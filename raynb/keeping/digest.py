"""Digests of values, functions and classes that are the same in every process.

A pickle won't do as an identity: cloudpickle writes the name of the cell's file, the place of every line,
a random id per class, and sets in the order of this process's hashes. So a value is walked instead:
plain containers item by item, functions by their code and what it names, everything else by what its
own ``__reduce_ex__`` says. Two values with one digest are equal for every program that runs on them;
two equal values may have different digests, which costs a hit and nothing else.

What cannot be distinguished raises `Unsure`: a generator, a lock, an actor's handle, an object that
pickle refuses.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import inspect
import marshal
import sys
from collections.abc import Callable, Iterable
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any, TypeVar

from cloudpickle import cloudpickle

from raynb.base.process import shelter
from raynb.base.ref import ObjectRef
from raynb.keeping.mentions import (
    environment_of,
    global_names,
    imports_of,
    line_constant,
    reads_environment,
    variables_in,
)
from raynb.keeping.versions import Unsure, import_token, module_token, name_of, variable_token
from raynb.store import checksum

_SCALARS = frozenset((type(None), bool, int, float, complex, str, bytes, type(Ellipsis)))
_SEQUENCES = (list, tuple)
#: Members of a class that say nothing of what it does, differ in each process, or are looked at by themselves.
_NOT_MEMBERS = frozenset((
    "__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__firstlineno__",
    "__static_attributes__", "__slotnames__", "_abc_impl", "__abstractmethods__", "__annotate_func__",
    "__annotations_cache__",
))  # fmt: skip
_MAX_DEPTH = 200
_LARGE_BYTES = 8 << 20  # bytes of an array from which on its sum may be another function's
_BUILTIN_MODULES = frozenset(("builtins", "__builtin__"))
#: Types whose pickle hides state that lives elsewhere.
_HIDING = frozenset(("ActorHandle", "ShownHandle", "ObjectRefGenerator", "DynamicObjectRefGenerator"))

RefKey = Callable[[ObjectRef[object]], str]


def no_refs(ref: ObjectRef[object]) -> str:
    """Raises `Unsure`: a ref of unknown origin has no digest."""
    raise Unsure("it holds a ref whose origin isn't known")


def digest(value: object, ref_key: RefKey = no_refs) -> str:
    """Returns the digest of a value as hex digits.

    Args:
        value: anything.
        ref_key: returns what stands for a ref's value; raises `Unsure` if nobody knows.

    Raises:
        Unsure: the value has no identity that another process could find out.
    """
    walk = Walk(ref_key)
    try:
        walk.value(value, 0)
    except RecursionError:
        raise Unsure("it is nested too deeply") from None
    except (Unsure, OSError):
        raise
    except Exception as error:  # of the value's own code, or another thread changes it
        shelter.pass_on(error)
        raise Unsure(f"it cannot be looked through ({type(error).__name__}: {error})") from error
    return walk.total.hexdigest()


class Walk:
    """One walk over a value; feeds a hash with tagged, length-prefixed pieces."""

    def __init__(self, ref_key: RefKey) -> None:
        self.total = hashlib.sha256()
        self.ref_key = ref_key
        self.seen: dict[int, int] = {}  # id → number in the order of the walk: sharing and cycles count
        self.alive: list[Any] = []  # what __reduce_ex__ makes must not die and give its id away

    def piece(self, tag: str, data: bytes | str = b"") -> None:
        """Adds tagged bytes to the digest."""
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        self.total.update(f"{tag}:{len(raw)};".encode())
        self.total.update(raw)

    def value(self, value: Any, depth: int) -> None:
        """Adds any value, by its type."""
        kind = type(value)
        if kind in _SCALARS:
            self.piece("=" + kind.__name__, marshal.dumps(value, 0) if value is not Ellipsis else b"")
            return
        number = self.seen.get(id(value))
        if number is not None:
            self.piece("again", str(number))
            return
        if depth > _MAX_DEPTH:
            raise Unsure("it is nested too deeply")
        self.seen[id(value)] = len(self.seen)
        self.alive.append(value)
        if kind in _SEQUENCES:
            self.sequence(value, depth)
        elif kind is dict:
            self.piece("dict", str(len(value)))
            self.sequence(list(value), depth, value)
            self.sequence(list(value.values()), depth, value)
        elif kind in (set, frozenset):
            self.piece(kind.__name__, "".join(sorted(self.alone(item) for item in value)))
        elif kind is bytearray:
            self.piece("bytearray", bytes(value))
        else:
            self.other(value, kind, depth)

    def alone(self, value: object) -> str:
        """Returns the digest of a value by itself, for what has no order."""
        return digest(value, self.ref_key)

    def copied(self, copy: object, of: object, depth: int) -> None:
        """Adds a container that was made to look into a value."""
        self.value(copy, depth)

    def sequence(self, items: Any, depth: int, of: object = None) -> None:
        """Adds a list or tuple, in order.

        Args:
            of: the value that they were listed of.
        """
        self.piece(type(items).__name__, str(len(items)))
        if all(type(item) in _SCALARS and item is not Ellipsis for item in items):
            self.piece("flat", marshal.dumps(tuple(items), 0))
            return
        for item in items:
            self.value(item, depth + 1)

    def other(self, value: Any, kind: type, depth: int) -> None:
        """Adds a value of no builtin type: refs, arrays, frames, functions, classes, else its pickled parts."""
        if issubclass(kind, ObjectRef):
            self.piece("ref", self.ref_key(value))
        elif kind.__name__ in _HIDING and kind.__module__.startswith("raynb."):
            raise Unsure(f"it holds an {kind.__name__}, whose state nobody can see")
        elif issubclass(kind, ModuleType):
            name = name_of(value)
            if _by_value(name):
                raise Unsure(f"the module {name} travels as this process has it")
            self.piece("module", module_token(name))
        elif kind is FunctionType:
            self.function(value, depth)
        elif issubclass(kind, type):
            self.cls(value, depth)
        elif kind is MethodType:
            self.piece("method")
            self.value(value.__func__, depth + 1)
            self.value(value.__self__, depth + 1)
        elif kind is BuiltinFunctionType and isinstance(value.__self__, (ModuleType, type(None))):
            self.named(value.__module__ or "builtins", value.__qualname__)
        elif kind is MappingProxyType:
            self.piece("proxy")
            self.copied(dict(value), value, depth + 1)
        elif kind is property:
            self.parts("property", (value.fget, value.fset, value.fdel), depth)
        elif kind in (staticmethod, classmethod):
            self.parts(kind.__name__, (value.__func__,), depth)
        elif kind is CodeType:
            self.code(value, depth)
        elif kind.__module__ in ("raynb.api.remote_function", "raynb.api.submitting.functions"):
            self.parts("remote", (value._about.function, value._given), depth)
        elif kind.__module__ == "raynb.api.actor" and hasattr(value, "_cls"):
            self.parts("actor class", (value._cls, getattr(value, "_given", None)), depth)
        elif kind is functools.partial:
            self.parts("partial", (value.func, value.args, value.keywords, vars(value)), depth)
        elif kind is functools.cached_property:  # before 3.12 it has a lock
            self.parts("cached property", (value.func, value.attrname), depth)
        elif kind is TypeVar:
            self.parts("type variable", (value.__name__, value.__bound__, value.__constraints__), depth)
        elif kind.__name__ == "_lru_cache_wrapper" and kind.__module__ == "functools":
            self.parts("cached", (value.__wrapped__,), depth)
            self.copied(dict(value.cache_parameters()), value, depth + 1)
        elif kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject:
            self.array(value, depth)
        else:
            self.reduced(value, kind, depth)

    def parts(self, tag: str, parts: Iterable[object], depth: int) -> None:
        """Adds several values under one tag."""
        self.piece(tag)
        for part in parts:
            self.value(part, depth + 1)

    def named(self, module: str, qualname: str) -> None:
        """Adds an importable function or class by its name and its module's version."""
        self.piece("name", f"{module}:{qualname}")
        if module not in _BUILTIN_MODULES:
            self.piece("of", module_token(module))

    def array(self, value: Any, depth: int) -> None:
        """Adds an array by its type, shape and bytes."""
        order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
        self.piece("array", f"{value.dtype.str}{value.dtype.descr!r}{value.shape}{order}")
        flat = value.reshape(-1, order=order)
        flat = flat if flat.flags.c_contiguous else flat.copy()  # of every other item, or backwards
        view = memoryview(flat.view("u1") if value.size else value.tobytes())
        if len(view) < _LARGE_BYTES:
            self.total.update(view)
        else:  # by several threads
            self.piece("sum", checksum.of(view, checksum.start(b"digest", "", len(view))))

    # -- code ----------------------------------------------------------------------------------
    def function(self, made: FunctionType, depth: int) -> None:
        """Adds a function by its code, defaults and what it reads."""
        module = made.__module__ or ""
        if is_importable(module, made.__qualname__, made):
            self.named(module, made.__qualname__)
            return
        self.own(made, depth)
        self.globals_of(made, depth)

    def own(self, made: FunctionType, depth: int) -> None:
        """Feeds a function without the globals that it reads."""
        self.piece("function", made.__name__)
        self.code(made.__code__, depth)
        self.parts("with", (made.__defaults__, made.__kwdefaults__, made.__annotations__), depth)
        self.copied(dict(vars(made)), made, depth + 1)
        held = [*(made.__defaults__ or ()), *(made.__kwdefaults__ or {}).values()]
        for cell in made.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                self.piece("empty cell")
                continue
            held.append(content)
            self.value(content, depth + 1)
        self.variables(made, held)

    def globals_of(self, made: FunctionType, depth: int) -> None:
        """Feeds the globals that a function reads."""
        space = made.__globals__
        names = [name for name in sorted(global_names(made.__code__)) if name in space]
        for name in names:
            self.piece("global", name)
            self.value(space[name], depth + 1)
        self.variables(made, [space[name] for name in names])

    def variables(self, made: FunctionType, held: Iterable[object]) -> None:
        """Adds the environment variables that what a function holds may name, if it reads the environment."""
        if reads_environment(made.__code__):
            for name in sorted({name for value in held for name in variables_in(value)}):
                self.environment(name)

    def code(self, code: CodeType, depth: int) -> None:
        """Adds a code object, without its file and line numbers."""
        facts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags,
                 code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_name)  # fmt: skip
        self.piece("code", code.co_code)
        self.piece("table", getattr(code, "co_exceptiontable", b""))
        self.piece("facts", repr(facts))
        for name in imports_of(code):
            self.imported(name)
        for name in environment_of(code):
            self.environment(name)
        line = line_constant(code)
        for place, const in enumerate(code.co_consts):
            if place == line:
                self.piece("line")
            elif isinstance(const, CodeType):
                self.code(const, depth + 1)
            else:
                self.value(const, depth + 1)

    def imported(self, name: str) -> None:
        """Adds a module that code imports when it runs."""
        self.piece("import", import_token(name))

    def environment(self, name: str) -> None:
        """Adds an environment variable that code names."""
        self.piece("environment", variable_token(name))

    def cls(self, made: type, depth: int) -> None:
        """Adds a class by its attributes, bases and metaclass."""
        if is_importable(made.__module__, made.__qualname__, made):
            self.named(made.__module__, made.__qualname__)
            return
        self.piece("class", made.__qualname__)
        doc = vars(made).get("__doc__")
        self.piece("doc", doc if isinstance(doc, str) and " at 0x" not in doc else "")  # a dataclass may show addresses
        self.value(type(made), depth + 1)
        for base in made.__bases__:
            self.value(base, depth + 1)
        for name, member in list(vars(made).items()):  # their order counts: code may go through ``vars(made)``
            if name in _NOT_MEMBERS or inspect.isgetsetdescriptor(member) or inspect.ismemberdescriptor(member):
                continue
            self.piece("member", name)
            self.value(member, depth + 1)

    # -- everything else -----------------------------------------------------------------------
    def reduced(self, value: object, kind: type, depth: int) -> None:
        """Adds what the value's ``__reduce_ex__`` returns. Raises `Unsure` if it cannot be pickled."""
        reduce = copyreg.dispatch_table.get(kind)
        try:
            found = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        except Exception as error:
            shelter.pass_on(error)
            raise Unsure(f"a {kind.__name__} cannot be pickled ({error})") from error
        if isinstance(found, str):
            module = str(getattr(value, "__module__", None) or kind.__module__)
            if module != "__main__" and not is_importable(module, found, value):
                raise Unsure(f"a {kind.__name__} is not found under its name, {module}.{found}")
            self.named(module, found)
            return
        if isinstance(value, BaseException) and found[2:] == ({},):  # the dict is made by whoever looks for it
            found = found[:2]
        self.rebuilt(found, depth)

    def rebuilt(self, found: tuple[Any, ...], depth: int) -> None:
        """Adds what ``__reduce_ex__`` returned."""
        self.piece("made", str(len(found)))
        for number, part in enumerate(found):
            if number == 3 and part is not None:
                part = list(part)
            elif number == 4 and part is not None:
                part = [item for pair in part for item in pair]
            self.value(part, depth + 1)


def is_importable(module: str, qualname: str, made: object) -> bool:
    """Returns whether another process finds the very same object under its name."""
    if module in ("__main__", "") or "<" in qualname:
        return False
    found: Any = sys.modules.get(module)
    if _by_value(module):
        return False
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is made


def _by_value(module: str) -> bool:
    """Returns whether what is in a module travels as this process has it, whatever is in its file."""
    return any(f"{module}.".startswith(f"{name}.") for name in cloudpickle.list_registry_pickle_by_value())
