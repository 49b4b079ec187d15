"""``%%remote``: a cell as a task, or as one task per item; and ``%remote``, an expression as a task."""

from __future__ import annotations

import ast
import functools
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    cell_magic,
    line_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.core.magic_arguments import argument, magic_arguments

from raynb import api
from raynb.base.ids import task_of
from raynb.base.ref import ObjectRef
from raynb.jupyter.cells.analysis import CellCode, analyse, target_names
from raynb.jupyter.cells.submission import (
    ParsedCell,
    SubmittedCell,
    choose_outputs,
    dry_run,
    item_names,
    job_for,
    read_cell,
    submit_cell,
    submit_expression,
    submit_items,
    take_inputs,
)
from raynb.jupyter.cells.watching import Again, Watch, bind_values, forget_unbound, wait_for
from raynb.jupyter.lineage.record import Recipe
from raynb.jupyter.magics.arguments import (
    TASK_OPTIONS,
    evaluate,
    option_values,
    parse,
    take_each,
    with_options,
    without_comment,
)
from raynb.jupyter.notebook import Notebook
from raynb.jupyter.on_worker.profiling import (
    memory_profiled_cell,
    memory_profiled_items,
    profiled_cell,
    profiled_items,
)
from raynb.jupyter.on_worker.results import VALUE
from raynb.jupyter.on_worker.runner import run_cell, run_expression, run_items
from raynb.lineage.graph import CELL, LINE

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_remote_functions: dict[Any, Any] = {}


def remote_function(function: object) -> Any:
    """Returns a function as a remote function, made once."""
    found = _remote_functions.get(function)
    if found is None:
        found = _remote_functions[function] = api.remote(function)
    return found


