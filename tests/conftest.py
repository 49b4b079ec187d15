"""What all tests share: the plugin, and functions of test modules that travel by value."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile

import cloudpickle
import hypothesis
import pytest

# Installed, the plugin comes through its entry point; from a bare checkout it is named here.
pytest_plugins = () if "raynb_pytest" in sys.modules else ("raynb_pytest",)


# A run in a shell's background is handed on that Ctrl-C is ignored; what is tested here is that it isn't.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# One and the same examples in every run, however slow the machine is; storms look for new ones.
hypothesis.settings.register_profile(
    "raynb", deadline=None, derandomize=not os.environ.get("RAYNB_STORM_SECONDS"), database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)  # fmt: skip
hypothesis.settings.load_profile("raynb")


def pytest_configure(config: pytest.Config) -> None:
    """The runtimes of one process of tests find each other, and nobody else's."""
    place = os.environ["RAYNB_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="tests-runtimes-")
    config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers cannot import test modules, so what is defined in them is sent with each call."""
    for item in items:
        module = getattr(item, "module", None)
        if module is not None and module.__name__ not in cloudpickle.list_registry_pickle_by_value():
            cloudpickle.register_pickle_by_value(module)
