"""The kept frames of failures, without a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable

from raynb.worker.inspection.failures import Failures


def failed(at_end: Callable[[], None]) -> BaseException:
    """Returns an error whose frames hold something that calls a function when it goes."""

    class Guard:
        def __del__(self) -> None:
            at_end()

    def fails() -> None:
        guard = Guard()
        raise KeyError(id(guard))

    try:
        fails()
    except KeyError as error:
        return error
    raise AssertionError


def test_what_goes_may_wait_for_who_keeps_a_failure() -> None:
    failures, told = Failures(), []

    def wait_for_another() -> None:
        other = threading.Thread(target=failures.keep, args=(9, 9, ValueError(), 3), daemon=True)
        other.start()
        other.join(60)
        told.append(other.is_alive())

    for scope, forget in ((1, lambda: failures.forget(1)), (2, lambda: failures.forget(None))):
        error: BaseException | None = failed(wait_for_another)
        assert error is not None
        failures.keep(scope, scope, error, 3)
        error.__traceback__ = error = None
        assert told == [False] * (scope - 1)
        forget()
        assert told == [False] * scope
    for number in range(4):  # the fourth one takes the place of another of its cell
        failures.keep(3, number, failed(wait_for_another), 3)
    assert told == [False] * 3
