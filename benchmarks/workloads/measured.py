"""The process that runs one workload on one engine: ``python -m benchmarks.workloads.measured ENGINE WORKLOAD SCALE``.

It writes a line of JSON before the clock starts and one when it has stopped, and goes on when the parent, which looks
at memory and processor time then, has answered on its input. The workload's smallest size warms the engine up.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from asyncio import StreamReader, StreamWriter, new_event_loop, sleep, start_server
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.workloads import idioms, problems

#: Seconds after which the server of the I/O-bound calls answers.
DELAY = 0.05


@contextlib.contextmanager
def server(count: int) -> Iterator[list[str]]:
    """Serves numbers by HTTP, each after `DELAY`; yields as many URLs."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n")).split()[1]
        while (await reader.readline()).strip():
            pass
        await sleep(DELAY)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + path.lstrip(b"/"))
        await writer.drain()
        writer.close()

    loop = new_event_loop()
    serving = loop.run_until_complete(start_server(answer, "127.0.0.1", 0, backlog=200))
    port = serving.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield [f"http://127.0.0.1:{port}/{number}" for number in range(count)]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        serving.close()
        loop.run_until_complete(sleep(0))
        loop.close()


@contextlib.contextmanager
def prepared(workload: str, scale: str, folder: Path) -> Iterator[problems.Data]:
    """Yields the data of a workload, with the server that it may need."""
    data = problems.make(workload, scale, folder)
    with contextlib.ExitStack() as stack:
        if workload == "I/O-bound calls":
            data.urls = stack.enter_context(server(data.calls))
        yield data


def run(name: str, workload: str, scale: str, workers: int, say: Any) -> None:
    """Runs the workload once for warmth and once by the clock; ``say`` returns when the parent has answered."""
    engine = idioms.engine(name)
    method = getattr(engine, idioms.METHODS[workload])
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        engine.start(workers)
        try:
            with prepared(workload, "tiny", Path(small)) as data:
                method(data)
            with prepared(workload, scale, Path(large)) as data:
                say({"began": True})
                began = time.perf_counter()
                value = method(data)
                seconds = time.perf_counter() - began
                say({"seconds": seconds, "digest": problems.digest(workload, value)})
                del value
        finally:
            engine.stop()


def main() -> None:
    """Runs what the command line names; answers on the descriptor that it names last."""
    name, workload, scale, workers, descriptor = sys.argv[1:]
    with os.fdopen(int(descriptor), "w", encoding="utf-8") as answers:

        def write(answer: dict[str, Any]) -> None:
            print(json.dumps(answer), file=answers, flush=True)

        def say(answer: dict[str, Any]) -> None:
            write(answer)
            sys.stdin.readline()

        try:
            run(name, workload, scale, int(workers), say)
        except BaseException as error:  # the traceback is in the log; the table has a line of it
            write({"error": f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"})
            raise


if __name__ == "__main__":
    main()
