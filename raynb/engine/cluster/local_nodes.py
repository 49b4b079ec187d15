"""A throw-away Ray cluster on this machine: a head and further nodes, to try code on.

`start` runs this very file as a program (with the standard library only). The program starts each node with
``ray start --block`` in a process group of its own, and ends all of them when its standard input ends:
however the process that asked for the cluster ends, nothing of it stays.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Seconds that one node may take to start; with many starting at once on a busy machine it takes long.
START_TIMEOUT_SECONDS = 120.0
#: Ray itself gives a node 30 seconds: on a busy machine it is tried again.
START_ATTEMPTS = 3
TOO_SLOW = "timed out during startup"
STOP_SECONDS = 5.0
#: In the help of ``--temp-dir`` where it is taken by each node, and not by the head alone.
FOLDER_PER_NODE = "specified per node"
#: Bytes of object store of a node that names none.
STORE_BYTES = 200 << 20


class LocalNodes:
    """The cluster, as the process that asked for it sees it.

    Thread contract: one thread.

    Args:
        nodes: what each node has; the first is the head. Keys: ``num_cpus``, ``num_gpus``, ``resources``,
            ``labels``, ``object_store_memory`` (bytes), ``ip`` (127.0.0.1), ``within`` (words that its command begins
            with, such as ``ip netns exec NAME``).
        environ: environment variables of the nodes, beside this process's.
    """

    def __init__(self, nodes: list[dict[str, Any]], environ: dict[str, str] | None = None) -> None:
        self._program = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "RAY_AUTH_MODE": "disabled", **(environ or {})}, start_new_session=True,
        )  # fmt: skip
        self._stdin: Any = self._program.stdin
        self._stdout: Any = self._program.stdout
        #: Process groups of the nodes, in their order; of one that ended, 0.
        self.groups: list[int] = []
        self.address = ""
        #: Is called when the nodes have ended, or nobody waits for that any more.
        self.at_end: Callable[[], None] = lambda: None
        try:
            for node in nodes:
                self.add_node(node)
        except BaseException:
            self.close()
            raise

    def _ask(self, what: dict[str, Any]) -> Any:
        self._stdin.write(json.dumps(what) + "\n")
        self._stdin.flush()
        line = self._stdout.readline()
        found = json.loads(line) if line else {"error": "the program that starts Ray's nodes ended"}
        if "error" in found:
            raise RuntimeError(f"a local Ray node could not start: {found['error']}")
        return found

    def add_node(self, node: dict[str, Any]) -> None:
        """Starts one more node and waits until it has joined."""
        found = self._ask({"start": node})
        self.address = found["address"]
        self.groups.append(found["group"])

    def kill_node(self, number: int) -> None:
        """Ends a node and everything on it at once, as a power failure would."""
        self._ask({"kill": number})
        self.groups[number] = 0

    def close(self) -> None:
        """Ends every node, and waits until they are gone."""
        try:
            with contextlib.suppress(OSError):
                self._stdin.close()
            try:
                self._program.wait(6 * STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._program.kill()
                self._program.wait()
            self._stdout.close()
        finally:  # also if Ctrl-C ends the wait
            self.at_end()


def _says(text: str) -> bool:
    """Returns whether this Ray's ``ray start`` has an option, or a text in its help; older ones refuse what they do not
    know."""
    found = importlib.util.find_spec("ray")
    places = (found.submodule_search_locations if found is not None else None) or ()
    scripts = [Path(place, "scripts", "scripts.py") for place in places]
    return any(text in script.read_text(encoding="utf-8") for script in scripts if script.is_file())


# -- the program -------------------------------------------------------------------------------
class _Program:
    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="raynb-ray-")  # short: Ray's sockets lie below it
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def start(self, node: dict[str, Any]) -> dict[str, Any]:
        """Starts a node, again if it was too slow; returns what `LocalNodes` reads."""
        for _ in range(START_ATTEMPTS):
            found = self._start(node)
            if TOO_SLOW not in found.get("error", ""):
                break
            _end(self.nodes.pop(), signal.SIGKILL)
        return found

    def _start(self, node: dict[str, Any]) -> dict[str, Any]:
        head, ip = not self.nodes, node.get("ip", "127.0.0.1")
        if head:
            self.address = f"{ip}:{_free_port()}"
        command = [*node.get("within", ()), sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
                   "--disable-usage-stats", f"--node-ip-address={ip}", "--min-worker-port=0",
                   "--max-worker-port=0", f"--dashboard-agent-listen-port={_free_port()}",
                   f"--num-cpus={node.get('num_cpus', 1)}",
                   f"--object-store-memory={node.get('object_store_memory', STORE_BYTES)}"]  # fmt: skip
        if head:
            command += ["--head", f"--port={self.address.rpartition(':')[2]}", f"--temp-dir={self.folder}",
                        "--include-dashboard=false"]  # fmt: skip
            if importlib.util.find_spec("grpc") is not None:  # a plain `pip install ray` has no Ray Client
                command.append(f"--ray-client-server-port={_free_port()}")
        else:
            command.append(f"--address={self.address}")
            # As on another machine: else one unpacks a working_dir under another's workers. Within a file system of its
            # own a node keeps the name: drivers there look in the head's folder.
            if _says(FOLDER_PER_NODE) and not node.get("within"):
                command.append(f"--temp-dir={Path(self.folder, str(len(self.nodes)))}")
            elif _says("--include-log-monitor"):  # in one folder each node's monitor would tell every line
                command.append("--include-log-monitor=false")
        if node.get("num_gpus"):
            command.append(f"--num-gpus={node['num_gpus']}")
        if node.get("resources"):
            command.append(f"--resources={json.dumps(node['resources'])}")
        if node.get("labels"):
            labels = ",".join(f"{key}={value}" for key, value in node["labels"].items())
            if not _says("--labels-file"):  # an older Ray, which takes JSON
                labels = json.dumps(node["labels"])
            command.append(f"--labels={labels}")
        log = Path(self.folder, f"raynb-node-{len(self.nodes)}.log")
        with log.open("wb") as sink:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
                                       start_new_session=True)  # fmt: skip
        self.nodes.append(process)
        end = time.monotonic() + START_TIMEOUT_SECONDS
        while b"Ray runtime started" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                return {"error": log.read_text(errors="replace")[-2000:] or f"not within {START_TIMEOUT_SECONDS:g} s"}
            time.sleep(0.05)
        return {"address": self.address, "group": process.pid}

    def kill(self, number: int) -> dict[str, Any]:
        """Kills every process of a node."""
        _end(self.nodes[number], signal.SIGKILL)
        return {"killed": number}

    def close(self) -> None:
        """Ends all nodes and waits for their end."""
        # The head last: the others report to it while they stop.
        threads = [threading.Thread(target=_end, args=(node, signal.SIGTERM)) for node in self.nodes[1:]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for node in self.nodes[:1]:
            _end(node, signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)


def _end(node: subprocess.Popen[bytes], how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if how == signal.SIGTERM:
            node.terminate()  # `ray start --block` ends what it started
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(STOP_SECONDS)
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _main() -> None:
    # A Ctrl-C is the kernel's. It is not ignored: the nodes' workers would inherit that, and no cancel interrupts a
    # task then.
    signal.signal(signal.SIGINT, lambda *_: None)
    program = _Program()
    try:
        for line in sys.stdin:
            asked = json.loads(line)
            done = program.start(asked["start"]) if "start" in asked else program.kill(asked["kill"])
            print(json.dumps(done), flush=True)
    finally:
        program.close()


if __name__ == "__main__":
    _main()
