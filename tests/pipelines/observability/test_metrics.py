"""What the metrics say is what the tables say; and their text is Prometheus', by its own parsers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import write_deltalake
from prometheus_client.parser import text_string_to_metric_families

from millrace.pipelines.cli import main
from millrace.pipelines.lake.location import LakeLocation
from millrace.pipelines.observability import metrics
from millrace.pipelines.observability.metrics_server import create_server
from millrace.schemas.errors import GateRefused, QueryError, UsageError
from millrace.schemas.tables import DRIFT, LEDGER, QUARANTINE, RUNS, UNITS, VALIDATIONS
from tests.helpers import observed_job
from tests.pipelines.reporting.test_run_page import (  # fmt: skip
    BEGAN,
    FORECAST,
    GATES,
    HOSTILE,
    RUN,
    TOTALS,
    events,
    refused,
    rule,
    spent,
    write,
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def unit(number: int, scored: int, failed: int, run_id: str = RUN) -> dict[str, Any]:
    at = BEGAN + timedelta(seconds=30 + number)
    told = {"run_id": run_id, "job": "digits", "unit": number, "state": "done", "at": at}
    return {**told, "scored": scored, "failed": failed, "transaction": f"{run_id}:{number}"}


def drifted(column: str, psi: float | None, event: int = 0) -> dict[str, Any]:
    about = {"run_id": RUN, "job": "digits", "event": event, "side": "input", "measure": "value"}
    return {
        **about,
        "column": column,
        "psi": psi,
        "ks": 0.1,
        "drifted": psi is not None and psi > 1,
    }


def metered(lake: Path) -> None:
    """Predictions of two batches: 640 rows in 8 calls and in 2."""
    meter = pa.struct([("rows", pa.int64()), ("model_batches", pa.int64())])
    schema = pa.schema([("run_id", pa.string()), ("_meter", meter)])
    meters = [{"rows": 640, "model_batches": 8}, None, {"rows": 640, "model_batches": 2}]
    rows = pa.table({"run_id": [RUN] * 3, "_meter": meters}, schema=schema)
    write_deltalake(str(lake / "predictions_digits"), rows)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """An older run that is done, the last one, and one that is at work."""
    told = {"gates": json.dumps(GATES), "forecast": json.dumps(FORECAST)}
    drawn = {"energy_wh": 0.5, "energy_wh_low": 0.3, "energy_wh_high": 0.7, "carbon_g": 0.2}
    held = {"held_since": BEGAN - timedelta(seconds=7)}
    for number, run_id in enumerate(("digits-old", RUN, "digits-new"), 1):
        state = "started" if number == 3 else "done"
        more = {**TOTALS, **told, **drawn, "model_load_s": 1.25, "number": number}
        told_of = events(state, run_id, **(more if state == "done" else {}))
        write(tmp_path, RUNS, [{**one, "number": number, **held} for one in told_of])
    write(
        tmp_path,
        UNITS,
        [unit(0, 1000, 1), unit(1, 279, 0), unit(1, 279, 0), unit(0, 5, 2, "digits-old")],
    )
    write(tmp_path, VALIDATIONS, [rule("sharp", 17)])
    write(
        tmp_path,
        QUARANTINE,
        [*refused("sharp", 17), {**refused("sharp", 1)[0], "run_id": "a check"}],
    )
    rows = [
        spent("useful", 1301, "0.0000013"),
        spent("useful", 1301, "0.0000001", SkuMeter="Memory"),
        spent("idle", 2003, "0.000002"),
        spent("failed", 1009, "0.0000006", partition=1, x_Committed=False, x_EnergyWh=0.5, x_EnergyMethod="tdp"),
        spent("saved", 999, "9"),
        spent("idle", 7, "0.5", x_RunId="digits-old"),
    ]  # fmt: skip
    write(tmp_path, LEDGER, rows)
    write(tmp_path, DRIFT, [drifted("x", 0.1), drifted("x", 1.5, event=2), drifted("y", None)])
    metered(tmp_path)
    return tmp_path


def parsed(told: str) -> Samples:
    """The samples by name and labels, as Prometheus' own client reads them."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(told)
        for one in family.samples
    }


