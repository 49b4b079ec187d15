"""Line magics: ``%get %put %wait %cancel %kill`` and ``%raynb`` with its sub-commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from raynb import api
from raynb.base import engine as engines
from raynb.base.interfaces import DriverEngine
from raynb.base.ref import ObjectRef, ObjectRefGenerator, is_ref
from raynb.exceptions import GetTimeoutError, RayTaskError
from raynb.jupyter.cells.inputs import Inputs
from raynb.jupyter.formatting import did_you_mean
from raynb.jupyter.magics import inspecting, kept, lineage, reporting
from raynb.jupyter.magics.arguments import parse, without_comment
from raynb.jupyter.magics.help import cell_number, every_magic
from raynb.jupyter.notebook import Notebook, unfinished
from raynb.jupyter.on_worker.runner import filled, holds_refs
from raynb.jupyter.output.registry import cell_name
from raynb.jupyter.reports import text_tables
from raynb.jupyter.views import actions

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Failed parts of a list that ``%get`` names.
MAX_SHOWN = 10


@magics_class
class LineMagics(Magics):
    """Values, waiting, cancelling, and the runtime."""

    def __init__(self, shell: InteractiveShell, notebook: Notebook) -> None:
        super().__init__(shell)
        self.notebook = notebook

    # -- values --------------------------------------------------------------------------------
    @magic_arguments()
    @argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="Variables that are refs, or lists, tuples and dicts of refs.",
    )
    @argument("--timeout", type=float, metavar="S", help="Seconds to wait at most.")
    @no_var_expand
    @line_magic
    def get(self, line: str) -> None:
        """Bind names to their values instead of their refs: `%get model scores`.

        Of a list in which some failed, the others are bound; those that failed stay refs, and are named.
        """
        args = parse(self.get, line)
        found = {name: self._variable(name, "%get") for name in args.names}
        inputs = Inputs()
        replaced = {name: inputs.replaced(value) for name, value in found.items()}
        for name, value in found.items():
            if replaced[name] is value:
                raise UsageError(f"%get: {name!r} is a {type(value).__name__} and holds no refs.")
        alone = any(isinstance(value, ObjectRef) for value in found.values())
        values, failed = _values(inputs.refs, args.timeout, alone)
        self.shell.push({name: filled(value, values) for name, value in replaced.items()})
        self.notebook.lineage.swapped({name: value for name, value in found.items() if not failed}, True)
        for name, value in found.items():
            if failed:
                _print_failed(name, value, failed)
        if failed and self.notebook.waits_at_end():  # such a run is not to end with success
            raise next(iter(failed.values()))

    @magic_arguments()
    @argument("names", nargs="+", metavar="NAME", help="Variables to put into the object store.")
    @no_var_expand
    @line_magic
    def put(self, line: str) -> None:
        """Put values into the object store and bind their names to the refs: `%put big`."""
        args = parse(self.put, line)
        found = {name: self._variable(name, "%put") for name in args.names}
        for name, value in found.items():
            if isinstance(value, ObjectRef):
                raise UsageError(f"%put: {name!r} is a ref already.")
        self.notebook.started()
        self.shell.push({name: api.put(value) for name, value in found.items()})
        self.notebook.lineage.swapped(found, False)

    def _variable(self, name: str, magic: str) -> Any:
        try:
            return self.shell.user_ns[name]
        except KeyError:
            raise UsageError(f"{magic}: {name!r} is not defined.") from None

    def _refs_of(self, names: list[str], magic: str) -> list[ObjectRef[object]]:
        if not names:
            found: dict[ObjectRef[object], None] = {}
            for name, value in list(self.shell.user_ns.items()):
                if not name.startswith("_") and (is_ref(value) or _holds(value)):
                    found.update(dict.fromkeys(_flat(value)))
            return list(found)
        refs: dict[ObjectRef[object], None] = {}
        for name in names:
            value = self._variable(name, magic)
            inside = [value.completed()] if isinstance(value, ObjectRefGenerator) else _flat(value)
            if not inside:
                raise UsageError(f"{magic}: {name!r} is a {type(value).__name__} and holds no refs.")
            refs.update(dict.fromkeys(inside))
        return list(refs)

    # -- waiting and ending --------------------------------------------------------------------
    @magic_arguments()
    @argument(
        "names", nargs="*", metavar="NAME", help="Refs, or containers of refs (default: all of the notebook)."
    )
    @argument("--num-returns", type=int, metavar="N", help="Return when N are ready (default: all).")
    @argument("--timeout", type=float, metavar="S", help="Seconds to wait at most.")
    @no_var_expand
    @line_magic
    def wait(self, line: str) -> None:
        """Wait until refs are ready, and say how many are."""
        args = parse(self.wait, line)
        refs = self._refs_of(args.names, "%wait")
        if not refs:
            print("There are no refs to wait for.")
            return
        wanted = len(refs) if args.num_returns is None else args.num_returns
        if not 1 <= wanted <= len(refs):
            raise UsageError(f"%wait: --num-returns must be from 1 to {len(refs)}, got {wanted}.")
        ready, rest = api.wait(refs, num_returns=wanted, timeout=args.timeout, fetch_local=False)
        print(f"{len(ready):,} of {len(refs):,} ready." if rest else f"All {len(ready):,} ready.")

    @magic_arguments()
    @argument("names", nargs="*", metavar="NAME", help="Refs, or containers of refs.")
    @argument(
        "--cell",
        nargs="?",
        const="last",
        metavar="N",
        help="The unfinished tasks of cell N (default: the last that has any).",
    )
    @argument("--all", action="store_true", help="Every unfinished task.")
    @argument("--force", action="store_true", help="Kill workers instead of interrupting tasks.")
    @no_var_expand
    @line_magic
    def cancel(self, line: str) -> None:
        """Cancel tasks: `%cancel ref`, `%cancel --cell 5`, `%cancel --all`."""
        args = parse(self.cancel, line)
        if sum((bool(args.names), args.cell is not None, args.all)) != 1:
            raise UsageError("%cancel takes names of refs, or --cell, or --all.")
        engine = self._engine()
        if args.names:
            refs = self._refs_of(args.names, "%cancel")
            for ref in refs:
                api.cancel(ref, force=args.force)
            print(f"Cancelling {len(refs):,} {'task' if len(refs) == 1 else 'tasks'}.")
        elif args.all:
            print(actions.cancel_all(engine, args.force))
        else:
            scope = self._cell(engine, args.cell)
            print(f"{cell_name(scope)}: {actions.cancel_cell(engine, scope)}")

    @staticmethod
    def _cell(engine: DriverEngine, text: str) -> int:
        if text != "last":
            if cell_number(text) is None:
                raise UsageError(f"%cancel: --cell takes the number of a cell, got {text!r}.")
            return cell_number(text) or 0
        scopes = [row.scope for row in engine.snapshot().tasks if unfinished({row.state: 1})]
        if not scopes:
            raise UsageError("%cancel: no cell has unfinished tasks.")
        return int(max(scopes))

    @magic_arguments()
    @argument("names", nargs="+", metavar="HANDLE", help="Variables that are actor handles.")
    @argument("--restart", action="store_true", help="Let it restart, if it has restarts left.")
    @no_var_expand
    @line_magic
    def kill(self, line: str) -> None:
        """Kill actors: `%kill counter`."""
        args = parse(self.kill, line)
        handles = {name: self._variable(name, "%kill") for name in args.names}
        for name, handle in handles.items():
            if not hasattr(handle, "__ray_call__"):
                raise UsageError(f"%kill: {name!r} is a {type(handle).__name__}, not an actor's handle.")
        for handle in handles.values():
            api.kill(handle, no_restart=not args.restart)

    def _engine(self) -> DriverEngine:
        return reporting.running_engine(self.notebook)

    # -- %raynb --------------------------------------------------------------------------------
    @no_var_expand
    @line_magic
    def raynb(self, line: str) -> Any:
        """The runtime: what runs, starting and stopping it, its views, and help.

        %raynb status           what runs, and the store
        %raynb start [--address A] [--cluster local [--nodes N]] [--local-mode] [--num-cpus N]
        %raynb stop, %raynb restart [the same options as start]
        %raynb dashboard [TAB]  the live views, as a widget
        %raynb tasks|actors|objects|workers|nodes
        %raynb kernels          every runtime of yours on this machine; kernels stop NAME stops that of a notebook
        %raynb logs [CELL] [--grep TEXT]; --cell N: shows again what cell N has shown, or would have
        %raynb timeline [CELL]  what a cell's time went into (default: the last with tasks), as a picture
        %raynb timeline FILE    the same of all tasks, as a Chrome/Perfetto trace
        %raynb report [FILE]    everything that the views show, as one HTML file
        %raynb stack [TASK|ACTOR|WORKER|--cell N|kernel]  what runs there now
        %raynb profile [TASK|ACTOR|--cell N|--all] [--seconds S] [--memory]  a flame graph of what runs
        %raynb debug [TASK]     the prompt of a task that waits at a breakpoint
        %raynb error [--full]   the error that was shown last; with the frames of libraries
        %raynb scale N          N CPU slots from now on, while everything goes on
        %raynb kept             what %%remote --keep has on disk; %raynb forget NAME|--all|--older 7d
        %raynb stale            which results are no longer true, and why
        %raynb graph            which cell took what from which, as a picture
        %raynb rerun [--stale | --from N | NAME ...] [--dry-run]  submits cells again, in the order of their inputs
        %raynb config           every setting, with its help
        %raynb doctor           checks this environment
        %raynb as-ray           from now on `import ray` means raynb, here and on the workers
        """
        command, _, rest = line.strip().partition(" ")
        run = COMMANDS.get(command or "status")
        if run is None:
            meant = did_you_mean(command, COMMANDS)
            raise UsageError(f"%raynb has no command {command!r}{meant}; it has: {', '.join(COMMANDS)}.")
        if command in BARE and without_comment(rest).strip():
            raise UsageError(f"%raynb {command} takes nothing more, got {rest.strip()!r}.")
        return run(self, rest.strip())

    def _status(self, rest: str) -> None:
        if self.notebook.starting is not None and engines.peek() is None:
            self.notebook.started()
        print(actions.status_text(engines.driver()))

    @magic_arguments("%raynb start")
    @argument("--address", metavar="A", help="'auto' or 'ray://host:10001': a Ray cluster; 'local': this machine.")
    @argument(
        "--local-mode", action="store_true", default=None,
        help="No workers: everything runs at once in the kernel, so that breakpoint() and %%debug work.",
    )
    @argument("--cluster", metavar="KIND", help="'local': a throw-away Ray cluster on this machine.")
    @argument("--nodes", type=int, metavar="N", help="Nodes of that cluster (default 3).")
    @argument("--num-cpus", type=float, metavar="N", help="CPU slots (of such a cluster: of each node).")
    @argument("--object-store-memory", type=int, metavar="BYTES", help="Size of the object store.")
    def _start(self, rest: str) -> Any:
        from raynb.jupyter.views.runtime_actions import gives_way

        given = _given(rest)
        starting = self.notebook.starting
        replaces = bool(given) and (engines.peek() is not None or (starting is not None and starting.is_alive()))
        if replaces and not gives_way(self.notebook):
            raise UsageError(f"%raynb start: a runtime is running; `%raynb restart {rest}` ends it first.")
        return self._begin(given, replaces)

    def _begin(self, given: dict[str, object], replaces: bool) -> Any:
        """Starts the runtime with these settings, which stay; ``replaces``: in the place of the one that runs."""
        self.notebook.config.start_with(given)
        if replaces:
            self.notebook.stop()
        self.notebook.start(shows=False)
        self.notebook.started()
        return self._card("")

    def _stop(self, rest: str) -> None:
        was = engines.peek() is not None or self.notebook.starting is not None
        self.notebook.stop()
        print("The runtime is stopped." if was else "No runtime was running.")

    def _restart(self, rest: str) -> Any:
        return self._begin(_given(rest), replaces=True)

    def _card(self, rest: str) -> Any:
        from raynb.jupyter.reports.card import Card

        return Card(self.notebook)

    def _dashboard(self, rest: str) -> Any:
        from raynb.jupyter.reports.card import Plain

        engine = self._engine()
        if getattr(self.shell, "kernel", None) is None:
            return Plain(actions.status_text(engine))
        from raynb.jupyter.views.dashboard import Dashboard

        try:
            return Dashboard(rest or "overview")
        except ValueError as error:
            raise UsageError(f"%raynb dashboard: {error}") from None

    def _tasks(self, rest: str) -> None:
        print(text_tables.tasks(self.notebook.with_items(self._engine().snapshot(settled=True)), rest))

    def _actors(self, rest: str) -> None:
        print(text_tables.actors(self._engine().snapshot(settled=True)))

    def _objects(self, rest: str) -> None:
        print(text_tables.objects(self._engine().snapshot(settled=True), reporting.labels_of(self.notebook)))

    def _logs(self, rest: str) -> None:
        reporting.logs(self.notebook, self._engine(), rest)

    def _timeline(self, rest: str) -> Any:
        return reporting.timeline(self.notebook, self._engine(), rest)

    def _report(self, rest: str) -> None:
        reporting.report(self.notebook, self._engine(), rest)

    def _doctor(self, rest: str) -> Any:
        from raynb.jupyter.reports.doctor import examine

        return examine(self.notebook)

    def _as_ray(self, rest: str) -> None:
        from raynb.as_ray import as_ray

        print(f"From now on `import ray` means raynb, which follows Ray {as_ray().__version__}.")

    def _help(self, rest: str) -> None:
        from raynb.jupyter.magics.actor import ActorMagics
        from raynb.jupyter.magics.remote import RemoteMagics

        ours = (RemoteMagics, ActorMagics, LineMagics)
        print(every_magic(self.shell, ours, LineMagics.raynb.__doc__ or ""))


def _given(rest: str) -> dict[str, object]:
    """Returns the settings among the options of ``%raynb start``, which ``%raynb restart`` takes too."""
    return {name: value for name, value in vars(parse(LineMagics._start, rest)).items() if value is not None}


def _holds(value: object) -> bool:
    return type(value) in (list, tuple, dict) and holds_refs(value)


def _flat(value: object) -> list[ObjectRef[object]]:
    """Returns the refs in a value, in order."""
    inputs = Inputs()
    inputs.replaced(value)
    return inputs.refs


def _values(
    refs: list[ObjectRef[object]], timeout: float | None, alone: bool
) -> tuple[tuple[Any, ...], dict[ObjectRef[object], Exception]]:
    """Returns the values, of what failed the ref itself, and what failed.

    Raises:
        Exception: the first failure, if ``alone``; a time that is up.
    """
    try:
        return tuple(api.get(refs, timeout=timeout)), {}
    except GetTimeoutError:
        raise
    except Exception:
        if alone:
            raise
    values: list[Any] = []
    failed: dict[ObjectRef[object], Exception] = {}
    for ref in refs:
        try:
            values.append(api.get(ref, timeout=timeout))
        except GetTimeoutError:
            raise
        except Exception as error:
            values.append(ref)
            failed[ref] = error
    return tuple(values), failed


def _print_failed(name: str, value: Any, failed: dict[ObjectRef[object], Exception]) -> None:
    """Says which parts of a list, tuple or dict failed."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value))
    found = []
    for key, part in pairs:
        error = next((failed[ref] for ref in _flat(part) if ref in failed), None)
        if error is not None:
            cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
            text = str(cause).partition("\n")[0]
            found.append(f"  {name}[{key!r}]: {type(cause).__name__}{': ' if text else ''}{text}")
    if found:
        more = [f"  … and {len(found) - MAX_SHOWN:,} more"] if len(found) > MAX_SHOWN else []
        head = f"%get {name}: {len(found):,} of {len(pairs):,} failed and stay refs:"
        print("\n".join([head, *found[:MAX_SHOWN], *more]), file=sys.stderr)


