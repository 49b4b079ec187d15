"""What the rules are, and each exception to them with its reason.

An exception without a reason, or one that is no longer needed, fails the tests too.
"""

from __future__ import annotations

# -- who may import whom -----------------------------------------------------------------------

#: Part → the parts it may import. Every part may import itself and `raynb.exceptions`, which is
#: vocabulary. "" is `raynb/__init__.py`.
MAY_IMPORT: dict[str, set[str]] = {
    "": {"actor", "api", "base"},
    "actor": {"api"},
    "as_ray": {"api", "base"},
    "cluster_utils": set(),
    "_raylet": {"api", "base"},
    "data": {"api", "base"},
    "types": {"base"},
    "_private": {"api", "util"},
    "exceptions": set(),
    "base": set(),
    "core": {"base"},
    "serde": {"base"},
    "wire": {"base"},
    "store": {"base"},
    "run": {"base", "serde"},
    "worker": {"base", "serde", "wire", "store", "run"},
    "engine": {"base", "core", "serde", "wire", "store", "run", "worker"},
    "api": {"base", "serde"},
    "keeping": {"base", "serde", "store", "api"},
    "lineage": {"base", "keeping"},
    "util": {"api"},
    "experimental": {"util", "api"},
    "internal": {"api"},
    "runtime_env": {"api"},
    "jupyter": {"base", "api", "keeping", "lineage"},
    "testing": {"base", "core", "engine", "api", "serde", "store", "wire"},
}

#: (module, part it also imports) → why.
EXTRA_IMPORTS: dict[tuple[str, str], str] = {
    (
        "raynb",
        "util",
    ): "`raynb.util` and `raynb.as_completed` are there without an import of their own; loaded when asked",
    ("raynb", "jupyter"): "`%load_ext raynb` looks for load_ipython_extension here; imported when called",
    (
        "raynb.exceptions.tasks",
        "serde",
    ): "RayTaskError.as_instanceof_cause makes the dual class; imported when called",
    ("raynb.util.kept_functions", "keeping"): "`keep(f)` is a thin face of it",
    ("raynb.util.kept_functions", "base"): "whether a call is made inside a task, where it is a plain call",
    ("raynb.util.placement_group", "base"): "a group's id is a HexId, as all ids are",
    ("raynb.util.executor", "base"): "waits for its futures are listened to as those for refs' futures are, and a "
    "task's row says whether it runs",
    ("raynb.util.actor_pool", "base"): "whether an exception was sent from outside, so that the call's result is still "
    "to come",
    ("raynb.util._engine", "base"): "the type of the engine that it returns",
    ("raynb.util.dask", "base"): "sizes of the values in a graph decide what is put into the store",
    ("raynb.util.check_serialize", "serde"): "inspect_serializability tries the very pickling that tasks use",
    ("raynb.util._private", "serde"): "drop-ins give values of the receiver's own: buffers are copied as they are read",
    ("raynb.util._private", "base"): "a pickle that is made before the call is, by its class",
    ("raynb.util.joblib.backend", "base"): "the size of a value, and whether it is a ref, without running its code",
    ("raynb.api.session", "engine"): "the composition root: the one place that picks an engine",
    (
        "raynb.jupyter.inspection.stack_text",
        "run",
    ): "`%raynb stack kernel` reads the stacks of the process that it runs in, as workers do theirs",
    (
        "raynb.jupyter.on_worker.profiling",
        "run",
    ): "runs in a worker, and samples the task that it is called in",
    ("raynb.jupyter.magics.line", "as_ray"): "`%raynb as-ray`",
}

#: What `core` may use of the standard library: nothing that knows time, chance, threads or I/O.
CORE_STDLIB = {
    "__future__", "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum",
    "functools", "heapq", "itertools", "math", "operator", "types", "typing",
    "pickle",  # the history packs its old entries, plain values, to save memory and the collector's time
}  # fmt: skip

#: Builtins that are I/O, and so are not called in `core`.
CORE_FORBIDDEN_CALLS = {"open", "print", "input", "exec", "eval", "breakpoint"}

#: Package of others → the parts (or single modules) that may import it.
THIRD_PARTY: dict[str, set[str]] = {
    "cloudpickle": {"serde", "api", "keeping", "raynb"},  # `raynb.cloudpickle` is a public name, as Ray's is
    "traitlets": {"jupyter"},
    "IPython": {"jupyter", "raynb.serde.notebook_objects"},  # the worker's shell, where the notebook's arrives
    "ipykernel": {"jupyter"},
    "ipywidgets": {"jupyter"},
    "anywidget": {"jupyter"},
    "comm": {"jupyter"},
    "matplotlib": {"jupyter"},
    "matplotlib_inline": {"jupyter"},
    "numpy": {"serde", "util", "jupyter"},
    "pandas": {"util", "jupyter", "data"},
    "pyarrow": {"data", "util"},
    "joblib": {"util"},
    "partd": {"raynb.util.dask"},
    "dask": {"util"},
    "polars": {"util"},
    "fsspec": {"keeping"},
    "tqdm": {"util", "jupyter"},
    "memray": {"raynb.run.inspection.memory"},  # if it is installed: the extra `profile`
    "debugpy": {"raynb.worker.inspection.dap"},  # if it is installed: the extra `debug`
    "pydevd": {"raynb.worker.inspection.dap"},  # comes with it
    "loguru": {"raynb.serde.notebook_objects"},  # imported where a logger of it arrives
    "ray": {"raynb.engine.cluster", "raynb.engine.cluster.actors", "raynb.engine.cluster.adapter",
            "raynb.engine.cluster.bridge", "raynb.engine.cluster.cluster_view",
            "raynb.engine.cluster.connection", "raynb.engine.cluster.driver", "raynb.engine.cluster.hub",
            "raynb.engine.cluster.places", "raynb.engine.cluster.rays", "raynb.engine.cluster.refs",
            "raynb.engine.cluster.rows.sweeping",
            "raynb.engine.cluster.shipping", "raynb.engine.cluster.submission",
            "raynb.engine.cluster.on_worker.ending", "raynb.engine.cluster.on_worker.runner",
            "raynb.engine.cluster.on_worker.insisting", "raynb.engine.cluster.on_worker.workers",
            "raynb.engine.cluster.control", "raynb.base.ray_names.hook"},
    "pytest": {"raynb.testing.plugin", "raynb.testing.entry.raynb_pytest"},
    "raynb_pytest": {"raynb.testing.plugin"},  # the other half of the plugin, installed beside the package
}

