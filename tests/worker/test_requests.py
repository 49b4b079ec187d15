"""A worker's requests to its driver: an answer has one receiver, whatever comes in between."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from raynb.worker.engine.requests import OpenRequests


def test_an_answer_that_comes_as_the_time_is_up_is_not_taken_and_given_back_too() -> None:
    class Open(dict[int, Any]):
        def pop(self, number: int, *default: Any) -> Any:
            if number in self:  # the thread that receives has found the request, and is not quick enough to take it out
                self[number].answer = answer
            return super().pop(number, *default)

    answer = SimpleNamespace(request=1, lent=(7,))
    worker: Any = Mock()
    worker.capture.pending.return_value = False
    worker.main_ident = 0
    requests = OpenRequests(worker)
    requests._open = Open()
    assert requests.wait(lambda number, control, handed: ("ask", number), 0) is None
    requests.replied(answer)
    worker.borrowed.returned.assert_called_once_with((7,))
