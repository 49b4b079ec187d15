"""The threads that run users' callbacks end with the runtime."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from raynb.engine.loop.callbacks import Callbacks


def test_a_thread_that_comes_while_they_end_keeps_none_of_the_others() -> None:
    """The I/O thread takes the signs of the end, which wait to be read, for callbacks that wait."""
    callbacks = Callbacks()
    callbacks.start()

    class Threads(list[threading.Thread]):
        turns = 0

        def __iter__(self) -> Iterator[threading.Thread]:
            self.turns += 1
            if self.turns == 2:  # each has been sent its sign
                callbacks.start()
            return super().__iter__()

    callbacks._threads = threads = Threads(callbacks._threads)
    ending = threading.Thread(target=callbacks.stop, daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive()
    assert len(threads) == 2
    assert not any(thread.is_alive() for thread in threads)
    callbacks.look()
    callbacks.look()
    assert len(threads) == 2
