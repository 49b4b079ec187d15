"""``python -m raynb.as_ray script.py [arguments]`` or ``-m module``: runs a program written for Ray on raynb."""

from __future__ import annotations

import os
import runpy
import sys

from raynb.as_ray import as_ray
from raynb.base.ray_names import hook as ray_hook

USAGE = "usage: python -m raynb.as_ray [-m MODULE | SCRIPT] [ARGUMENT ...]"


def main() -> int:
    """Runs the program that the command line names, with ``import ray`` meaning raynb to its end."""
    given = sys.argv[1:]
    module = given[:1] == ["-m"]
    if module:
        given = given[1:]
    if not given or given[0].startswith("-"):
        print(USAGE, file=sys.stderr)
        return 2
    os.environ[ray_hook.VARIABLE] = "1"  # to the end of the process, through any number of shutdowns
    as_ray()
    sys.argv = given
    if module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(given[0], run_name="__main__", alter_sys=True)
        return 0
    if not os.path.exists(given[0]):
        print(f"python -m raynb.as_ray: there is no file {given[0]!r}", file=sys.stderr)
        return 2
    sys.path.insert(0, os.path.dirname(os.path.abspath(given[0])))
    runpy.run_path(given[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
