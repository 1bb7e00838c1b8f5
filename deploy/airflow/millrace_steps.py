"""The steps of a run as operators: each is a program of Millrace's own environment, none is imported."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from millrace_last import last_of
from millrace_outcome import code_in, code_of, details_in, raise_for

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context
    from millrace_settings import Home


class MillraceOperator(BaseOperator):
    """One ``millrace`` command; what it says with ``--json`` is the task's result."""

    template_fields: Sequence[str] = ("words",)

    def __init__(self, *, home: Home, folder: str, words: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.home, self.folder, self.words = home, folder, list(words)
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Context) -> Any:  # noqa: ARG002 - Airflow's signature
        """Run it. Raises what its exit code stands for."""
        return self.ask(*self.words)

    def ask(self, *words: str) -> Any:
        """The object, or the array, on the last line of the command's output."""
        command = [str(self.home.program("millrace")), *words, "--json"]
        self.log.info("%s", " ".join(command))
        with subprocess.Popen(  # noqa: S603 - Millrace's own program
            command, cwd=self.folder, env=os.environ | self.home.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as self._process:  # fmt: skip
            out, log = self._process.communicate()
        if log:
            self.log.info("%s", log)
        if self._process.returncode:
            raise_for(self._process.returncode, details_in(out))
        return json.loads(out.splitlines()[-1])

    def on_kill(self) -> None:
        """SIGTERM: Millrace stops at a safe point."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


class PlanOperator(MillraceOperator):
    """``millrace plan``, and a gate: a run that certainly costs more than its budget is not begun."""

    def execute(self, context: Context) -> Any:
        """The forecast. Raises AirflowFailException where its lower end exceeds the budget."""
        plan, job = self.ask(*self.words), context["ti"].xcom_pull(task_ids="preflight")
        cost, budget = plan["here"]["cost"], job["budget"]
        if cost is not None and budget is not None and Decimal(cost["low"]) > Decimal(budget):
            raise AirflowFailException(
                f"the forecast exceeds the budget of {budget} {plan['currency']}: {cost['mid']}, at least"
                f" {cost['low']}; raise cost.budget or narrow source.path, and clear this task"
            )
        return {name: plan[name] for name in ("rows", "units", "here", "currency", "notes")}


class RunOperator(SparkSubmitOperator):
    """spark-submit of the run; a try after a failure resumes where the last one stopped."""

    def __init__(self, *, home: Home, folder: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.home, self.folder = home, folder

    def execute(self, context: Context) -> None:
        """Submit and wait. Raises what the driver's exit code stands for."""
        try:
            with _at(self.folder, self.home.environment):
                super().execute(context)
        except (AirflowException, RuntimeError) as error:
            code, details = code_in(str(error)), details_in(str(error))
            if (
                code is None
            ):  # a driver on a cluster: its exit code does not come here, its events do
                job = context["ti"].xcom_pull(task_ids="preflight")
                asking = MillraceOperator(
                    task_id="last", home=self.home, folder=self.folder, words=[]
                )
                code, details = code_of(_found(asking, job))
            raise_for(code, details)


class PublishOperator(MillraceOperator):
    """The run's totals, as the table runs has them, on the event of the asset that they updated."""

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[asset], words=[], **kwargs)
        self.asset = asset

    def execute(self, context: Context) -> Any:
        """The totals. Raises AirflowFailException where the lake has no such run that is done."""
        job = context["ti"].xcom_pull(task_ids="preflight")
        event = _found(self, job, done=True)
        if event is None:
            raise AirflowFailException(
                f"nothing to publish: no run over {job['input']['root']} in {job['lake']} is done;"
                " clear preflight if the input has changed"
            )
        totals = event | {"lake": job["lake"], "table": job["table"], "input": job["input"]["root"]}
        context["outlet_events"][self.asset].extra = totals
        return totals


def _found(
    asking: MillraceOperator, job: dict[str, Any], *, done: bool = False
) -> dict[str, Any] | None:
    """What `last_of` finds in the lake."""
    found = asking.ask("sql", last_of(job, done=done), "--lake", job["lake"])
    return found[0] if found else None


@contextlib.contextmanager
def _at(folder: str, environment: dict[str, str]) -> Iterator[None]:
    """In a folder and with these variables, which the operator has no way to hand to spark-submit alone."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
