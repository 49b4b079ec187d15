"""``%raynb doctor``: checks the environment and says what to mend.

Each check is a small function that returns a `Finding`; none changes anything.
"""

from __future__ import annotations

import html
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING, Any

from raynb import api
from raynb.base import engine as engines
from raynb.base import limits
from raynb.base.process import trace
from raynb.base.text import printable
from raynb.jupyter.formatting import format_bytes, short_error
from raynb.jupyter.views import kernels

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from raynb.jupyter.notebook import Notebook

GOOD, NOTE, BAD = "ok", "note", "mend"


@dataclass(slots=True)
class Finding:
    """A check's finding: ``verdict`` is ``"ok"``, ``"note"`` or ``"mend"``; ``remedy`` says what to do."""

    what: str
    verdict: str
    found: str
    remedy: str = ""


class Report:
    """Findings, shown as a table."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    @property
    def healthy(self) -> bool:
        """Returns whether nothing must be mended."""
        return all(finding.verdict != BAD for finding in self.findings)

    def __repr__(self) -> str:
        width = max(len(finding.what) for finding in self.findings)
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.verdict:<5} {finding.what:<{width}}  {finding.found}")
            if finding.remedy:
                lines.append(f"{'':<5} {'':<{width}}  → {finding.remedy}")
        lines.append("Nothing needs mending." if self.healthy else "Mend what is marked `mend`.")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td style="text-align:left">{html.escape(f.verdict)}</td>'
            f'<th scope="row" style="text-align:left">{html.escape(f.what)}</th>'
            f'<td style="text-align:left">{html.escape(f.found)}'
            + (f"<br><b>→ {html.escape(f.remedy)}</b>" if f.remedy else "")
            + "</td></tr>"
            for f in self.findings
        )
        return f"<table>{rows}</table>"


def examine(notebook: Notebook | None = None, root: str = "/") -> Report:
    """Runs every check.

    Args:
        notebook: for the checks of the front end and the runtime; None: none of these.
        root: where the system's files are (tests hand in a made-up tree).
    """
    findings = [python_version(), system(), cores(root), memory(root)]
    engine = engines.driver()
    if engine is None or engine.cluster_info is None:  # objects of a cluster lie on its nodes, which are checked below
        findings += [shared_memory(root), spill_disk(notebook.config.spill_directory if notebook else "")]
    findings += [descriptors(), versions()]
    if notebook is not None:
        findings.append(front_end(notebook.shell))
        findings.append(runtime(notebook))
        findings.append(others())
        findings += nodes(notebook)
    return Report(findings + survived())


def python_version(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Checks Python's version."""
    text = ".".join(map(str, version))
    if version >= (3, 10):
        return Finding("Python", GOOD, f"{text} at {sys.executable}")
    return Finding("Python", BAD, text, "raynb needs Python 3.10 or newer.")


def system(name: str = platform.system()) -> Finding:
    """Checks the operating system."""
    found = f"{name} {platform.release()}"
    if name == "Linux":
        return Finding("system", GOOD, found)
    if name == "Darwin":
        return Finding("system", NOTE, found, "Supported; Linux is tested most.")
    return Finding(
        "system", BAD, found, "Use WSL, or a Ray cluster: %raynb start --address ray://host:10001."
    )


def cores(root: str = "/") -> Finding:
    """Checks the usable CPU cores, and the container's limit."""
    allowed, machine = limits.cpu_count(root), os.cpu_count() or 1
    found = f"{allowed} usable" + (
        f" of the machine's {machine} (the container's limit)" if allowed < machine else ""
    )
    if allowed < 2:
        return Finding(
            "cores", NOTE, found, "With one core, tasks take turns; Raynb.num_cpus can still be raised."
        )
    return Finding("cores", GOOD, found)


def memory(root: str = "/") -> Finding:
    """Checks the free memory."""
    seen = limits.memory(root)
    found = f"{format_bytes(seen.available)} free of {format_bytes(seen.total)}"
    if seen.available < 512 * 1024 * 1024:
        return Finding(
            "memory",
            BAD,
            found,
            "Free some memory, or give the container more: workers need about 50 MB each.",
        )
    return Finding("memory", GOOD, found)


