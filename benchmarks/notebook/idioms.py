"""How each engine's users write the same cells."""

from __future__ import annotations

from dataclasses import dataclass, field

BEAT = """
def beat(path, seconds):
    import time
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(path, "a") as file:
            file.write("beat\\n")
        time.sleep(0.1)
    with open(path, "a") as file:
        file.write("done\\n")
"""


@dataclass(frozen=True)
class Idiom:
    """The words of one engine.

    ``submit`` takes ``{f}`` and ``{args}``; ``get`` and ``get_all`` take ``{x}``; ``cells``
    replaces whole cells where the engine has a way of its own.
    """

    label: str
    package: str
    setup: str
    decorator: str
    submit: str
    get: str
    get_all: str
    actor: str = ""
    cells: dict[str, str] = field(default_factory=dict)

    def define(self, code: str) -> str:
        """Returns a function definition as this engine's users write it."""
        return f"{self.decorator}{code.strip()}\n"

    def call(self, function: str, arguments: str = "") -> str:
        """Returns the expression that submits a call."""
        comma = ", " if arguments and "{comma}" in self.submit else ""
        return self.submit.format(f=function, args=arguments, comma=comma)

    def cell(self, name: str, usual: str) -> str:
        """Returns a cell: the engine's own, or the usual one."""
        return self.cells.get(name, usual)


def _ray_like(label: str, package: str, setup: str, cells: dict[str, str] | None = None) -> Idiom:
    return Idiom(
        label, package, setup,
        decorator="@ray.remote\n",
        submit="{f}.remote({args})",
        get="ray.get({x})",
        get_all="ray.get({x})",
        actor='''
@ray.remote
class Counter:
    def __init__(self): self.n = 0
    def add(self): self.n += 1; return self.n
counter = Counter.options(name="counter").remote()
print(ray.get(counter.add.remote()))
''',
        cells=cells or {},
    )  # fmt: skip


_CELLS = {
    "prints": "%%remote --wait\nfor i in range(8):\n    print('line', i)",
    "late": "%%remote\nimport time\ntime.sleep(1)\nprint('late line')",
    "other": "%%remote\nbeat(other_path, 8)",
    "wait": "%%remote --each path in paths --wait\nbeat(path, 8)",
    "fresh": "%%remote --get\nfresh = 1 + 1",
    "fail": "%%remote --wait\ninner(0)",
    "define_beat": BEAT,
    "define_fail": "def inner(x):\n    return 1 / x  # the mistake",
    "actor": "%%actor counter\nclass Counter:\n    def __init__(self): self.n = 0\n"
    "    def add(self): self.n += 1; return self.n",
    "first": "%load_ext raynb\nimport raynb as ray\n@ray.remote\ndef first(): return 1\n"
    "print(ray.get(first.remote()))",
}

#: ``%%px`` on one of two engines; the other one plays the other cell's part.
_PX_CELLS = {
    "first": "import ipyparallel as ipp\n"
    "rc = ipp.Cluster(n=2, log_level=50).start_and_connect_sync(activate=True)\n"
    "view = rc.load_balanced_view()\n"
    "print(view.apply_async(lambda: 1).get())",
    "prints": "%%px --targets 0\nfor i in range(8):\n    print('line', i)",
    "late": "%%px --targets 0 --noblock\nimport time\ntime.sleep(1)\nprint('late line')",
    "define_beat": BEAT.strip() + "\nrc[:].push(dict(beat=beat, paths=paths, other_path=other_path), block=True)",
    "other": "other = rc[0].apply_async(beat, other_path, 8)",
    "wait": "%%px --targets 1\nfor path in paths:\n    beat(path, 8)",
    "fresh": "%%px --targets 1\nprint(1 + 1)",
    "define_fail": "%%px --local\ndef inner(x):\n    return 1 / x  # the mistake",
    "fail": "%%px --targets 0\nouter(0)",
}

IDIOMS: dict[str, Idiom] = {
    "cells": _ray_like("raynb, cells", "raynb", "%load_ext raynb\nimport raynb as ray", _CELLS),
    "raynb": _ray_like("raynb, API", "raynb", "%load_ext raynb\nimport raynb as ray"),
    "ray": _ray_like(
        "Ray", "ray",
        "import ray\nray.init(num_cpus=2, ignore_reinit_error=False, include_dashboard=False)",
    ),
    "ipyparallel": Idiom(
        "ipyparallel", "ipyparallel",
        "import ipyparallel as ipp\n"
        "rc = ipp.Cluster(n=2, log_level=50).start_and_connect_sync(activate=True)\n"
        "rc[:].use_cloudpickle()\n"
        "view = rc.load_balanced_view()",
        decorator="",
        submit="view.apply_async({f}{comma}{args})",
        get="{x}.get()",
        get_all="[r.get() for r in {x}]",
    ),
    "px": Idiom(
        "ipyparallel, %%px", "ipyparallel",
        "import ipyparallel as ipp\n"
        "rc = ipp.Cluster(n=2, log_level=50).start_and_connect_sync(activate=True)\n"
        "view = rc.load_balanced_view()",
        decorator="%%px --local\n",
        submit="rc[0].apply_async({f}{comma}{args})",
        get="{x}.get()",
        get_all="[r.get() for r in {x}]",
        cells=_PX_CELLS,
    ),
    "dask": Idiom(
        "Dask", "distributed",
        "from dask.distributed import Client\n"
        "client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)",
        decorator="",
        submit="client.submit({f}{comma}{args}, pure=False)",
        get="{x}.result()",
        get_all="client.gather({x})",
        actor='''
class Counter:
    def __init__(self): self.n = 0
    def add(self): self.n += 1; return self.n
counter = client.submit(Counter, actor=True).result()
print(counter.add().result())
''',
    ),
}  # fmt: skip
