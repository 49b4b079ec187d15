"""Makes short tokens of what a notebook's names stand for: while the token is equal, nothing has changed for a reader.

Tokens are made of the same walk as the keys of kept results (`raynb.keeping.digest`), with three differences. A
function of the notebook counts by its own code; the names that it reads are names to be looked up by themselves, so
that a change deep inside has the name of what changed. No code of a value is run, and no more than
`MAX_BYTES` of it are read: what is larger counts by its identity and a sample. And nothing is unsure: what
has no identity in another process has one in this one. So tokens mean nothing outside the process.

Thread contract: a `Reader` is used by one thread at a time.
"""

from __future__ import annotations

import itertools
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from raynb.base.ref import ObjectRef
from raynb.base.sizes import attributes_of, size_of
from raynb.keeping.digest import Walk
from raynb.keeping.mentions import all_code, environment_of, global_names, imports_of
from raynb.keeping.versions import Unsure
from raynb.lineage.insides import hides, is_a, items_of, module_of, rebuilt_by, slots_of
from raynb.lineage.modules import Modules
from raynb.lineage.shapes import same, shape_of

#: Bytes up to which a value counts by its content; beyond, by its identity and a sample.
MAX_BYTES = 32_768
#: Parts of a value that are looked at.
MAX_PARTS = 2_000
#: Items of a large container that are looked at, at each end.
SAMPLED_ITEMS = 8
#: Labels of a frame's axis that are looked at.
MAX_LABELS = 1_000

#: What a name that is not there stands for, and what stands in `Reader.before` for a name that was not there.
MISSING = ""
ABSENT = object()

FUNCTION, CLASS, REF, MODULE, VALUE, VARIABLE = "function", "class", "ref", "module", "value", "variable"

#: Begin what code names beside the notebook's names, and is tracked as those are: modules that it imports when it runs,
#: and environment variables.
IMPORTS, ENVIRONMENT = "import ", "environment "

_SHORT = frozenset((int, float, bool, complex, type(None)))
_DICT_OF_MODULE: Any = vars(ModuleType)["__dict__"]


class Reader:
    """Reads names of one namespace.

    Args:
        namespace: the notebook's.
        ref_token: what stands for a ref.
    """

    def __init__(self, namespace: Mapping[str, object], ref_token: Callable[[ObjectRef[object]], str]) -> None:
        self.namespace = namespace
        self.ref_token = ref_token
        self._definitions: weakref.WeakKeyDictionary[Any, tuple[tuple[Any, ...], str, tuple[str, ...]]]
        self._definitions = weakref.WeakKeyDictionary()
        self._identities: dict[int, tuple[weakref.ref[object], int]] = {}
        self._numbers = itertools.count(1)
        self.modules = Modules()
        #: Name → what it was, or `ABSENT`, where that is what counts: the cell has bound it since.
        self.before: dict[str, Any] = {}

    def read(self, names: Iterable[str]) -> dict[str, str]:
        """Returns name → token of these names, and of all that the functions and classes among them read."""
        found: dict[str, str] = {}
        waiting = list(dict.fromkeys(names))
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name], inner = self.token(name)
                waiting.extend(inner)
        return found

    def token(self, name: str) -> tuple[str, Iterable[str]]:
        """Returns (the token of one name, the names that its functions read)."""
        try:
            value = self.before[name] if name in self.before else self.namespace[name]
        except KeyError:
            if name.startswith(IMPORTS):
                return f"module {self.modules.token(name[len(IMPORTS) :])}", ()
            if name.startswith(ENVIRONMENT):
                return f"variable {os.environ.get(name[len(ENVIRONMENT) :])!r}", ()
            return MISSING, ()
        return self.of(value) if value is not ABSENT else (MISSING, ())

    def mentioned(self, code: CodeType) -> list[str]:
        """Returns the modules that somebody may edit and that code imports, and the environment variables that it
        names, as names to be tracked."""
        found = []
        for part in all_code(code):
            found += [IMPORTS + name for name in imports_of(part) if self.modules.is_edited(name)]
            found += [ENVIRONMENT + name for name in environment_of(part)]
        return found

    def of(self, value: Any) -> tuple[str, Iterable[str]]:
        """Returns (the token of a value, the names that functions in it read)."""
        kind = type(value)
        if kind is FunctionType or kind is type:
            return self._of_definition(value)
        if kind in _SHORT or (kind is str and len(value) < 100):
            return f"{kind.__name__} {value!r}", ()
        if issubclass(kind, ObjectRef):
            return f"ref {self.ref_token(value)}", ()
        if kind in (list, tuple) and len(value) <= SAMPLED_ITEMS and all(type(item) in _SHORT for item in value):
            return f"{kind.__name__} {value!r}", ()
        walk = _TokenWalk(self)
        try:
            walk.value(value, 0)
        except (Unsure, RecursionError, RuntimeError, ValueError):  # changed meanwhile, nested too deeply, half made
            return f"identity {self.identity(value)}", tuple(walk.names)
        return walk.total.hexdigest()[:32], tuple(walk.names)

    def _of_definition(self, made: object) -> tuple[str, Iterable[str]]:
        """As `of`, of a function or class: read again only if it may have changed."""
        shape = shape_of(made)
        known = self._definitions.get(made)
        if known is not None and same(known[0], shape):
            return known[1], known[2]
        walk = _TokenWalk(self)
        try:
            walk.value(made, 0)
        except (Unsure, RecursionError, RuntimeError, ValueError):
            return f"identity {self.identity(made)}", tuple(walk.names)
        token, names = walk.total.hexdigest()[:32], tuple(walk.names)
        if shape is not None:
            self._definitions[made] = (shape, token, names)
        return token, names

    # -- identities ----------------------------------------------------------------------------
    def identity(self, value: object) -> str:
        """Returns a number that no other object of this process has or will have, where that can be done."""
        key = id(value)
        known = self._identities.get(key)
        if known is not None and known[0]() is value:
            return str(known[1])
        try:
            there = weakref.ref(value, lambda gone: self._drop(key, gone))
        except TypeError:  # a plain list or dict
            return f"at {key:x}"
        number = next(self._numbers)
        self._identities[key] = there, number
        return str(number)

    def _drop(self, key: int, gone: weakref.ref[object]) -> None:
        known = self._identities.get(key)
        if known is not None and known[0] is gone:
            del self._identities[key]