def lines(told: str) -> set[str]:
    return {line for line in told.splitlines() if not line.startswith("#")}


def test_the_numbers_are_those_of_the_tables(lake: Path) -> None:
    told = lines(metrics.exposition(LakeLocation(lake)))
    assert {
        'millrace_run_state{job="digits",state="started"} 1.0',
        'millrace_run_state{job="digits",state="done"} 0.0',
        'millrace_runs{job="digits",state="done"} 2.0',
        'millrace_rows_total{job="digits",outcome="scored"} 1284.0',
        'millrace_rows_total{job="digits",outcome="failed"} 3.0',
        'millrace_rows_total{job="digits",outcome="quarantined"} 17.0',
        'millrace_last_run_rows{job="digits",outcome="scored"} 1279.0',
        'millrace_last_run_rows_read{job="digits"} 1297.0',
        'millrace_last_run_queue_seconds{job="digits"} 7.0',
        'millrace_last_run_model_load_seconds{job="digits"} 1.25',
        'millrace_slot_seconds_total{job="digits",kind="idle"} 2.01',
        'millrace_last_run_slot_seconds{job="digits",kind="idle"} 2.003',
        'millrace_last_run_cost{currency="USD",job="digits",kind="useful"} 1.4e-06',
        'millrace_cost{currency="USD",job="digits",kind="idle"} 0.500002',
        'millrace_waste_seconds_total{job="digits",kind="failed"} 1.009',
        'millrace_last_run_waste_share{job="digits",kind="failed"} 0.15',
        'millrace_last_run_forecast_cost{bound="mid",currency="USD",job="digits"} 5e-06',
        'millrace_last_run_gate_passed{gate="every row is told",job="digits"} 0.0',
        'millrace_last_run_drift{column="x",distance="psi",job="digits",measure="value",side="input"} 1.5',
        'millrace_last_run_drifted{column="x",job="digits",measure="value",side="input"} 1.0',
        'millrace_last_run_batch_rows{job="digits"} 128.0',
        'millrace_energy_joules{job="digits",method="tdp"} 1800.0',
        'millrace_last_run_energy_joules{bound="high",job="digits"} 2520.0',
    } <= told  # fmt: skip


def test_what_is_not_known_has_no_sample(lake: Path) -> None:
    told = metrics.exposition(LakeLocation(lake))
    assert 'gate="clocks <agree>"' not in told  # open: neither passed nor failed
    assert 'column="y",distance="psi"' not in told
    assert 'kind="saved"' not in told
    assert "digits-old" not in told  # no run is a label


def test_prometheus_own_parsers_read_it(lake: Path) -> None:
    write(lake, RUNS, events("done", "hostile-1", **TOTALS, job=HOSTILE + "\n\\"))
    told = metrics.exposition(LakeLocation(lake))
    found = parsed(told)
    state = frozenset({("job", HOSTILE + "\n\\"), ("state", "done")})
    assert found["millrace_run_state", state] == 1
    assert len(found) == len(lines(told))  # and no two samples have the same labels


def test_seconds_of_a_ledger_in_several_currencies_are_told_once(lake: Path) -> None:
    """A run that was priced later, or again in another currency: its seconds have no currency."""
    rows = [
        spent("idle", 500, "0", BillingCurrency=None),
        spent("idle", -2003, "-0.000002"),
        spent("idle", 2003, "0.25", BillingCurrency="EUR"),
    ]
    write(lake, LEDGER, rows)
    told = metrics.exposition(LakeLocation(lake))
    assert {
        'millrace_slot_seconds_total{job="digits",kind="idle"} 2.51',
        'millrace_last_run_slot_seconds{job="digits",kind="idle"} 2.503',
        'millrace_cost{currency="EUR",job="digits",kind="idle"} 0.25',
        'millrace_cost{currency="USD",job="digits",kind="idle"} 0.5',
        'millrace_last_run_cost{currency="USD",job="digits",kind="idle"} 0.0',
    } <= lines(told)
    assert len(parsed(told)) == len(lines(told))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
