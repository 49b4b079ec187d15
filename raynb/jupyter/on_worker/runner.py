"""Runs a notebook cell on a worker: the other end of ``%%remote``, ``%%on`` and ``%%everywhere``.

The kernel sends a `CellJob` (source and what to send back) and the captured names; `run_cell`
gives the cell a fresh namespace, runs it under its own name and line numbers so that tracebacks
show ``Cell In[5], line 3`` with the source, and returns each output by itself. IPython is imported
only by cells that need it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import linecache
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import Any

from raynb.base import engine as engines
from raynb.base.process import main_module
from raynb.base.ref import is_ref
from raynb.base.spec import FailedReturn
from raynb.jupyter.on_worker.display import end_figures, install, leave
from raynb.jupyter.on_worker.module_reload import renew
from raynb.jupyter.on_worker.results import VALUE, CellEnd, LoopStatus, Status, outputs_of, packed_output

#: Types of items that are shown in messages by their value, and in how many characters.
_SHORT = (int, float, complex, bool, str, bytes, type(None))
ITEM_MAX_CHARACTERS = 40

#: Types that are looked through for refs.
CONTAINERS = (list, tuple, dict)

#: How many compiled cells a worker keeps.
_MAX_COMPILED = 128


@dataclass(slots=True, frozen=True)
class RefPlaceholder:
    """Stands for the ``index``-th ref among the task's arguments."""

    index: int


@dataclass(slots=True, frozen=True)
class ModuleName:
    """Stands for a module: imported by name, and again when its file is newer than what is loaded."""

    name: str
    changed: float = 0.0  # the file's time of change in the kernel's view, 0: don't look


@dataclass(slots=True)
class CellJob:
    """A cell on its way to a worker.

    Attributes:
        source: Python source, with blank lines in front so that line numbers are the cell's own.
        filename: the name that the kernel gave the cell (tracebacks are matched by it).
        text: the cell as it was typed, for the source lines of tracebacks.
        outputs: names to send back, each as a return of its own.
        unsure: those of them that the cell may end without binding, and that the notebook has.
        flags: compiler flags of the notebook's ``from __future__`` imports.
        show: display the value of the last expression.
        value: send the value of the last expression back, after the outputs.
        target: loop target of ``--each``; empty for a plain cell.
        title: what the cell is called in messages (``In[5]``).
    """

    source: str
    filename: str
    text: str
    outputs: tuple[str, ...] = ()
    show: bool = False
    value: bool = False
    target: str = ""
    title: str = ""
    unsure: frozenset[str] = frozenset()
    flags: int = 0


@dataclass(slots=True)
class CellPayload:
    """The code, inputs and settings that all tasks of one ``%%remote`` cell share.

    Attributes:
        job: the cell.
        names: the captured names.
        kept: old values of names that the cell may end without binding; refs among them are read only then.
        anchor: a function whose globals are those of all the notebook's functions among the names.
    """

    job: CellJob
    names: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, list[Any]] = field(default_factory=dict)
    anchor: Any = None


def run_cell(payload: CellPayload, *arrived: object) -> Any:
    """Runs a cell once; returns ``(output, …[, value], status)``, or None if nothing comes back."""
    namespace = _namespace(payload, arrived)
    results, end = _run_once(payload, namespace)
    for left, one, many in ((end.kept, "it keeps its value", "they keep their values"),
                            (end.unbound, "it has no value", "they have no values")):  # fmt: skip
        if left:
            names = ", ".join(f"`{name}`" for name in left)
            print(f"{payload.job.title} did not bind {names}: {one if len(left) == 1 else many}.")
    return _with_status(end, results)


def _with_status(end: CellEnd, results: list[Any]) -> Any:
    return (*results, Status(end, results)) if results else None


def run_expression(payload: CellPayload, *arrived: object) -> Any:
    """Evaluates an expression (``%remote``); returns its value."""
    return _run_once(payload, _namespace(payload, arrived))[0][0]


def run_items(payload: CellPayload, items: list[Any], *arrived: object) -> Any:
    """Runs a cell once per item (``--each``); returns ``(outputs of item 1 …, of item 2 …, status)``.

    An item that fails fails its own outputs only, except where nothing comes back or it is alone.
    """
    base = _namespace(payload, arrived)
    job = payload.job
    assign = _target_code(job.target)
    returned: list[Any] = []
    failed: list[int] = []
    width = len(job.outputs) + job.value
    for number, item in enumerate(items):
        namespace = base if len(items) == 1 else _copied(base)
        namespace["__raynb_item__"] = filled(item, arrived)
        exec(assign, namespace)
        del namespace["__raynb_item__"]
        label = item_label(job.title, job.target, item)
        engines.name_task(label)
        try:
            returned.extend(_run_once(payload, namespace)[0])
        except Exception as error:
            if len(items) == 1 or not width:
                raise
            failed.append(number)
            returned.extend([FailedReturn(error, label)] * width)
    if not width:
        return None
    return (*returned, LoopStatus(failed, returned, width))


