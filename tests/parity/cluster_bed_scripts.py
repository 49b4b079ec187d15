"""Checks of programs that connect to the cluster of `cluster_bed.py`, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cluster_bed_tools import WAIT, bed, check, connect, ended, raised, script, until

import raynb
from raynb.engine.cluster import local_nodes
from raynb.engine.cluster.local_nodes import LocalNodes


@check
def a_script_shows_what_tasks_print_and_ends_without_shutdown() -> None:
    out, err = ended(script("""
        @ray.remote
        def say(n):
            print("line", n)
            return n
        assert ray.get([say.remote(n) for n in range(3)]) == [0, 1, 2]
        refs = [say.remote(9)]
    """))  # fmt: skip
    assert sorted(line.split(") ")[1] for line in out.splitlines() if "say pid=" in line)[:3] == [
        "line 0", "line 1", "line 2"
    ], out  # fmt: skip
    assert "Started a local Ray instance" not in err, err
    assert "Connecting to existing Ray cluster" not in err, err
    assert "Traceback" not in err, err


@check
def a_script_goes_on_after_ray_itself_was_shut_down() -> None:
    out, err = ended(script("""
        import ray as real
        ref = ray.put(1)
        actor = ray.remote(type("A", (), {"m": lambda self: 1})).remote()
        group = ray.util.placement_group([{"CPU": 1}])
        real.shutdown()
        for call in (lambda: ray.get(ref), lambda: actor.m.remote(), lambda: ray.put(2), lambda: ray.kill(actor),
                     ray.nodes, ray.cluster_resources, lambda: ray.util.list_named_actors(all_namespaces=True),
                     lambda: ray.util.placement_group([{"CPU": 1}]), lambda: group.wait(1),
                     lambda: ray.util.placement_group_table(group), lambda: ray.get_actor("x")):
            try:
                call()
            except ray.exceptions.RuntimeGoneError:
                print("gone")
        assert not real.is_initialized()
        ray.shutdown()
        del ref, actor
        assert not real.is_initialized()
    """))  # fmt: skip
    assert out.split() == ["gone"] * 11, out + err


@check
def a_detached_actor_restarts_after_its_creator_has_left() -> None:
    out, _ = ended(script("""
        class Keeper:
            def pid(self):
                return os.getpid()
            def die(self):
                os._exit(1)
        keeper = ray.remote(num_cpus=0)(Keeper).options(name="keeper", lifetime="detached", max_restarts=2).remote()
        ray.get(keeper.pid.remote())
        data = ray.put(5)
        class Names:
            def read(self):
                return ray.get(data)
        detached = ray.remote(num_cpus=0)(Names).options(name="names", lifetime="detached")
        try:
            detached.options(max_restarts=1).remote()
        except ValueError as error:
            assert "Names uses ObjectRefs of this program" in str(error), error
            print("refused", ray.get(detached.options(max_restarts=0).remote().read.remote()))
            ray.kill(ray.get_actor("names"))
    """))  # fmt: skip
    assert "refused 5" in out, out
    out, _ = ended(script("""
        keeper = ray.get_actor("keeper")
        before = ray.get(keeper.pid.remote())
        keeper.die.remote()
        while True:
            try:
                after = ray.get(keeper.pid.remote(), timeout=60)
                if after != before:
                    break
            except ray.exceptions.RayActorError:
                time.sleep(0.1)
        print("restarted")
        ray.kill(keeper)
    """))  # fmt: skip
    assert "restarted" in out


@check
def what_a_shared_actor_prints_goes_to_the_driver_that_calls() -> None:
    first = script("""
        @ray.remote
        def nested():
            print("nested")
        class Speaker:
            def say(self, text):
                print("said", text)
                if text == "second":
                    ray.get(nested.remote())
                return text
        speaker = ray.remote(num_cpus=0)(Speaker).options(name="speaker", lifetime="detached").remote()
        ray.get(speaker.say.remote("first"))
        print("ready", flush=True)
        sys.stdin.readline()
        ray.get(speaker.say.remote("first again"))
    """)
    assert first.stdout is not None
    assert first.stdin is not None
    lines = [first.stdout.readline(), first.stdout.readline()]
    assert "ready\n" in lines, lines
    out, err = ended(script("""
        speaker = ray.get_actor("speaker")
        for text in ("second", "third"):
            print("got", ray.get(speaker.say.remote(text)))
    """))
    assert [line.split(") ")[-1] for line in out.splitlines()] == [
        "said second", "nested", "got second", "said third", "got third"
    ], out + err  # fmt: skip
    first.stdin.write("\n")
    first.stdin.flush()
    rest, err = ended(first)
    assert [line.split(") ")[-1] for line in rest.splitlines()] == ["said first again"], rest + err
    connect()
    raynb.kill(raynb.get_actor("speaker"))
    raynb.shutdown()


@check
def what_belongs_to_a_driver_that_is_killed_ends_and_what_is_detached_stays() -> None:
    program = script("""
        class Mine:
            def ready(self):
                return os.getpid()
        mine = ray.remote(num_cpus=0)(Mine).options(name="mine").remote()
        kept = ray.remote(num_cpus=0)(Mine).options(name="kept", lifetime="detached").remote()
        ray.get([mine.ready.remote(), kept.ready.remote()])
        print("ready", flush=True)
        time.sleep(600)
    """)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.kill()
    program.communicate()
    connect()

    def gone() -> bool:
        try:
            raynb.get_actor("mine")
        except ValueError:
            return True
        return False

    until(gone, "the actor of the killed driver to end")
    kept = raynb.get_actor("kept")
    assert raynb.get(kept.ready.remote(), timeout=WAIT)
    raynb.kill(kept)


@check
def a_cancel_interrupts_a_task() -> None:
    connect()
    folder = Path(tempfile.mkdtemp())

    @raynb.remote(num_cpus=0, max_retries=0)
    def tells_of_an_interrupt(begun: Path, heard: Path) -> None:
        try:
            begun.touch()
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            heard.touch()
            raise

    controls = raynb.runtime().engine._controls
    grace, controls._grace = controls._grace, 10 * WAIT  # its worker is not ended instead
    try:
        ref = tells_of_an_interrupt.remote(folder / "begun", folder / "heard")
        until((folder / "begun").exists, "the task to run")
        raynb.cancel(ref)
        until((folder / "heard").exists, "the interrupt")
        assert type(raised(lambda: raynb.get(ref, timeout=WAIT))) is raynb.exceptions.TaskCancelledError
    finally:
        controls._grace = grace


@check
def a_cluster_without_raynb_is_refused_in_words_if_it_may_not_be_sent() -> None:
    raynb.shutdown()
    error = raised(lambda: raynb.init(bed.address, ship_package=False))
    assert isinstance(error, raynb.exceptions.RaySystemError)
    assert str(error).count("has no raynb") == 3, error
    assert "pip install" in str(error)
    error = raised(lambda: raynb.get(raynb.remote(lambda: 1).remote()))
    assert isinstance(error, raynb.exceptions.RuntimeGoneError), "the embedded engine started without a word"
    assert bed.address in str(error)


@check
def a_start_that_waits_says_so_and_ends_with_ctrl_c() -> None:
    text = f"""