def _show_config(magics: LineMagics, rest: str) -> None:
    for name, value, text in magics.notebook.config.table():
        print(f"Raynb.{name} = {value}\n    {text}")


def _workers(magics: LineMagics, rest: str) -> None:
    print(text_tables.workers(magics._engine().snapshot(settled=True)))


def _nodes(magics: LineMagics, rest: str) -> None:
    print(text_tables.nodes(magics._engine().snapshot(settled=True)))


def _scale(magics: LineMagics, rest: str) -> None:
    from raynb.jupyter.views.runtime_actions import scale

    try:
        cpus = int(rest)
    except ValueError:
        raise UsageError(f"%raynb scale takes a number of CPU slots, got {rest!r}.") from None
    try:
        print(scale(magics._engine(), cpus))
    except ValueError as error:
        raise UsageError(f"%raynb scale: {error}") from None


def _show_error(magics: LineMagics, rest: str) -> None:
    from raynb.jupyter.output.tracebacks import last

    if rest not in ("", "--full"):
        raise UsageError(f"%raynb error takes --full, got {rest!r}.")
    lines = last.full if rest else last.short
    print("\n".join(lines) if lines else "No error of a task has been shown.")


def _of_notebook(command: Callable[[Notebook, str], object]) -> Callable[[LineMagics, str], Any]:
    """Returns a command of `%raynb` that a function of the notebook carries out."""
    return lambda magics, rest: command(magics.notebook, rest)