# -- sizes -------------------------------------------------------------------------------------

FILE_LINES = 450
CLASS_LINES = 300
FUNCTION_LINES = 60
FOLDER_MODULES = 15

#: Folder → why it holds more modules.
WIDE_FOLDERS: dict[str, str] = {
    "raynb/util": "one module a name of `ray.util`: the layout is Ray's",
}

#: "path" or "path::Qualified.name" → why it is longer than the limit.
TOO_LONG: dict[str, str] = {
}

#: Class → why it has several bases. Exceptions have them as Ray's have.
SEVERAL_BASES: dict[str, str] = {
    "raynb.engine.cluster.refs.ClusterRef": "it is a ref of Ray's and one of ours, to `isinstance` in either's code",
    "raynb.util.joblib.backend.RaynbBackend": "joblib's backends are made so",
}

# -- names -------------------------------------------------------------------------------------

#: How a numeric constant that is a duration, a size or a share ends.
UNITS = {"SECONDS", "MS", "NS", "BYTES", "SHARE", "FACTOR", "SCALE", "OPACITY"}

#: As a whole name, these stood for different things in different files.
WORDS_GIVEN_UP = {
    "AGAIN", "BATCH", "BIG", "CALM", "CHUNK", "DEPTH", "EACH", "FEW", "FULL", "KEEP", "KEPT", "LARGE", "LEAST",
    "LITTLE", "LOOKS", "MANY", "MOST", "PATIENCE", "PAUSE", "SOON",
}  # fmt: skip

#: Words of definitions that say no more than "does something": the field has a verb for what it is.
VERBS_GIVEN_UP = {"tell", "tells", "told", "teach", "reveal", "introduce", "doom", "luck", "cargo", "deeds", "labour",
                  "intake", "ailing", "rowbook", "renewal", "journal", "news"}  # fmt: skip

#: Modules whose classes are always written with the module (`c.Run`, `w.Run`, `requests.Graph`): a command and the
#: message that carries it out, a row and the request for it, have one name.
NAMED_WITH_THEIR_MODULE = {
    "raynb.core.vocabulary.commands", "raynb.core.vocabulary.events", "raynb.wire.messages",
    "raynb.jupyter.views.messages", "raynb.jupyter.views.requests",
}

#: Class name → why several modules have it.
SAME_NAMES: dict[str, str] = {
    "Actors": "the part of the engine's interface, a worker's part that implements it, and core's table",
    "Groups": "the part of the engine's interface, a worker's part that implements it, and core's table",
    "Broken": "a public error of `check_engine`; on a cluster a class that is pickled by this name",
    "Counter": "a public tool of tests, and a public name of `ray.util.metrics`",
}

# -- what the type checker does not see --------------------------------------------------------

#: Part → how often it may name `Any`, and how many `type: ignore` it may have. The figures only fall: when you have
#: brought one down, lower it here.
UNTYPED: dict[str, tuple[int, int]] = {
    "": (3, 0), "_private": (0, 0), "_raylet": (0, 0), "actor": (0, 0), "api": (281, 3), "as_ray": (0, 0),
    "base": (97, 11), "cluster_utils": (2, 0), "core": (4, 3), "data": (17, 0), "engine": (392, 11),
    "exceptions": (6, 0), "experimental": (1, 0), "internal": (0, 0), "jupyter": (402, 11), "keeping": (33, 0),
    "lineage": (33, 0), "run": (36, 2), "runtime_env": (8, 0), "serde": (210, 12), "store": (6, 1), "testing": (30, 2),
    "types": (0, 0), "util": (345, 2), "wire": (34, 4), "worker": (210, 18),
}  # fmt: skip

#: How many modules may be in circles of imports, annotations counted; falls like the figures above. What is left are
#: parts of the worker, which annotate the process that they are parts of, and refs and engines, which name each other.
CIRCLES = 17

# -- the public names --------------------------------------------------------------------------

#: `import raynb` alone may load none of these.
NOT_AT_IMPORT = ("numpy", "pandas", "IPython", "ipywidgets", "ipykernel", "anywidget", "traitlets",
                 "asyncio", "ray", "pytest")  # fmt: skip
