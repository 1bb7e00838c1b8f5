"""What Kubernetes allows in the kinds that deploy/kubernetes has: kept in kinds.json, and made by this.

    python -m tests.deploy.kinds KUBEFLOW_CRD.yaml APACHE_CRD.yaml KUBERNETES_MODELS_FOLDER

The CRDs are the operators' own; the models are those of Kubernetes' Python client, one a type, generated from
its OpenAPI. Kept is what lies on the way to the fields that the manifests use: each such object's fields with
their types, and which of them it must have. A new object in a manifest needs this to be run again.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.manifests import documents

FOLDER = Path(__file__).resolve().parent
KEPT = FOLDER / "kinds.json"
SOURCES = {
    "sparkoperator.k8s.io/v1beta2": {
        "repository": "kubeflow/spark-operator",
        "version": "2.5.0-rc.0",
        "commit": "38082f3318e9d33f3e4a940c7cf165df6e40b422",
        "file": "config/crd/bases/sparkoperator.k8s.io_sparkapplications.yaml",
        "licence": "Apache-2.0",
    },
    "spark.apache.org/v1": {
        "repository": "apache/spark-kubernetes-operator",
        "version": "1.1.0-SNAPSHOT, chart 1.9.0-dev",
        "commit": "d5acafd24a0cd9cf225026bbdbcb0775d73ffe8f",
        "file": "build-tools/helm/spark-kubernetes-operator/crds/sparkapplications.spark.apache.org-v1.yaml",
        "licence": "Apache-2.0",
    },
    "the rest": {
        "repository": "kubernetes-client/python",
        "version": "36.0.0+snapshot, of Kubernetes 1.36",
        "commit": "024658493d124f046fc0a9827a2a3165cf2aee28",
        "file": "kubernetes/client/models",
        "licence": "Apache-2.0",
    },
}
SCALARS = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}
Schema = dict[str, Any]


def of_crd(path: Path, version: str) -> Schema:
    """A version's schema, with Kubernetes' own metadata still to come."""
    crd = yaml.safe_load(path.read_text("utf-8"))
    (found,) = [one for one in crd["spec"]["versions"] if one["name"] == version]
    schema: Schema = found["schema"]["openAPIV3Schema"]
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    return schema


class Models:
    """The types of Kubernetes' Python client, read as text: nothing of it is imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def schema(self, name: str) -> Schema:
        """A type such as ``V1NetworkPolicy`` as a schema, what is inside it by name still."""
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
        tree = ast.parse((self.folder / f"{snake}.py").read_text("utf-8"))
        (body,) = [n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
        fields = [
            n for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        ]
        said = {ast.unparse(n.target): n for n in fields}
        names = ast.literal_eval(said["attribute_map"].value)  # type: ignore[arg-type]
        types = ast.literal_eval(said["openapi_types"].value)  # type: ignore[arg-type]
        notes = {key: ast.unparse(said[key].annotation) for key in names if key in said}
        return {
            "type": "object",
            "properties": {names[key]: _named(types[key], notes.get(key, "")) for key in names},
            "required": [
                names[key] for key in names if not notes.get(key, "Opt").startswith("Opt")
            ],
        }


def _named(told: str, annotation: str) -> Schema:
    """``List[str]``, ``Dict[str, V1Volume]`` and the like as a schema."""
    if told.startswith("List["):
        return {"type": "array", "items": _named(told[5:-1], "")}
    if told.startswith("Dict["):
        return {"type": "object", "additionalProperties": _named(told[5:-1].split(", ")[1], "")}
    if "StrictInt | StrictStr" in annotation:
        return {"x-kubernetes-int-or-string": True}
    return {"type": SCALARS[told]} if told in SCALARS else {"model": told}


def word(schema: Schema) -> str:
    """A schema in a word or a few: ``array of string``, ``string: Never|Always``."""
    if "x-kubernetes-int-or-string" in schema:
        return "integer or string"
    if "items" in schema:
        return f"array of {word(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {word(schema['additionalProperties'])}"
    if allowed := schema.get("enum"):
        return f"{schema['type']}: {'|'.join(allowed)}"
    return str(schema.get("type", "object"))


def kept(used: Any, schema: Schema, models: Models, path: str = "") -> dict[str, Any]:
    """By path, the fields of each object that ``used`` has, and of those inside it."""
    if "model" in schema:
        schema = models.schema(schema["model"])
    if isinstance(used, list):
        inside = [kept(one, schema.get("items", {}), models, f"{path}[]") for one in used]
        return _merged(inside)
    if not isinstance(used, dict) or "properties" not in schema:
        return {}
    fields = schema["properties"]
    here = {
        "fields": {name: word(fields[name]) for name in sorted(fields) if name != "status"},
        "required": sorted(schema.get("required", [])),
    }
    inner = [kept(v, fields.get(k, {}), models, f"{path}.{k}") for k, v in used.items()]
    return _merged([{path: here}, *inner])


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {path: facts for part in parts for path, facts in part.items()}


def main(kubeflow: Path, apache: Path, folder: Path) -> None:
    """Write kinds.json anew."""
    models = Models(folder)
    crds = {
        "sparkoperator.k8s.io/v1beta2": of_crd(kubeflow, "v1beta2"),
        "spark.apache.org/v1": of_crd(apache, "v1"),
    }
    for crd in crds.values():
        crd["properties"]["metadata"] = {"model": "V1ObjectMeta"}
    kinds: dict[str, Any] = {}
    for _, one in documents():
        name = f"{one['apiVersion']} {one['kind']}"
        schema = crds.get(one["apiVersion"], {"model": f"V1{one['kind']}"})
        kinds[name] = _merged([kinds.get(name, {}), kept(one, schema, models)])
    told = {"sources": SOURCES, "kinds": kinds}
    KEPT.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
