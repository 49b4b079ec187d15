#!/usr/bin/env python3
"""Writes the reference pages of the documentation site from the code, so that they cannot go stale.

``write(folder)`` is called by docs/conf.py. The pages: every magic with its options, every setting of
`Raynb`, every option of `remote` and `init`, the public API, and copies of the notebooks.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: The tutorials in the order of reading.
TUTORIALS = (
    "quickstart", "cells_as_tasks", "parallel_for", "big_data_by_ref", "actors", "asynchronous",
    "output_progress_errors", "interrupt_and_rerun", "debugging_and_doctor", "looking_inside",
    "model_selection_digits",
    "search_with_scikit_learn", "simulation_with_actors", "results_that_last", "laptop_to_cluster",
)  # fmt: skip


def write(folder: Path) -> None:
    """Writes all generated pages into ``folder``, replacing what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in pages().items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    for name in tutorials():
        (notebooks / f"{name}.ipynb").write_text(shown(ROOT / "notebooks" / f"{name}.ipynb"), encoding="utf-8")


def tutorials() -> list[str]:
    """Returns the names of all notebooks: those of `TUTORIALS` first, then others."""
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    return [name for name in TUTORIALS if name in there] + sorted(there - set(TUTORIALS))


def shown(path: Path) -> str:
    """Returns a notebook as the site shows it: widgets become the text that is saved beside them."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    notebook["metadata"].pop("widgets", None)
    return json.dumps(notebook)


def pages() -> dict[str, str]:
    """Returns name → text of each generated page."""
    return {
        "tutorials": tutorials_page(),
        "magics": magics_page(),
        "settings": settings_page(),
        "options": options_page(),
        "api": api_page(),
    }


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Returns a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def tutorials_page() -> str:
    listed = "\n".join(f"notebooks/{name}" for name in tutorials())
    return (
        "# Tutorials\n\nEach is a notebook of the repository that the tests run from its first cell to its last.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )


# -- magics ------------------------------------------------------------------------------------
def magic_classes() -> list[type]:
    """Returns the classes that hold the magics of the extension."""
    from raynb.jupyter.magics import actor, line, remote

    return [
        found
        for module in (remote, actor, line)
        for found in vars(module).values()
        if isinstance(found, type) and hasattr(found, "magics") and found.__module__ == module.__name__
    ]


def magics_page() -> str:
    parts = ["# Magics\n\nWritten from the magics themselves; `%%remote?` in a notebook shows the same.\n"]
    for cls in magic_classes():
        for kind, sign in (("cell", "%%"), ("line", "%")):
            for name, attribute in cls.magics[kind].items():
                parts.append(one_magic(f"{sign}{name}", getattr(cls, attribute)))
    return "\n".join(parts)


def one_magic(title: str, function: Any) -> str:
    """Returns the section of one magic: what it does, and a table of its options."""
    parser = getattr(function, "parser", None)
    if parser is None:
        return f"## `{title}`\n\n```text\n{inspect.cleandoc(function.__doc__ or '')}\n```\n"
    rows = []
    for action in parser._actions:
        names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        takes = "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
        rows.append((f"`{names}{takes}`", action.help or ""))
    text = parser.description or ""
    lead, _, rest = inspect.cleandoc(text).partition("\n\n")
    body = f"\n\n```text\n{rest}\n```" if rest else ""
    return f"## `{title}`\n\n{lead}{body}\n\n{table(('option', 'what it does'), rows)}"


# -- settings and options ----------------------------------------------------------------------
def settings_page() -> str:
    from raynb.jupyter.config import Raynb

    rows = []
    for name, trait in Raynb.class_own_traits(config=True).items():
        rows.append((f"`Raynb.{name}`", f"`{trait.default_value!r}`", trait.help))
    return (
        "# Settings\n\n`%config Raynb.num_cpus = 4` in a cell, or `c.Raynb.num_cpus = 4` in an IPython profile "
        "(`ipython_kernel_config.py`). Sizes are bytes, times are seconds.\n\n"
        + table(("setting", "default", "what it does"), rows)
    )



def options_page() -> str:
    from raynb.api.checks.option_texts import INIT_TEXTS, OPTION_TEXTS
    from raynb.api.options import ACTOR, METHOD, OPTIONS, TASK
    from raynb.base.config import Config

    rows = []
    for name, option in OPTIONS.items():
        if name.startswith("_"):
            continue
        places = [word for bit, word in ((TASK, "tasks"), (ACTOR, "actors"), (METHOD, "methods")) if option.where & bit]
        rows.append((f"`{name}`", ", ".join(places), OPTION_TEXTS[name]))
    settings = []
    for field in dataclasses.fields(Config):
        if field.name not in INIT_TEXTS:
            continue
        made = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[misc]
        settings.append((f"`{field.name}`", f"`{made!r}`", INIT_TEXTS[field.name]))
    return (
        "# Options\n\n## `remote` and `.options`\n\n"
        + table(("option", "of", "what it does"), rows)
        + "\n## `init`\n\nSizes are bytes, times are seconds; `None`: what the machine has. "
        "Arguments of `ray.init` that mean nothing on one machine are accepted.\n\n"
        + table(("argument", "default", ""), settings)
    )


# -- the API -----------------------------------------------------------------------------------
UTIL = (
    "actor_pool", "check_serialize", "dask", "debug", "executor", "frames", "helpers", "joblib", "kept_functions",
    "multiprocessing.pool", "node", "queue", "placement_group", "scheduling_strategies", "serialization", "state",
    "metrics", "tqdm_ray",
)  # fmt: skip
#: What users' own tests take from `raynb.testing`.
TESTING = ("leaks", "faults")


def api_page() -> str:
    import raynb

    functions = [name for name in raynb.__all__ if inspect.isroutine(getattr(raynb, name, None))]
    classes = [name for name in raynb.__all__ if inspect.isclass(getattr(raynb, name, None))]
    hidden = {"load_ipython_extension", "unload_ipython_extension"}
    text = ["# API\n\n`import raynb as ray`. Names and defaults are Ray's.\n\n## Functions\n"]
    text += [directive("autofunction", f"raynb.{name}") for name in functions if name not in hidden]
    text += [directive("autofunction", "raynb.as_ray.as_ray")]
    text += ["## Classes\n", *(directive("autoclass", f"raynb.{name}") for name in classes)]
    text += ["## Exceptions\n", directive("automodule", "raynb.exceptions")]
    text += ["## `raynb.util`\n", *(directive("automodule", f"raynb.util.{name}") for name in UTIL)]
    text += ["## `raynb.testing`\n", *(directive("automodule", f"raynb.testing.{name}") for name in TESTING)]
    return "\n".join(text)


def directive(kind: str, target: str) -> str:
    return textwrap.dedent(f"""\
        ```{{eval-rst}}
        .. {kind}:: {target}
        ```
        """)


if __name__ == "__main__":
    write(ROOT / "docs" / "generated")
