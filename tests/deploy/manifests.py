"""The manifests of deploy/kubernetes, read, patched, and held against what their kinds allow."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
# A patch, and what it is for.
PATCHES = {
    "gpu-kubeflow.yaml": "sparkapplication-kubeflow.yaml",
    "gpu-apache.yaml": "sparkapplication-apache.yaml",
}
Manifest = dict[str, Any]
_TYPES = {"string": str, "integer": int, "boolean": bool, "number": float}


def read(name: str) -> Manifest:
    """A file's only document."""
    document: Manifest = yaml.safe_load((FOLDER / name).read_text("utf-8"))
    return document


def patched(name: str) -> Manifest:
    """What a merge patch makes of the manifest that it is for."""
    return merged(read(PATCHES[name]), read(name))


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386: objects are merged, anything else is replaced, null removes."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def documents() -> list[tuple[str, Manifest]]:
    """Every object, with the name of its file; of patches, what they make."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name in PATCHES:
            found.append((path.name, patched(path.name)))
        else:
            found += [(path.name, one) for one in yaml.safe_load_all(path.read_text("utf-8"))]
    return found


def manifest(name: str) -> Manifest:
    """A file's only document; of a patch, what it makes."""
    return patched(name) if name in PATCHES else read(name)


def pods(one: Manifest) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Of each pod that a manifest makes, its own security context, and its containers'."""
    spec = one.get("spec", {})
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]["template"]["spec"]
    if one["apiVersion"] == "spark.apache.org/v1":
        for role in ("driverSpec", "executorSpec"):
            inner = spec[role]["podTemplateSpec"]["spec"]
            yield inner["securityContext"], [c["securityContext"] for c in inner["containers"]]
    elif one["kind"] == "SparkApplication":
        for role in ("driver", "executor"):
            yield spec[role]["podSecurityContext"], [spec[role]["securityContext"]]
    elif "containers" in spec:
        yield spec["securityContext"], [c["securityContext"] for c in spec["containers"]]


def of_kind(kind: str) -> list[Manifest]:
    """Every object of a kind."""
    return [one for _, one in documents() if one["kind"] == kind]


def job_pod() -> Manifest:
    """The pod of the only CronJob, as its specification."""
    (job,) = of_kind("CronJob")
    pod: Manifest = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def problems(manifest: Manifest, kinds: dict[str, Any]) -> list[str]:
    """What the API server would refuse: unknown fields, wrong types, what is missing."""
    name = f"{manifest['apiVersion']} {manifest['kind']}"
    return _in_object(manifest, kinds[name], "") if name in kinds else [f"{name}: not kept"]


def _in_object(value: dict[str, Any], kind: dict[str, Any], path: str) -> list[str]:
    if path not in kind:
        return [f"{path}: not kept in kinds.json; run tests.deploy.kinds"]
    fields = kind[path]["fields"]
    found = [f"{path}.{name}: missing" for name in kind[path]["required"] if name not in value]
    for name, inner in value.items():
        if name in fields:
            found += _in_value(inner, fields[name], kind, f"{path}.{name}")
        else:
            found.append(f"{path}.{name}: unknown, allowed: {', '.join(fields)}")
    return found


def _in_value(value: Any, word: str, kind: dict[str, Any], path: str) -> list[str]:
    for start, inside in (("array of ", list), ("map of ", dict)):
        if word.startswith(start) and type(value) is inside:
            inner = word.removeprefix(start)
            every = {f"{path}[{k}]": v for k, v in value.items()} if inside is dict else {}
            parts = every.items() or [(f"{path}[]", one) for one in value]
            return [found for at, one in parts for found in _in_value(one, inner, kind, at)]
    if word == "object" and type(value) is dict:
        return _in_object(value, kind, path)
    return [] if _is_scalar(value, word) else [f"{path}: {value!r} is no {word}"]


def _is_scalar(value: Any, word: str) -> bool:
    """Whether it is an ``integer``, an ``integer or string``, or one of ``string: Never|Always``."""
    names, _, allowed = word.partition(": ")
    types = {_TYPES.get(name) for name in names.split(" or ")}
    return type(value) in types and (not allowed or value in allowed.split("|"))


# Which of Spark's keys an operator sets from a field of the CRD: read in its submission.go.
_KUBEFLOW = {
    "image": "spark.kubernetes.container.image",
    "imagePullPolicy": "spark.kubernetes.container.image.pullPolicy",
    "mode": "spark.submit.deployMode",
    "driver.cores": "spark.driver.cores",
    "driver.coreLimit": "spark.kubernetes.driver.limit.cores",
    "driver.memory": "spark.driver.memory",
    "driver.memoryOverhead": "spark.driver.memoryOverhead",
    "driver.serviceAccount": "spark.kubernetes.authenticate.driver.serviceAccountName",
    "executor.instances": "spark.executor.instances",
    "executor.cores": "spark.executor.cores",
    "executor.coreLimit": "spark.kubernetes.executor.limit.cores",
    "executor.memory": "spark.executor.memory",
    "executor.memoryOverhead": "spark.executor.memoryOverhead",
    "executor.serviceAccount": "spark.kubernetes.authenticate.executor.serviceAccountName",
}


def spark_conf(application: Manifest) -> dict[str, str]:
    """All that the application tells Spark, as keys: its operator's fields, and its sparkConf."""
    spec = application["spec"]
    told = {"spark.kubernetes.namespace": application["metadata"]["namespace"]}
    if application["apiVersion"].startswith("spark.apache.org/"):
        mode = re.sub(r"Mode$", "", spec["deploymentMode"]).lower()
        return told | {"spark.submit.deployMode": mode} | spec["sparkConf"]
    for path, key in _KUBEFLOW.items():
        outer, _, inner = path.partition(".")
        value = spec[outer][inner] if inner else spec[outer]
        told[key] = str(value)
    assert not told.keys() & spec["sparkConf"].keys(), "told twice"
    return told | spec["sparkConf"]
