"""The channel: what a process sees when its peer is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from raynb.wire import messages as w
from raynb.wire.channel import Channel, Closed, pair


@pytest.fixture
def held_sigpipe() -> Iterator[None]:
    """SIGPIPE has its default action, which ends a process, but is kept from being delivered."""
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])
    try:
        yield
    finally:
        while signal.SIGPIPE in signal.sigpending():
            signal.sigwait([signal.SIGPIPE])
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGPIPE, before)


@pytest.mark.parametrize("with_descriptor", [False, True])
def test_a_peer_that_is_gone_is_an_error_and_no_signal(held_sigpipe: None, with_descriptor: bool) -> None:
    """`signal(SIGPIPE, SIG_DFL)` is usual in scripts that are piped into `head`: a dead worker ended the driver."""
    mine, theirs = pair()
    theirs.close()
    channel = Channel(mine, blocking=False)
    try:
        with pytest.raises(Closed):
            channel.send([w.Stop()], [os.dup(0)] if with_descriptor else None)
        assert signal.SIGPIPE not in signal.sigpending()
    finally:
        channel.close()
