"""``ray.LoggingConfig``: how the processes of a job log."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from typing import Any

ENCODINGS = ("TEXT", "JSON")


@dataclass
class LoggingConfig:
    """Settings of logging, for ``init(logging_config=...)``.

    Args:
        encoding: ``"TEXT"`` or ``"JSON"``; the embedded engine leaves handlers alone, so both mean the user's own.
        log_level: name of a level of the `logging` module.
        additional_log_standard_attrs: further attributes of log records.

    Raises:
        ValueError: an encoding or a level that does not exist.
    """

    encoding: str = "TEXT"
    log_level: str = "INFO"
    additional_log_standard_attrs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"Invalid encoding type: {self.encoding}. Valid encoding types are: {list(ENCODINGS)}")
        if not isinstance(logging.getLevelName(self.log_level), int):
            raise ValueError(f"Invalid log level: {self.log_level}. There are DEBUG, INFO, WARNING, ERROR, CRITICAL.")

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as a plain dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> LoggingConfig:
        """Returns the settings of a dict that `to_dict` made."""
        return cls(**d)


__all__ = ["LoggingConfig"]
