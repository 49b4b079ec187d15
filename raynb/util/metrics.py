"""`Counter`, `Gauge`, `Histogram` (``ray.util.metrics``), kept in the process that records them.

Ray sends its metrics to an agent that a Prometheus server scrapes. On one machine there is no
agent: `exposition` gives this process's metrics in the Prometheus text format.
"""

from __future__ import annotations

import bisect
import re
import threading
import warnings
import weakref
from typing import Any

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_registry: weakref.WeakSet[Metric] = weakref.WeakSet()
_lock = threading.Lock()

Labels = tuple[tuple[str, str], ...]


class Metric:
    """Base of the three kinds of metrics.

    Thread contract: may be recorded from any thread.

    Args:
        name: letters, digits, ``_`` and ``:``; a metric with another name records nothing.
        description: for people.
        tag_keys: names of the tags; a value must be given for each when recording.

    Raises:
        ValueError: the name is empty.
        TypeError: ``tag_keys`` is not a tuple of strings.
    """

    kind = "untyped"

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        if not name:
            raise ValueError("Empty name is not allowed. Please provide a metric name.")
        if tag_keys is not None and not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(tag_keys)}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")
        self._discarded = _NAME.fullmatch(name) is None
        if self._discarded:
            warnings.warn(f"{name!r} is not a metric name; nothing is recorded for it.", stacklevel=3)
        self._name = name
        self._description = description
        self._tag_keys = tag_keys or ()
        self._default_tags: dict[str, str] = {}
        self._values: dict[Labels, Any] = {}
        with _lock:
            _registry.add(self)

    @property
    def info(self) -> dict[str, Any]:
        """Returns name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def set_default_tags(self, default_tags: dict[str, str]) -> Any:
        """Sets the tags used where recording gives none; returns the metric.

        Args:
            default_tags: tag → value.

        Raises:
            ValueError: a tag is not among ``tag_keys``.
            TypeError: a value is not a string.
        """
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")
        self._default_tags = default_tags
        return self

    def _labels(self, tags: dict[str, str] | None) -> Labels:
        merged = {**self._default_tags, **(tags or {})}
        for value in merged.values():
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")
        missing = [key for key in self._tag_keys if key not in merged]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        return tuple(sorted(merged.items()))

    def values(self) -> dict[Labels, Any]:
        """Returns what was recorded in this process: sorted (tag, value) pairs → value."""
        with _lock:
            return dict(self._values)

    def _lines(self, labels: Labels, value: Any) -> list[str]:
        return [f"{self._name}{_spell(labels)} {_number(value)}"]

    def _text(self) -> list[str]:
        lines = [f"# HELP {self._name} {self._description}"] if self._description else []
        lines.append(f"# TYPE {self._name} {self.kind}")
        for labels, value in sorted(self._values.items()):
            lines += self._lines(labels, value)
        return lines


class Counter(Metric):
    """A number that only grows.

    Args:
        name: letters, digits, ``_`` and ``:``; a metric with another name records nothing.
        description: for people.
        tag_keys: names of the tags; a value must be given for each when recording.

    Raises:
        ValueError: the name is empty.
        TypeError: ``tag_keys`` is not a tuple of strings.

    Example:
        >>> calls = ray.util.metrics.Counter("doc_calls", description="Calls.", tag_keys=("kind",))
        >>> calls.inc(2, tags={"kind": "a"})
    """

    kind = "counter"

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Adds ``value`` (above 0).

        Args:
            value: a number.
            tags: tag → value, for those without a default.

        Raises:
            TypeError: it is not a number.
            ValueError: it is not above 0, or a tag is missing.
        """
        _check(value)
        if value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        labels = self._labels(tags)
        if not self._discarded:
            with _lock:
                self._values[labels] = self._values.get(labels, 0.0) + value

    def __reduce__(self) -> Any:
        return type(self), (self._name, self._description, self._tag_keys)


class Gauge(Metric):
    """A number that goes up and down: the last one counts.

    Args:
        name: letters, digits, ``_`` and ``:``; a metric with another name records nothing.
        description: for people.
        tag_keys: names of the tags; a value must be given for each when recording.

    Raises:
        ValueError: the name is empty.
        TypeError: ``tag_keys`` is not a tuple of strings.

    Example:
        >>> load = ray.util.metrics.Gauge("doc_load")
        >>> load.set(0.5)
    """

    kind = "gauge"

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """Sets the value.

        Args:
            value: a number; None changes nothing.
            tags: tag → value, for those without a default.

        Raises:
            TypeError: it is not a number, or a tag is no string.
            ValueError: a tag is missing.
        """
        if value is None:
            return
        _check(value)
        labels = self._labels(tags)
        if not self._discarded:
            with _lock:
                self._values[labels] = value

    def __reduce__(self) -> Any:
        return type(self), (self._name, self._description, self._tag_keys)


class Histogram(Metric):
    """Counts values by size.

    Args:
        name: as for `Metric`.
        description: as for `Metric`.
        boundaries: upper ends of the buckets, above 0; one more bucket takes the rest.
        tag_keys: as for `Metric`.

    Raises:
        ValueError: there are no boundaries, or one is not above 0.

    Example:
        >>> sizes = ray.util.metrics.Histogram("doc_sizes", boundaries=[1, 10])
        >>> sizes.observe(3)
    """

    kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: list[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        if not boundaries:
            raise ValueError('Histogram needs boundaries, e.g. Histogram("name", boundaries=[1.0, 2.0])')
        for at, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(f"Invalid `boundaries` at index {at}, {boundaries}: use positive values.")
        super().__init__(name, description, tag_keys)
        self.boundaries = boundaries

    @property
    def info(self) -> dict[str, Any]:
        """Returns what `Metric.info` does, and the boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Counts one value.

        Args:
            value: a number, in the unit of the boundaries.
            tags: tag → value, for those without a default.

        Raises:
            TypeError: it is not a number, or a tag is no string.
            ValueError: a tag is missing.
        """
        _check(value)
        labels = self._labels(tags)
        if self._discarded:
            return
        with _lock:
            counts, total = self._values.get(labels, ([0] * (len(self.boundaries) + 1), 0.0))
            counts = list(counts)
            counts[bisect.bisect_left(sorted(self.boundaries), value)] += 1
            self._values[labels] = (counts, total + value)

    def _lines(self, labels: Labels, value: Any) -> list[str]:
        counts, total = value
        lines, so_far = [], 0
        for end, count in zip([*map(_number, sorted(self.boundaries)), "+Inf"], counts, strict=True):
            so_far += count
            lines.append(f"{self._name}_bucket{_spell((*labels, ('le', end)))} {so_far}")
        lines.append(f"{self._name}_sum{_spell(labels)} {_number(total)}")
        lines.append(f"{self._name}_count{_spell(labels)} {so_far}")
        return lines

    def __reduce__(self) -> Any:
        return type(self), (self._name, self._description, self.boundaries, self._tag_keys)


def exposition() -> str:
    """Returns this process's metrics in the Prometheus text format (raynb's addition).

    Example:
        >>> level = ray.util.metrics.Gauge("doc_level")
        >>> level.set(1)
        >>> "doc_level" in ray.util.metrics.exposition()
        True
    """
    with _lock:
        metrics = sorted(_registry, key=lambda one: one._name)
        return "".join(line + "\n" for one in metrics if not one._discarded for line in one._text())


def _check(value: Any) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"value must be int or float, got {type(value)}.")


def _number(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() else repr(float(value))


def _spell(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_quote(value)}"' for key, value in labels) + "}"


def _quote(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


__all__ = ["Counter", "Gauge", "Histogram", "exposition"]
