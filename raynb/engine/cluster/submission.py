"""Submits calls to Ray: definitions once, options once, and one string of bytes per call."""

from __future__ import annotations

import marshal
import pickle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ray import exceptions as theirs
from ray.actor import ActorHandle

from raynb.base import ids
from raynb.base.engine import Packed
from raynb.base.ref import ObjectRef, ObjectRefGenerator
from raynb.base.spec import DYNAMIC, STREAMING, TaskOptions
from raynb.engine.cluster import bridge, rays, shipping
from raynb.engine.cluster.bridge import Sealed
from raynb.engine.cluster.places import RayGroups
from raynb.engine.cluster.rays import Call, Task
from raynb.engine.cluster.refs import Refs
from raynb.engine.cluster.side import Shared
from raynb.engine.named_later import NamedLater
from raynb.exceptions import RaySystemError, RuntimeGoneError
from raynb.serde import pickling

MAX_OPTIONS = 1000
#: Begins what a call of ours hands to Ray: a method of an actor of ours may be called by plain Ray too.
MARK = b"raynb\x00"
#: The same with the format of what follows: a call in another one, of another version of raynb, is refused.
MAGIC = MARK + b"3"
#: Arguments up to this size (bytes) travel inside that string.
INLINE_MAX_BYTES = 64 * 1024
#: The bit of a call's flags that says that somebody answers the prompts of breakpoints.
DEBUGGABLE = 4
#: Actors of which is known what their processes were prepared with; others get calls that say it.
MAX_PREPARED = 10_000
#: Methods of every actor of ours, for calls that have no Ray method of their own. The first has the format in its name:
#: an actor of another version of raynb is to us one of plain Ray, which its own methods are made for.
GENERIC_CALL = "_raynb_call_2"
GENERIC_STREAM = "_raynb_stream"


@dataclass(slots=True)
class Static:
    """The part that all calls of one function or class share. It lies in Ray's own table of functions, which keeps it
    as long as the job, or a detached actor of it, lives."""

    nonce: int
    namespace: str
    key: str  # of the definition
    blob: bytes  # the definition itself; empty if it names refs, which travel with each call then


@dataclass(slots=True)
class ClusterCall:
    """One call, as the worker sees it."""

    nonce: int
    task: int
    scope: int
    parent: int
    options: TaskOptions
    namespace: str
    setups: int = 0  # how many functions have to run in a worker before its next task
    said: Any = None  # what the caller had printed before, as a `Mark`
    actor: int = 0
    debuggable: bool = False  # somebody answers the prompt of a breakpoint
    to: int = 0  # nonce of the driver that is told of it; 0: the one above, which made the function or the actor


@lru_cache(maxsize=MAX_OPTIONS)
def bare_options(class_name: str, method: str) -> TaskOptions:
    """Returns the options of a call for which nobody gave any, as the worker has to know them."""
    name = f"{class_name}.{method}"
    return TaskOptions(name=name, function_name=name, function=method, resources=(), max_retries=0)


#: What calls of an actor's method have in common: options, their pickle, Ray's options, the name of Ray's method (""
#: for an actor that plain Ray made), what makes calls without arguments, and what makes others; None where Ray must.
Method = tuple[TaskOptions, bytes, dict[str, Any], str, "Call | None", "Call | None"]


def _usual_call(name: str, given: dict[str, Any]) -> Call:
    return lambda handle, args: rays.call(handle, name, args, given)


def bare_name(method: str) -> str:
    """Returns the name of Ray's method for calls of a method without arguments. No attribute can be called so."""
    return f"{method}()"


def opened(head: bytes) -> Any:
    """Returns what `Submission.head` wrote.

    Raises:
        RaySystemError: it is of another version of raynb.
    """
    if not head.startswith(MAGIC):
        raise RaySystemError(
            "the call comes from another version of raynb than its worker runs: install the same version on every node "
            "and in the notebook, and make the actor anew"
        )
    return marshal.loads(head[len(MAGIC):])


