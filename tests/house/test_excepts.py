"""No broad ``except`` leaves no trace: the error is raised, told, kept or logged. Those that do not have a reason."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

from . import source

BROAD = {"Exception", "BaseException"}
#: What a handler does with an error: a call of one of these, or any use of the error itself.
TRACES = {"swallowed", "print_exc", "format_exc", "exception"}

#: File → how many, and why nothing is to be told there.
SILENT = {
    "raynb/engine/cluster/bridge.py": (1, "a value that this process cannot read travels on as it is"),
    "raynb/engine/cluster/cluster_view.py": (3, "what a Ray Client or a dying node does not answer stays as it was"),
    "raynb/engine/cluster/connection.py": (1, "words about a wait, for a message that has others"),
    "raynb/engine/cluster/driver.py": (1, "at the end, of a cluster that may be gone"),
    "raynb/engine/cluster/hub.py": (1, "tried again until the cluster can"),
    "raynb/engine/cluster/on_worker/reporter.py": (2, "the driver is gone, or tried again"),
    "raynb/engine/inline/tasks.py": (1, "closing a generator of the user's that nobody reads"),
    "raynb/exceptions/base.py": (1, "an error that cannot be unpickled is its text"),
    "raynb/keeping/keeper.py": (1, "the error is the output's own, which its reader gets"),
    "raynb/keeping/place.py": (1, "the first error is raised"),
    "raynb/lineage/insides.py": (1, "asks the user's class of what it is made"),
    "raynb/serde/kinds.py": (1, "a type that cannot be told has no name"),
}


def is_broad(kind: ast.expr | None) -> bool:
    """Returns whether ``except kind`` catches what may be anything."""
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return kind is None or any(isinstance(one, ast.Name) and one.id in BROAD for one in kinds)


def leaves_a_trace(handler: ast.ExceptHandler) -> bool:
    """Returns whether a handler raises, looks at the error, or logs it."""
    for node in (node for statement in handler.body for node in ast.walk(statement)):
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Name) and node.id == handler.name):
            return True
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in TRACES or any(word.arg == "exc_info" for word in node.keywords):
                return True
    return False


def is_silent(node: ast.AST) -> bool:
    """Returns whether what may be anything gets lost there: in a handler, or in ``contextlib.suppress``."""
    if isinstance(node, ast.ExceptHandler):
        return is_broad(node.type) and not leaves_a_trace(node)
    suppresses = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "suppress"
    return suppresses and any(is_broad(kind) for kind in getattr(node, "args", ()))


def silent() -> Iterator[str]:
    """Yields the file of each broad handler that leaves no trace."""
    for path in source.tracked():
        name = str(path.relative_to(source.ROOT))
        if path.suffix != ".py" or not name.startswith("raynb/"):
            continue
        yield from (name for node in ast.walk(source.parsed(path)) if is_silent(node))


def test_every_broad_except_leaves_a_trace_or_has_a_reason() -> None:
    assert Counter(silent()) == Counter({name: count for name, (count, _) in SILENT.items()})


def test_what_leaves_no_trace_is_found() -> None:
    found = [
        is_silent(node) for node in ast.walk(ast.parse(
            "try: f()\nexcept Exception: pass\n"
            "try: f()\nexcept (OSError, BaseException): return None\n"
            "try: f()\nexcept: x = 1\n"
            "try: f()\nexcept Exception as error: keep(error)\n"
            "try: f()\nexcept BaseException: raise\n"
            "try: f()\nexcept Exception: log.exception('here')\n"
            "try: f()\nexcept OSError: pass\n"
        )) if isinstance(node, ast.ExceptHandler)
    ]  # fmt: skip
    assert found == [True] * 3 + [False] * 4
