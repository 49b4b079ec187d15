"""Read-only views that know when their last user has gone."""

from __future__ import annotations

import ctypes
import functools
import itertools
import pickle
from collections.abc import Callable
from typing import Any

from raynb.base.interrupts import destructor
from raynb.store.memory import Mapping


class Pins:
    """The views of shared memory and files that are alive in this process.

    Thread contract: every method may be called from any thread; there is no lock, because a view's
    end may come inside the garbage collector, which may run while this very thread holds any lock.
    """

    __slots__ = ("_alive", "_serials")

    def __init__(self) -> None:
        self._alive: dict[int, int] = {}  # serial → bytes; single operations on it are atomic
        self._serials = itertools.count()

    def serial(self) -> int:
        """Returns a number for the next pin."""
        return next(self._serials)

    def view(
        self, mapping: Mapping, offset: int, n: int, on_release: Callable[[], None] | None, serial: int
    ) -> memoryview:
        """Returns ``n`` bytes of a mapping, read-only.

        Every view, slice or array made from it, however indirectly, keeps the pin and the mapping.
        When the last one dies, in whatever thread, ``on_release`` is called, once.
        """
        self._alive[serial] = n
        block = _pin_type(n).from_address(mapping.address + offset)
        block.__dict__.update(mapping=mapping, alive=self._alive, serial=serial, on_release=on_release,
                              end=_End(functools.partial(self._alive.pop, serial, None)))  # fmt: skip
        # PickleBuffer.raw gives format "B"; a plain memoryview of a ctypes array has "<c", which
        # can't be indexed, compared or cast.
        return pickle.PickleBuffer(block).raw().toreadonly()[:n]

    def cancel(self, serial: int) -> None:
        """Makes a pin, made or not, end without a call of its ``on_release``."""
        self._alive.pop(serial, None)

    def __len__(self) -> int:
        """Returns how many pins are alive."""
        return len(self._alive)

    def bytes(self) -> int:
        """Returns the bytes of the objects that they are in."""
        return sum(list(self._alive.values()))

    def disarm(self) -> None:
        """Forgets all: views stay valid, and their ``on_release`` isn't called any more."""
        self._alive.clear()


class _End:
    """Calls a C function when it is released; no exception can prevent that, as it can with `_released`."""

    __slots__ = ("__del__",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.__del__ = call


@destructor
def _released(block: Any) -> None:
    # No locks and nothing slow here, see `Pins`. The dict's pop makes it happen once.
    alive = block.__dict__.get("alive")  # missing: an exception came while the pin was made
    if alive is not None and alive.pop(block.serial, None) is not None and block.on_release is not None:
        block.on_release()


_pin_types: dict[int, Any] = {}


def _pin_type(n: int) -> Any:
    # Making a ctypes type takes 10 µs, and only the cycle collector frees it. So there is one for
    # each power of two, and pins are sliced to their real length.
    power = (n - 1).bit_length()
    found = _pin_types.get(power)
    if found is None:
        block = ctypes.c_char * (1 << power)
        found = _pin_types.setdefault(power, type("Pin", (block,), {"__del__": _released}))
    return found
