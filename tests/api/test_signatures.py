"""What completion and help of a Python prompt see of the public functions."""

from __future__ import annotations

import inspect

import raynb as ray


@ray.remote
def scale(values: list[float], factor: float = 2.0) -> list[float]:
    """Multiplies values."""
    return [value * factor for value in values]


@ray.remote
class Counter:
    def add(self, n: int) -> int:
        return n


def test_keywords_are_named_where_options_are_given() -> None:
    assert {"num_cpus", "namespace", "address", "object_store_memory"} <= set(inspect.signature(ray.init).parameters)
    assert {"num_cpus", "num_returns", "max_restarts"} <= set(inspect.signature(ray.remote).parameters)
    assert {"num_cpus", "num_returns"} <= set(inspect.signature(scale.options).parameters)
    assert "max_restarts" not in inspect.signature(scale.options).parameters
    assert "max_restarts" in inspect.signature(Counter.options).parameters
    assert "num_returns" in inspect.signature(ray.method).parameters


def test_a_remote_function_has_its_own_signature_and_docstring() -> None:
    assert str(inspect.signature(scale)).startswith("(values: 'list[float]', factor: 'float' = 2.0)")
    assert inspect.getdoc(scale) == "Multiplies values."
