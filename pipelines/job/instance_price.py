"""What the instance that a job runs on costs, by the price book that the job names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from millrace.pipelines.accounting.rates import Rate, rate_of
from millrace.pipelines.job import instance_metadata
from millrace.pipelines.sources.shipped_files import price_book
from millrace.schemas.config import AUTO, Cost
from millrace.schemas.errors import UsageError


def rate(
    cost: Cost | None,
    at: datetime,
    machine: Callable[[], instance_metadata.CloudInstance | None] = instance_metadata.machine,
) -> Rate | None:
    """The prices of the job's instance, the one in force ``at`` in front; None for a job without prices.

    ``machine`` says what this machine is, for a job whose instance is ``auto``. Raises UsageError.
    """
    if cost is None:
        return None
    book = price_book(cost.prices)
    sku, region = cost.instance, cost.region
    if sku == AUTO:
        found = machine()
        if found is None:
            raise UsageError(
                "cost.instance is auto, and no cloud says which machine this is",
                got="no answer from a metadata service",
                allowed=", ".join(dict.fromkeys(one.sku for one in book.instances)),
                next="set cost.instance to one of these",
            )
        sku, region = found.sku, region or found.region
    return rate_of(book, sku, category=cost.category, region=region, at=at)