def test_promtool_has_nothing_to_say_about_names_and_types(lake: Path) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics.exposition(LakeLocation(lake)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_run_that_failed_has_its_rows_and_no_total(tmp_path: Path) -> None:
    write(tmp_path, RUNS, events("failed", detail="RunFailed: a task"))
    write(tmp_path, UNITS, [unit(0, 100, 2)])
    told = metrics.exposition(LakeLocation(tmp_path))
    assert 'millrace_last_run_rows{job="digits",outcome="scored"} 100.0' in told
    assert 'millrace_run_state{job="digits",state="failed"} 1.0' in told
    assert "last_run_duration" not in told


def test_every_name_is_one_of_prometheus_and_only_counters_end_in_total(lake: Path) -> None:
    kinds = dict(
        re.findall(r"^# TYPE (\S+) (\w+)$", metrics.exposition(LakeLocation(lake)), re.MULTILINE)
    )
    assert set(kinds.values()) == {"counter", "gauge"}
    for name, kind in kinds.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert name.endswith("_total") == (kind == "counter")


def test_a_lake_without_runs_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    write(tmp_path, LEDGER, [])
    (tmp_path / "old.prom").write_text("old")
    with pytest.raises(QueryError, match="no runs"):
        metrics.write(LakeLocation(tmp_path), tmp_path / "old.prom")
    assert (tmp_path / "old.prom").read_text() == "old"


def test_the_command_prints_and_writes_the_same(lake: Path) -> None:
    told = metrics.exposition(LakeLocation(lake))
    printed = CliRunner().invoke(main, ["metrics", "--lake", str(lake)])
    written = CliRunner().invoke(
        main, ["metrics", "--lake", str(lake), "--out", str(lake / "out" / "m.prom"), "--json"]
    )
    assert printed.output == told
    assert json.loads(written.output) == {"metrics": str(lake / "out" / "m.prom")}
    assert (lake / "out" / "m.prom").read_text() == told
    assert [entry.name for entry in (lake / "out").iterdir()] == ["m.prom"]
    both = CliRunner().invoke(main, ["metrics", "--serve", "0", "--out", "x"])
    assert both.exit_code == 2


def test_a_server_answers_anew_and_outlives_a_lake_that_is_not_there_yet(lake: Path) -> None:
    later = lake / "later"
    with create_server(LakeLocation(later), "127.0.0.1", 0, cache_s=0.0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        for path, code in (("/metrics", 500), ("/elsewhere", 404)):
            with pytest.raises(urllib.error.HTTPError) as refused_:
                urllib.request.urlopen(url + path, timeout=30)
            assert refused_.value.code == code
            refused_.value.close()
        write(later, RUNS, events("started"))
        one = urllib.request.Request(url + "/metrics?name[]=millrace_runs")
        with urllib.request.urlopen(one, timeout=30) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(url + "/metrics", timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert 'millrace_run_state{job="digits",state="started"} 1.0' in answer.read().decode()
        with pytest.raises(UsageError, match="cannot be served"):
            create_server(LakeLocation(later), "127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.mark.spark
def test_a_refused_run_writes_them_too(tmp_path: Path, score: Any, model: Path) -> None:
    path = tmp_path / "metrics" / "m.prom"
    with pytest.raises(GateRefused):
        score(observed_job(tmp_path, model, {"metrics": str(path)}, max_quarantined=0))
    told = lines(path.read_text())
    assert 'millrace_run_state{job="tiny",state="refused"} 1.0' in told
    assert 'millrace_last_run_rows{job="tiny",outcome="quarantined"} 1.0' in told
    assert 'millrace_last_run_rows_read{job="tiny"} 21.0' in told
    assert [entry.name for entry in path.parent.iterdir()] == ["m.prom"]


@pytest.mark.spark
def test_a_file_that_cannot_be_written_is_a_warning_and_the_run_is_done(
    tmp_path: Path, score: Any, model: Path
) -> None:
    (tmp_path / "file").write_text("")
    summary = score(observed_job(tmp_path, model, {"metrics": str(tmp_path / "file" / "m.prom")}))
    assert (summary.state, summary.scored) == ("done", 20)
    (warning,) = [one for one in summary.warnings if "no metrics" in one]
    assert str(tmp_path / "file" / "m.prom") in warning
