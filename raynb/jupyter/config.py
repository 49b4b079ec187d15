"""Every tunable of raynb in a notebook, as traitlets of one ``Raynb`` Configurable.

``c.Raynb.num_cpus = 4`` in an IPython profile, or ``%config Raynb.num_cpus = 4`` in a cell. Sizes
are bytes, times are seconds. What a running runtime cannot change any more says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from traitlets import Bool, CaselessStrEnum, Dict, Float, Integer, List, Unicode, observe, validate
from traitlets.config import Configurable
from traitlets.traitlets import TraitError

from raynb.keeping.place import is_url

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

#: Traits that are arguments of ``raynb.init``.
START_TRAITS = (
    "address", "cluster", "nodes", "local_mode", "num_cpus", "num_gpus", "resources", "memory", "object_store_memory",
    "share", "spill_directory", "namespace", "log_to_driver", "runtime_env", "connect_timeout", "ship_package",
)  # fmt: skip


#: What of the kernel can follow to its tasks.
FOLLOW = ("path", "cwd", "env", "logging", "warnings", "flags", "display")


class Raynb(Configurable):
    """raynb in the notebook: how the runtime starts, and how cells show what their tasks do."""

    _restarts = False  # what is set now counts at once

    address = Unicode(
        "",
        help="Where to run: empty for this machine, 'auto' or 'ray://host:10001' for a Ray cluster.",
    ).tag(config=True)
    cluster = Unicode("", help="'local': a throw-away Ray cluster on this machine, to try code on.").tag(config=True)
    nodes = Integer(3, help="Nodes of that cluster.").tag(config=True)
    local_mode = Bool(
        False, help="Run everything at once and in order in the kernel itself, for debugging."
    ).tag(config=True)
    num_cpus = Float(None, allow_none=True, help="CPU slots; None: the cores this container may use.").tag(
        config=True
    )
    num_gpus = Float(None, allow_none=True, help="GPU slots; None: 0. raynb does not count the GPUs itself.").tag(
        config=True
    )
    resources = Dict(help="Custom resources: name to amount.").tag(config=True)
    memory = Integer(None, allow_none=True, help="Bytes that tasks may ask for with memory=.").tag(
        config=True
    )
    object_store_memory = Integer(
        None, allow_none=True, help="Bytes of the object store; None: a share of the memory that is left beside other "
        "notebooks."
    ).tag(config=True)
    share = CaselessStrEnum(
        ["off", "fair"],
        "off",
        help="'fair': CPU slots that a notebook of this user does not need are used by those that do, among the "
        "notebooks that are set so; they are given back when it needs them.",
    ).tag(config=True)
    spill_directory = Unicode(
        "", help="Where objects beyond the store's limit go; empty: a temporary folder."
    ).tag(config=True)
    namespace = Unicode("", help="Namespace of named actors.").tag(config=True)
    log_to_driver = Bool(True, help="Show in cells what tasks print.").tag(config=True)
    runtime_env = Dict(help="Environment of workers: env_vars, working_dir, py_modules.").tag(config=True)

    connect_timeout = Float(
        300.0, help="Seconds that a Ray cluster has to start its first worker; an interrupt ends the wait, too."
    ).tag(config=True)
    ship_package = Bool(
        True, help="Send raynb to those nodes of a Ray cluster that lack it, or have another version."
    ).tag(config=True)

    autostart = Bool(True, help="Start the runtime when the extension is loaded.").tag(config=True)
    interrupt = CaselessStrEnum(
        ["cancel", "leave"],
        "cancel",
        help="What interrupting a cell does to the cell's own unfinished tasks: 'cancel' or 'leave' them.",
    ).tag(config=True)
    follow = List(
        CaselessStrEnum(FOLLOW),
        default_value=list(FOLLOW),
        help="What of the kernel follows to its tasks: 'path' (sys.path), 'cwd' (the folder), 'env' (os.environ), "
        "'logging' (levels, handlers of basicConfig), 'warnings' (filters), 'flags' (__future__ imports), "
        "'display' (print options of numpy and pandas, rcParams, figure formats). []: nothing.",
    ).tag(config=True)
    output_lines = Integer(
        1000, help="Lines that a cell shows of what its tasks print; the rest is counted in one line."
    ).tag(config=True)
    progress = Bool(
        True, help="Show a bar when a cell waits for tasks (never where nobody watches: nbconvert, nbval)."
    ).tag(config=True)
    progress_delay = Float(0.5, help="Seconds of waiting before the bar is shown.").tag(config=True)
    drain_seconds = Float(
        5.0,
        help="Where nobody watches (nbconvert, nbclient, nbval), a cell's end waits this long for the "
        "output of its unfinished tasks, because these front ends drop what comes later.",
    ).tag(config=True)
    batch_errors = Bool(
        True,
        help="Where nobody watches (nbconvert, jupyter execute, papermill), a %%remote, %%on or %%actor cell "
        "waits for its tasks and fails if one of them does, so that such a run does not end with success.",
    ).tag(config=True)
    post_mortem = Integer(
        4,
        help="How many failures of a cell a worker keeps with their frames and variables for %debug, until that "
        "cell runs again; 0: none.",
    ).tag(config=True)
    shared_from = Integer(
        1_000_000, help="Captured values of at least this many bytes go through the object store."
    ).tag(config=True)
    large_from = Integer(
        100_000_000, help="Captured values of at least this many bytes are named with their size."
    ).tag(config=True)

    keep = Bool(
        False,
        help="Keep the results of every %%remote cell on disk, as --keep does: a cell that is run again, after a "
        "restart too, with the same code and inputs is ready at once.",
    ).tag(config=True)
    keep_directory = Unicode(
        "", help="Where kept results are; empty: the folder .raynb beside the notebook. A URL that fsspec knows "
        "(s3://…, gs://…, file://…; raynb[fsspec]): a place that several machines share. Reading them runs pickles: "
        "a folder of another user, or one that others may enter, is refused; who can write at a URL can run code here.",
    ).tag(config=True)
    keep_limit = Integer(
        20_000_000_000, help="Bytes of kept results; beyond, the least recently used go."
    ).tag(config=True)

    @validate("num_cpus", "num_gpus", "memory", "object_store_memory", "progress_delay", "drain_seconds", "post_mortem")
    def _not_negative(self, proposal: Any) -> Any:
        value = proposal["value"]
        if value is not None and value < 0:
            raise TraitError(f"Raynb.{proposal['trait'].name} must not be negative, got {value!r}.")
        return value

    @validate("output_lines", "shared_from", "large_from", "keep_limit")
    def _positive(self, proposal: Any) -> Any:
        if proposal["value"] < 1:
            raise TraitError(f"Raynb.{proposal['trait'].name} must be at least 1, got {proposal['value']!r}.")
        return proposal["value"]

    @validate("keep_directory")
    def _is_usable(self, proposal: Any) -> Any:
        url = proposal["value"]
        if is_url(url):
            import importlib.util

            if importlib.util.find_spec("fsspec") is None:
                raise TraitError(
                    f"Raynb.keep_directory = {url!r} needs fsspec, which is not installed here: "
                    'pip install "raynb[fsspec]".'
                )
        return url

    def start_with(self, settings: Mapping[str, object]) -> None:
        """Takes settings of a runtime that starts now, by trait; none of them if one is refused.

        Raises:
            TraitError: a value is not to be had.
        """
        self._restarts = True
        before = {name: getattr(self, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(self, name, value)
        except BaseException:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        finally:
            self._restarts = False

    @observe(*START_TRAITS)
    def _needs_restart(self, change: Any) -> None:
        from raynb.base.engine import peek

        if self.parent is not None and not self._restarts and peek() is not None and change["old"] != change["new"]:
            print(
                f"Raynb.{change['name']} is used when the runtime starts: run `%raynb restart` to apply it."
            )

    def start_arguments(self) -> dict[str, Any]:
        """Returns the arguments for ``raynb.init`` that were set (defaults are left to it)."""
        arguments = {}
        for name in START_TRAITS:
            value = getattr(self, name)
            if value != self.traits()[name].default_value and value not in (None, "", {}):
                arguments[name] = value
        for name in ("num_cpus", "num_gpus"):
            value = arguments.get(name)
            if value is not None and value == int(value):
                arguments[name] = int(value)
        return arguments

    def table(self) -> list[tuple[str, str, str]]:
        """Returns (name, value, what it is) of every trait, in the order they are written above."""
        own = self.class_own_traits(config=True)
        return [(name, repr(getattr(self, name)), trait.help) for name, trait in own.items()]


def forget_bad_settings(shell: InteractiveShell) -> None:
    """Drops settings of a profile, or left by a refused ``%config``, that `Raynb` would refuse; says so."""
    section = shell.config.get("Raynb")
    for name in list(section or ()):
        trial = Raynb()
        if not trial.has_trait(name):
            continue
        try:
            setattr(trial, name, section[name])
        except TraitError as error:
            print(f"raynb ignores a setting: {error}")
            del section[name]
