"""The object store beside Ray's, with the copy of the same bytes as the limit.

``python -m benchmarks.store`` compares values of all sizes; ``--spill`` how fast data beyond the
store goes to disk and back, beside plain files; ``--soak GB`` so many gigabytes through a store
of one, with memory and disk watched from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from benchmarks import procs
from benchmarks.compare import end_in_order, find_interpreters, results_file, say
from benchmarks.report import Rounds, aligned, short, table
from benchmarks.session import HostError, Session
from benchmarks.spill_cases import CHUNK, SOAK_STEP, SPILL_TOTAL
from benchmarks.store_cases import BY_NAME, CASES

SPILL_STORE = 500_000_000
SOAK_STORE = 1_000_000_000


def compare(options: argparse.Namespace, interpreters: dict[str, str], log: IO[bytes]) -> dict[str, Any]:
    """Measures the sizes; the engines are alive together and take turns case by case, the others held."""
    cases = [case for case in CASES if not options.cases or any(part in case.name for part in options.cases)]
    samples: dict[str, dict[str, Rounds]] = {case.name: {} for case in cases}
    labels: dict[str, str] = {}
    problems = []
    for number in range(options.rounds):
        say(f"sizes, round {number + 1}/{options.rounds} …")
        sessions = {name: Session(name, interpreter, log) for name, interpreter in interpreters.items()}
        try:
            for name, session in sessions.items():
                session.start(options.workers)
                labels[name] = session.about()["label"]
                procs.hold(session.mark)
            for case in cases:
                for name, session in sessions.items():
                    measured = samples[case.name].setdefault(name, [])
                    procs.let_go(session.mark)
                    try:
                        measured.append(session.case(case.name, options.seconds, "benchmarks.store_cases"))
                    except HostError as error:
                        measured.append([])
                        problems.append(str(error))
                    finally:
                        procs.hold(session.mark)
        finally:
            for session in sessions.values():
                procs.let_go(session.mark)
                session.stop()
    text = table(cases, samples, list(interpreters), labels)
    return {"text": "\n".join([text, *(f"PROBLEM {problem}" for problem in problems)]), "samples": samples}


@contextmanager
def folder(parent: str | None) -> Iterator[Path]:
    """Gives a spill folder that is gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="raynb-benchmark-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def files_in(path: Path) -> tuple[int, int]:
    """Returns (files, bytes on disk) under a folder."""
    count = size = 0
    for base, _, names in os.walk(path):
        for name in names:
            try:
                size += os.stat(os.path.join(base, name)).st_blocks * 512
                count += 1
            except FileNotFoundError:
                continue
    return count, size


def open_deleted(mark: str, path: Path) -> int:
    """Returns the bytes of files under a folder that are unlinked but still open in marked processes."""
    seen: dict[tuple[int, int], int] = {}
    for pid in procs.marked(mark):
        try:
            for link in os.scandir(f"/proc/{pid}/fd"):
                target = os.readlink(link.path)
                if target.startswith(str(path)) and target.endswith("(deleted)"):
                    found = os.stat(link.path)
                    seen[found.st_dev, found.st_ino] = found.st_blocks * 512
        except OSError:
            continue
    return sum(seen.values())


