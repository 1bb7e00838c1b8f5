"""Metric families of Prometheus' own client library, with samples only where a value is known."""

from __future__ import annotations

import math
from decimal import Decimal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

MetricFamily = CounterMetricFamily | GaugeMetricFamily
Value = float | Decimal | bool | None


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """Return an empty gauge; ``text`` states what it measures and its unit."""
    return GaugeMetricFamily(name, text, labels=labels)


def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    """Return an empty counter; its name ends in ``_total``."""
    return CounterMetricFamily(name, text, labels=labels)


def add(family: MetricFamily, value: Value, *labels: str | None) -> None:
    """Add a sample unless ``value`` is None or NaN.

    Args:
        family: The family that gets the sample.
        value: The measured value.
        labels: One value for each label of the family, in their order; None becomes an empty label.
    """
    if value is not None and not math.isnan(value):
        family.add_metric([label or "" for label in labels], float(value))
