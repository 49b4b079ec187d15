"""Checks of notebooks' kernels on the cluster of `cluster_bed.py`: real kernels, restarted and two at once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cluster_bed_tools import WAIT, Skipped, bed, check, until

START = """
%load_ext raynb
import os, time
import raynb as ray
print("nodes", len(ray.nodes()))
"""
WORK = """
@ray.remote(num_cpus=0, max_retries=5)
def beat(path):
    while True:
        with open(path, "a") as file:
            file.write(".")
        time.sleep(0.05)

class Mine:
    def say(self, text):
        print(text)
        return os.getpid()

name = {name!r}
beating = beat.remote({path!r})
mine = ray.remote(num_cpus=0)(Mine).options(name=name).remote()
kept = ray.remote(num_cpus=0)(Mine).options(name="kept-" + name, lifetime="detached").remote()
print("pid", *ray.get([actor.say.remote("from " + name) for actor in (mine, kept)]))
"""
FIND = """
kept = ray.get_actor("kept-{name}")
print("kept", ray.get(kept.say.remote("said to the notebook that calls")) > 0)
while True:
    try:
        ray.get_actor("{name}")
    except ValueError:
        break
    time.sleep(0.1)
print("mine ended")
ray.kill(kept)
"""


KEEPS = """
%config Raynb.keep_directory = {place!r}
def helper(x):
    return x + {add}
"""
KEPT = """\
%%remote --keep --wait
print("made")
raw = [helper(x) for x in range(3)]
open({ran!r}, "a").write("x")
"""
SUM = "%%remote --wait\ntotal = sum(raw)"
FLUSH = "from raynb.jupyter import notebook as nb\nprint(nb.loaded().kept.flush(60))"


class Kernel:
    """One notebook's kernel, and what its cells show."""

    def __init__(self, folder: str) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager(kernel_cmd=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
        self.manager.start_kernel(env={**os.environ, "IPYTHONDIR": folder})
        self.client: Any = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WAIT)

    def run(self, code: str) -> str:
        shown: list[str] = []

        def hook(message: Any) -> None:
            if message["msg_type"] == "stream":
                shown.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, timeout=2 * WAIT, output_hook=hook)
        assert reply["content"]["status"] == "ok", (reply["content"], shown)
        return "".join(shown)

    def restart(self) -> None:
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=WAIT)

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _when_ended(pid: int) -> concurrent.futures.Future[float]:
    """Returns a future of the moment (monotonic) in which a process of this machine has ended."""
    found: concurrent.futures.Future[float] = concurrent.futures.Future()

    def watch() -> None:
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.02)
        found.set_result(time.monotonic())

    threading.Thread(target=watch, daemon=True).start()
    return found


def ipython_folder(more: str = "") -> str:
    """Returns a new folder for IPython whose kernels are on the bed's cluster; ``more``: further settings."""
    for module in ("ipykernel", "jupyter_client"):
        if importlib.util.find_spec(module) is None:
            raise Skipped(f"{module} is not in the Python that has Ray")
    folder = tempfile.mkdtemp()
    profile = Path(folder, "profile_default")
    profile.mkdir()
    (profile / "ipython_kernel_config.py").write_text(f"c.Raynb.address = {bed.address!r}\n{more}")
    return folder


@check
def two_notebooks_share_a_cluster_and_one_of_them_restarts() -> None:
    folder = ipython_folder("c.Raynb.namespace = 'kernels'\n")
    paths = {name: str(Path(folder, f"beats-{name}")) for name in ("one", "two")}
    with contextlib.ExitStack() as after:
        kernels, mine = {}, {}
        for name in paths:
            kernels[name] = Kernel(folder)
            after.callback(kernels[name].end)
        for name, kernel in kernels.items():
            assert "nodes 3" in kernel.run(START)
            shown = kernel.run(WORK.format(name=name, path=paths[name]))
            assert shown.count(f"from {name}") == 2, shown
            mine[name] = int(shown.partition("pid ")[2].split()[0])
        for path in paths.values():
            until(lambda path=path: _size(path), "the task to run")
        ended = _when_ended(mine["one"])
        began = time.monotonic()
        kernels["one"].restart()
        took = ended.result(WAIT) - began
        print(f"the actor of a kernel that was restarted ended {took:.1f} s after its kernel was killed", flush=True)
        kernels["one"].run(START)
        shown = kernels["one"].run(FIND.format(name="one"))
        assert "said to the notebook that calls\nkept True" in shown, shown
        assert "mine ended" in shown

        def over() -> bool:
            before = _size(paths["one"])
            kernels["two"].run("time.sleep(1)")
            return _size(paths["one"]) == before

        until(over, "the task of the kernel that was restarted to end")
        before = _size(paths["two"])
        until(lambda: _size(paths["two"]) > before, "the other notebook's task to go on")
        shown = kernels["two"].run("print(get_ipython().run_line_magic('raynb', 'doctor'))")
        assert len([line for line in shown.splitlines() if "raynb sent there" in line and "Python" in line]) == 3, shown
        shown = kernels["two"].run("_ = ray.get(mine.say.remote('two goes on')); ray.kill(kept)")
        assert shown.count("two goes on") == 1, shown
        assert "one" not in shown, shown


@check
def a_notebook_keeps_results_and_makes_stale_ones_anew() -> None:
    folder = ipython_folder()
    place, ran = str(Path(folder, "kept")), str(Path(folder, "ran"))
    kernel = Kernel(folder)
    try:
        kernel.run(START)
        for _ in range(2):
            kernel.run(KEEPS.format(place=place, add=1))
            assert "made\n" in kernel.run(KEPT.format(ran=ran))
            assert kernel.run(FLUSH) == "True\n"
            assert kernel.run("print(ray.get(raw))") == "[1, 2, 3]\n"
            assert _size(ran) == 1
        kernel.run(SUM)
        assert kernel.run("%raynb stale") == "Nothing is stale.\n"
        kernel.run(KEEPS.format(place=place, add=2))
        found = kernel.run("%raynb stale")
        assert found.count("`helper` was redefined") == 2, found
        assert "Submitted 2 cells again" in kernel.run("%raynb rerun")
        assert kernel.run("print(ray.get([raw, total]))") == "[[2, 3, 4], 9]\n"
        assert _size(ran) == 2
        assert kernel.run("%raynb stale") == "Nothing is stale.\n"
        assert "← raw of In" in kernel.run("print(get_ipython().run_line_magic('raynb', 'graph'))")
        assert kernel.run(FLUSH) == "True\n"
        kernel.restart()
        kernel.run(START)
        kernel.run(KEEPS.format(place=place, add=2))
        assert "made\n" in kernel.run(KEPT.format(ran=ran))
        assert kernel.run(SUM + "\nprint(total)") == "9\n"
        assert _size(ran) == 2
    finally:
        kernel.end()
