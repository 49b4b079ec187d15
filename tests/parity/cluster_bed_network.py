"""Checks of a network that is lost, for a moment and for good: a head, and a node in a network namespace of its own.

They need the right to make network namespaces (root in most places); without it they are skipped, and say so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cluster_bed_tools import WAIT, Skipped, check, script, until
from cluster_shared import TEMP

from raynb.engine.cluster.local_nodes import LocalNodes

HEAD, FAR = "10.213.77.1", "10.213.77.2"
#: The addresses of their devices. They are known to both sides beforehand: whoever asks in vain for one during a cut
#: would learn at once that there is no way, as on no network of several machines.
HEAD_DEVICE, FAR_DEVICE = "02:00:0a:d5:4d:01", "02:00:0a:d5:4d:02"
#: Seconds of a cut after which everything goes on: less than Ray waits before it calls a node dead.
CUT_SECONDS = 4.0
#: So Ray's health check finds a lost node dead, and what has lost the head ends, within seconds: by default it takes
#: one to two minutes.
SOON = {
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000", "RAY_health_check_failure_threshold": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}  # fmt: skip


class Network:
    """A bridge on this machine, and a namespace whose only link is one of its ports."""

    def __init__(self) -> None:
        number = os.getpid()
        self.name, self._bridge, self._port, self._end = f"raynb-{number}", f"rb{number}", f"rp{number}", f"re{number}"

    def make(self) -> None:
        """Makes them; raises `OSError` where that is not allowed."""
        _ip(f"netns add {self.name}")
        _ip(f"link add {self._bridge} type bridge")
        _ip(f"link add {self._port} type veth peer name {self._end} netns {self.name}")
        _ip(f"addr add {HEAD}/24 dev {self._bridge}")
        _ip(f"-n {self.name} addr add {FAR}/24 dev {self._end}")
        _ip(f"link set {self._bridge} address {HEAD_DEVICE}")
        _ip(f"-n {self.name} link set {self._end} address {FAR_DEVICE}")
        for device in (self._bridge, self._port):
            _ip(f"link set {device} up")
        for device in (self._end, "lo"):
            _ip(f"-n {self.name} link set {device} up")
        self.join()
        _ip(f"neigh replace {FAR} lladdr {FAR_DEVICE} dev {self._bridge} nud permanent")
        _ip(f"-n {self.name} neigh replace {HEAD} lladdr {HEAD_DEVICE} dev {self._end} nud permanent")

    def cut(self) -> None:
        """From now on packets are lost without a word, in both directions."""
        _ip(f"link set {self._port} nomaster")

    def join(self) -> None:
        """Ends a cut."""
        _ip(f"link set {self._port} master {self._bridge}")

    def remove(self) -> None:
        for line in (f"link del {self._bridge}", f"link del {self._port}", f"netns del {self.name}"):
            with contextlib.suppress(OSError):  # it was never made, or went with another one
                _ip(line)


def _ip(line: str) -> None:
    done = subprocess.run(["ip", *line.split()], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"`ip {line}`: {done.stderr.strip()}")


@contextlib.contextmanager
def two_nodes(environ: dict[str, str]) -> Iterator[tuple[Network, LocalNodes, list[str]]]:
    """Gives the network, the cluster on it, and the words with which a program runs on the far node."""
    missing = [program for program in ("ip", "nsenter") if shutil.which(program) is None]
    if missing:
        raise Skipped(f"network namespaces need {' and '.join(missing)}")
    network = Network()
    with contextlib.ExitStack() as after:
        after.callback(network.remove)
        try:
            network.make()
        except OSError as error:
            raise Skipped(f"no network namespace can be made here: {error}") from None
        # Each node has a folder of its own there, as on two machines: by it, drivers find the node that they are on.
        folder = tempfile.mkdtemp(prefix="rb-", dir=TEMP)  # short: Ray's sockets lie below it
        after.callback(shutil.rmtree, folder, ignore_errors=True)
        apart = ["ip", "netns", "exec", network.name, "sh", "-c", f'mount -t tmpfs raynb {folder} && exec "$@"', "sh"]
        nodes = LocalNodes(
            [{"num_cpus": 2, "ip": HEAD, "resources": {"near": 4}},
             {"num_cpus": 2, "ip": FAR, "resources": {"far": 4}, "within": apart}],
            {**environ, "TMPDIR": folder},
        )  # fmt: skip
        after.callback(nodes.close)
        yield network, nodes, ["nsenter", "--target", str(nodes.groups[1]), "--net", "--mount"]


def said(program: subprocess.Popen[str], text: str) -> str:
    """Reads lines of a program's output until one has a text; returns them all."""
    assert program.stdout is not None
    lines = ""
    while text not in lines:
        line = program.stdout.readline()
        assert line, f"{lines}{program.communicate(timeout=WAIT)}"
        lines += line
    return lines


