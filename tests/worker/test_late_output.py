"""Output of what outlives its task belongs to the task that started it, whoever has the worker by then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import raynb as ray
from raynb.base.rows import Output
from raynb.testing import leaks


def start(kind: str, gate: str) -> None:
    import concurrent.futures
    import multiprocessing
    import os
    import subprocess
    import threading
    import time

    def late() -> None:
        while not os.path.exists(gate):
            time.sleep(0.005)
        print("late", kind, flush=True)

    shell = f"while [ ! -e '{gate}' ]; do sleep 0.01; done; echo late {kind}"
    if kind == "thread":
        threading.Thread(target=late, daemon=True).start()
    elif kind == "timer":
        threading.Timer(0.001, late).start()
    elif kind == "pool":
        concurrent.futures.ThreadPoolExecutor(1).submit(late)
    elif kind == "popen":
        subprocess.Popen(["sh", "-c", shell])
    elif kind == "system":
        os.system(f"({shell}) &")
    else:
        process: Any = multiprocessing.get_context("fork").Process(target=late)
        process.start()
        process.join = lambda *args: None


@pytest.mark.raynb(num_cpus=1)
@pytest.mark.parametrize("kind", ["thread", "timer", "pool", "popen", "system", "fork"])
def test_what_is_late_belongs_to_its_task(raynb_runtime: Any, tmp_path: Path, kind: str) -> None:
    gate, heard = str(tmp_path / "gate"), str(tmp_path / "heard")
    outputs: list[Output] = []
    raynb_runtime.engine.on_output.append(outputs.append)

    @ray.remote
    def other() -> None:
        import os
        import time

        print("other begins")
        open(gate, "w").close()
        while not os.path.exists(heard):
            time.sleep(0.005)
        print("other ends")

    ray.get(ray.remote(start).remote(kind, gate))
    ref = other.remote()

    def said(name: str) -> str:
        return "".join(output.text for output in list(outputs) if output.name == name)

    # The whole line: `print` writes it in pieces.
    assert leaks.until(lambda: f"late {kind}\n" in said("start") + said("other"))
    Path(heard).touch()
    ray.get(ref)
    assert (said("start"), said("other")) == (f"late {kind}\n", "other begins\nother ends\n")


@pytest.mark.raynb(num_cpus=1)
def test_pipes_of_ended_children_are_closed(raynb_runtime: Any) -> None:
    @ray.remote
    def count() -> int:
        import os
        import subprocess

        subprocess.run(["true"], check=True)
        return len(os.listdir("/proc/self/fd"))

    counts = [ray.get(count.remote()) for _ in range(12)]
    assert max(counts[2:]) <= max(counts[:2]) + 2  # those of the last task are closed with the next look
