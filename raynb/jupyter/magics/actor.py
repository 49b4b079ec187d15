"""``%%actor``, ``%%on`` and ``%%everywhere``: cells that create and change actors, and prepare workers."""

from __future__ import annotations

import ast
import contextlib
import re
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, needs_local_scope, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from raynb import api
from raynb.api.everywhere import run_on_workers
from raynb.base import engine as engines
from raynb.exceptions import GetTimeoutError
from raynb.jupyter.cells.submission import SubmittedCell, choose_outputs, job_for, read_cell, submit_cell, take_inputs
from raynb.jupyter.cells.watching import Watch, bind_values, forget_unbound, wait_for
from raynb.jupyter.magics.arguments import (
    ACTOR_OPTIONS,
    call_arguments,
    option_values,
    parse,
    with_options,
    without_comment,
)
from raynb.jupyter.magics.remote import remote_function
from raynb.jupyter.notebook import Notebook
from raynb.jupyter.on_worker.runner import CellPayload, run_everywhere, run_on_actor

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_ARGUMENTS = re.compile(r"(?:^|\s)--(?:\s|$)")


@magics_class
class ActorMagics(Magics):
    """Cells about actors and workers."""

    def __init__(self, shell: InteractiveShell, notebook: Notebook) -> None:
        super().__init__(shell)
        self.notebook = notebook

    # -- %%actor -------------------------------------------------------------------------------
    @magic_arguments()
    @argument(
        "variable",
        nargs="?",
        metavar="NAME",
        help="Variable of the handle (default: the class in snake_case).",
    )
    @argument("--name", metavar="NAME", help="Name for raynb.get_actor().")
    @argument("--namespace", metavar="NAME", help="Namespace of the name.")
    @argument("--lifetime", metavar="KIND", help="'detached': outlives the kernel on a Ray cluster; needs --name.")
    @argument("--get-if-exists", action="store_true", help="Take the actor of that name if there is one.")
    @argument("--keep", action="store_true", help="Keep the instance that an earlier run of the cell made.")
    @argument("--define", action="store_true", help="Only define the actor class; start nothing.")
    @with_options(ACTOR_OPTIONS)
    @needs_local_scope
    @no_var_expand
    @cell_magic("actor")
    def actor(self, line: str, cell: str, local_ns: dict[str, Any] | None = None) -> None:
        """Make the cell's class an actor class, and start one instance.

        The class keeps its name, the handle gets NAME. Constructor arguments follow `--`, as Python
        expressions. Running the cell again replaces the actor.

            %%actor counter -- start=10
            class Counter:
                def __init__(self, start):
                    self.n = start
                def add(self):
                    self.n += 1
                    return self.n

        Then: `raynb.get(counter.add.remote())`.
        """
        line = without_comment(line)
        found = _ARGUMENTS.search(line)
        head, tail = (line[: found.start()], line[found.end() :]) if found else (line, "")
        args = parse(self.actor, head)
        namespace = self.shell.user_ns
        options = option_values(args, ACTOR_OPTIONS, namespace)
        if args.lifetime and not args.name:
            raise UsageError("--lifetime needs --name: nothing else finds the actor again.")
        for name in ("name", "namespace", "lifetime"):
            if getattr(args, name):
                options[name] = getattr(args, name)
        if args.get_if_exists:
            if not args.name:
                raise UsageError("--get-if-exists needs --name.")
            options["get_if_exists"] = True
        if args.variable and not args.variable.isidentifier():
            raise UsageError(f"%%actor: {args.variable!r} is not a variable name.")
        positional, keywords = call_arguments(tail, namespace)
        reading = read_cell(self.notebook, f"%%actor {line}".rstrip(), cell)
        class_name = _one_class(reading.code.source)
        self.notebook.started()
        self._define(reading, class_name)
        if not args.define:
            variable = args.variable or snake_case(class_name)
            self._instance(variable, namespace[class_name], options, args.keep, positional, keywords)

    def _define(self, reading: Any, class_name: str) -> None:
        namespace = self.shell.user_ns
        namespace.pop(class_name, None)
        code = compile(reading.code.source, reading.filename, "exec", reading.flags, dont_inherit=True)
        exec(code, namespace)
        made = namespace[class_name]
        if isinstance(made, type):
            self.shell.push({class_name: api.remote(made)})

    def _instance(self, variable: str, actor_class: Any, options: dict[str, Any], keep: bool,
                  positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:  # fmt: skip
        old = self.notebook.actors.get(variable)
        if old is not None and old is self.shell.user_ns.get(variable):
            if keep and is_alive(old):
                return
            if not options.get("get_if_exists"):
                api.kill(old)  # frees its name and its resources for the new one
        handle = actor_class.options(**options).remote(*positional, **keywords)
        self.notebook.actors[variable] = handle
        self.shell.push({variable: handle})
        if self.notebook.waits_at_end():  # a constructor that fails, fails the cell
            with contextlib.suppress(GetTimeoutError):
                api.get(handle.__ray_ready__.remote(), timeout=self.notebook.config.drain_seconds)

    # -- %%on ----------------------------------------------------------------------------------
    @magic_arguments()
    @argument("target", metavar="ACTOR_OR_WORKER", help="An actor's handle, or the number of a worker.")
    @argument("names", nargs="*", metavar="NAME", help="Bring back these names only.")
    @argument("--get", action="store_true", help="Wait, and bind values instead of refs.")
    @needs_local_scope
    @no_var_expand
    @cell_magic("on")
    def on(self, line: str, cell: str, local_ns: dict[str, Any] | None = None) -> None:
        """Run the cell inside an actor's process, with `self` bound to its instance.

        Look at its state or mend it while it lives; outputs come back as refs, as from `%%remote`.
        With the number of a worker, the cell runs on that worker.

            %%on counter
            print(self.n)
            self.n = 0
        """
        args = parse(self.on, line)
        reading = read_cell(self.notebook, f"%%on {line}".rstrip(), cell)
        outputs = choose_outputs(reading.code, args.names)
        self.notebook.started()
        if args.target.isdecimal():
            self._on_workers(reading, int(args.target), later=False)
            return
        handle = self.shell.user_ns.get(args.target)
        call = getattr(handle, "__ray_call__", None)
        if call is None:
            what = "not defined" if handle is None else f"a {type(handle).__name__}"
            raise UsageError(f"%%on needs an actor's handle or a worker's number; {args.target!r} is {what}.")
        title = self.notebook.title()
        inputs = take_inputs(self.notebook, reading.code, outputs, self.shell.user_ns, ("self",))
        job = job_for(reading, outputs, title, True, True)
        done = submit_cell(_ActorCall(call), job, inputs, {})
        self.shell.push(done.outputs)
        if done.value is not None:
            self.notebook.keep_as_last(done.value)
        batch = self.notebook.waits_at_end()
        watch = Watch(self.notebook, self.notebook.scope, done, strict=batch)
        if not (args.get or batch):
            watch.in_background(progress=False)
            return
        wait_for(self.notebook, watch)
        if args.get:
            forget_unbound(self.notebook, watch, done.outputs, {})
            bind_values(self.notebook, watch, done.outputs)

    # -- %%everywhere --------------------------------------------------------------------------
    @magic_arguments()
    @argument("--once", action="store_true", help="Only on the workers that run now, not on later ones.")
    @argument("--no-wait", action="store_true", help="Don't wait for the workers.")
    @needs_local_scope
    @no_var_expand
    @cell_magic("everywhere")
    def everywhere(self, line: str, cell: str, local_ns: dict[str, Any] | None = None) -> None:
        """Run the cell on every worker: now, and whenever a new worker starts.

        For imports that take long, environment variables, random seeds. Names that the cell binds
        stay on the worker, in `__main__`.

            %%everywhere
            import torch
            torch.set_num_threads(1)
        """
        args = parse(self.everywhere, line)
        reading = read_cell(self.notebook, f"%%everywhere {line}".rstrip(), cell)
        self.notebook.started()
        self._on_workers(reading, 0, later=not args.once, wait=not args.no_wait)

    def _on_workers(self, reading: Any, worker: int, later: bool, wait: bool = True) -> None:
        title = self.notebook.title()
        inputs = take_inputs(self.notebook, reading.code, (), self.shell.user_ns, ())
        if inputs.refs:
            values = api.get(inputs.refs)
            from raynb.jupyter.on_worker.runner import filled

            inputs.names = {name: filled(value, tuple(values)) for name, value in inputs.names.items()}
        job = job_for(reading, (), title, bool(worker), False)
        engine = engines.current()
        if worker:
            known = [row.id for row in engine.snapshot().workers if not row.exit]
            if worker not in known:
                listed = ", ".join(map(str, known)) or "none"
                raise UsageError(f"%%on: there is no worker {worker}; running workers: {listed}.")
        if not worker:
            taken = {name: self.shell.user_ns.get(name) for name in inputs.names}
            self.notebook.kept.prepares(job.source, job.flags, taken)
        function, payload = remote_function(run_everywhere), CellPayload(job, inputs.names, anchor=inputs.anchor)
        futures = run_on_workers(function, payload, later=later and not wait, only=worker)
        done = SubmittedCell([WatchedStart(future) for future in futures], {}, None, [1] * len(futures))
        watch = Watch(self.notebook, self.notebook.scope, done)
        if not wait:
            watch.in_background(progress=False)
            return
        wait_for(self.notebook, watch)
        if later:  # it works, so later workers get it too, and those that have come meanwhile
            run_on_workers(function, payload, later=True, now=False, besides=futures)


class WatchedStart:
    """A future in the form of a ref, for `Watch`."""

    def __init__(self, future: object) -> None:
        self._future = future

    def future(self) -> Any:
        """Returns the future."""
        return self._future


class _ActorCall:
    """An actor's ``__ray_call__`` in the form of a remote function that runs cells."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def options(self, **options: Any) -> _ActorCall:
        """Returns the call with options."""
        return _ActorCall(self.call.options(**options))

    def remote(self, *arguments: Any) -> Any:
        """Submits the call."""
        return self.call.remote(run_on_actor, *arguments)


def _one_class(source: str) -> str:
    """Returns the name of the cell's class.

    Raises:
        UsageError: the cell defines none, or more than one at its top level.
    """
    names = [node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError("%%actor: the cell defines no class.")
    raise UsageError(
        f"%%actor: the cell defines more than one class ({', '.join(names)}); put the others in another cell."
    )


def snake_case(name: str) -> str:
    """Returns ``parameter_server`` for ``ParameterServer``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def is_alive(handle: Any) -> bool:
    """Returns whether an actor is not dead."""
    from raynb.base.rows import DEAD

    engine = engines.driver()
    if engine is None:
        return False
    return any(row.state != DEAD for row in engine.rows(actors=(handle._ray_spec.actor_id,)).actors)