def plain(path: Path, sync: bool) -> tuple[float, float]:
    """Writes and reads the same bytes as plain files; returns (write, read) in GB/s."""
    block = memoryview(bytearray(os.urandom(CHUNK)))
    back = memoryview(bytearray(CHUNK))
    names = [path / f"plain-{i}" for i in range(SPILL_TOTAL // CHUNK)]
    begin = time.perf_counter()
    for name in names:
        with open(name, "wb", buffering=0) as file:
            _all(file.write, block)
            if sync:
                os.fsync(file.fileno())
    written = time.perf_counter() - begin
    begin = time.perf_counter()
    for name in names:
        with open(name, "rb", buffering=0) as file:
            _all(file.readinto, back)
    read = time.perf_counter() - begin
    for name in names:
        name.unlink()
    return SPILL_TOTAL / 1e9 / written, SPILL_TOTAL / 1e9 / read


def _all(move: Callable[[memoryview], int | None], block: memoryview) -> None:
    done = 0
    while done < len(block):
        done += move(block[done:]) or 0


def spill(options: argparse.Namespace, interpreters: dict[str, str], log: IO[bytes]) -> dict[str, Any]:
    """Measures spilling, beside plain files on the same disk."""
    found: dict[str, list[list[float]]] = {}
    for number in range(options.rounds):
        say(f"spill, round {number + 1}/{options.rounds} …")
        for label, sync in (("plain files", False), ("plain files, fsync", True)):
            with folder(options.folder) as path:
                found.setdefault(label, []).append(list(plain(path, sync)))
        for name, interpreter in interpreters.items():
            if name == "limits":
                continue
            with folder(options.folder) as path:
                session = Session(name, interpreter, log)
                try:
                    session.start(options.workers, SPILL_STORE, str(path))
                    found.setdefault(name, []).append(session.case("spill", 0, "benchmarks.spill_cases"))
                except HostError as error:
                    say(f"PROBLEM {error}")
                finally:
                    session.stop()
    import statistics

    rows = [["", "write GB/s", "read GB/s"]]
    for label, rounds in found.items():
        rows.append([label, *(short(statistics.median(column)) for column in zip(*rounds, strict=True))])
    head = (
        f"{SPILL_TOTAL / 1e9:.0f} GB in objects of {CHUNK / 1e6:.0f} MB "
        f"through a store of {SPILL_STORE / 1e6:.0f} MB"
    )
    return {"text": f"{head}\n{aligned(rows)}", "samples": found}


def soak(options: argparse.Namespace, interpreters: dict[str, str], log: IO[bytes]) -> dict[str, Any]:
    """Moves many gigabytes through a store of one, and watches memory and disk after each."""
    result: dict[str, Any] = {"text": "", "samples": {}}
    for name, interpreter in interpreters.items():
        if name == "limits":
            continue
        rows = [["GB", "GB/s", "memory MB", "disk MB", "files"]]
        with folder(options.folder) as path:
            session = Session(name, interpreter, log)
            try:
                session.start(options.workers, SOAK_STORE, str(path))
                for step in range(round(options.soak * 1e9 / SOAK_STEP)):
                    rate = session.case("soak", 0, "benchmarks.spill_cases")[0]
                    rows.append([f"{(step + 1) * SOAK_STEP / 1e9:.0f}", short(rate), *watch(session, path)])
                    say(f"{name}: {rows[-1]}")
                count = session.case("finish", 0, "benchmarks.spill_cases")[0]
                time.sleep(1)  # what is freed may be freed in the background
                rows.append(["all dropped", "", *watch(session, path)])
            finally:
                killed = session.stop()
            left, size = files_in(path)
        text = (
            f"{name}: {count:.0f} objects, all equal; after shutdown {left} files ({size} bytes) "
            f"in the spill folder, {killed} processes"
        )
        result["text"] += f"{text}\n{aligned(rows)}\n"
        result["samples"][name] = rows
    return result


def watch(session: Session, path: Path) -> list[str]:
    """Returns memory of all processes, disk use and files of a running engine, as cells."""
    files, size = files_in(path)
    size += open_deleted(session.mark, path)
    return [short(procs.pss(procs.marked(session.mark)) / 1e6), short(size / 1e6), str(files)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for and prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument(
        "--engines", nargs="+", choices=["raynb", "ray", "limits"], default=["raynb", "ray", "limits"]
    )
    parser.add_argument(
        "--cases", nargs="+", default=[], help=f"parts of names of cases: {' '.join(BY_NAME)}"
    )
    parser.add_argument(
        "--peers", default=os.environ.get("RAYNB_BENCHMARK_PEERS"), help="the Python that has Ray"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="time a case and round (default 0.5)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", help="where spill folders are made (default: the temporary folder)")
    parser.add_argument("--spill", action="store_true", help="measure spilling instead of the sizes")
    parser.add_argument("--soak", type=float, default=0, metavar="GB", help="soak instead of the sizes")
    parser.add_argument("--json", help="where the samples go (default: a dated file in benchmarks/results)")
    options = parser.parse_args(arguments)
    # One interpreter for all where possible: numpy's and pandas' versions matter here.
    own = options.peers or sys.executable
    interpreters = find_interpreters(options.engines, own, sys.executable)
    target = results_file("store", options.json)
    measure = soak if options.soak else spill if options.spill else compare
    with open(target.with_suffix(".log"), "wb") as log:
        result = measure(options, interpreters, log)
    target.write_text(json.dumps({"machine": procs.machine(), **result}, indent=1))
    print(result["text"])
    say(f"samples: {target}")
    return 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