def item_label(title: str, target: str, item: object) -> str:
    """Returns what an item of a loop is called in messages: ``In[6] depth=7``."""
    plain = type(item) in _SHORT or (type(item) is tuple and all(type(part) in _SHORT for part in item))
    shown = repr(item) if plain else f"<{type(item).__name__}>"
    return f"{title} {target}={shown if len(shown) <= ITEM_MAX_CHARACTERS else shown[: ITEM_MAX_CHARACTERS - 1] + '…'}"


def run_on_actor(instance: object, payload: CellPayload, *arrived: object) -> Any:
    """Runs a cell inside an actor's process with ``self`` bound (``%%on handle``)."""
    namespace = _namespace(payload, arrived)
    namespace["self"] = instance
    results, end = _run_once(payload, namespace)
    return _with_status(end, results)


def run_everywhere(payload: CellPayload) -> str:
    """Runs a cell on the worker that got this (``%%everywhere``); its names stay in ``__main__``.

    Returns:
        the worker's process id, for people.
    """
    namespace = _namespace(payload, ())
    before = {name: value for name, value in namespace.items() if name not in payload.names}
    _run_once(payload, namespace)
    kept = {
        name: value for name, value in namespace.items()
        if not name.startswith("__") and name != "get_ipython" and (name not in before or before[name] is not value)
    }  # fmt: skip
    main_module.shared.update(kept)
    return f"pid {os.getpid()}"


# -- the namespace -------------------------------------------------------------------------------
def filled(value: Any, arrived: tuple[Any, ...]) -> Any:
    """Returns the value with its `RefPlaceholder`s and `ModuleName`s replaced by what they stand for."""
    kind = type(value)
    if kind is RefPlaceholder:
        return arrived[value.index]
    if kind is ModuleName:
        return imported(value)
    if kind is Nested:
        return value.rebuild(arrived)
    return value


@dataclass(slots=True)
class Nested:
    """A list, tuple or dict that held refs at some depth: only these are looked into on arrival."""

    kind: str
    items: list[Any]

    def rebuild(self, arrived: tuple[object, ...]) -> Any:
        """Returns the container with the values of its refs in place."""
        values = [filled(item, arrived) for item in self.items]
        if self.kind == "dict":
            return dict(zip(values[::2], values[1::2], strict=True))
        return tuple(values) if self.kind == "tuple" else values


def holds_refs(value: Any, depth: int = 0) -> bool:
    """Returns whether a list, tuple or dict holds an ObjectRef, at most eight levels down."""
    items = value.values() if type(value) is dict else value
    for item in items:
        if is_ref(item):
            return True
        if type(item) in CONTAINERS and depth < 8 and holds_refs(item, depth + 1):
            return True
    return False


def _namespace(payload: CellPayload, arrived: tuple[object, ...]) -> dict[str, Any]:
    """Returns the cell's namespace: the globals of the notebook's functions that came with it, as in a kernel.

    Where a function reads a ref that the cell gets as its value, the two keep apart.
    """
    install()
    theirs = payload.anchor.__globals__ if payload.anchor is not None else {}
    if any(name in theirs and holds_refs([theirs[name]]) for name in payload.names):
        theirs = {}
    namespace: dict[str, Any] = theirs
    namespace.update({"__name__": "__main__", "__builtins__": builtins, "__doc__": None})
    for name, value in main_module.shared.items():
        namespace.setdefault(name, value)
    for name, value in payload.names.items():
        namespace[name] = filled(value, arrived)
    if "get_ipython" not in payload.names:
        namespace["get_ipython"] = _get_ipython(namespace)
    return namespace




def _copied(base: dict[str, Any]) -> dict[str, Any]:
    """Returns a namespace of its own for one item of several: the notebook's functions in it see that one."""
    namespace = dict(base)
    for name, value in base.items():
        if type(value) is FunctionType and value.__globals__ is base:
            moved = FunctionType(value.__code__, namespace, value.__name__, value.__defaults__, value.__closure__)
            moved.__kwdefaults__ = value.__kwdefaults__
            moved.__qualname__, moved.__module__ = value.__qualname__, value.__module__
            moved.__doc__, moved.__annotations__ = value.__doc__, value.__annotations__
            moved.__dict__.update(value.__dict__)
            namespace[name] = moved
    return namespace