#: Commands that take nothing: more than the command would be passed over, as if it had been done.
BARE = ("status", "stop", "actors", "objects", "workers", "nodes", "config", "doctor", "as-ray")
COMMANDS: dict[str, Callable[[LineMagics, str], Any]] = {
    "status": LineMagics._status, "start": LineMagics._start, "stop": LineMagics._stop,
    "restart": LineMagics._restart, "dashboard": LineMagics._dashboard, "tasks": LineMagics._tasks,
    "actors": LineMagics._actors, "objects": LineMagics._objects, "workers": _workers,
    "nodes": _nodes, "scale": _scale, "kernels": lambda magics, rest: reporting.kernels(rest),
    "logs": LineMagics._logs, "timeline": LineMagics._timeline, "config": _show_config,
    "error": _show_error, "stack": _of_notebook(inspecting.stack),
    "debug": _of_notebook(inspecting.debug), "profile": _of_notebook(inspecting.profile),
    "stale": _of_notebook(lineage.show_stale), "graph": _of_notebook(lineage.show_graph),
    "rerun": _of_notebook(lineage.rerun), "kept": _of_notebook(kept.show_kept),
    "forget": _of_notebook(kept.forget),
    "doctor": LineMagics._doctor, "as-ray": LineMagics._as_ray, "report": LineMagics._report, "help": LineMagics._help,
}  # fmt: skip
