"""Metrics: names, labels, and a part that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.observe.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("name", "")): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_kind_and_instance_come_from_the_part_name() -> None:
    metrics = Metrics()
    metrics.register("source_gds-1", lambda: {"requests": 7, "round-trip.ms": 1.5})
    metrics.register("source_dcs_2", lambda: {"requests": 8})
    metrics.register("buffer", lambda: {"backlog_bytes": 3})
    assert samples(metrics) == {
        ("plantgate_source_requests", "gds-1"): 7.0,
        ("plantgate_source_requests", "dcs_2"): 8.0,
        ("plantgate_source_round_trip_ms", "gds-1"): 1.5,
        ("plantgate_buffer_backlog_bytes", ""): 3.0,
        ("plantgate_scrape_failures", ""): 0.0,
    }


def test_a_number_may_carry_labels() -> None:
    metrics = Metrics()
    metrics.register(
        "source_bus", lambda: {"exceptions_by_code{code=2}": 3, "exceptions_by_code{code=0x80}": 1}
    )
    metrics.register("source_other", lambda: {"exceptions_by_code{unit=7,code=2}": 5})
    text = metrics.render().decode()
    found = [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "plantgate_source_exceptions_by_code"
    ]
    assert found == [
        ({"name": "bus", "code": "2"}, 3.0),
        ({"name": "bus", "code": "0x80"}, 1.0),
        ({"name": "other", "unit": "7", "code": "2"}, 5.0),
    ]
    assert text.count("# TYPE plantgate_source_exceptions_by_code gauge") == 1


def test_numbers_are_read_at_each_scrape() -> None:
    numbers = {"values": 1.0}
    metrics = Metrics()
    metrics.register("flow", lambda: numbers)
    assert samples(metrics)["plantgate_flow_values", ""] == 1.0
    numbers["values"] = 2.0
    assert samples(metrics)["plantgate_flow_values", ""] == 2.0
    metrics.unregister("flow")
    assert ("plantgate_flow_values", "") not in samples(metrics)


def test_a_part_that_cannot_be_read_is_left_out_and_counted() -> None:
    def broken() -> Mapping[str, float]:
        raise RuntimeError("closed")

    metrics = Metrics()
    metrics.register("buffer", broken)
    metrics.register("flow", lambda: {"values": 1})
    read = samples(metrics)
    assert read["plantgate_flow_values", ""] == 1.0
    assert read["plantgate_scrape_failures", ""] == 1.0


def test_a_name_is_given_once() -> None:
    metrics = Metrics()
    metrics.register("flow", dict)
    with pytest.raises(ValueError, match="already"):
        metrics.register("flow", dict)
