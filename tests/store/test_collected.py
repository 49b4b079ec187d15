"""An exception at any line of ours, kept in a cycle and collected: the process must survive it.

Before Python 3.13 the garbage collector clears a memoryview that is still exported if both are garbage,
and the process ends with SIGSEGV when the export is given back. `raynb.base.buffers` says how that is
avoided; here lines between a value and the store raise, one after the other (all of them with
``RAYNB_EVERY_LINE=1``).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import raynb

SCRIPT = '''
import faulthandler, gc, sys
import numpy as np
from raynb.serde import pickling
from raynb.store import DiskTier, Ledger, Store

HERE = sys.argv[1]
faulthandler.dump_traceback_later(240, exit=True)


class Struck(BaseException):
    pass


KINDS = {
    "array": lambda: np.arange(4000.0),
    "small arrays": lambda: [np.arange(30.0) + n for n in range(20)],
    "arrays of two kinds": lambda: {n: np.arange(30 + n % 2) for n in range(20)},
    "dates": lambda: np.arange(4000).astype("M8[s]"),
    "fortran": lambda: np.asfortranarray(np.ones((60, 50))),
    "bytearray": lambda: bytearray(30000),
    "view": lambda: memoryview(bytearray(30000)),
    "shaped view": lambda: [memoryview(np.ones((30, 40))), memoryview(bytes(30000))[7:]],
    "stored": lambda: None,  # read from the store before
}


def work(store, value, places):
    packed = pickling.pack(value)
    places.append(store.write(packed.data, packed.buffers))
    kept = pickling.unpack(*store.read(places[0]))
    places.append(store.spill(places[0]))
    again = pickling.unpack(*store.read(places[1]))
    places.append(store.write_file(packed.data, packed.buffers))
    places.append(store.restore(places[2]))
    args = pickling.pack_args((value, 1), {}, "f")
    pickling.load_in_band(pickling.in_band(packed))
    pickling.load_in_band(pickling.in_band(args))


def struck(store, make, at):
    """Raises at the ``at``-th line of ours; True when there are fewer. What it leaves is garbage."""
    count = 0

    def look(frame, event, arg):
        nonlocal count
        if not frame.f_code.co_filename.startswith(HERE):
            return None
        if event == "line" and not quiet(frame):
            count += 1
            if count == at:
                raise Struck
        return look

    def quiet(frame):
        # Critical sections are not interrupted, see `raynb.base.interrupts`; of what a destructor raises, nobody hears.
        code = frame.f_code
        return code.co_filename.endswith("interrupts.py") or code.co_name == "_released" \\
            or store._lock.locked() or store.disk._lock.locked()

    value = make()
    places = []
    try:
        sys.settrace(look)
        work(store, value, places)
        sys.settrace(None)
        return True
    except BaseException as error:
        sys.settrace(None)
        kept = error  # exception -> traceback -> frame -> exception
        if not isinstance(error, Struck):
            raise
        return False
    finally:
        gone.extend(places)


ledger = Ledger.create()
store = Store(0, 64 << 20, ledger, DiskTier(sys.argv[2]))
big = pickling.pack(np.arange(5000.0))
place = store.write(big.data, big.buffers)
KINDS["stored"] = lambda: [pickling.unpack(*store.read(place)), memoryview(pickling.unpack(*store.read(place)))]
step = int(sys.argv[3])
strikes = 0
gone = []
gc.collect()
gc.freeze()
gc.disable()
for offset, (name, make) in enumerate(KINDS.items()):
    at = 1 + offset % step
    while not struck(store, make, at):
        gc.collect()
        while gone:
            store.free(gone.pop())
        strikes += 1
        at += step
gc.enable()
del make
assert strikes > 50, strikes
print("survived", strikes)
'''


def interpreters() -> list[str]:
    """This Python, and those that ``RAYNB_PYTHONS`` names (separated like PATH), with raynb's dependencies."""
    others = os.environ.get("RAYNB_PYTHONS", "")
    return [sys.executable, *filter(None, others.split(os.pathsep))]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("python", interpreters())
def test_an_exception_at_any_line_can_be_kept_in_a_cycle_and_collected(python: str, tmp_path: Path) -> None:
    here = Path(raynb.__file__).parent
    step = "1" if os.environ.get("RAYNB_EVERY_LINE") else "11"
    environment = {**os.environ, "PYTHONPATH": str(here.parent), "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        [python, "-c", SCRIPT, str(here), str(tmp_path), step], env=environment, capture_output=True, text=True,
        timeout=300, cwd=tmp_path,  # not the checkout, whose raynb is another one than the installed
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("survived")
