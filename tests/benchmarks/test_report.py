"""Medians, ratios and tables: pure functions."""

from __future__ import annotations

import pytest

from benchmarks.cases import BY_NAME, Case, rates
from benchmarks.report import aligned, figure, ratio, short, table, times
from benchmarks.targets import TARGETS, Target


def test_figure_takes_all_rounds_together() -> None:
    found = figure([[1.0, 2.0], [], [3.0]])
    assert found is not None
    assert found.median == 2.0
    assert found.spread == pytest.approx(0.25)  # the middle half is 1.5 to 2.5
    assert str(found) == "2.00 ±25%"


def test_no_samples_make_no_figure() -> None:
    assert figure([[], []]) is None
    assert figure([]) is None


def test_a_ratio_is_formed_inside_each_round() -> None:
    # The machine was ten times slower in the second round, for both.
    ours, theirs = [[100.0], [10.0], [100.0]], [[50.0], [5.0], [50.0]]
    assert ratio(ours, theirs, more=True) == 2.0


def test_ratio_above_one_means_that_ours_is_better() -> None:
    assert ratio([[4.0]], [[2.0]], more=True) == 2.0
    assert ratio([[2.0]], [[4.0]], more=False) == 2.0


def test_rounds_in_which_one_is_missing_dont_count() -> None:
    assert ratio([[4.0], []], [[2.0], [1.0]], more=True) == 2.0
    assert ratio([[4.0]], [[]], more=True) is None
    assert ratio([[0.5]], [[0.0]], more=True) is None


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (99.94, "99.9"), (5.678, "5.68"), (0.0123, "0.012"), (0, "0")]
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text


def test_times_of_nothing_is_a_dash() -> None:
    assert times(None) == "–"
    assert times(12.34) == "12.3×"


def test_table_shows_figures_ratios_and_dashes() -> None:
    cases = [Case("a", "fast", "/s"), Case("b", "slow", "s", more=False), Case("c", "nobody's", "/s")]
    samples = {
        "a": {"x": [[10.0]], "y": [[5.0]]},
        "b": {"x": [[1.0]], "y": [[3.0]]},
        "c": {"x": [[]], "y": [[]]},
    }
    text = table(cases, samples, ["x", "y"], {"x": "Ours", "y": "Theirs"})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert rows[0] == ["case", "Ours", "Theirs"]
    assert rows[2] == ["fast (/s)", "10.0 ±0%", "5.00 ±0% (2.00×)"]
    assert rows[3] == ["slow (s)", "1.00 ±0%", "3.00 ±0% (3.00×)"]
    assert len(rows) == 4  # what nobody can do has no row


def test_aligned_columns_are_straight() -> None:
    lines = aligned([["a", "b"], ["longer", "1"]]).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_rates_counts_what_was_done() -> None:
    calls = []
    samples = rates(lambda: calls.append(1), per_call=3, seconds=0.01, warm=2)
    assert samples
    assert all(sample > 0 for sample in samples)
    assert len(calls) >= 4  # two to warm up, one to size the blocks, and the blocks


def test_an_impatient_case_takes_a_long_warm_call_as_its_sample() -> None:
    calls = []
    samples = rates(lambda: calls.append(1), per_call=3, seconds=-1.0, patient=False)
    assert len(calls) == 1
    assert len(samples) == 1


def test_every_target_names_a_case() -> None:
    assert {target.case for target in TARGETS} <= set(BY_NAME)


def test_targets_are_met_or_missed_in_the_right_direction() -> None:
    samples = {
        "task": {"raynb": [[900.0]], "ray": [[100.0]]},
        "start": {"raynb": [[0.6]], "ray": [[6.0]]},
    }
    against, own = Target("task", 8, "ray"), Target("start", 0.5)
    assert against.line(samples)[-1] == "yes"
    assert own.line(samples)[-1] == "NO"
    assert Target("nested", 30, "ray").line(samples)[-2:] == ["not measured", ""]