def shared_memory(root: str = "/") -> Finding:
    """Checks /dev/shm: raynb's store does not need it, other libraries in tasks may."""
    if hasattr(os, "memfd_create"):
        found = "anonymous (memfd); /dev/shm is not used"
    else:
        found = "unlinked temporary files; /dev/shm is not used"
    path = os.path.join(root, "dev/shm")
    try:
        size = shutil.disk_usage(path).total
    except OSError:
        return Finding("shared memory", GOOD, found)
    if size <= 64 * 1024 * 1024:
        return Finding(
            "shared memory", NOTE, f"{found} ({format_bytes(size)} there)",
            "raynb works as it is; PyTorch data loaders and the like need a larger one (docker --shm-size).",
        )  # fmt: skip
    return Finding("shared memory", GOOD, found)


def spill_disk(directory: str = "") -> Finding:
    """Checks the disk that spilled objects go to."""
    path = directory or tempfile.gettempdir()
    if not os.path.isdir(path):
        return Finding(
            "spill disk", BAD, f"{path} is no directory", "Set Raynb.spill_directory to one that exists."
        )
    if not os.access(path, os.W_OK):
        return Finding(
            "spill disk", BAD, f"{path} is not writable", "Set Raynb.spill_directory to one that is."
        )
    free = shutil.disk_usage(path).free
    found = f"{format_bytes(free)} free at {path}"
    if free < 1_000_000_000:
        return Finding(
            "spill disk",
            NOTE,
            found,
            "Objects beyond the store's limit go there: free some, or set Raynb.spill_directory.",
        )
    return Finding("spill disk", GOOD, found)


def descriptors() -> Finding:
    """Checks the limit of open files."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft:,} open files allowed"
    if 0 <= soft < 256:
        return Finding(
            "descriptors",
            BAD,
            found,
            f"Raise the limit: `ulimit -n {max(1024, min(hard, 4096))}` before Jupyter starts.",
        )
    return Finding("descriptors", GOOD, found)


def versions(
    names: tuple[str, ...] = ("IPython", "ipykernel", "cloudpickle", "ipywidgets", "anywidget"),
) -> Finding:
    """Lists the versions of packages; says which are missing."""
    have, lack = [], []
    for name in names:
        try:
            have.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lack.append(name)
    found = ", ".join(have) or "none"
    if "cloudpickle" in lack:
        return Finding("packages", BAD, found, "Install cloudpickle.")
    if lack:
        return Finding(
            "packages",
            NOTE,
            f"{found}; without {', '.join(lack)}",
            f"pip install {' '.join(lack)} for the live views.",
        )
    return Finding("packages", GOOD, found)


def front_end(shell: InteractiveShell) -> Finding:
    """Checks that the front end can show live views."""
    if getattr(shell, "kernel", None) is None:
        return Finding("front end", GOOD, "a terminal: text only, no live views")
    get_parent: Callable[[], dict[str, Any]] = getattr(shell, "get_parent", dict)
    content = (get_parent() or {}).get("content") or {}
    if content.get("allow_stdin") is False:
        return Finding(
            "front end",
            NOTE,
            "Jupyter, unattended (nbconvert, nbval)",
            "Output that comes after its cell ended is dropped there.",
        )
    return Finding("front end", GOOD, "Jupyter")


def imported_packages(namespace: dict[str, Any]) -> tuple[str, ...]:
    """Returns the top-level packages that the notebook's own names come from, those of Python left out."""
    found = set()
    for value in list(namespace.values()):
        name = value.__name__ if type(value) is ModuleType else getattr(type(value), "__module__", None)
        if isinstance(name, str):
            found.add(name.partition(".")[0])
    return tuple(sorted(found - set(sys.stdlib_module_names) - {"__main__", "IPython", "builtins", "raynb", "ray"}))


def survived(most: int = 5) -> list[Finding]:
    """Returns the last errors that raynb went on after, oldest first; see `raynb.base.process.trace`."""
    kept = list(trace.ring)
    if not kept:
        return [Finding("errors survived", GOOD, "none")]
    findings = []
    for one in kept[-most:]:
        at = time.strftime("%H:%M:%S", time.localtime(one.when))
        findings.append(Finding("error survived", NOTE, printable(f"{at} {one.where}: {short_error(one.error)}")))
    if len(kept) > most:
        findings[0].found += f" (and {len(kept) - most} before it)"
    findings[-1].remedy = "Logger `raynb` has the tracebacks: logging.getLogger('raynb').addHandler(...)."
    return findings