@magics_class
class RemoteMagics(Magics):
    """``%%remote`` and ``%remote``."""

    def __init__(self, shell: InteractiveShell, notebook: Notebook) -> None:
        super().__init__(shell)
        self.notebook = notebook

    @magic_arguments()
    @argument("names", nargs="*", metavar="NAME", help="Bring back these names only (default: all it binds).")
    @argument("--wait", action="store_true", help="Wait for the end, with a progress bar; then bind refs.")
    @argument("--get", action="store_true", help="Wait for the end, then bind the values themselves.")
    @argument(
        "--each",
        metavar="'X in XS'",
        help="Run the cell once per item with X bound; every output becomes a list of refs. "
        "XS is any iterable of known length, a list of refs, a numpy array or a pandas object.",
    )
    @argument(
        "--chunk", metavar="N|auto", help="With --each: N items a task (default 1; auto groups small ones)."
    )
    @argument("--stop-on-error", action="store_true", help="With --each: the first failure cancels the rest.")
    @argument("--name", metavar="NAME", help="Name of the task in the dashboard and in prefixes.")
    @argument("--profile", action="store_true", help="Show a flame graph of what the tasks spent their time on.")
    @argument(
        "--save", metavar="FILE", help="With --profile: write it for speedscope (JSON), or, as FILE.pstats, for pstats."
    )
    @argument("--profile-memory", action="store_true", help="Show where the tasks' memory was allocated (slow).")
    @argument(
        "--keep", action="store_true",
        help="Keep the results on disk: the same cell with the same inputs is ready at once, after a restart too.",
    )
    @argument("--fresh", action="store_true", help="With --keep: run it whatever is kept, and keep the new results.")
    @argument(
        "--reads", nargs="+", metavar="PATH", help="With --keep: files, folders or patterns that the cell reads."
    )
    @argument("--dry-run", action="store_true", help="Show what would travel, and how; submit nothing.")
    @with_options(TASK_OPTIONS)
    @needs_local_scope
    @no_var_expand
    @cell_magic("remote")
    def remote_cell(self, line: str, cell: str, local_ns: dict[str, Any] | None = None) -> None:
        """Run the cell on a worker, and return at once.

        Names that the cell reads and the notebook has travel with it; refs arrive as their values.
        Names that it binds at its top level come back as refs of the same names. The value of the
        last expression is shown here when it is ready, and kept as a ref in `_`.

            %%remote
            model = fit(data)

            %%remote score --each seed in range(20) --get
            score = evaluate(seed, data)
        """
        line = without_comment(line)
        rest, target, iterable = take_each(line)
        args = parse(self.remote_cell, rest)
        self._check(args, target)
        self._check_keep(args)
        namespace = self._namespace(local_ns)
        options = option_values(args, TASK_OPTIONS, namespace)
        if options.get("num_gpus"):  # libraries keep the memory of a GPU until their process ends
            options["max_calls"] = 1
        reading = read_cell(self.notebook, f"%%remote {line}".rstrip(), cell)
        outputs = choose_outputs(reading.code, args.names)
        loop_names = target_names(ast.parse(f"for {target} in _: pass").body[0]) if target else []
        items = self._items(iterable, namespace) if target else None
        chunk = self._chunk(args.chunk, len(items), namespace) if items is not None else 1
        if args.dry_run:
            tasks = "1 task" if items is None else f"{-(-len(items) // chunk)} tasks, {chunk} items each"
            print(dry_run(self.notebook, reading.code, outputs, namespace, loop_names, tasks))
            return
        self.notebook.started()
        title = self.notebook.title()
        if args.profile or args.profile_memory:
            self.notebook.profiles.expect(self.notebook.scope, title, args.profile_memory, args.save or "")
        options["name"] = args.name or title
        job = job_for(reading, outputs, title, items is None, True, target)
        keep, plan = self.notebook.kept, None
        if args.keep or self.notebook.config.keep:
            plan = keep.plan(reading, job, options, namespace, args.reads or (), loop_names, items, args.fresh)
        options = plan.options if plan is not None else options
        places = plan.missing() if plan is not None else list(range(1 if items is None else len(items)))
        done, before = SubmittedCell([], {}), {}
        if places:
            inputs = take_inputs(self.notebook, reading.code, outputs, namespace, loop_names)
            before = {name: namespace[name] for name in [*inputs.kept, *job.unsure.intersection(inputs.names)]}
            if items is None:
                done = submit_cell(remote_function(_cell_runner(args)), job, inputs, options)
            else:
                chosen = [items[place] for place in places]
                done = submit_items(remote_function(_items_runner(args)), job, inputs, options, chosen, chunk)
                names = item_names(options["name"], target, chosen, chunk)
                self.notebook.name_items([task_of(ref._id) for ref in done.status], names)
        if plan is not None:
            done = keep.merged(plan, done, places, items is not None)
        run = self._record(CELL, reading, done, iterable, self._recipe(line, cell), loop_names)
        self._bind(done, reading.code)
        self.notebook.lineage.bound(run, done.outputs)
        self._follow(done, args, items is not None, before, run)

    def _record(self, kind: str, reading: ParsedCell, done: SubmittedCell, iterable: str, recipe: Recipe | None,
                given: Sequence[str]) -> Any:  # fmt: skip
        """Records what was submitted; returns its run.

        Args:
            given: names that a loop gives the cell.
        """
        code = reading.code
        inside = [name for name in (*code.free, *sorted(code.unsure)) if name not in given]
        names = [*inside, *(analyse(iterable.strip()).free if iterable else ())]
        made = [*done.status, *_flat(done.outputs), *_flat(done.value)]
        tasks = [task_of(ref._id) for ref in made if isinstance(ref, ObjectRef)]
        return self.notebook.lineage.submitted(kind, code, names, tuple(done.outputs), tasks, recipe)

    def _recipe(self, line: str, cell: str) -> Recipe:
        at = self.notebook.cells.running()
        return Recipe(line, cell, at, at.source if at is not None else "")

    @staticmethod
    def _check(args: Namespace, target: str) -> None:
        if args.each is not None:
            raise UsageError("--each takes `NAME in ITERABLE`, for example `--each x in xs`.")
        for name, given in (("--chunk", args.chunk is not None), ("--stop-on-error", args.stop_on_error)):
            if given and not target:
                raise UsageError(f"{name} works with --each only.")
        if args.profile and args.profile_memory:
            raise UsageError("--profile and --profile-memory would disturb each other: run the cell once with each.")
        if args.save is not None and not args.profile:
            raise UsageError("--save works with --profile only.")

    def _check_keep(self, args: Namespace) -> None:
        if not (args.keep or self.notebook.config.keep):
            for name, given in (("--fresh", args.fresh), ("--reads", args.reads)):
                if given:
                    raise UsageError(f"{name} works with --keep only.")

    def _namespace(self, local_ns: dict[str, Any] | None) -> dict[str, Any]:
        user: dict[str, Any] = self.shell.user_ns
        return user if local_ns is None or local_ns is user else {**user, **local_ns}

    @staticmethod
    def _items(iterable: str, namespace: dict[str, Any]) -> Sequence[Any]:
        values = evaluate(iterable, "--each", namespace)
        try:
            len(values)
        except TypeError:
            raise UsageError(
                f"--each needs an iterable of known length; {iterable} is a {type(values).__name__}. "
                f"Use `list({iterable})` if it ends."
            ) from None
        items = list(values)
        if not items:
            raise UsageError(f"--each: {iterable} is empty.")
        return items

    @staticmethod
    def _chunk(text: str | None, count: int, namespace: dict[str, Any]) -> int:
        if text is None:
            return 1
        if text == "auto":
            cpus = int(api.cluster_resources().get("CPU", 1)) or 1
            return max(1, count // (cpus * 32))
        value = evaluate(text, "--chunk", namespace)
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"--chunk takes a positive integer or auto, got {text}.")
        return value

    def _bind(self, done: SubmittedCell, code: CellCode) -> None:
        self.shell.push(done.outputs)
        if done.value is not None and code.has_value:
            self.notebook.keep_as_last(done.value)

    def _follow(self, done: SubmittedCell, args: Namespace, many: bool, before: dict[str, Any], run: object) -> None:
        """Waits, or leaves a watch that shows progress and failures in this cell.

        Args:
            before: old values of names that the cell may not bind; after a wait the notebook has
                those again, as they were.
            run: of the record.
        """
        status = next(iter(done.status), None)
        batch = self.notebook.waits_at_end()
        watch = Watch(self.notebook, self.notebook.scope, done, args.stop_on_error, strict=batch)
        profiles = self.notebook.profiles if args.profile or args.profile_memory else None
        if self.notebook.again is not None:  # `%raynb rerun` waits for all of its cells together
            waits = args.wait or args.get
            finish = functools.partial(self._finish, watch, done, args, many, before, run) if waits else _nothing
            watch.in_background(progress=many and status is not None)
            self.notebook.again.append(Again(watch, finish))
            return
        if not (args.wait or args.get or batch):
            if profiles is not None and status is not None:
                profiles.show_when_over(watch.scope, watch)
            watch.in_background(progress=many and status is not None)
            return
        self.notebook.lineage.later.catch_up()  # while it waits, others may change what it has read
        try:
            if status is not None:
                wait_for(self.notebook, watch)
        finally:
            if profiles is not None and status is not None:
                profiles.show(watch.scope)
        self._finish(watch, done, args, many, before, run)

    def _finish(
        self, watch: Watch, done: SubmittedCell, args: Namespace, many: bool, before: dict[str, Any], run: object
    ) -> None:
        """After a wait: binds values, and forgets the names that were not bound."""
        if not many:
            forget_unbound(self.notebook, watch, done.outputs, before)
            for name in (*watch.end.kept, *watch.end.unbound):
                self.notebook.lineage.left(run, name)
        if args.get:
            bind_values(self.notebook, watch, done.outputs)
            gotten = {name: refs for name, refs in done.outputs.items() if name not in watch.end.stuck}
            self.notebook.lineage.swapped(gotten, True)
            if done.value is not None and VALUE not in watch.end.stuck:
                self.notebook.keep_as_last(api.get(done.value))

    @needs_local_scope
    @no_var_expand
    @line_magic("remote")
    def remote_line(self, line: str, local_ns: dict[str, Any] | None = None) -> Any:
        """Evaluate an expression on a worker; returns its ref: `ref = %remote f(x)`.

        Names in it travel as those of a `%%remote` cell do: refs arrive as their values. `%%remote?` shows what
        `%%remote` does with a cell, and its options.
        """
        if not line.strip():
            raise UsageError("%remote takes an expression, for example `ref = %remote f(x)`.")
        namespace = self._namespace(local_ns)
        option = line.split()[0]
        if option.split("=")[0] in _options_of(self.remote_cell) and option[2:] not in namespace:
            raise UsageError(f"%remote takes an expression and no options; {option} is one of %%remote, for cells.")
        reading = read_cell(self.notebook, f"%remote {line}", line.strip())
        if not reading.code.has_value:
            raise UsageError(
                f"%remote takes one expression; `{line.strip()}` is a statement. Use %%remote for cells."
            )
        self.notebook.started()
        title = self.notebook.title()
        inputs = take_inputs(self.notebook, reading.code, (), namespace, ())
        job = job_for(reading, (), title, False, True)
        ref = submit_expression(remote_function(run_expression), job, inputs, _call_name(line) or title)
        self._record(LINE, reading, SubmittedCell([ref], {}), "", None, ())
        self.notebook.owe(ref)
        return ref


def _nothing() -> None:
    """Does nothing."""


def _flat(value: object) -> list[Any]:
    """Returns what is in the lists and dicts of outputs."""
    if isinstance(value, dict):
        value = list(value.values())
    return [part for item in value for part in _flat(item)] if isinstance(value, list) else [value]


def _cell_runner(args: Namespace) -> Any:
    """Returns what runs a cell on the worker."""
    return profiled_cell if args.profile else memory_profiled_cell if args.profile_memory else run_cell


def _items_runner(args: Namespace) -> Any:
    """Returns what runs a cell for some items on the worker."""
    return profiled_items if args.profile else memory_profiled_items if args.profile_memory else run_items


def _options_of(magic: Any) -> set[str]:
    """Returns the options that a magic's line takes."""
    return {text for action in magic.parser._actions for text in action.option_strings}


def _call_name(text: str) -> str:
    """Returns ``f`` for ``f(x)``; empty when the expression isn't a plain call."""
    tree = ast.parse(text.strip(), mode="eval")
    call = tree.body
    return ast.unparse(call.func) if isinstance(call, ast.Call) and len(ast.unparse(call.func)) < 40 else ""
