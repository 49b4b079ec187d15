"""What Ray says in a page about its cluster, in a sentence."""

from __future__ import annotations

from raynb.engine import notices

DIED = (
    "A worker died or was killed while executing a task by an unexpected system error. To troubleshoot the problem, "
    "check the logs for the dead worker. Lease ID: 0f00 Worker ID: ec92 Node ID: a85d Worker IP address: 192.0.2.2 "
    "Worker port: 33305 Worker PID: 23950 Worker exit type: SYSTEM_ERROR Worker exit detail: "
)


def test_a_death_is_who_where_and_why() -> None:
    plain = "Worker exits unexpectedly. Worker exits with an exit code 1."
    assert notices.worker_death(DIED + plain) == (23950, "a85d", "Worker exits with an exit code 1")
    why = "Worker unexpectedly exits with a connection error code 2"
    assert notices.worker_death(f"{DIED}{why}. End of file. Some common causes: (1) ...") == (23950, "a85d", why)
    assert notices.worker_death("The node was marked dead.") is None


def test_other_notices_keep_what_they_say_and_lose_their_advice() -> None:
    said = "3 Workers killed due to memory pressure (OOM) at node (ID: a85d, IP: 192.0.2.2)."
    assert notices.notice(f"{said} To see more information about the Workers killed, use `ray logs`") == said
    assert notices.notice("short") == "short"
    assert len(notices.notice("long " * 500)) < 500