import ray as real, raynb as ray
from raynb.engine.cluster import driver, hub, rays
from raynb.engine.notices import Hearers
made = driver.make_hub
def never_placed(nonce, env=None):
    return rays.remote(hub.Hub, num_cpus=10_000).remote()
driver.make_hub = never_placed
try:
    ray.init({bed.address!r})
except KeyboardInterrupt:
    print("interrupted", ray.is_initialized(), real.is_initialized(), rays._hearers._says)
driver.make_hub = made
ray.init({bed.address!r})
print("then", ray.get(ray.remote(lambda: 1).remote()))
"""
    program = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stderr is not None
    line = ""
    while "waiting for the Ray cluster to start a worker" not in line:
        line = program.stderr.readline()
        assert line, program.communicate(timeout=WAIT)
    program.send_signal(signal.SIGINT)
    out, err = ended(program)
    told = [line for line in out.splitlines() if "(autoscaler" not in line]  # of Ray's, about what cannot be placed
    assert told == ["interrupted False False []", "then 1"], out + err


@check
def nodes_with_another_version_are_named_and_get_this_one() -> None:
    other = Path(tempfile.mkdtemp())
    Path(other, "raynb").mkdir()
    Path(other, "raynb", "__init__.py").write_text("raise ImportError('this is the other version')\n")
    about = Path(other, "raynb-0.0.1.dist-info")
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: raynb\nVersion: 0.0.1\n")
    nodes = LocalNodes([{"num_cpus": 2}], {"PYTHONPATH": str(other)})
    try:
        refused = script("", address=nodes.address, options="ship_package=False")
        _, err = refused.communicate(timeout=WAIT)
        assert refused.returncode, err
        assert "has raynb 0.0.1" in err, err
        assert "pip install" in err, err
        out, err = ended(script("""
            class Box:
                def say(self):
                    print("said by an actor")
                    return ray.get(ray.remote(lambda: 6).remote()) + 1
            box = ray.remote(Box).remote()
            print("got", ray.get(box.say.remote()))
        """, address=nodes.address))  # fmt: skip
        assert "said by an actor" in out, out + err
        assert out.splitlines()[-1] == "got 7", out + err
        assert "Traceback" not in err, err
    finally:
        nodes.close()


@check
def a_program_without_standard_streams_uses_the_cluster_and_starts_one() -> None:
    for start in (repr(bed.address), "cluster='local', num_cpus=1"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "found")
            text = f"""
import os
import raynb as ray
ray.init({start})
streams = [os.readlink(f"/proc/self/fd/{{number}}") for number in range(3)]
found = ray.get([ray.remote(lambda: print("lost") or n).remote() for n in (5,)])
ray.shutdown()
with open({str(path)!r}, "w") as file:
    file.write(repr((found, streams)))
"""
            command = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, text]
            assert subprocess.run(command, timeout=2 * WAIT, check=False).returncode == 0
            assert path.read_text() == repr(([5], [os.devnull] * 3))


@check
def a_folder_as_the_working_dir_of_a_task_is_sent() -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "data.txt").write_text("there")
    out, err = ended(script(f"""
        @ray.remote(num_cpus=0, resources={{"left": 1}}, runtime_env={{"working_dir": {str(folder)!r}}})
        def read():
            return open("data.txt").read(), os.getcwd()
        @ray.remote(num_cpus=0, resources={{"left": 1}}, runtime_env={{"working_dir": {str(folder)!r}}})
        class Reads:
            def again(self):
                return open("data.txt").read()
        text, place = ray.get(read.remote())
        reads = Reads.remote()
        print("read", text, place != {str(folder)!r}, ray.get(reads.again.remote()))
        if {local_nodes._says(local_nodes.FOLDER_PER_NODE)}:  # else the nodes of this machine share a folder
            print("on another node", ray.get(read.options(resources={{"right": 1}}).remote())[0])
            print("and again", ray.get(reads.again.remote()))
    """))  # fmt: skip
    assert "read there True there" in out.splitlines(), out + err
    for words in ("on another node ", "and again "):
        assert words not in out or words + "there" in out, out + err