def nodes(notebook: Notebook) -> list[Finding]:
    """Checks every node of a Ray cluster: versions, packages that the notebook uses, disk and shared memory."""
    engine = engines.driver()
    cluster = engine.cluster_info if engine is not None else None
    if cluster is None:
        return []
    names = imported_packages(notebook.shell.user_ns)
    findings = []
    for node_id, about in cluster.examine(names).items():
        what = f"node {node_id[:8]}"
        if isinstance(about, BaseException):
            told = f"did not answer: {type(about).__name__}: {short_error(str(about))}"
            findings.append(Finding(what, BAD, told, "Look at `ray status`, and at the node's logs."))
            continue
        findings.append(_node(what, about, names))
    return findings


def _node(what: str, about: dict[str, Any], names: tuple[str, ...]) -> Finding:
    mine = ".".join(map(str, sys.version_info[:3]))
    lacks, differ = [], []
    owners = metadata.packages_distributions()
    for name in names:
        there = about["modules"].get(name)
        here = metadata.version(owners[name][0]) if owners.get(name) else ""
        if there is None:
            lacks.append(name)
        elif there and here and there != here:
            differ.append(f"{name} {there} (here {here})")
    found = f"{about['host']}, Python {about['python']}, raynb {about['raynb'] or 'sent there'}"
    free = min(about["disk"].values(), default=0)
    found += f", {format_bytes(free)} free on disk" if about["disk"] else ""
    shm = about.get("shm", 0)
    if lacks:
        return Finding(what, BAD, f"{found}; without {', '.join(lacks)}",
                       f"Install there, or %raynb start with runtime_env={{'pip': {lacks!r}}}.")  # fmt: skip
    if about["python"].split(".")[:2] != mine.split(".")[:2]:
        return Finding(what, BAD, found, f"This kernel is Python {mine}: functions cannot travel between the two.")
    if free and free < 1_000_000_000:
        return Finding(what, NOTE, found, "Objects beyond the store's limit go to that disk: free some.")
    if 0 < shm <= 64 * 1024 * 1024:
        return Finding(what, NOTE, f"{found}, {format_bytes(shm)} of /dev/shm",
                       "Ray's store lies there and falls back to disk: start it with --shm-size.")  # fmt: skip
    if differ:
        told = f"{found}; other versions: {', '.join(differ)}"
        return Finding(what, NOTE, told, "Use the same image as the kernel.")
    return Finding(what, GOOD, found)


def others() -> Finding:
    """Lists this user's other runtimes here, which take slots and memory too."""
    try:
        rows = kernels.found()
    except ValueError as error:
        return Finding("other runtimes", NOTE, str(error))
    cpus = sum(row.base for row in rows)
    found = kernels.others_line() or "none of yours on this machine"
    if len(rows) > 1 and cpus > limits.cpu_count() and any(row.share != "fair" for row in rows):
        return Finding(
            "other runtimes", NOTE, f"{found}; {cpus:g} CPU slots in all on {limits.cpu_count()} cores",
            "Stop what is not needed (%raynb kernels stop NAME), or set Raynb.share = 'fair' in all of them.",
        )  # fmt: skip
    return Finding("other runtimes", GOOD, found)


def runtime(notebook: Notebook) -> Finding:
    """Runs one task and checks its result."""
    checks: Callable[[], int] = os.getpid
    try:
        notebook.started()
        begun = time.perf_counter()
        pid = api.get(api.remote(checks).options(name="doctor").remote(), timeout=30)
        taken = time.perf_counter() - begun
    except Exception as error:
        return Finding(
            "runtime", BAD, f"a task failed: {type(error).__name__}: {error}", "Try %raynb restart."
        )
    if pid == os.getpid():
        return Finding(
            "runtime",
            NOTE,
            "tasks run in the kernel's own process",
            "This is the inline engine, for debugging.",
        )
    return Finding(
        "runtime", GOOD, f"a task ran in another process (pid {pid}) and was back after {taken * 1000:.1f} ms"
    )
