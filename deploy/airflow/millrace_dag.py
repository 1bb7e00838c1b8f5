"""A DAG for each entry of dags.yaml: preflight, validate, plan, run, publish.

MILLRACE_HOME is a checkout of Millrace with its environment, MILLRACE_DAGS the file with the entries;
without it, the dags.yaml beside this file. docs/AIRFLOW.md has the rest.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, chain
from millrace_alert import Alert
from millrace_outcome import retry_policy
from millrace_settings import Home, Scheduled, job_of, scheduled
from millrace_steps import MillraceOperator, PlanOperator, PublishOperator, RunOperator

_MAX_DELAY = timedelta(minutes=10)
_IN_THE_IMAGE = "local:///opt/millrace/pipelines/score.py"  # as deploy/Dockerfile has it


def dag_of(home: Home, entry: Scheduled) -> DAG:
    """The DAG of one job: millrace_<name of the job>."""
    job = job_of(home, entry)
    with DAG(
        f"millrace_{job['name']}",
        schedule=entry.schedule,
        start_date=_midnight(entry.start),
        end_date=entry.end and _midnight(entry.end),
        catchup=entry.catchup,
        max_active_runs=entry.max_active_runs,
        tags=["millrace"],
        doc_md=f"`{entry.job}`, with `--set` {entry.set or 'of nothing'}",
        default_args={
            "retries": entry.retries,
            "retry_delay": timedelta(seconds=entry.retry_delay_s),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": _MAX_DELAY,
            "retry_policy": retry_policy(entry.claim_delay_s),
            "on_failure_callback": [Alert()],
        },
    ) as dag:
        chain(*_steps(home, entry, job))
    return dag


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _steps(home: Home, entry: Scheduled, job: dict[str, Any]) -> list[BaseOperator]:
    """Preflight, run and publish always; validate unless switched off; plan where there is a budget."""
    folder = home.path(entry.folder)
    sets = [word for key, value in entry.set.items() for word in ("--set", f"{key}={value}")]
    words = [home.path(entry.job), *sets]
    where: dict[str, Any] = {"home": home, "folder": folder}
    steps: list[BaseOperator] = [
        MillraceOperator(task_id="preflight", words=["preflight", *words], **where)
    ]
    if entry.validate:
        steps.append(
            MillraceOperator(
                task_id="validate", words=["validate", *words], pool=entry.pool, **where
            )
        )
    if "budget" in (job.get("cost") or {}) or "cost.budget" in entry.set:
        steps.append(PlanOperator(task_id="plan", words=["plan", *words], pool=entry.pool, **where))
    steps.append(_run(home, entry, folder, words))
    steps.append(PublishOperator(task_id="publish", asset=_asset(home, entry, job), **where))
    return steps


def _run(home: Home, entry: Scheduled, folder: str, words: list[str]) -> RunOperator:
    """spark-submit. A driver on a cluster outlives Airflow's worker: a retry finds it by its id.

    YARN is sent Millrace; on Kubernetes it is in the image, and Spark has no place to upload files to.
    """
    on_cluster, in_image = entry.cluster is not None, entry.cluster == "kubernetes"
    return RunOperator(
        task_id="run",
        home=home,
        folder=folder,
        name="millrace {{ dag.dag_id }} {{ run_id }}",
        application=_IN_THE_IMAGE if in_image else home.path("pipelines/score.py"),
        application_args=[*words, "--json"],
        properties_file=home.path(entry.properties),
        py_files=home.path("dist/millrace.zip") if entry.cluster == "yarn" else None,
        conn_id=entry.spark,
        pool=entry.pool,
        deploy_mode="cluster" if on_cluster else "client",
        durable=on_cluster,
        yarn_track_via_rm_api=entry.cluster == "yarn",
        track_driver_via_k8s_api=entry.cluster == "kubernetes",
    )


def _asset(home: Home, entry: Scheduled, job: dict[str, Any]) -> Asset:
    """The predictions table, as others wait for it: millrace_<name of the job>."""
    path = entry.set.get("output.path")
    found = Path(home.path(entry.folder), path) if path else _lake_in_file(home, entry, job)
    lake = Path(os.path.normpath(found.absolute()))
    table = "predictions_" + job["name"].replace("-", "_")
    return Asset(name=f"millrace_{job['name']}", uri=f"{lake.as_uri()}/{table}")


def _lake_in_file(home: Home, entry: Scheduled, job: dict[str, Any]) -> Path:
    """Where the job file says: its paths start at its own folder."""
    start = entry.folder if job.get("paths") == "cwd" else str(Path(entry.job).parent)
    return Path(home.path(start), job.get("output", {}).get("path", "lake/"))


_FILE = Path(os.environ.get("MILLRACE_DAGS") or Path(__file__).with_name("dags.yaml"))
for _entry in scheduled(_FILE):
    _dag = dag_of(Home.here(), _entry)
    globals()[_dag.dag_id] = _dag
