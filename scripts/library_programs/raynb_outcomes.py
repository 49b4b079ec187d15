"""A plugin of pytest: writes the tests that were chosen, and the outcome of each, to the file RAYNB_OUTCOMES names.

A line at a time, so that what ran is known where the process ends early.
"""

import json
import os


def _write(*line: str) -> None:
    with open(os.environ["RAYNB_OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def pytest_collection_finish(session) -> None:
    """Writes the tests that are about to run."""
    for item in session.items:
        _write("chosen", item.nodeid)


def pytest_collectreport(report) -> None:
    """Writes a file that cannot be read."""
    if report.failed:
        _write("failed", report.nodeid)


def pytest_runtest_logreport(report) -> None:
    """Writes how a test went; an error around it counts as its failure."""
    if report.when == "call" or report.outcome != "passed":
        _write(report.outcome, report.nodeid)