def kind_in(namespace: Mapping[str, object], name: str) -> str:
    """Returns `kind_of` what a name stands for, or that it is a module or a variable of the environment."""
    if name in namespace or " " not in name:
        return kind_of(namespace.get(name))
    return MODULE if name.startswith(IMPORTS) else VARIABLE


def kind_of(value: object) -> str:
    """Returns what people call a value: a function, a class, a ref, a module or a value."""
    kind = type(value)
    if issubclass(kind, ObjectRef) or (kind in (list, tuple, dict) and next(_refs_in(value), None) is not None):
        return REF
    if kind is FunctionType or kind.__name__ in ("RemoteFunction", "RemoteFunctionWithOptions"):
        return FUNCTION
    if issubclass(kind, type) or kind.__name__ == "ActorClass":
        return CLASS
    return MODULE if issubclass(kind, ModuleType) else VALUE


def refs_of(value: Any, most: int = 1_000) -> list[ObjectRef[object]]:
    """Returns the refs that a value is, or holds as a list, tuple or dict."""
    if issubclass(type(value), ObjectRef):
        return [value]
    return list(itertools.islice(_refs_in(value), most))


def _refs_in(value: Any, depth: int = 0) -> Iterator[Any]:
    kind = type(value)
    if kind not in (list, tuple, dict) or depth > 2:
        return iter(())
    return _walk_refs(list(itertools.islice(value.values() if kind is dict else value, 10_000)), depth)


def _walk_refs(items: list[Any], depth: int) -> Iterator[Any]:
    for item in items:
        if issubclass(type(item), ObjectRef):
            yield item
        elif type(item) in (list, tuple, dict):
            yield from _refs_in(item, depth + 1)
        elif depth == 0 and len(items) > 100 and not issubclass(type(items[-1]), ObjectRef):
            return  # a long list of other things