class Submission:
    """Hands tasks and calls of actors to Ray, and cancels them.

    Thread contract: every method from any thread.
    """

    def __init__(self, shared: Shared, refs: Refs, groups: RayGroups) -> None:
        self._shared = shared
        self._side = shared.side
        self._engine = shared.engine
        self._nonce = shared.nonce
        self._ids = shared.ids
        self._lock = shared.lock
        self._refs = refs
        self._groups = groups
        #: Generator's task → Ray's own generator.
        self.streams: dict[int, Any] = {}
        #: In a driver: a call's worker need not be told its number.
        self.later: NamedLater | None = None
        self._defined: dict[str, tuple[bytes, Any]] = {}  # key → its pickle, or Ray's ref to it
        self.remotes: dict[tuple[Any, ...], Any] = {}  # definition, kind → Ray's remote function or actor class
        #: id() of options → them, their pickle, Ray's options. Of the latest: each `.options()` makes new ones.
        self._options: OrderedDict[int, tuple[TaskOptions, bytes, Any]] = OrderedDict()
        #: The ``runtime_env`` that brings raynb to nodes without it; None where it is installed.
        self.shipped: dict[str, Any] | None = None
        #: (actor, id() of options) → what its calls have in common.
        self._methods: dict[tuple[int, int], Method] = {}
        self._around: set[str] = set()  # surroundings that the cluster has
        #: Actor of ours → what its process was prepared with at its creation. A call that carries nothing finds that.
        self._prepared: OrderedDict[int, int] = OrderedDict()

    def forget(self) -> None:
        """Releases the definitions, at the end of the engine."""
        for table in (self.streams, self.remotes, self._defined, self._options, self._methods, self._prepared):
            table.clear()

    def define(self, key: str, blob: bytes, refs: Sequence[ObjectRef[object]] = ()) -> None:
        """Stores a definition under the hash of its bytes, with the refs inside it; once per key."""
        self._side.defined(key, blob)
        if key not in self._defined:
            kept = rays.put(Sealed(blob, (), self._refs.pairs(refs), self._nonce)) if refs else None
            self._defined[key] = (b"" if refs else blob, kept)

    def names_refs(self, key: str) -> bool:
        """Returns whether a definition names refs, and so lies in an object of this process."""
        return self._defined[key][1] is not None

    def static(self, key: str) -> Static:
        """Returns the part of a call that is the same for every call of a definition."""
        return Static(self._nonce, self._shared.namespace, key, self._defined[key][0])

    def native_env(self, value: dict[str, Any] | None) -> tuple[tuple[str, Any], ...]:
        """Returns a task's ``runtime_env`` unchanged, for Ray to judge; its local folders are stored first."""
        if not value and self.shipped is None:
            return ()
        wanted = dict(value or {})
        if self.shipped is not None:
            wanted["py_modules"] = [*wanted.get("py_modules", ()), *self.shipped["py_modules"]]
        return tuple(shipping.uploaded(wanted).items())

    def known(self, options: TaskOptions, made: Callable[[TaskOptions], object]) -> tuple[bytes, Any]:
        """Returns options as they travel, and what Ray has to know of them."""
        known = self._options.get(id(options))
        if known is None:
            around = options.surroundings
            if around and around not in self._around:
                bridge.keep(f"around:{self._nonce}:{around}", self._defined[around][0])
                self._around.add(around)
            slim = replace(options, extra=(), key=0, uid=0)
            known = (options, pickle.dumps(slim, 5), made(options))
            with self._lock:
                self._options[id(options)] = known
                while len(self._options) > MAX_OPTIONS:
                    self._options.popitem(last=False)
        return known[1], known[2]

    def head(self, told: bytes, task: int, key: str, packed: Packed) -> list[Any]:
        """Returns what a call hands to Ray: one string of bytes, and values only if there must be."""
        parent, scope = self._side.here()
        definition = self._defined.get(key)
        refs = definition is not None and definition[1] is not None
        plain: bytes | None = None
        args: list[Any] = []
        if refs:
            args.append([definition[1]])  # type: ignore[index]  # nested: Ray passes it as a ref
        if packed is not pickling.NO_ARGS:
            if packed.buffers or packed.contained or len(packed.data) > INLINE_MAX_BYTES:
                args.append(bridge.value_of(packed, self._refs.pairs(packed.contained), self._nonce, task, kind=Sealed))
            else:
                plain = bytes(packed.data)
        flags = refs | (len(args) - refs) << 1 | self._side.debuggable() * DEBUGGABLE
        setups, said = self._shared.setups, self._side.so_far()
        to = self._side.reports_to() or self._nonce
        head = MAGIC + marshal.dumps((told, task, scope, parent, setups, said, flags, plain, to))
        if packed.deps:
            self._side.asked(packed.deps)  # it fails for them, and then says why
        return [head, *args, *map(self._refs.native, packed.deps)] if packed.deps or args else [head]

    def submit(
        self, options: TaskOptions, packed: Packed, actor: int = 0
    ) -> list[ObjectRef[object]] | ObjectRefGenerator:
        """Submits a task or an actor's method call; returns its refs, or a generator of them, at once."""
        self._engine.check_alive()
        self._refs.drain_log()
        task = self._ids.next_task(actor)
        count = options.num_returns
        try:
            if actor:
                made = self._call_method(options, packed, task, actor)
            else:
                told, send = self.known(options, self._with_options)
                made = send(self.head(told, task, options.function, packed))
        except theirs.RayError as error:
            failed = bridge.translate(error)
            raise failed from failed.__cause__
        if count == STREAMING:
            self.streams[task] = made
            ref = self._refs.own(ids.object_id(task, 1), made.completed())
            self._side.submitted(task, made.completed(), options, actor, False)
            return ObjectRefGenerator(ref, self._engine)
        # Its refs before its row: a failure with no ref is one that nobody can ask about.
        if count == 1 or count == DYNAMIC:
            refs = [self._refs.own(ids.object_id(task, 1), made)]
            self._side.submitted(task, made, options, actor, False)
            return refs
        natives = made if isinstance(made, list) else [made] if made is not None else []
        refs = [self._refs.own(ids.object_id(task, n), native_ref) for n, native_ref in enumerate(natives, 1)]
        self._side.submitted(task, natives[0] if natives else None, options, actor, False)
        return refs

    def _with_options(self, options: TaskOptions) -> Task:
        return rays.task(self._function(options), bridge.task_options(options, self._groups.known))

    def _function(self, options: TaskOptions) -> Any:
        """Returns Ray's remote function for a definition; Ray stores it once, and a worker loads it once."""
        which = (options.function, options.num_returns == STREAMING, options.max_calls)
        found = self.remotes.get(which)
        if found is None:
            from raynb.engine.cluster.on_worker import runner

            if options.function not in self._defined:
                raise RuntimeGoneError("this function's definition is not known to this runtime; define it again")
            given: dict[str, Any] = {"max_calls": options.max_calls} if options.max_calls else {}
            name = options.function_name or options.name or "task"
            entry = runner.entry(self.static(options.function), which[1], name)
            found = self.remotes[which] = rays.remote(entry, num_cpus=0, **given)
        return found

    def _call_method(self, options: TaskOptions, packed: Packed, task: int, actor: int) -> Any:
        handle = self._refs.handle_of(actor)
        known = self._methods.get((actor, id(options)))
        if known is None or known[0] is not options:
            known = self._method(handle, actor, options)
        _, told, given, name, bare, quick = known
        if bare is not None and packed is pickling.NO_ARGS and self._prepared.get(actor) == self._preparation():
            return self._call_bare(handle, bare, task)
        if not name:  # an actor that plain Ray made
            deps = [self._refs.native(ref) for ref in packed.deps]
            args, named = pickling.unpack_args(packed.data, packed.buffers, deps)
            return getattr(handle, options.function).options(**given).remote(*args, **named)
        args = self.head(told, task, "", packed)
        if quick is not None and not packed.deps:
            return quick(handle, args)
        return rays.call(handle, name, args, given)

    def _preparation(self) -> int:
        """Returns a number of all that a call does to its worker before it runs: how many setups, and prompts."""
        return self._shared.setups << 1 | self._side.debuggable()

    def prepared(self, actor: int, head: bytes) -> None:
        """Records which setups a new actor's process runs, after its ``head`` was made."""
        _, _, _, _, setups, _, flags, _, _ = opened(head)
        self._prepared[actor] = setups << 1 | bool(flags & DEBUGGABLE)
        if len(self._prepared) > MAX_PREPARED:
            self._prepared.popitem(last=False)

    def _call_bare(self, handle: object, call: Call, task: int) -> Any:
        """Calls a method and hands Ray no argument, each of which costs as much as the rest of a call of Ray's."""
        later = self.later
        assert later is not None, "asked for in `_method`"
        with later.lock:
            made = call(handle, ())
            later.add(rays.number_of(made), task, self._side.here()[1])
        return made

    def _method(self, handle: object, actor: int, options: TaskOptions) -> Method:
        """Returns what calls of an actor's method with these options have in common, and keeps it."""
        name, bare, quick = "", None, None
        told, given = self.known(options, bridge.method_options)
        if hasattr(handle, GENERIC_CALL):
            name = GENERIC_STREAM if options.num_returns == STREAMING else options.function
            if not hasattr(handle, name) or name.startswith("__ray_"):
                name = GENERIC_CALL
            # The actor keeps what such a call does not carry: its runtime, and the options of every call.
            usual = bare_options(*options.function_name.rpartition(".")[::2])
            alike = replace(options, max_retries=0, concurrency_group="", key=0, uid=0) == usual
            ours = self.later is not None and ids.process_of(actor) == self._shared.process
            if not rays.is_traced():
                quick = rays.quick_call(handle, name, given)
                without = bare_name(options.function)
                if alike and ours and type(handle) is ActorHandle and hasattr(handle, without):
                    bare = rays.quick_call(handle, without, given) or _usual_call(without, given)
        if len(self._methods) >= MAX_OPTIONS:
            self._methods.clear()
        known = self._methods[actor, id(options)] = (options, told, given, name, bare, quick)
        return known

    # -- cancelling ----------------------------------------------------------------------------
    def cancel(self, ref: ObjectRef[object], force: bool, recursive: bool) -> None:
        """Cancels the task that makes an object; ``force`` kills its worker, ``recursive`` cancels its children too."""
        self._engine.check_alive()
        native = self.streams.get(ids.task_of(ref._id)) or self._refs.native(ref)
        rays.cancel(native, force=force, recursive=recursive)
