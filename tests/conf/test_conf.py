"""Everything in conf/ loads by the code that a run loads it with, and says what the code says."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from millrace.pipelines.accounting.rates import rate_of
from millrace.pipelines.sources.shipped_files import price_book
from millrace.pipelines.spark.session_settings import (
    DEFAULTS,
    DELTA_PACKAGE,
    LOCAL_DEFAULTS,
    PROVIDED,
)
from millrace.schemas.config import Job
from millrace.schemas.contract import Contract
from millrace.schemas.focus import CATEGORIES
from millrace.schemas.prices import PLACES, SECONDS_AN_HOUR, Instance, PriceBook
from millrace.schemas.yaml_file import load

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
JOBS = sorted(CONF.glob("jobs/*.yaml"))
BOOKS = sorted(CONF.glob("prices/*.yaml"))
SPARK = sorted(CONF.glob("spark/*.conf"))
INSTANCES = [(book, at) for book in BOOKS for at in range(len(load(book, PriceBook).instances))]


def instance(book: Path, at: int) -> Instance:
    return load(book, PriceBook).instances[at]


def name_of(path: Path) -> str:
    return path.name


def spark_settings(path: Path) -> list[tuple[str, str]]:
    """Key and value of each line, as spark-submit splits them: at the first white space."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    pairs = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(key, value) for key, value in pairs]


def test_the_four_jobs_are_there() -> None:
    assert [path.stem for path in JOBS] == ["digits", "docs", "mnist", "sms"]


@pytest.mark.parametrize("path", JOBS, ids=name_of)
def test_a_job_file_loads_and_is_named_like_its_job(path: Path) -> None:
    assert load(path, Job).name == path.stem


@pytest.mark.parametrize("path", JOBS, ids=name_of)
def test_a_job_shows_both_severities_an_expectation_and_a_threshold(path: Path) -> None:
    contract: Contract = load(path, Job).contract
    assert {rule.severity for rule in contract.rules} == {"error", "warn"}
    assert [e.expect for e in contract.expectations] == ["ExpectTableRowCountToBeBetween"]
    assert 0 < contract.max_quarantined < 0.05


@pytest.mark.parametrize("path", JOBS, ids=name_of)
def test_a_job_names_an_instance_that_its_price_book_has(path: Path) -> None:
    cost = load(path, Job).cost
    assert cost is not None
    book = price_book(cost.prices)
    assert cost.instance in [one.sku for one in book.instances]


@pytest.mark.parametrize("path", JOBS, ids=name_of)
def test_every_key_column_is_unique_and_never_null(path: Path) -> None:
    job = load(path, Job)
    assert all(job.contract.columns[name].unique for name in job.key)
    assert not any(job.contract.columns[name].nullable for name in job.key)


@pytest.mark.parametrize(("book", "at"), INSTANCES)
def test_the_prices_of_cores_memory_and_gpus_sum_to_the_nodes(book: Path, at: int) -> None:
    one = instance(book, at)
    parts = one.core_second * one.vcpus + one.gb_second * one.memory_gb + one.gpu_second * one.gpus
    rounding = PLACES / 2 * (one.vcpus + one.memory_gb + one.gpus + 1)  # each is rounded once
    assert abs(parts - one.price_per_hour / SECONDS_AN_HOUR) <= rounding


@pytest.mark.parametrize(("book", "at"), INSTANCES)
def test_a_price_says_where_and_when_it_applies_and_who_said_so(book: Path, at: int) -> None:
    one = instance(book, at)
    assert one.region
    assert len(one.source) > 20
    assert "://" not in one.source
    assert one.valid_to is None or one.valid_to > one.valid_from


def test_the_books_have_a_laptop_two_cpu_families_and_three_with_gpus() -> None:
    machines = {one.sku: one for book in BOOKS for one in load(book, PriceBook).instances}
    families = {sku.split(".")[0]: one.gpus for sku, one in machines.items()}
    assert "laptop" in families
    assert len([name for name, gpus in families.items() if gpus]) >= 3
    assert len([name for name, gpus in families.items() if not gpus]) >= 3  # laptop is one
    listed = {one.category for book in BOOKS for one in load(book, PriceBook).instances}
    assert listed == set(CATEGORIES)