_loaded_changed: dict[str, float] = {}


def imported(wanted: ModuleName) -> ModuleType:
    """Imports a module on the worker, afresh if its file has changed since it was loaded here.

    Raises:
        ModuleNotFoundError: the worker cannot find it; the message says why and what to do.
    """
    try:
        module = importlib.import_module(wanted.name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the cell uses the module {wanted.name!r}, which the kernel has but this worker cannot import "
            f"({error}).",
            name=error.name,
        ) from error
    if wanted.changed:
        seen = _loaded_changed.setdefault(wanted.name, wanted.changed)
        if wanted.changed > seen:
            renew(module)
        _loaded_changed[wanted.name] = wanted.changed
    return module


def _get_ipython(namespace: dict[str, Any]) -> Callable[[], Any]:
    def get_ipython() -> Any:
        from raynb.jupyter.on_worker.display import worker_shell

        shell = worker_shell()
        if type(shell).__name__ == "WorkerShell":  # not the kernel's own (``local_mode``)
            shell.user_ns = namespace
        return shell

    return get_ipython


# -- running -------------------------------------------------------------------------------------
_compiled: dict[tuple[str, str, int], tuple[CodeType | None, CodeType | None]] = {}


def compile_cell(source: str, filename: str, flags: int = 0) -> tuple[CodeType | None, CodeType | None]:
    """Returns (code of the statements, code of the last expression) of a cell; either may be None."""
    key = (source, filename, flags)
    found = _compiled.get(key)
    if found is not None:
        return found
    tree = ast.parse(source, filename)
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body = compile(tree, filename, "exec", flags, dont_inherit=True) if tree.body else None
    value = None
    if isinstance(last, ast.Expr):
        future = _future_flags(tree)
        value = compile(ast.Expression(last.value), filename, "eval", flags | future, dont_inherit=True)
    while len(_compiled) >= _MAX_COMPILED:
        del _compiled[next(iter(_compiled))]
    _compiled[key] = body, value
    return body, value


def _future_flags(tree: ast.Module) -> int:
    import __future__

    flags = 0
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                flags |= getattr(__future__, alias.name).compiler_flag
    return flags


def _target_code(target: str) -> CodeType:
    return compile(f"{target} = __raynb_item__", "<--each>", "exec", dont_inherit=True)


def _run_once(payload: CellPayload, namespace: dict[str, Any]) -> tuple[list[Any], CellEnd]:
    """Returns (the outputs and the value, what became of the cell's names)."""
    job = payload.job
    before = {name: namespace[name] for name in job.unsure if name in namespace}
    try:
        with main_module.entered(namespace):
            value = _run_code(job, namespace)
    finally:
        leave(namespace)
    results, end = outputs_of(job.outputs, namespace, before, payload.kept, job.title)
    if job.value:
        results.append(packed_output(VALUE, value, job.title))
    return results, end


def _run_code(job: CellJob, namespace: dict[str, Any]) -> Any:
    """Runs a cell and shows what it is to show; returns its value."""
    lines = job.text.splitlines(keepends=True)
    linecache.cache[job.filename] = (len(job.text), None, lines, job.filename)
    body, last = compile_cell(job.source, job.filename, job.flags)
    codes = [code for code in (body, last) if code is not None]
    try:
        if any(code.co_flags & inspect.CO_COROUTINE for code in codes):
            value = run_coroutine(_run_async(body, last, namespace))
        else:
            value = None
            if body is not None:
                exec(body, namespace)
            if last is not None:
                value = eval(last, namespace)
    finally:
        end_figures()
    if job.show and value is not None:
        from raynb.jupyter.on_worker.display import show_value

        show_value(value)
    return value


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine to its end, as `asyncio.run` does, but leaves the thread's event loop as it was:
    after `asyncio.run` there is none, and `asyncio.get_event_loop` of later tasks fails."""
    import asyncio

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        try:
            rest = asyncio.all_tasks(loop)
            for task in rest:
                task.cancel()
            if rest:
                loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


async def _run_async(body: CodeType | None, last: CodeType | None, namespace: dict[str, Any]) -> Any:
    value = None
    for code in (body, last):
        if code is not None:
            value = eval(code, namespace)
            if code.co_flags & inspect.CO_COROUTINE:
                value = await value
    return value if last is not None else None
