"""The process that measures one version: ``python -m benchmarks.against.side FD SIZE``.

Names of rows come on standard input, one a line; for each a line of JSON goes to the descriptor ``FD``: microseconds of
an operation, by the processor time of all of the driver's threads and of its other processes, and by the clock.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time

from benchmarks import procs
from benchmarks.against.rows import ROWS, Rows


def others() -> dict[int, float]:
    """Returns the seconds that each process of the runtime but this one has run so far, all threads."""
    found = {}
    for pid in procs.marked(os.environ[procs.MARK]):
        if pid != os.getpid():
            try:
                found[pid] = time.clock_gettime(~pid << 3 | 2)  # the clock of another process's processor time
            except OSError:  # it has just ended
                continue
    return found


def main() -> None:
    """Measures a batch for each line, until there are no more."""
    import raynb

    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    rows = Rows(int(sys.argv[2]))
    os.write(descriptor, json.dumps({"from": os.path.dirname(raynb.__file__)}).encode() + b"\n")
    for line in sys.stdin:
        run = ROWS[line.strip()]
        gc.collect()
        before = others()
        spent, began = time.process_time(), time.perf_counter()
        count = run(rows)
        wall, spent = time.perf_counter() - began, time.process_time() - spent
        beside = sum(time - before.get(pid, 0.0) for pid, time in others().items())
        answer = {"cpu": 1e6 * spent / count, "beside": 1e6 * beside / count, "wall": 1e6 * wall / count}
        os.write(descriptor, json.dumps(answer).encode() + b"\n")
    raynb.shutdown()


if __name__ == "__main__":
    main()
