"""The Helm chart as a whole: it renders, Kubernetes and KEDA accept it, and what is misspelt is refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, Manifest, every_option, named, notes, of_kind, rendered, why_not

pytestmark = [pytest.mark.deploy, pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be rendered")]

KUBERNETES = "1.34"
# Of what is no part of Kubernetes itself; ScaledObject and TriggerAuthentication are checked by KEDA's own types.
FOREIGN = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication"}
POOL: dict[str, Any] = {"pools": {"shell": {}}}
FEW: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one pool": POOL,
    "project from a ConfigMap": {
        **POOL,
        "project": {"configMap": "support", "configMapItems": [{"key": "tools", "path": "support/tools.py"}]},
    },
    "nothing optional": {
        **POOL,
        "gateway": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "agentWorker": {"modelSecret": ""},
    },
    "landlock under gVisor": {"pools": {"shell": {"runtimeClassName": "gvisor", "sandbox": {"level": "none"}}}},
    "many pools": {"pools": {"a": {}, "a_b": {}, "a-b": {"sandbox": {"level": "ns"}}, "x" * 41: {}, "a-": {}}},
}


@cache
def manifests(values: str) -> tuple[Manifest, ...]:
    return tuple(rendered(every_option() if values == "every option" else FEW[values]))


@pytest.fixture(params=[*FEW, "every option"])
def release(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    return manifests(request.param)


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    values = copy.deepcopy(every_option())
    change(values)
    return values


@pytest.mark.parametrize("values", [*FEW, "every option"])
def test_helm_finds_nothing_wrong(values: str) -> None:
    import helm_python  # noqa: PLC0415

    report = helm_python.lint(CHART, every_option() if values == "every option" else FEW[values], strict=True)
    # 1 is a piece of advice: the chart has no icon.
    assert report["errors"] == [] and {said["severity"] for said in report["messages"]} <= {1}


def test_kubernetes_accepts_it(release: tuple[Manifest, ...]) -> None:
    import kubernetes_validate  # noqa: PLC0415

    for manifest in release:
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_kubernetes_would_refuse_what_is_wrong() -> None:
    import kubernetes_validate  # noqa: PLC0415

    deployment = copy.deepcopy(named(manifests("one pool"), "Deployment", "errandry-tools-shell"))
    deployment["spec"]["template"]["spec"]["automountToken"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES, strict=True)


def test_keda_accepts_it() -> None:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    scaled = of_kind(manifests("every option"), "ScaledObject")
    assert len(scaled) == 2
    for manifest in scaled:
        ScaledObject.model_validate(manifest)
    for manifest in of_kind(manifests("every option"), "TriggerAuthentication"):
        TriggerAuthentication.model_validate(manifest)
    wrong = copy.deepcopy(scaled[0])
    del wrong["spec"]["triggers"]
    with pytest.raises(ValidationError):
        ScaledObject.model_validate(wrong)


def test_names_are_unique_and_dns_labels(release: tuple[Manifest, ...]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in release]
    assert len(set(names)) == len(names)
    for _, name in names:
        assert len(name) <= 63 and re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name), name
    for labels in (manifest["metadata"].get("labels", {}) for manifest in release):
        for value in labels.values():
            assert len(value) <= 63 and value[0].isalnum() and value[-1].isalnum()


def test_a_long_release_keeps_within_the_length_of_a_name() -> None:
    longest = rendered({"pools": {"x" * 41: {"keda": {"enabled": True}}}, "redis": {"host": "h"}}, name="r" * 53)
    assert max(len(manifest["metadata"]["name"]) for manifest in longest) <= 63
    other = rendered(FEW["many pools"], name="r" * 52)
    assert not {m["metadata"]["name"] for m in longest} & {m["metadata"]["name"] for m in other}


def places_to_misspell(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every table of the values in which the chart names the keys."""
    free = {"env", "secretEnv", "nodeSelector", "podAnnotations", "labels", "annotations", "requests", "limits"}
    if isinstance(values, dict) and (not path or path[-1] not in free):
        yield path
        for key, value in values.items():
            yield from places_to_misspell(value, (*path, key))


VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(set(places_to_misspell(VALUES)) - {("pools",)}), ids=".".join)
def test_what_is_misspelt_is_refused(path: tuple[str, ...]) -> None:
    import helm_python  # noqa: PLC0415

    wrong: dict[str, Any] = {"mispelt": 1}
    for key in reversed(path):
        wrong = {key: wrong}
    with pytest.raises(helm_python.HelmValuesError, match="mispelt"):
        rendered(wrong)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pools": {"shell": {"replica": 3}}}, "replica"),
        ({"pools": {"Shell": {}}}, "Shell"),
        ({"pools": {"a__b": {}}}, "rename the pool"),
        ({"pools": {"a_": {}}}, "rename the pool"),
        ({"pools": {"shell": {"keda": {"minReplicas": 0}}}}, "minReplicas"),
        ({"pools": {"shell": {"sandbox": {"level": "strong"}}}}, "level"),
        ({"agentWorker": {"env": {"OPENAI_API_KEY": "sk-in-the-open"}}}, "OPENAI_API_KEY"),
        ({"env": {"ERRANDRY_REDIS_URL": "redis://:password@h"}}, "ERRANDRY_REDIS_URL"),
        ({"flower": {"env": {"FLOWER_BASIC_AUTH": "a:b"}}}, "FLOWER_BASIC_AUTH"),
        ({"flower": {"enabled": True, "credentialsSecret": ""}}, "credentialsSecret"),
        ({"networkPolicy": {"store": []}}, "store"),
        ({"project": {"image": "a", "configMap": "b"}}, "project"),
        ({"project": {"settings": "agents = []\n redis_url = 'redis://:password@h'\n"}}, "redis.existingSecret"),
        ({"pools": {"shell": {"keda": {"enabled": True}}}}, "redis.host is empty"),
        ({"pools": {"shell": {"keda": {"enabled": True, "trigger": "prometheus"}}}}, "serverAddress is empty"),
        ({"gateway": {"ingress": {"enabled": True}}}, "ingress.host is empty"),
    ],
)
def test_what_would_not_work_is_refused_by_name(values: dict[str, Any], said: str) -> None:
    import helm_python  # noqa: PLC0415

    with pytest.raises(helm_python.HelmError, match=said) as refused:
        rendered(values)
    assert "sk-in-the-open" not in str(refused.value) and "password@" not in str(refused.value)


def test_the_settings_start_the_pods_anew() -> None:
    def checksum(values: dict[str, Any]) -> set[str]:
        found = of_kind(rendered(values), "Deployment")
        return {pod["spec"]["template"]["metadata"]["annotations"]["checksum/settings"] for pod in found}

    before = checksum(every_option())
    after = checksum(changed(lambda values: values["project"].update(settings="agents = []\n")))
    assert len(before) == len(after) == 1 and before != after


def test_the_notes_name_each_secret_and_the_next_step() -> None:
    values = every_option()
    said = notes(values)
    for secret in ("errandry-redis", "errandry-model", "errandry-gateway", "errandry-flower"):
        assert f"kubectl create secret generic {secret} -n agents" in said
    for key in ("agents-url", "gateway-url", "flower-url", "pool-shell-url", "files-url", "scaler-password"):
        assert f"{key}=" in said
    assert "errandry key create" in said and "port-forward -n agents service/support-gateway" in said
    assert "`pools` is empty" in notes({}) and "flower-url" not in notes({})


def test_rules_and_dashboards_are_those_of_the_repository() -> None:
    release = manifests("every option")
    rules = CHART.parents[1] / "prometheus" / "alerts.yml"
    dashboards = CHART.parents[1] / "grafana"
    told = named(release, "PrometheusRule", "support")["spec"]["groups"]
    assert told == yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    shown = named(release, "ConfigMap", "support-dashboards")["data"]
    assert shown == {file.name: file.read_text(encoding="utf-8") for file in dashboards.glob("*.json")} != {}