class _TokenWalk(Walk):
    """One walk over one value; `names` are those of the notebook that functions in it read."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader.ref_token)
        self.reader = reader
        self.names: dict[str, None] = {}
        self.left = MAX_PARTS
        self.inside = 0  # what is made only to look into a value has another identity each time
        self.whole: object = None  # the value into which is looked so
        self.copies: dict[int, object] = {}  # id of a container that was made for this look → what it was made of

    def value(self, value: object, depth: int) -> None:
        """Adds a value to the token, and stops after a bounded number of parts."""
        self.left -= 1
        if self.left >= 0:
            try:
                super().value(value, depth)
            except Unsure:  # a part without an identity in other processes has one in this one
                self.piece("identity", self.identity(value))
        if self.left < 0:
            self.piece("more", "" if self.inside else self.identity(value))

    def identity(self, value: object) -> str:
        """Returns what stands for this very object; for a copy, what stands for what it was made of."""
        return self.reader.identity(self.copies.get(id(value), value))

    def copied(self, copy: object, of: object, depth: int) -> None:
        """Adds a container that was made to look into a value: it has another identity at each look."""
        self.alive.append(copy)
        self.copies[id(copy)] = of
        self.value(copy, depth)

    def alone(self, value: object) -> str:
        """Returns the token of one value by itself."""
        inner = _TokenWalk(self.reader)
        inner.left, inner.inside, inner.whole = self.left, self.inside, self.whole
        inner.value(value, 0)
        self.left = inner.left
        self.names.update(inner.names)
        return inner.total.hexdigest()

    def sequence(self, items: Any, depth: int, of: object = None) -> None:
        """Adds a sequence; of a very long one only samples."""
        if size_of(items) > MAX_BYTES:
            whole = self.whole if self.inside else items if of is None else of
            self.piece("long", f"{type(items).__name__} {len(items)} {self.identity(whole)}")
            items = [*items[:SAMPLED_ITEMS], *items[-SAMPLED_ITEMS:]]
        super().sequence(items, depth)

    def other(self, value: Any, kind: type, depth: int) -> None:
        """Adds a value of no builtin type: modules by name, arrays and frames by content or identity."""
        package = module_of(kind).partition(".")[0]
        if issubclass(kind, ModuleType):
            self.module(value, kind, depth)
        elif package == "pandas" or is_a(kind, "pandas", ("DataFrame", "Series", "Index")):
            self.pandas(value, kind, depth)
        elif is_a(kind, "numpy", ("ndarray",)):
            self.arrays(value, kind, depth)
        elif package == "numpy" and attributes_of(value) is None and size_of(value) <= MAX_BYTES:
            self.reduced(value, kind, depth)  # a number, a generator of random ones: numpy's own code
        elif kind.__name__ == "_lru_cache_wrapper":
            self.parts("cached", (value.__wrapped__,), depth)
            self.copied(dict(value.cache_parameters()), value, depth + 1)
        elif package == "raynb" and kind.__name__ in ("ActorHandle", "ShownHandle"):
            self.piece("actor", str(value._actor_id.hex()))
        elif self.is_known(value, kind, package):
            super().other(value, kind, depth)
        else:
            self.instance(value, kind, depth)

    @staticmethod
    def is_known(value: object, kind: type, package: str) -> bool:
        """Returns whether Keep's walk of a value runs no code of the user's, and does not take long."""
        if issubclass(kind, (ObjectRef, type)) or package == "raynb" or kind.__name__ in _PLAIN:
            return True
        return package in sys.stdlib_module_names and size_of(value) <= MAX_BYTES

    def named(self, module: str, qualname: str) -> None:
        """Adds an importable function or class by its name and its module's token."""
        self.piece("name", f"{module}:{qualname}")
        if module not in ("builtins", "__main__"):
            self.piece("of", self.reader.modules.token(module))

    def imported(self, name: str) -> None:
        """Has a module be tracked that code imports when it runs."""
        if self.reader.modules.is_edited(name):
            self.names[IMPORTS + name] = None

    def environment(self, name: str) -> None:
        """Has an environment variable be tracked that code names."""
        self.names[ENVIRONMENT + name] = None

    def globals_of(self, made: FunctionType, depth: int) -> None:
        """Adds the globals that a function reads; those of the notebook are followed as names."""
        if made.__globals__ is self.reader.namespace:
            self.names.update(dict.fromkeys(sorted(global_names(made.__code__))))
        else:
            super().globals_of(made, depth)

    def looks_into(self, value: object) -> None:
        """Remembers the value whose identity counts where something large is made only to look into it."""
        self.whole = self.whole if self.inside else value

    def reduced(self, value: object, kind: type, depth: int) -> None:
        """Adds what the value's ``__reduce_ex__`` returns."""
        self.looks_into(value)
        super().reduced(value, kind, depth)

    def rebuilt(self, found: tuple[object, ...], depth: int) -> None:
        """Adds what ``__reduce_ex__`` returned."""
        self.inside += 1
        super().rebuilt(found, depth)
        self.inside -= 1

    # -- what is large, or has code of its own ---------------------------------------------------
    def arrays(self, value: Any, kind: type, depth: int) -> None:
        """Adds an array of numpy, or of a class made of it."""
        plain = value
        if kind is not sys.modules["numpy"].ndarray:
            plain = sys.modules["numpy"].ndarray.view(value, sys.modules["numpy"].ndarray)
            self.kind(kind, depth)
            self.value(attributes_of(value), depth + 1)
        if plain.dtype.hasobject:
            self.objects(plain, depth, value)
        else:
            self.array(plain, depth, value)

    def array(self, value: Any, depth: int, whole: Any = None) -> None:
        """Adds an array; of a large one its identity and samples.

        Args:
            whole: what has the identity.
        """
        if value.nbytes <= MAX_BYTES:
            super().array(value, depth)
            return
        self.piece("large", f"{value.dtype.str}{value.shape} {self.reader.identity(value if whole is None else whole)}")
        each = max(2, round(64 ** (1 / value.ndim)))
        part = value[tuple(slice(None, None, max(1, length // each)) for length in value.shape)]
        self.piece("sample", part.tobytes())

    def objects(self, value: Any, depth: int, whole: object) -> None:
        """An array of objects."""
        self.piece("objects", f"{value.dtype!r}{value.shape}")
        if value.size > MAX_LABELS:
            self.piece("identity", self.identity(whole))
        self.copied(value.ravel()[:MAX_LABELS].tolist(), whole, depth + 1)

    def module(self, value: object, kind: type, depth: int) -> None:
        """Adds a module; one that was made in this process counts by what it holds."""
        own: dict[str, object] = _DICT_OF_MODULE.__get__(value)
        name = str(own.get("__name__", ""))
        self.piece("module", self.reader.modules.token(name))
        if kind is ModuleType and own.get("__spec__") is None and "__file__" not in own and name != "__main__":
            self.copied({name: held for name, held in own.items() if not name.startswith("__")}, value, depth + 1)

    def pandas(self, value: object, kind: type, depth: int) -> None:
        """A frame or series: its blocks and axes, without running any of its methods."""
        own = attributes_of(value) or {}
        manager = own.get("_mgr")
        if manager is None:
            if is_a(kind, "pandas", ("Index",)):
                self.labels(value, depth)
            elif size_of(value) <= MAX_BYTES:  # a time, a list of categories: pandas' own code
                self.reduced(value, kind, depth)
            else:
                self.instance(value, kind, depth)
            return
        self.piece("frame")
        self.kind(kind, depth)
        flags = (attributes_of(own.get("_flags")) or {}).get("_allows_duplicate_labels")
        self.copied([own.get("_name"), own.get("_attrs"), flags], value, depth + 1)
        for axis in manager.axes:
            self.labels(axis, depth)
        for block in manager.blocks:
            values = block.values
            self.piece("block", f"{block.mgr_locs.as_array.tolist()[:MAX_LABELS]} {values.dtype!r}")
            if type(values).__name__ == "ndarray" and not values.dtype.hasobject:
                self.array(values, depth)
            elif values.size <= MAX_LABELS:
                self.listed(values, depth)
            else:
                self.piece("column", f"{type(values).__name__} {self.reader.identity(values)}")

    def labels(self, axis: Any, depth: int) -> None:
        """Adds the labels of a frame's axis; of a long one its identity."""
        self.piece("labels", f"{type(axis).__name__} {axis.dtype!r}")
        self.copied(list(axis.names), axis, depth + 1)
        if type(axis).__name__ == "RangeIndex":
            self.piece("range", f"{axis.start} {axis.stop} {axis.step}")
        elif len(axis) <= MAX_LABELS:
            self.listed(axis, depth)
        else:
            self.piece("long", f"{len(axis)} {self.reader.identity(axis)}")

    def listed(self, values: Any, depth: int) -> None:
        """Adds an array or index of pandas by its items; times and periods by their numbers."""
        numbers = getattr(values, "asi8", None)
        if numbers is not None:
            self.array(numbers, depth, values)
        else:
            self.looks_into(values)
            self.inside += 1
            self.value(values.tolist(), depth + 1)
            self.inside -= 1

    def instance(self, value: object, kind: type, depth: int) -> None:
        """An object of a class of others or of the notebook: its class, its attributes, and what it has of Python's own
        classes."""
        self.kind(kind, depth)
        own = slots_of(value) | (attributes_of(value) or {})
        items, found = items_of(value), rebuilt_by(value, kind)
        if size_of(value) > MAX_BYTES or (items is None and found is None and hides(kind)):
            self.piece("identity", self.reader.identity(value))
        if isinstance(value, dict) and isinstance(items, list):  # and a copy in it
            self.copies[id(items[-1])] = value
        if items is not None:
            self.copied(items, value, depth + 1)
        elif found is not None:
            self.looks_into(value)
            self.rebuilt(found, depth)
        self.copied(own, value, depth + 1)

    def kind(self, kind: type, depth: int) -> None:
        """Adds a class: one of the notebook by its code, others by their names and modules."""
        if module_of(kind) == "__main__":
            self.value(kind, depth + 1)
        else:
            self.named(module_of(kind), kind.__qualname__)


_PLAIN = frozenset((
    "function", "method", "builtin_function_or_method", "mappingproxy", "property", "staticmethod", "classmethod",
    "code",
))  # fmt: skip
