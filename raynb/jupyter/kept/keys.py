"""Computes the key of a cell: a digest of all that its result depends on.

Code (comments and blank lines don't count), outputs, options, Python, the packages that the cell imports, the
files that ``--reads`` names, and each name that it reads: values by their content, functions and classes
by their code and what that names, modules by their version, refs by the run that made them.
"""

from __future__ import annotations

import ast
import builtins
import glob
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from IPython.core.error import UsageError

from raynb.base.ref import ObjectRef
from raynb.jupyter.cells.analysis import CellCode
from raynb.jupyter.cells.inputs import NOTEBOOK_NAMES
from raynb.jupyter.on_worker.runner import CellJob
from raynb.keeping.digest import digest, no_refs
from raynb.keeping.mentions import all_code, environment_of, imports_of, reads_environment, variables_in
from raynb.keeping.versions import Unsure, folders_in, import_token, python_token, variable_token, watch

#: Changes whenever what is kept, or what goes into a key, changes its meaning.
FORMAT = "3"

#: A file that was changed longer ago than this has another time after its next change, on every system.
_SETTLED_SECONDS = 2.0

Content = Callable[[str, str, Callable[[], str]], str]


def key_of_cell(
    job: CellJob, code: CellCode, options: Mapping[str, object], namespace: Mapping[str, object],
    skip: Iterable[str], files: Sequence[str], ref_key: Callable[[ObjectRef[object]], str], around: Sequence[str] = (),
) -> str:  # fmt: skip
    """Returns the key of a cell.

    Args:
        job: the cell as it is sent to workers.
        code: what is known of it.
        options: of the task.
        namespace: the notebook's names.
        skip: names that the cell is given otherwise (a loop's target).
        files: what stands for each file that it reads, see `file_tokens`.
        ref_key: what stands for a ref.
        around: what else holds where it runs.

    Raises:
        Unsure: an input has no identity; the text names it.
    """
    given = digest({option: value for option, value in options.items() if option != "name"})
    facts = [FORMAT, python_token(), ast.dump(ast.parse(job.source)), repr(job.outputs), repr(sorted(job.unsure)),
             f"{job.show} {job.value} {job.flags} {job.target}", given, *files, *around]  # fmt: skip
    facts += _mentioned(job.source, job.flags)
    reads = code.compiled is not None and reads_environment(code.compiled)
    skipped = NOTEBOOK_NAMES.union(skip)
    known = vars(builtins)
    wanted = dict.fromkeys([*code.free, *sorted(job.unsure)])
    for name in wanted:
        if name in skipped:
            continue
        if name in namespace:
            facts.append(f"{name}={_of(name, namespace[name], ref_key)}")
            facts += [variable_token(one) for one in variables_in(namespace[name]) if reads]
        elif name in code.needed and name not in known and name not in ("display", "get_ipython"):
            raise Unsure(f"it reads `{name}`, which the notebook does not have")
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogatepass")).hexdigest()


def key_of_code(source: str, flags: int, names: Mapping[str, object]) -> str:
    """Returns what stands for code and the values that it takes along. Raises `Unsure`."""
    facts = [ast.dump(ast.parse(source)), *_mentioned(source, flags)]
    facts += [f"{name}={_of(name, value, no_refs)}" for name, value in names.items()]
    return hashlib.sha256("\0".join(facts).encode("utf-8", "surrogatepass")).hexdigest()


def _mentioned(source: str, flags: int) -> list[str]:
    """Returns the modules that code imports, with their versions, and the environment variables that it names."""
    found: list[str] = []
    flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    for code in all_code(compile(source, "<cell>", "exec", flags=flags, dont_inherit=True)):
        found += [import_token(name) for name in imports_of(code)]
        found += [variable_token(name) for name in environment_of(code)]
    return found


def _of(name: str, value: object, ref_key: Callable[[ObjectRef[object]], str]) -> str:
    try:
        return digest(value, ref_key)
    except Unsure as why:
        raise Unsure(f"`{name}` ({type(value).__name__}): {why}") from None


def key_of_item(cell: str, item: object, ref_key: Callable[[ObjectRef[object]], str]) -> str:
    """Returns the key of one item of a loop. Raises `Unsure`."""
    return hashlib.sha256(f"{cell}\0{_of('item', item, ref_key)}".encode()).hexdigest()


def file_tokens(paths: Sequence[str], content: Content) -> list[str]:
    """Returns what stands for each file that a cell reads.

    Args:
        paths: files, folders (all files in them), or patterns.
        content: ``(path, version, compute)`` → the digest of the content, computed only for a new version.

    Raises:
        UsageError: there is no such file.
        Unsure: one is a pipe, a device or the like.
    """
    found: list[str] = []
    for path in paths:
        expanded = os.path.expanduser(path)
        matching = sorted(glob.glob(expanded, recursive=True)) if glob.has_magic(expanded) else [expanded]
        if not matching or not all(os.path.exists(each) for each in matching):
            raise UsageError(f"--reads {path}: there is no such file.")
        for each in matching:
            found += [f"{os.path.relpath(one, expanded)}:{path}:{_token(one, content)}" for one in _files(each)]
    return found


def _files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return sorted(os.path.join(base, name) for base, names in folders_in(path, hidden=True) for name in names)


def _token(path: str, content: Content) -> str:
    looked, facts = time.time(), os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        raise Unsure(f"{path} is no plain file")
    watch(path, facts)
    version = f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_ino}"

    def compute() -> str:
        total = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
        return total.hexdigest()

    if looked - facts.st_ctime < _SETTLED_SECONDS:  # a further change may have the same time
        return compute()
    return content(os.path.abspath(path), version, compute)
