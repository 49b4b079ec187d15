"""How long a thread waits for another one that shows output."""

from __future__ import annotations

from raynb.jupyter.output.patience import IMPATIENCE_SECONDS, PATIENCE_SECONDS, Patience


def test_who_gets_on_is_waited_for_and_who_does_not_is_waited_for_once() -> None:
    patience = Patience()
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        if len(waited) < 4:  # much output, which takes long
            patience.step()
        return len(waited) == 9

    assert not patience.wait(wait)
    assert waited == [PATIENCE_SECONDS] * 4
    assert not patience.wait(wait)
    assert not patience.wait(wait)
    assert waited[4:] == [IMPATIENCE_SECONDS] * 2
    patience.all_is_shown()
    assert not patience.wait(wait)
    assert not patience.wait(wait)
    assert patience.wait(wait)
    assert waited[6:] == [PATIENCE_SECONDS, IMPATIENCE_SECONDS, IMPATIENCE_SECONDS]
