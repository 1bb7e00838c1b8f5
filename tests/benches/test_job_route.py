from __future__ import annotations

from pathlib import Path

from benches.job_route import OPENS, START, route

ROOT = Path(__file__).resolve().parents[2]
MODULES, RETURNS = 18, 3


def test_a_job_leads_through_few_modules_and_seldom_back() -> None:
    module, _, function = START.partition(":")
    stops = [name for name, _ in route(ROOT, (module, function), OPENS, "millrace.")]
    assert {"pipelines.job.prepared_job", "pipelines.run.inference_pass"} <= {*stops}
    assert len({*stops}) <= MODULES, stops
    assert len(stops) - len({*stops}) <= RETURNS, stops


def test_the_modules_that_are_opened_exist() -> None:
    for name in OPENS:
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file()
