"""When steps move to threads that nobody knows of, because an exception may fall into the calling one."""

from __future__ import annotations

import _thread
import sys
import threading
from typing import Any

import pytest

from raynb.base.process import shelter, strikes


@pytest.mark.skipif(not hasattr(sys, "monitoring"), reason="Python before 3.12")
def test_a_debugger_or_profiler_that_watches_by_sys_monitoring_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    monkeypatch.setattr(shelter, "_known", [False])  # another test of this process may have looked the function up
    seen: list[bool] = []

    def look() -> None:
        def exposed() -> None:
            sys.settrace(None)  # of a measurement of coverage
            seen.append(shelter.exposed())

        thread = threading.Thread(target=exposed)  # pytest's alarm exposes the main thread anyway
        thread.start()
        thread.join()

    look()
    for tool in (monitoring.DEBUGGER_ID, monitoring.PROFILER_ID):
        monitoring.use_tool_id(tool, "tool")
        try:
            look()
        finally:
            monitoring.free_tool_id(tool)
    look()
    assert seen == [False, True, True, False]


def test_a_thread_that_had_to_be_made_by_hand_is_listed_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise RuntimeError("can't start new thread")

    entered: list[threading.Thread] = []
    over = threading.Event()
    monkeypatch.setattr(shelter, "_start_thread", none_left)
    monkeypatch.setattr(shelter, "_serve", lambda: entered.append(threading.current_thread()))
    _thread.start_new_thread(lambda: (shelter._start(), over.set()), ())
    assert over.wait(60)
    assert entered[0] not in threading.enumerate()


def test_what_traces_every_thread_is_not_called_on_one_of_ours() -> None:
    seen: list[str] = []
    worked: list[object] = []
    before = threading.gettrace(), threading.getprofile()

    def hook(frame: Any, event: str, arg: object) -> Any:
        # With Python 3.12 or later the end of `threading`'s own call is one of its events.
        if threading.current_thread().name == "of ours" and arg is not sys.setprofile:
            seen.append(event)
            raise ValueError("of a trace function")
        return hook

    def work() -> None:
        worked.append((sys.gettrace(), sys.getprofile()))

    threading.settrace(hook)
    threading.setprofile(hook)
    try:
        thread = strikes.OwnThread(work, "of ours")
        thread.start()
        thread.join()
    finally:
        threading.settrace(before[0])  # type: ignore[arg-type]
        threading.setprofile(before[1])
    assert worked == [(None, None)]
    assert seen == []
