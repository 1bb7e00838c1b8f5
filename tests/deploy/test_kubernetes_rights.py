"""What the pods of deploy/kubernetes may do: to their node, to the API server, over the network, with secrets."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conf.test_conf import spark_settings
from tests.deploy.manifests import (
    ROOT,
    documents,
    job_pod,
    manifest,
    of_kind,
    pods,
    read,
    spark_conf,
)

ALL = documents()
APPLICATIONS = [name for name, one in ALL if one["kind"] == "SparkApplication"]
CONF = dict(spark_settings(ROOT / "conf" / "spark" / "kubernetes.conf"))


def test_every_pod_is_the_template_and_can_become_nobody_else() -> None:
    own, (container,) = next(pods(read("pod.yaml")))
    assert own["runAsNonRoot"] is True
    assert own["runAsUser"] != 0
    assert own["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    every = [pod for _, one in ALL for pod in pods(one)]
    assert len(every) == 1 + 2 * len(APPLICATIONS) + 1
    assert [pod for pod in every if pod != (own, [container])] == []
    for role in ("driver", "executor"):
        assert CONF[f"spark.kubernetes.{role}.podTemplateFile"] == "deploy/kubernetes/pod.yaml"


def written_secrets(one: Any, name: str = "") -> list[str]:
    """Names that look like a secret's and have a text of their own."""
    if isinstance(one, list):
        return [found for inner in one for found in written_secrets(inner, name)]
    if isinstance(one, dict):
        own = one.get("name", "") if "value" in one else ""  # of an environment variable
        return [found for k, v in one.items() for found in written_secrets(v, own or k)]
    looks = re.search(r"(?i)password|token|secret|api.?key|credential", name)
    is_named = ".secretKeyRef." in name or name == "resources"
    return [name] if looks and isinstance(one, str) and not is_named else []


def test_secrets_are_named_and_their_values_are_nowhere() -> None:
    (secret,) = of_kind("Secret")
    assert set(secret["stringData"].values()) == {"REPLACE_ME"}
    known = {f"{secret['metadata']['name']}:{key}" for key in secret["stringData"]}
    assert [
        written_secrets(one) for _, one in ALL if one["kind"] != "Secret" and written_secrets(one)
    ] == []
    (container,) = job_pod()["containers"]
    refs = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if "valueFrom" in e]
    named = [f"{ref['name']}:{ref['key']}" for ref in refs]
    for name in APPLICATIONS:
        told = spark_conf(manifest(name))
        named += [value for key, value in told.items() if ".secretKeyRef." in key]
    assert len(named) == len(APPLICATIONS) + 1
    assert set(named) <= known


@pytest.mark.parametrize(
    "planted",
    [
        {"env": [{"name": "OPENLINEAGE_API_KEY", "value": "hunter2"}]},
        {"sparkConf": {"spark.hadoop.fs.s3a.secret.key": "hunter2"}},
    ],
)
def test_a_secret_that_is_written_into_a_manifest_is_found(planted: dict[str, Any]) -> None:
    assert written_secrets(planted)


def test_only_the_driver_may_ask_the_api_server_and_for_no_more_than_executors() -> None:
    accounts = {one["metadata"]["name"]: one for one in of_kind("ServiceAccount")}
    start = "spark.kubernetes.authenticate"
    driver = CONF[f"{start}.driver.serviceAccountName"]
    executor = CONF[f"{start}.executor.serviceAccountName"]
    tokens = {name: one.get("automountServiceAccountToken", True) for name, one in accounts.items()}
    assert tokens == {driver: True, executor: False, "default": False}
    (binding,), (role,) = of_kind("RoleBinding"), of_kind("Role")
    assert [subject["name"] for subject in binding["subjects"]] == [driver]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    allowed = {what for rule in role["rules"] for what in (*rule["resources"], *rule["verbs"])}
    assert not allowed & {"*", "secrets", "persistentvolumeclaims", "escalate", "bind"}
    assert {"pods", "configmaps", "services"} <= allowed


def test_nothing_goes_in_or_out_but_what_a_policy_allows() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy")}
    assert policies.pop("nothing") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(spec.get("ingress") or spec.get("egress") for spec in policies.values())
    assert [name for name, spec in policies.items() if "ingress" in spec] == ["among-spark"]


def test_everything_is_in_the_namespace_that_refuses_more() -> None:
    (namespace,) = of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [one for name, one in ALL if name not in ("namespace.yaml", "pod.yaml")]
    assert {one["metadata"]["namespace"] for one in others} == {CONF["spark.kubernetes.namespace"]}
    assert namespace["metadata"]["name"] == CONF["spark.kubernetes.namespace"]
