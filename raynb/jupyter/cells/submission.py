"""Submits cells: parses the text, gathers inputs, submits tasks, binds outputs.

What ``%%remote``, ``%%on`` and ``%%everywhere`` have in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from IPython.core.error import UsageError

from raynb import api
from raynb.base import engine as engines
from raynb.base.ids import task_of
from raynb.base.ref import ObjectRef
from raynb.base.rows import CANCELLED, FAILED
from raynb.jupyter.cells.analysis import CellCode, analyse
from raynb.jupyter.cells.changes import changes_of_functions, format_changes, is_lost
from raynb.jupyter.cells.inputs import Inputs, gather, keep
from raynb.jupyter.formatting import format_bytes
from raynb.jupyter.notebook import Notebook
from raynb.jupyter.on_worker.runner import CellJob, CellPayload, item_label
from raynb.jupyter.output.registry import UNNUMBERED


@dataclass(slots=True)
class ParsedCell:
    """A cell that has been read: its code, its name, and its text as typed."""

    code: CellCode
    filename: str
    text: str
    flags: int = 0  # of the notebook's ``from __future__`` imports


def read_cell(notebook: Notebook, magic: str, cell: str) -> ParsedCell:
    """Reads a cell's text; line numbers count from the magic's own line, as the notebook does.

    Raises:
        UsageError: the cell is empty.
        SyntaxError: it isn't Python, at the line and file of the cell.
    """
    if not cell.strip():
        raise UsageError(f"`{magic.split()[0]}`: the cell is empty.")
    shell = notebook.shell
    text, above = _whole_text(notebook, magic, cell)
    number: Any = notebook.scope if notebook.scope < UNNUMBERED else " "  # as Jupyter writes it
    filename = shell.compile.cache(text, number, raw_code=text)
    above += len(cell) - len(cell.lstrip("\n"))  # the transformation drops blank lines in front
    try:
        transformed = shell.transform_cell(cell)
        flags = notebook.surroundings.flags()
        code = analyse("\n" * above + transformed, shell.transform_cell, flags)
    except SyntaxError as error:
        error.filename = filename
        raise error from None
    return ParsedCell(code, filename, text, flags)


def _whole_text(notebook: Notebook, magic: str, cell: str) -> tuple[str, int]:
    """Returns (the notebook cell as typed, lines above the body, or above a line magic's expression).

    With the cell's own text the kernel's name for it is the same as for the cell itself, so that
    both ends of a traceback name the same cell.
    """
    running = notebook.cells.running()
    typed = running.source if running is not None else ""
    if not magic.startswith("%%"):  # an expression somewhere in a cell
        at = typed.find(cell)
        return (typed, typed.count("\n", 0, at)) if at >= 0 else (cell, 0)
    at = typed.find(cell.rstrip("\n"))
    if at >= 0 and typed.lstrip().startswith("%%"):
        return typed, typed.count("\n", 0, at)
    return f"{magic}\n{cell}", 1


def job_for(
    reading: ParsedCell, outputs: Sequence[str], title: str, show: bool, value: bool, target: str = ""
) -> CellJob:
    """Returns the cell as it is sent to workers."""
    code = reading.code
    return CellJob(
        source=code.source, filename=reading.filename, text=reading.text, outputs=tuple(outputs),
        unsure=code.unsure.intersection(outputs), flags=reading.flags,
        show=show and code.has_value and not code.quiet, value=value and code.has_value,
        target=target, title=title,
    )  # fmt: skip


def choose_outputs(code: CellCode, wanted: Sequence[str]) -> tuple[str, ...]:
    """Returns the names that come back: all, or those that the line names.

    Raises:
        UsageError: the cell doesn't bind a wanted name.
    """
    if not wanted:
        return code.outputs
    for name in wanted:
        if name not in code.bound:
            binds = ", ".join(code.outputs) or "no names"
            raise UsageError(f"the cell does not bind {name!r}; it binds {binds}.")
    return tuple(dict.fromkeys(wanted))


def take_inputs(
    notebook: Notebook, code: CellCode, outputs: Iterable[str], namespace: Mapping[str, object], skip: Iterable[str]
) -> Inputs:
    """Gathers a cell's inputs; large values are stored once, and very large ones are named.

    Names that the cell may end without binding take their old values along. One that failed is no
    input, though: the cell is run again because of it.
    """
    config = notebook.config
    unsure = [name for name in outputs if name in code.unsure and name in namespace]
    failed = [name for name in code.free if name not in code.needed and has_failed(namespace.get(name))]
    inputs = gather(code.free, namespace, config.shared_from, api.put, [*skip, *failed])
    keep(inputs, [name for name in unsure if name not in inputs.names], namespace, config.shared_from, api.put)
    copied = set(inputs.names).difference(outputs)
    lost = [change for change in code.changes if change.name in copied and is_lost(change, namespace[change.name])]
    functions = [value for name in code.free if type(value := namespace.get(name)) is FunctionType]
    lost += [
        change for change in changes_of_functions(functions)
        if change.name in namespace and change.name not in outputs and is_lost(change, namespace[change.name])
    ]  # fmt: skip
    if lost:
        print(format_changes(lost))
    for name in inputs.captured:
        if name.how == "shared" and name.size >= config.large_from:
            print(f"{name.name} ({name.kind}, {format_bytes(name.size)}) travels through the object store.")
    return inputs


def has_failed(value: object) -> bool:
    """Returns whether a value is the ref of a task that has failed."""
    engine = engines.driver()
    if engine is None or not isinstance(value, ObjectRef):
        return False
    task = task_of(value._id)
    return any(row.id == task and row.state in (FAILED, CANCELLED) for row in engine.snapshot().tasks)


def dry_run(notebook: Notebook, code: CellCode, outputs: Sequence[str], namespace: Mapping[str, object],
            skip: Sequence[str], tasks: str) -> str:  # fmt: skip
    """Returns what would travel, as a table; nothing is submitted."""
    import builtins

    shared_from = notebook.config.shared_from
    inputs = gather(code.free, namespace, shared_from, None, skip)
    unsure = [name for name in outputs if name in code.unsure and name in namespace and name not in inputs.names]
    keep(inputs, unsure, namespace, shared_from, None)
    rows = [("name", "type", "size", "how it travels")]
    words = {
        "value": "pickled with the task", "shared": "once through the object store",
        "ref": "dependency; arrives as its value", "refs": "dependencies inside; arrive as values",
        "module": "imported on the worker", "kept": "old value, in case the cell does not bind it",
    }  # fmt: skip
    rows += [(c.name, c.kind, format_bytes(c.size) if c.size else "", words[c.how]) for c in inputs.captured]
    rows += [(name, "", "", "given by --each") for name in skip]
    known = {row[0] for row in rows} | set(vars(builtins)) | {"get_ipython", "display"}
    missing = [name for name in code.free if name not in known]
    rows += [(name, "", "", "not defined in the notebook") for name in missing]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    comes_back = ", ".join(outputs) or (
        "nothing" if not code.has_value else "the last expression's value, as _"
    )
    return "\n".join([f"{tasks}; nothing was submitted", "", *lines, "", f"outputs: {comes_back}"])


@dataclass(slots=True)
class SubmittedCell:
    """Tasks of one cell.

    Attributes:
        status: one ref a task that ends when the task does; its value is None, or says what became of the
            cell's names (`CellEnd`), or of a loop's items (`LoopEnd`).
        outputs: name → ref, or list of refs with ``--each``.
        value: ref (or list of refs) of the last expression's value, or None.
        items: how many items each task has.
        returns: of each task, its other returns; empty where tasks were not submitted here.
    """

    status: list[Any]  # refs, or what else has a `future`
    outputs: dict[str, Any]
    value: Any = None
    items: list[int] = field(default_factory=list)
    returns: list[list[Any]] = field(default_factory=list)


def submit_cell(function: Any, job: CellJob, inputs: Inputs, options: dict[str, Any]) -> SubmittedCell:
    """Submits a cell as one task.

    Args:
        function: the remote function (or an actor's method) that runs it.
        job: the cell.
        inputs: what it takes along.
        options: for Ray's ``.options()``.
    """
    count = 1 + len(job.outputs) + job.value
    payload = CellPayload(job, inputs.names, inputs.kept, inputs.anchor)
    refs = _submit(function.options(num_returns=count, **options), (payload, *inputs.refs), inputs)
    refs = refs if isinstance(refs, list) else [refs]
    returns = refs[:-1]
    outputs = dict(zip(job.outputs, returns, strict=False))
    return SubmittedCell(refs[-1:], outputs, returns[-1] if job.value else None, [1], [returns])


def submit_expression(function: Any, job: CellJob, inputs: Inputs, name: str) -> Any:
    """Submits an expression as a task of one return; returns its ref."""
    payload = CellPayload(job, inputs.names, inputs.kept, inputs.anchor)
    return _submit(function.options(name=name), (payload, *inputs.refs), inputs)


def submit_items(
    function: Any, job: CellJob, inputs: Inputs, options: dict[str, Any], items: Sequence[Any], chunk: int
) -> SubmittedCell:
    """Submits a cell once per item, ``chunk`` items a task (``--each``)."""
    width = len(job.outputs) + job.value
    payload: Any = CellPayload(job, inputs.names, inputs.kept, inputs.anchor)
    shared = len(inputs.refs)
    columns: list[list[Any]] = [[] for _ in range(width)]
    done = SubmittedCell([], {}, None)
    if len(items) > 4 * chunk:  # pickled once, not once a task
        payload = _blaming(lambda: api.put(payload), inputs)
    configured: dict[int, Any] = {}
    for start in range(0, len(items), chunk):
        part = list(items[start : start + chunk])
        own = Inputs(refs=list(inputs.refs), _slots=dict(inputs._slots))
        sent = [own.replaced(item) for item in part]
        returns = 1 + width * len(part)
        if returns not in configured:
            configured[returns] = function.options(num_returns=returns, **options)
        refs = _submit(configured[returns], (payload, sent, *inputs.refs, *own.refs[shared:]), inputs)
        refs = refs if isinstance(refs, list) else [refs]
        done.status.append(refs.pop())
        done.items.append(len(part))
        done.returns.append(refs)
        for column in range(width):
            columns[column].extend(refs[column::width])
    done.outputs = dict(zip(job.outputs, columns, strict=False))
    done.value = columns[-1] if job.value else None
    return done


def item_names(title: str, target: str, items: Sequence[object], chunk: int) -> Iterator[str]:
    """Yields what the tasks of a loop are called by their items: ``In[5] x=3``, ``In[5] x=0 … x=9``."""
    for start in range(0, len(items), chunk):
        part = items[start : start + chunk]
        last = item_label("", target, part[-1]).strip()
        yield item_label(title, target, part[0]) + (f" … {last}" if len(part) > 1 else "")


def _submit(function: Any, arguments: tuple[Any, ...], inputs: Inputs) -> Any:
    return _blaming(lambda: function.remote(*arguments), inputs)


def _blaming(submit: Any, inputs: Inputs) -> Any:
    """Submits; an error names the captured value that cannot be pickled."""
    try:
        return submit()
    except TypeError as error:
        for captured in inputs.captured:
            if captured.how not in ("value", "refs", "kept"):
                continue
            try:
                api.put(inputs.kept.get(captured.name) or inputs.names[captured.name])
            except TypeError as cause:
                why = str(cause.__cause__ or cause).rstrip(".")
                raise TypeError(
                    f"{captured.name!r} ({captured.kind}) cannot travel to a worker: {why}. "
                    f"Make it inside the cell instead, or give {captured.name!r} another name."
                ) from None
        raise error from None
