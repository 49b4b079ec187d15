"""``%raynb stack``, ``profile`` and ``debug``: what runs, seen from inside."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, magic_arguments

from raynb.jupyter.inspection import attaching, stack_text
from raynb.jupyter.inspection.collecting import memory_of_targets, of_targets, saved
from raynb.jupyter.inspection.flame import FlameGraph
from raynb.jupyter.inspection.prompt import sources_of
from raynb.jupyter.inspection.targets import find, inspection_of
from raynb.jupyter.magics.arguments import parse
from raynb.jupyter.magics.reporting import running_engine
from raynb.jupyter.notebook import Notebook
from raynb.jupyter.output.tracebacks import Renderer


@magic_arguments("%raynb stack")
@argument("target", nargs="*", metavar="TASK|ACTOR|WORKER", help="A ref, a handle, a name, an id; or kernel.")
@argument("--cell", type=int, metavar="N", help="The running tasks of cell N.")
def stack(notebook: Notebook, rest: str) -> None:
    """Show what tasks, actors, workers or the kernel do at this moment."""
    args = parse(stack, rest)
    target = " ".join(args.target)
    renderer = Renderer(notebook.shell)
    if target == "kernel":
        print(stack_text.of_kernel(renderer))
        return
    engine = running_engine(notebook)
    inspection_of(engine, "%raynb stack")
    print(stack_text.of_targets(renderer, engine, find(engine, target, notebook.shell.user_ns, args.cell)))


@magic_arguments("%raynb profile")
@argument("target", nargs="*", metavar="TASK|ACTOR|WORKER", help="A ref, a handle, a name or an id.")
@argument("--cell", type=int, metavar="N", help="The running tasks of cell N.")
@argument("--all", action="store_true", help="Every task that runs (the default).")
@argument("--seconds", type=float, default=5.0, metavar="S", help="How long to look (default 5).")
@argument("--save", metavar="FILE", help="Write it for speedscope (JSON), or, as FILE.pstats, for pstats.")
@argument("--memory", action="store_true", help="Show where memory is allocated instead, at its peak (slow).")
def profile(notebook: Notebook, rest: str) -> None:
    """Sample what runs already, and show where its time goes."""
    from IPython.display import display

    args = parse(profile, rest)
    if args.seconds <= 0:
        raise UsageError(f"%raynb profile: --seconds must be positive, got {args.seconds:g}.")
    if args.memory and args.save:
        raise UsageError("%raynb profile: --save works without --memory only.")
    engine = running_engine(notebook)
    inspection_of(engine, "%raynb profile")
    targets = find(engine, " ".join(args.target), notebook.shell.user_ns, args.cell)
    try:
        if args.memory:
            print(memory_of_targets(notebook, engine, targets, args.seconds).text())
            return
        found = of_targets(notebook, engine, targets, args.seconds)
    except ValueError as error:
        raise UsageError(f"%raynb profile: {error}") from None
    display(FlameGraph(found))
    if args.save:
        print(saved(found, args.save))


@magic_arguments("%raynb debug")
@argument("target", nargs="*", metavar="TASK", help="A ref or a name (default: all that wait, in order).")
@argument("--dap", action="store_true", help="Have debugpy listen in the worker of a running task, for an editor.")
def debug(notebook: Notebook, rest: str) -> None:
    """Open the prompt of a task that waits at a breakpoint, or let an editor debug a running one."""
    args = parse(debug, rest)
    target = " ".join(args.target)
    engine = running_engine(notebook)
    inspection = inspection_of(engine, "%raynb debug")
    if args.dap:
        if not target:
            raise UsageError("%raynb debug --dap takes the task that an editor is to debug.")
        if not inspection.sockets:
            raise UsageError("%raynb debug --dap: workers of a cluster may run on other machines, which no socket of "
                             "this one leads to. `breakpoint()` and `%raynb debug` work there.")  # fmt: skip
        found = find(engine, target, notebook.shell.user_ns)
        print(attaching.open_sockets(inspection, sources_of(notebook.shell), found))
        return
    breakpoints = notebook.breakpoints
    waiting = breakpoints.waiting()
    if not waiting:
        print("No task waits at a breakpoint.")
        return
    if not target:
        breakpoints.serve()
        return
    tasks = [t for found in find(engine, target, notebook.shell.user_ns) for t in found.tasks]
    chosen: Any = next((point.task for point in waiting if point.task in tasks), None)
    if chosen is None:
        raise UsageError(f"%raynb debug: {target} does not wait at a breakpoint.")
    breakpoints.serve(chosen)
