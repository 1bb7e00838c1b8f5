"""Monitoring of a run: profiles of its input and outputs, their drift, and the refusals of its limits."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from millrace.pipelines.console.progress import Progress
from millrace.pipelines.job.prepared_job import PreparedJob
from millrace.pipelines.lake import delta
from millrace.pipelines.lake.runs import Run
from millrace.pipelines.monitoring import baseline, drift
from millrace.pipelines.monitoring.baseline import Baseline
from millrace.pipelines.monitoring.drift import Finding
from millrace.pipelines.profiling import output_checks, profiler, profiles
from millrace.pipelines.profiling.profiler import Sampling
from millrace.pipelines.profiling.profiles import INPUT, OUTPUT, Measure, MeasureProfile, Profiles
from millrace.pipelines.spark.job_tags import tagged
from millrace.schemas.errors import GateRefused, OutputRefused, UsageError
from millrace.schemas.ids import digest
from millrace.schemas.monitor import Monitor
from millrace.schemas.tables.monitoring import DRIFT, PROFILES

_LISTED = 10  # units that a warning names
_BAD = "output"  # the kind of error of rows whose output was NaN, infinite or misshapen


@dataclass(frozen=True)
class RunMonitor:
    """A run of a job with a section ``monitor``, and the baseline that it is compared with, if any."""

    spark: SparkSession
    prepared: PreparedJob
    run: Run
    monitor: Monitor
    baseline: Baseline | None
    inputs: tuple[Measure, ...]
    outputs: tuple[Measure, ...]
    # Of units before their commit.
    seen: dict[int, list[MeasureProfile]] = field(default_factory=dict)

    def input_warnings(self, progress: Progress, at: datetime, *, is_stored: bool) -> list[str]:
        """What to say of the input. Raises GateRefused where it drifted and the job refuses that.

        ``is_stored``: the profile is written, or read where an earlier attempt wrote it.
        """
        now = self._input(progress, at, is_stored=is_stored)
        if self.baseline is None:
            first = f"set one: millrace baseline set {self.run.run_id}"
            return [f"nothing was compared: the job has no baseline; {first}"]
        found = drift.findings(self.baseline.input, now, self.monitor.drift)
        if is_stored:
            self._write(INPUT, {None: found}, at)
        if (moved := drift.drifted(found)) and self.monitor.drift.on_drift == "refuse":
            raise GateRefused(
                "the input has drifted from the baseline; nothing was scored",
                got="; ".join(one.text for one in moved),
                allowed=f"what monitor.drift says, against run {self.baseline.run_id}",
                next="look at the input; then set another baseline, or on_drift: warn",
            )
        return [self._warning("the input", one) for one in moved]

    def staged(self, rows: DataFrame, unit: int, expected_rows: int) -> DataFrame | None:
        """A unit's scored rows in scratch files, looked at and ready to be committed.

        None where the job refuses no outputs: they are looked at when they are committed. Raises
        OutputRefused.
        """
        if not self._may_refuse:
            return None
        staged = delta.stage(rows, self._scratch(unit))
        self.seen[unit] = self._profiled(staged, unit, expected_rows)
        wrong = self._wrong({one.measure: one for one in self.seen[unit]})
        if wrong:
            raise OutputRefused(
                f"the outputs of unit {unit} were refused before they were committed",
                got="; ".join(wrong),
                allowed="what monitor says in the job file",
                next="look at the model and the input; the unit is scored again when the job is run",
            )
        return staged

    def keep(self, unit: int, expected_rows: int, name: str, at: datetime) -> None:
        """Keep the profile of a unit that is committed as ``name``; once."""
        transaction = f"{name}:profiles"
        if delta.committed(self.prepared.lake, PROFILES.name, transaction):
            return
        found = self.seen.pop(unit, None)
        if found is None:
            rows = delta.read(self.spark, self.prepared.lake, self.prepared.predictions.name)
            mine = (F.col("run_id") == self.run.run_id) & (F.col("unit") == unit)
            found = self._profiled(rows.where(mine), unit, expected_rows)
        profiles.write(self.prepared.lake, self.run, unit, found, transaction, at)
        shutil.rmtree(self._scratch(unit), ignore_errors=True)

    def output_warnings(self, at: datetime) -> list[str]:
        """What to say of all committed units, once the last of them is."""
        units = profiles.of_units(self.prepared.lake, self.run.run_id)
        warnings = [
            f"outputs of unit {number}: {wrong}"
            for number, unit in units.items()
            for wrong in output_checks.refusals(unit, self.monitor.outputs)
        ]
        if self.baseline is None or not units:
            return warnings
        before, limits = self.baseline.outputs, self.monitor.drift
        found: dict[int | None, list[Finding]] = {
            number: drift.findings(before, unit, limits) for number, unit in units.items()
        }
        moved = [number for number in units if drift.drifted(found[number])]
        whole = found[None] = drift.findings(before, profiles.over_units(units), limits)
        self._write(OUTPUT, found, at)
        warnings += [self._warning("the outputs", one) for one in drift.drifted(whole)]
        return [*warnings, *_units_warning(moved, len(units))]

    def _input(self, progress: Progress, at: datetime, *, is_stored: bool) -> Profiles:
        lake, run = self.prepared.lake, self.run
        if is_stored and (before := profiles.of_input(lake, run.run_id)):
            return before
        rows = self.prepared.rows(self.spark)
        types = input_types(self.prepared)
        sampling = Sampling.of(self.prepared.job.key, self.prepared.expected_rows, len(self.inputs))
        label = f"measuring {len({one.column for one in self.inputs})} columns"
        with progress.step(self.spark, run.run_id, "validate", label):
            found = profiler.profiled(rows, self.inputs, types, sampling)
        if is_stored:
            profiles.write(lake, run, None, found, f"{run.transaction()}:profiles", at)
        return {one.measure: one for one in found}

    def _profiled(self, rows: DataFrame, unit: int, expected_rows: int) -> list[MeasureProfile]:
        types = {n: spec.type for n, spec in self.prepared.model.card.signature.outputs.items()}
        sampling = Sampling.of(self.prepared.job.key, expected_rows, len(self.outputs))
        bad = F.col("error.kind") == _BAD
        with tagged(self.spark, self.run.run_id, "validate", unit):
            return profiler.profiled(rows, self.outputs, types, sampling, bad)

    @property
    def _may_refuse(self) -> bool:
        """Whether a unit can be refused, so that it is looked at before it is committed."""
        by_drift = self.monitor.drift.on_drift == "refuse" and self.baseline is not None
        return by_drift or self.monitor.outputs.action == "stop"

    def _wrong(self, unit: Profiles) -> list[str]:
        """Why a unit may not be committed; empty where it may."""
        found = []
        if self.monitor.outputs.action == "stop":
            found += output_checks.refusals(unit, self.monitor.outputs)
        if self.monitor.drift.on_drift == "refuse" and self.baseline is not None:
            all_ = drift.findings(self.baseline.outputs, unit, self.monitor.drift)
            found += [one.text for one in drift.drifted(all_)]
        return found

    def _scratch(self, unit: int) -> Path:
        return self.run.driver.folder / f"unit-{unit}"

    def _warning(self, what: str, one: Finding) -> str:
        against = self.baseline.run_id if self.baseline else ""
        return f"{what} drifted from run {against}: {one.text}"

    def _write(
        self, side: str, found: Mapping[int | None, Sequence[Finding]], at: datetime
    ) -> None:
        """Keep the findings of this attempt; not again what an earlier one found by the same limits."""
        against = self.baseline.run_id if self.baseline else None
        about = {"run_id": self.run.run_id, "job": self.run.job, "event": self.run.events - 1}
        about |= {"baseline": against, "side": side, "at": at}
        rows = [
            {**about, "unit": unit, **vars(one)} for unit, ones in found.items() for one in ones
        ]
        limits_digest = digest([against, self.monitor.drift.model_dump(mode="json")])[:16]
        transaction = f"{self.run.transaction()}:drift:{side}:{limits_digest}"
        delta.append_values(rows, self.prepared.lake, DRIFT, transaction)


def monitor_of(spark: SparkSession, prepared: PreparedJob, run: Run) -> RunMonitor | None:
    """The watch that the job asks for, or None. Raises UsageError for what cannot be measured."""
    monitor = prepared.job.monitor
    if monitor is None:
        return None
    outputs = {name: spec.type for name, spec in prepared.model.card.signature.outputs.items()}
    given = profiles.output_measures(outputs)
    output_checks.check_names(monitor.outputs, given)
    return RunMonitor(
        spark,
        prepared,
        run,
        monitor,
        baseline.of_job(prepared.lake, prepared.job.name),
        tuple(_output_measures(prepared, monitor)),
        tuple(given),
    )


def input_types(prepared: PreparedJob) -> dict[str, str]:
    """The SQL types of the input's columns."""
    return {name: spec.type for name, spec in prepared.contract.columns.items()}


def _output_measures(prepared: PreparedJob, monitor: Monitor) -> list[Measure]:
    """What is measured of the input: all columns but the key, or those that the job names."""
    types, named = input_types(prepared), monitor.drift.columns
    if named == "all":
        return profiles.measures_of({n: t for n, t in types.items() if n not in prepared.job.key})
    found = profiles.measures_of({name: types[name] for name in named})
    if without := [name for name in named if name not in {one.column for one in found}]:
        raise UsageError(
            "monitor.drift.columns names columns that nothing is measured of",
            got=", ".join(f"{name} {types[name]}" for name in without),
            allowed="numbers, boolean, string, binary and arrays",
            next="take them out",
        )
    return found


def _units_warning(moved: Sequence[int], units: int) -> list[str]:
    if not moved or units == 1:
        return []
    listed = ", ".join(map(str, moved[:_LISTED])) + (" ..." if len(moved) > _LISTED else "")
    return [f"outputs drifted in {len(moved)} of {units} units: {listed}"]
