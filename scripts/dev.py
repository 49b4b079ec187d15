#!/usr/bin/env python3
"""The project's commands, for a machine that has Python 3.10 or newer and Node 20 or newer.

    python3 scripts/dev.py lab        JupyterLab with the quickstart notebook
    python3 scripts/dev.py demo       the same notebook without a browser
    python3 scripts/dev.py test       every test there is; `--only python,notebooks` runs some
    python3 scripts/dev.py docs       the documentation site
    python3 scripts/dev.py clean      removes what the others made

Each makes what it needs the first time: an environment in `.venv` with the package as a user
would install it. The environment is made again only if the sources have changed. Nothing
outside the checkout is touched, except that `test` installs Chromium with apt when it runs as root.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time

import stages
from environment import (
    QUICKSTART,
    REPORTS,
    ROOT,
    Problem,
    environment,
    must,
    run,
    say,
)

#: What the notebooks beside the quickstart need is there too.
NOTEBOOKS = "lab,notebooks"

# -- commands ----------------------------------------------------------------------------------


def lab(_: argparse.Namespace) -> int:
    python = environment(NOTEBOOKS)
    say("opening JupyterLab; Ctrl-C twice ends it")
    # As the default page rather than the file to open, so that the addresses that are printed (all
    # there is on a machine without a browser) lead to the notebook too.
    folder, page = f"--ServerApp.root_dir={QUICKSTART.parent}", f"--LabApp.default_url=/lab/tree/{QUICKSTART.name}"
    return run([python, "-m", "jupyter", "lab", folder, page, *root_flag()])


def root_flag() -> list[str]:
    """Jupyter refuses to serve as root unless told; in a container that is the only user there is."""
    return ["--allow-root"] if os.geteuid() == 0 else []


def demo(_: argparse.Namespace) -> int:
    python = environment(NOTEBOOKS)
    out = REPORTS / "quickstart.ipynb"
    REPORTS.mkdir(exist_ok=True)
    started = time.monotonic()
    must(
        [
            python,
            "-m",
            "jupyter",
            "nbconvert",
            "--execute",
            "--to",
            "notebook",
            QUICKSTART,
            "--output",
            out,
            "--log-level=ERROR",
        ]
    )
    must([python, ROOT / "scripts" / "show_notebook.py", out])
    say(f"ran {QUICKSTART.name} in {time.monotonic() - started:.1f} s; the result is {out.relative_to(ROOT)}")
    return 0


def test(options: argparse.Namespace) -> int:
    names = stages.chosen(options.only)
    return stages.run_all(environment("test"), names, options.parallel)


def docs(_: argparse.Namespace) -> int:
    must(stages.documentation(environment("docs,lab,notebooks")))
    say("the site is docs/build/index.html")
    return 0


def bench(options: argparse.Namespace) -> int:
    return run([environment("test"), "-m", "benchmarks", *options.rest])


def clean(_: argparse.Namespace) -> int:
    made = ("docs/build", "docs/generated", "docs/jupyter_execute", "labextension/node_modules")
    for folder in (*ROOT.glob(".venv*"), REPORTS, *(ROOT / name for name in made)):
        if folder.exists():
            say(f"removing {folder.relative_to(ROOT)}")
            shutil.rmtree(folder)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="command")
    for function, text in (
        (lab, "open JupyterLab"),
        (demo, "run the quickstart notebook"),
        (test, "run the tests"),
        (docs, "build the documentation site"),
        (bench, "measure"),
        (clean, "remove what was made"),
    ):
        command = commands.add_parser(function.__name__, help=text)
        command.set_defaults(function=function)
        if function is test:
            command.add_argument("--only", default="", help="stages to run, with commas between them")
            command.add_argument(
                "--parallel", default="2", help="test processes at once (default: %(default)s)"
            )
        if function is bench:
            command.add_argument("rest", nargs="*")
    options = parser.parse_args()
    try:
        return int(options.function(options))
    except Problem as problem:
        print(f"[raynb] {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
