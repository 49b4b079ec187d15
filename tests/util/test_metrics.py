"""Metrics: what is recorded, what is refused, how it is written out."""

from __future__ import annotations

import copy
import threading

import pytest

from raynb.util import metrics


def test_a_counter_adds_up_by_tags() -> None:
    counter = metrics.Counter("t_requests", "how many", ("path",))
    counter.inc(tags={"path": "/a"})
    counter.inc(2.5, tags={"path": "/a"})
    counter.inc(tags={"path": "/b"})
    assert counter.values() == {(("path", "/a"),): 3.5, (("path", "/b"),): 1.0}


def test_a_gauge_keeps_the_last_value_and_ignores_none() -> None:
    gauge = metrics.Gauge("t_level")
    gauge.set(3)
    gauge.set(None)
    gauge.set(2)
    assert gauge.values() == {(): 2}


def test_a_histogram_is_cumulative_in_the_text() -> None:
    histogram = metrics.Histogram("t_seconds", "took", boundaries=[1.0, 10.0])
    for value in (0.5, 1.0, 5, 100):
        histogram.observe(value)
    text = metrics.exposition()
    assert '# TYPE t_seconds histogram\nt_seconds_bucket{le="1"} 2\n' in text
    assert 't_seconds_bucket{le="10"} 3\nt_seconds_bucket{le="+Inf"} 4\n' in text
    assert "t_seconds_sum 106.5\nt_seconds_count 4\n" in text


def test_quotes_and_newlines_in_tags_are_escaped() -> None:
    gauge = metrics.Gauge("t_quoted", tag_keys=("text",))
    gauge.set(1, tags={"text": 'a "b"\n\\'})
    assert 't_quoted{text="a \\"b\\"\\n\\\\"} 1' in metrics.exposition()


def test_default_tags_fill_in_and_are_checked() -> None:
    counter = metrics.Counter("t_default", tag_keys=("kind",)).set_default_tags({"kind": "x"})
    counter.inc()
    assert counter.values() == {(("kind", "x"),): 1.0}
    with pytest.raises(ValueError, match="colour"):
        counter.set_default_tags({"colour": "red"})
    with pytest.raises(TypeError, match="str"):
        counter.inc(tags={"kind": 5})  # type: ignore[dict-item]


def test_bad_metrics_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Empty name"):
        metrics.Counter("")
    with pytest.raises(ValueError, match="boundaries"):
        metrics.Histogram("t_none")
    with pytest.raises(ValueError, match="index 1"):
        metrics.Histogram("t_negative", boundaries=[1.0, -1.0])
    with pytest.raises(TypeError, match="tuple"):
        metrics.Gauge("t_list", tag_keys=["a"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Missing value for tag key"):
        metrics.Counter("t_missing", tag_keys=("a", "b")).inc(tags={"a": "1"})


def test_a_bad_name_records_nothing_and_says_so() -> None:
    with pytest.warns(UserWarning, match="t-dash"):
        gauge = metrics.Gauge("t-dash")
    gauge.set(1)
    assert gauge.values() == {}
    assert "t-dash" not in metrics.exposition()


def test_a_metric_travels_as_its_description() -> None:
    histogram = copy.copy(metrics.Histogram("t_copied", "d", [1.0], ("a",)))
    assert histogram.info == {
        "name": "t_copied", "description": "d", "tag_keys": ("a",), "default_tags": {}, "boundaries": [1.0],
    }  # fmt: skip


def test_threads_do_not_lose_counts() -> None:
    counter = metrics.Counter("t_threads")
    threads = [threading.Thread(target=lambda: [counter.inc() for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.values() == {(): 2000.0}