def rest(program: subprocess.Popen[str]) -> tuple[str, str]:
    """Returns what an ended program has printed since `said`, whose reading ahead `communicate` would leave out."""
    assert program.stdout is not None
    assert program.stderr is not None
    out, err = program.stdout.read(), program.stderr.read()
    assert program.wait(WAIT) == 0, out + err
    return out, err


TALKS = """
@ray.remote(num_cpus=0, resources={sys.argv[1]: 1})
def talk(n):
    for i in range(n):
        print(f"task {i};")
        time.sleep(0.1)
    return n
class Counter:
    def __init__(self):
        self.n = 0
    def up(self):
        self.n += 1
        print(f"call {self.n};")
        return self.n
counter = ray.remote(num_cpus=0, resources={sys.argv[1]: 1})(Counter).remote()
calls = [counter.up.remote()]
talking = talk.remote(90)
while not ray.wait([talking], timeout=0.2)[0]:
    calls.append(counter.up.remote())
assert ray.get(calls) == list(range(1, len(calls) + 1))
print("result", ray.get(talking), len(calls))
"""


@check
def a_network_that_is_lost_for_a_moment_costs_no_result_and_no_output() -> None:
    with two_nodes({}) as (network, nodes, on_far):
        # One driver beside the head whose tasks run far away; and one far away, cut off from the head with its node.
        near = script(TALKS, "far", address=nodes.address)
        far = script(TALKS, "near", address=nodes.address, within=on_far)
        lines = [said(near, "task 5;"), said(far, "task 5;")]
        network.cut()
        time.sleep(CUT_SECONDS)
        network.join()
        for number, program in enumerate((near, far)):
            out, err = rest(program)
            shown = lines[number] + out
            calls = int(shown.rpartition("result 90 ")[2])
            for what in [*(f"task {i};" for i in range(90)), *(f"call {i};" for i in range(1, calls + 1))]:
                assert shown.count(what) == 1, (number, what, shown, err)


CUT_OFF = """
class Mine:
    def pid(self):
        return os.getpid()
mine = ray.remote(num_cpus=0, resources={"near": 1})(Mine).options(name="mine").remote()
kept = ray.remote(num_cpus=0, resources={"near": 1})(Mine).options(name="kept", lifetime="detached").remote()
print("pids", *ray.get([mine.pid.remote(), kept.pid.remote()]), "", flush=True)
time.sleep(600)
"""
GOES_ON = """
class There:
    def ping(self):
        return 1
there = ray.remote(num_cpus=0, resources={"far": 1})(There).remote()
ray.get(there.ping.remote())
@ray.remote(num_cpus=1)
def anywhere(n):
    return n
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
while True:
    try:
        ray.get(there.ping.remote(), timeout=5)
    except ray.exceptions.GetTimeoutError:
        pass
    except ray.exceptions.RayActorError as error:
        assert len(str(error)) < 600, str(error)
        break
print(f"its actor there is dead after {time.monotonic() - began:.0f} s")
while [node["Alive"] for node in ray.nodes()].count(True) != 1:
    time.sleep(0.1)
print("alone", ray.get([anywhere.remote(n) for n in range(8)]) == list(range(8)))
print("kept", ray.get(ray.get_actor("kept").pid.remote()))
"""


def _is_there(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@check
def what_belongs_to_a_driver_that_is_cut_off_for_good_ends_and_what_is_detached_stays() -> None:
    with two_nodes(SOON) as (network, nodes, on_far), contextlib.ExitStack() as after:
        far = script(CUT_OFF, address=nodes.address, within=on_far, environ=SOON)
        near = script(GOES_ON, address=nodes.address, environ=SOON)
        for program in (far, near):
            after.callback(program.communicate, timeout=WAIT)
            after.callback(program.send_signal, signal.SIGKILL)
        mine, kept = (int(word) for word in said(far, "pids ").rpartition("pids ")[2].split()[:2])
        said(near, "ready")
        network.cut()
        began = time.monotonic()
        assert near.stdin is not None
        near.stdin.write("\n")
        near.stdin.flush()
        until(lambda: not _is_there(mine), "the actor of the driver that is cut off to end")
        print(f"the actor of a driver that was cut off ended after {time.monotonic() - began:.0f} s", flush=True)
        shown = said(near, "kept")
        print(shown, flush=True)
        assert "alone True" in shown
        assert f"kept {kept}\n" in shown
        assert _is_there(kept)
