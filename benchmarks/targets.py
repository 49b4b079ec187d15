"""What raynb is held to, checked against the samples of the run at hand."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.cases import BY_NAME
from benchmarks.report import Rounds, figure, ratio, short


@dataclass(frozen=True)
class Target:
    """``case`` must reach ``wanted``: times ``against`` (an engine), or in the case's unit."""

    case: str
    wanted: float
    against: str = ""

    def measure(self, samples: dict[str, dict[str, Rounds]]) -> float | None:
        """Returns what was reached, or None if the run didn't measure it."""
        measured = samples.get(self.case, {})
        ours = measured.get("raynb", [])
        if self.against:
            return ratio(ours, measured.get(self.against, []), BY_NAME[self.case].more)
        value = figure(ours)
        return None if value is None else value.median

    def met(self, value: float) -> bool:
        """Returns whether a measured value is good enough."""
        if self.against or BY_NAME[self.case].more:
            return value >= self.wanted
        return value <= self.wanted

    def line(self, samples: dict[str, dict[str, Rounds]]) -> list[str]:
        """Returns the row of the table of targets."""
        case = BY_NAME[self.case]
        unit = f"× {self.against}" if self.against else f" {case.unit}"
        sign = "≥" if self.against or case.more else "≤"
        value = self.measure(samples)
        if value is None:
            return [case.title, f"{sign} {short(self.wanted)}{unit}", "not measured", ""]
        return [
            case.title,
            f"{sign} {short(self.wanted)}{unit}",
            f"{short(value)}{unit}",
            "yes" if self.met(value) else "NO",
        ]


TARGETS: tuple[Target, ...] = (
    Target("start", 0.5),
    Target("import", 0.15),
    Target("task", 8, "ray"),
    Target("tasks_1k", 20, "ray"),
    Target("call", 5, "ray"),
    Target("calls_1k", 10, "ray"),
    Target("nested_first", 30, "ray"),
    Target("nested", 30, "ray"),
    Target("put_large", 0.8, "limits"),
    Target("idle_memory", 120),
    Target("idle_cpu", 0.5),
)
