"""The Helm chart, rendered by Helm's own library: manifests, and what stands in them.

It connects to no cluster. `why_not` says where that library cannot be had.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.sandboxes import ROOT

CHART = ROOT / "deploy" / "helm" / "errandry"
EVERY_OPTION = CHART / "ci" / "every-option.yaml"
RELEASE = "errandry"
NAMESPACE = "agents"

Manifest = dict[str, Any]


def why_not() -> str:
    """Why charts cannot be rendered here, empty if they can."""
    if importlib.util.find_spec("helm_python") is None:
        return "helm-python-sdk is not installed; it exists for Linux on x86_64"
    return ""


def rendered(values: Mapping[str, Any] | None = None, *, name: str = RELEASE) -> list[Manifest]:
    """All manifests of a release with these values, checked against the schema; raises HelmError as Helm would."""
    return [document for text in _templates(values, name).values() for document in yaml.safe_load_all(text) if document]


def notes(values: Mapping[str, Any] | None = None) -> str:
    """What Helm says after an installation."""
    import helm_python  # noqa: PLC0415 - not everywhere to be had

    with helm_python.Chart.load(CHART) as chart:
        return str(chart.render(dict(values or {}), name=RELEASE, namespace=NAMESPACE)["errandry/templates/NOTES.txt"])


def _templates(values: Mapping[str, Any] | None, name: str) -> dict[str, str]:
    import helm_python  # noqa: PLC0415 - not everywhere to be had

    with helm_python.Chart.load(CHART) as chart:
        texts = chart.render(dict(values or {}), name=name, namespace=NAMESPACE)
    return {path: text for path, text in texts.items() if not path.endswith(".txt")}


def every_option() -> dict[str, Any]:
    """The values that switch everything on."""
    return dict(yaml.safe_load(EVERY_OPTION.read_text(encoding="utf-8")))


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def named(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """The one of that kind and name."""
    (found,) = [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name]
    return found


def pod_of(deployment: Manifest) -> dict[str, Any]:
    """The spec of its pods."""
    return dict(deployment["spec"]["template"]["spec"])


def labels_of(deployment: Manifest) -> dict[str, str]:
    """The labels of its pods."""
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def main_container(deployment: Manifest) -> dict[str, Any]:
    """The one container that stays."""
    (container,) = pod_of(deployment)["containers"]
    return dict(container)


def variables(deployment: Manifest) -> dict[str, Any]:
    """Its environment: text, or the reference of a secret as (secret, key)."""
    said: dict[str, Any] = {}
    for entry in main_container(deployment)["env"]:
        assert entry["name"] not in said, f"{entry['name']} is set twice"
        secret = entry.get("valueFrom", {}).get("secretKeyRef")
        said[entry["name"]] = (secret["name"], secret["key"]) if secret else entry["value"]
    return said


def level_of(deployment: Manifest) -> str | None:
    """The least wall that a tool worker is told to have; None for other processes."""
    return next((value for name, value in variables(deployment).items() if name.endswith("__SANDBOX__LEVEL")), None)


def pool_of(deployment: Manifest) -> str | None:
    """The pool that a tool worker serves, by its command; None for other processes."""
    words = main_container(deployment)["command"]
    return words[words.index("--pool") + 1] if "--pool" in words else None


def chooses(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector of labels alone chooses a pod; an empty one chooses all."""
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def schema_path() -> Path:
    """What values are checked against."""
    return CHART / "values.schema.json"
