"""The manifests in deploy/kubernetes: what their kinds allow, what pods may do, and one truth with conf/spark."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.schemas import errors
from tests.conf.test_conf import spark_settings
from tests.deploy.manifests import (
    FOLDER,
    PATCHES,
    ROOT,
    Manifest,
    documents,
    job_pod,
    manifest,
    of_kind,
    patched,
    problems,
    read,
    spark_conf,
)

KINDS = json.loads((Path(__file__).parent / "kinds.json").read_text("utf-8"))["kinds"]
ALL = documents()
EACH = [pytest.param(one, id=f"{name} {one['kind']}") for name, one in ALL]
APPLICATIONS = [name for name, one in ALL if one["kind"] == "SparkApplication"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CONF = dict(spark_settings(ROOT / "conf" / "spark" / "kubernetes.conf"))
GPU = dict(spark_settings(ROOT / "conf" / "spark" / "gpu.conf"))
# What spark-submit is told and an operator is not: it has a webhook or templates of its own, and never waits.
OF_SUBMIT = {
    "spark.kubernetes.driver.podTemplateFile",
    "spark.kubernetes.executor.podTemplateFile",
    "spark.kubernetes.submission.waitAppCompletion",
}


def images(one: Any) -> Iterator[str]:
    if isinstance(one, dict):
        for key, value in one.items():
            if key == "image" or key.endswith("container.image"):
                yield value
            else:
                yield from images(value)
    elif isinstance(one, list):
        for value in one:
            yield from images(value)


@pytest.mark.parametrize("one", EACH)
def test_every_field_is_one_that_its_kind_has_and_of_its_type(one: Manifest) -> None:
    assert problems(one, KINDS) == []


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_field_that_is_misspelled_or_of_another_type_or_missing_is_found(name: str) -> None:
    role = "driverSpec" if "apache" in name else "driver"
    one = manifest(name)
    wrong = copy.deepcopy(one)
    wrong["spec"][role]["memoryOverHead"] = "1g"
    assert [p for p in problems(wrong, KINDS) if "memoryOverHead: unknown" in p]
    wrong = copy.deepcopy(one)
    wrong["spec"]["sparkConf"]["spark.executor.cores"] = 4
    assert [p for p in problems(wrong, KINDS) if "4 is no string" in p]
    wrong = copy.deepcopy(one)
    del wrong["spec"]["runtimeVersions" if "apache" in name else "sparkVersion"]
    assert [p for p in problems(wrong, KINDS) if "missing" in p]
    wrong = copy.deepcopy(one)
    wrong["spec"]["deploymentMode" if "apache" in name else "mode"] = "Cluster"
    assert [p for p in problems(wrong, KINDS) if "'Cluster' is no string: " in p]


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_tells_spark_what_the_settings_for_kubernetes_say(name: str) -> None:
    told = {k: v for k, v in spark_conf(manifest(name)).items() if ".container.image" not in k}
    expected = {key: value for key, value in CONF.items() if key not in OF_SUBMIT}
    if name in PATCHES:
        expected |= {key: value for key, value in GPU.items() if ".resource.gpu." in key}
    assert told == expected


@pytest.mark.parametrize("name", APPLICATIONS)
def test_kubeflows_webhook_finds_nothing_in_spark_conf_that_it_refuses(name: str) -> None:
    refused = (
        r"spark\.(master|kubernetes\.(driver\.master|authenticate\..*|(.*\.)?container\.image))"
    )
    if "kubeflow" in name:
        keys = manifest(name)["spec"]["sparkConf"]
        assert [key for key in keys if re.fullmatch(refused, key)] == []


@pytest.mark.parametrize("one", EACH)
def test_an_image_is_of_the_projects_version(one: Manifest) -> None:
    tags = {image.rpartition(":")[2].removesuffix("-cuda") for image in images(one)}
    assert tags <= {PROJECT["version"]}
    assert tags or one["kind"] not in ("SparkApplication", "CronJob")


@pytest.mark.parametrize("name", APPLICATIONS)
def test_driver_and_executors_ask_for_what_they_may_use(name: str) -> None:
    told = spark_conf(manifest(name))
    for role in ("driver", "executor"):  # of memory, Spark asks for as much as it allows
        assert told[f"spark.{role}.cores"] == told[f"spark.kubernetes.{role}.limit.cores"]
        assert {f"spark.{role}.memory", f"spark.{role}.memoryOverhead"} <= told.keys()


def test_a_job_of_one_pod_asks_for_what_it_may_use_and_has_as_many_slots() -> None:
    (container,) = job_pod()["containers"]
    asked, allowed = container["resources"]["requests"], container["resources"]["limits"]
    assert asked == allowed
    assert {"cpu", "memory"} <= asked.keys()
    master = {"name": "MASTER", "value": f"local[{allowed['cpu']},4]"}
    assert master in container["env"]


def test_a_job_of_one_pod_is_tried_again_only_where_that_can_help() -> None:
    (job,) = of_kind("CronJob")
    (rule,) = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    known = {
        k.exit_code
        for k in vars(errors).values()
        if isinstance(k, type) and hasattr(k, "exit_code")
    }
    assert errors.RunFailed.exit_code == 5
    assert set(rule["onExitCodes"]["values"]) == known - {5}
    assert rule["action"] == "FailJob"


@pytest.mark.parametrize("name", list(PATCHES))
def test_an_application_with_gpus_asks_for_nvidias_and_shares_each(name: str) -> None:
    one = manifest(name)
    told = spark_conf(one)
    resource = "spark.executor.resource.gpu"
    assert f"{told[f'{resource}.vendor']}/gpu" == "nvidia.com/gpu"  # as Spark puts it together
    assert told[f"{resource}.amount"] == "1"
    share = Decimal(told["spark.task.resource.gpu.amount"])
    assert share * int(told["spark.executor.cores"]) == 1
    assert told["spark.kubernetes.container.image"].endswith("-cuda")
    spec = one["spec"]
    inner = (
        spec["executorSpec"]["podTemplateSpec"]["spec"] if "apache" in name else spec["executor"]
    )
    assert [t["key"] for t in inner["tolerations"]] == ["nvidia.com/gpu"]
    assert "engine.device=cuda" in (spec.get("driverArgs") or spec["arguments"])
    assert not any("gpu" in key for key in spark_conf(read(PATCHES[name])))


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
@pytest.mark.parametrize("name", list(PATCHES))
def test_kubectl_makes_the_same_of_a_patch(name: str) -> None:
    words = ["kubectl", "patch", "--local", "-f", PATCHES[name], "--type", "merge"]
    words += ["--patch-file", name, "-o", "yaml"]
    done = subprocess.run(
        words, cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == patched(name)


def test_volumes_are_claimed_and_mounted_at_the_same_places_everywhere() -> None:
    claims = {one["metadata"]["name"] for one in of_kind("PersistentVolumeClaim")}
    said: dict[str, set[tuple[str, str, bool]]] = {}
    for role in ("driver", "executor"):
        start = f"spark.kubernetes.{role}.volumes.persistentVolumeClaim"
        names = {key.split(".")[5] for key in CONF if key.startswith(start)}
        said[role] = {
            (
                CONF[f"{start}.{name}.options.claimName"],
                CONF[f"{start}.{name}.mount.path"],
                CONF.get(f"{start}.{name}.mount.readOnly") == "true",
            )
            for name in names
        }
    pod = job_pod()
    claimed = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]}
    (container,) = pod["containers"]
    mounts = container["volumeMounts"]
    said["job"] = {(claimed[m["name"]], m["mountPath"], m.get("readOnly", False)) for m in mounts}
    assert said["driver"] == said["executor"] == said["job"]
    assert {claim for claim, _, _ in said["driver"]} == claims
    assert {path: is_read_only for _, path, is_read_only in said["driver"]} == {
        "/lake": False,
        "/models": True,
    }