@pytest.mark.parametrize("book", BOOKS, ids=name_of)
def test_a_book_says_that_it_is_an_example_by_hand_and_of_when(book: Path) -> None:
    comments = " ".join(line for line in book.read_text("utf-8").splitlines() if line[:1] == "#")
    assert "EXAMPLES, written down by hand in November 2026" in comments
    loaded = load(book, PriceBook)
    said = [one.source for one in (*loaded.instances, *loaded.regions.values())]
    said += [one.power_source for one in loaded.instances if one.power_source]
    assert [text for text in said if not text.endswith("November 2026")] == []


@pytest.mark.parametrize("book", BOOKS, ids=name_of)
def test_every_price_of_a_book_can_be_picked_now(book: Path) -> None:
    loaded = load(book, PriceBook)
    for one in loaded.instances:
        picked = rate_of(loaded, one.sku, category=one.category, region=one.region)
        assert one in picked.entries
        assert picked.gaps(max(e.valid_from for e in picked.entries), datetime.now(UTC)) == ()


def test_a_laptops_memory_is_free_and_its_cores_carry_the_electricity() -> None:
    book = load(CONF / "prices" / "example.yaml", PriceBook)
    (laptop,) = [one for one in book.instances if one.sku == "laptop"]
    assert laptop.gb_second == 0
    assert laptop.price_per_hour == Decimal("0.045") * Decimal("0.17")


@pytest.mark.parametrize("path", SPARK, ids=name_of)
def test_spark_settings_are_given_once_and_explained(path: Path) -> None:
    names = [key for key, _ in spark_settings(path)]
    assert len(names) == len(set(names))
    lines = path.read_text("utf-8").splitlines()
    for before, line in pairwise(lines):
        if line.startswith("spark."):
            assert before.startswith("#"), f"nothing explains {line!r}"


@pytest.mark.parametrize("path", [path for path in SPARK if path.name != "sql.conf"], ids=name_of)
def test_spark_settings_agree_with_the_sessions_own(path: Path) -> None:
    given = dict(spark_settings(path))
    own = dict(DEFAULTS)
    if path.stem == "connect":  # its log would tell of every session's tasks
        own = {k: v for k, v in own.items() if not k.startswith("spark.eventLog.")}
        assert given["spark.eventLog.enabled"] == "false"
    assert {key: given.get(key) for key in own} == own
    if path.stem == "kubernetes":  # the image has the JARs: tests/deploy/test_image.py
        assert not any(key.startswith("spark.jars") for key in given)
    else:
        assert given["spark.jars.packages"] == DELTA_PACKAGE
        assert given["spark.jars.excludes"] == PROVIDED


def test_who_only_asks_has_the_sessions_delta_and_no_event_log() -> None:
    given = dict(spark_settings(CONF / "spark" / "sql.conf"))
    delta = {key: DEFAULTS[key] for key in DEFAULTS if "delta" in key or "catalog" in key}
    assert len(delta) == 2
    assert given.items() >= {**delta, "spark.eventLog.enabled": "false"}.items()
    assert (given["spark.jars.packages"], given["spark.jars.excludes"]) == (DELTA_PACKAGE, PROVIDED)


def test_local_settings_are_all_that_a_local_session_sets() -> None:
    given = dict(spark_settings(CONF / "spark" / "local.conf"))
    assert {key: given.get(key) for key in LOCAL_DEFAULTS} == LOCAL_DEFAULTS
    assert given["spark.master"].endswith(",4]"), "local[N] alone does not retry a failed task"


@pytest.mark.parametrize("name", ["standalone", "gpu", "yarn", "kubernetes"])
def test_a_cluster_kills_hung_workers_and_never_limits_their_address_space(name: str) -> None:
    given = dict(spark_settings(CONF / "spark" / f"{name}.conf"))
    assert "spark.executor.pyspark.memory" not in given
    assert "spark.master" not in given
    for group in ("spark.python.worker", "spark.sql.execution.pyspark.udf"):
        assert int(given[f"{group}.idleTimeoutSeconds"]) >= 300
        assert given[f"{group}.killOnIdleTimeout"] == "true"


def test_the_tasks_of_an_executor_share_its_gpu_and_leave_no_core_idle() -> None:
    given = dict(spark_settings(CONF / "spark" / "gpu.conf"))
    share = Decimal(given["spark.task.resource.gpu.amount"])
    assert share * int(given["spark.executor.cores"]) == 1
    assert int(given["spark.executor.resource.gpu.amount"]) == 1


def test_a_cluster_gives_an_application_one_attempt_of_its_own() -> None:
    assert dict(spark_settings(CONF / "spark" / "yarn.conf"))["spark.yarn.maxAppAttempts"] == "1"
