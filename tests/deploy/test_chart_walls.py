"""What the chart keeps apart: pods without rights, networks without ways out, secrets where they belong alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from queues.acl import AGENTS, FLOWER, GATEWAY, pool_user
from tests.support.chart import (
    Manifest,
    chooses,
    every_option,
    labels_of,
    level_of,
    main_container,
    named,
    notes,
    of_kind,
    pod_of,
    pool_of,
    rendered,
    variables,
    why_not,
)

pytestmark = [pytest.mark.deploy, pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be rendered")]

TWO_POOLS: dict[str, Any] = {"pools": {"shell": {}, "web_pages": {}}, "flower": {"enabled": True}}
LANDLOCKED = {"agent-worker", "gateway", "flower"}


@cache
def two_pools() -> tuple[Manifest, ...]:
    return tuple(rendered(TWO_POOLS))


@cache
def everything() -> tuple[Manifest, ...]:
    return tuple(rendered(every_option()))


def deployments(release: tuple[Manifest, ...]) -> list[Manifest]:
    found = of_kind(release, "Deployment")
    assert {labels_of(deployment)["app.kubernetes.io/component"] for deployment in found} == {
        *LANDLOCKED,
        "tool-worker",
    }
    return found


def policies_of(release: tuple[Manifest, ...], labels: dict[str, str]) -> list[dict[str, Any]]:
    """The policies that choose a pod with these labels."""
    specs = [policy["spec"] for policy in of_kind(release, "NetworkPolicy")]
    return [spec for spec in specs if chooses(spec["podSelector"], labels)]


def ways_out(release: tuple[Manifest, ...], labels: dict[str, str]) -> list[tuple[str, int]]:
    """Where a pod may go: the peer as text, and the port."""
    rules = [rule for spec in policies_of(release, labels) for rule in spec.get("egress", [])]
    assert all(rule["to"] and rule["ports"] for rule in rules), "an empty list would mean everybody"
    return sorted({(str(peer), port["port"]) for rule in rules for peer in rule["to"] for port in rule["ports"]})


def tool_worker_labels(release: tuple[Manifest, ...], pool: str) -> dict[str, str]:
    (found,) = [deployment for deployment in deployments(release) if pool_of(deployment) == pool]
    return labels_of(found)


@pytest.mark.parametrize("release", [two_pools, everything])
def test_no_pod_has_a_right_that_it_does_not_need(release: Any) -> None:
    for deployment in deployments(release()):
        pod = pod_of(deployment)
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] == 10001 == context["fsGroup"]
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        account = named(release(), "ServiceAccount", pod["serviceAccountName"])
        assert account["automountServiceAccountToken"] is False
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]} and "privileged" not in own
            assert {"cpu", "memory"} == container["resources"]["requests"].keys() and container["resources"]["limits"]
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "configMap", "projected", "persistentVolumeClaim"}
        # Else what is written there would be the node's disk, without end.
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_by_default_all_pods_meet_the_restricted_standard() -> None:
    for deployment in deployments(two_pools()):
        pod = pod_of(deployment)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "appArmorProfile" not in pod["securityContext"] and "hostUsers" not in pod
        assert "procMount" not in main_container(deployment)["securityContext"]


def test_a_level_gets_what_its_wall_needs_and_no_more() -> None:
    by_level = {}
    for deployment in deployments(everything()):
        level = level_of(deployment) or "landlock"
        by_level[level] = (pod_of(deployment), main_container(deployment)["securityContext"])
    profile = {"type": "Localhost", "localhostProfile": "profiles/errandry-sandbox.json"}
    for level, (pod, own) in by_level.items():
        inside = level in ("ns", "shared")
        context = pod["securityContext"]
        assert context["seccompProfile"] == (profile if inside else {"type": "RuntimeDefault"})
        assert context.get("appArmorProfile") == ({"type": "Unconfined"} if inside else None)
        # Kubernetes unmasks /proc only for a pod in a user namespace of its own.
        assert (pod.get("hostUsers"), own.get("procMount")) == ((False, "Unmasked") if level == "ns" else (None, None))
    assert set(by_level) == {"ns", "shared", "landlock"}


def test_nobody_speaks_to_anybody_unless_it_is_said() -> None:
    for release in (two_pools(), everything()):
        for deployment in deployments(release):
            chosen = policies_of(release, labels_of(deployment))
            assert {kind for spec in chosen for kind in spec["policyTypes"]} == {"Ingress", "Egress"}


def test_a_tool_worker_reaches_the_store_and_names_and_nothing_else() -> None:
    dns = str({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}})
    store = str({"podSelector": {"matchLabels": {"app.kubernetes.io/name": "valkey"}}})
    for pool in ("shell", "web_pages"):
        labels = tool_worker_labels(two_pools(), pool)
        assert ways_out(two_pools(), labels) == sorted([(dns, 53), (store, 6379)])
        assert not any(spec.get("ingress") for spec in policies_of(two_pools(), labels))


def test_a_pool_with_an_allowlist_reaches_more_and_the_others_do_not() -> None:
    def reaches_the_world(pool: str) -> bool:
        ways = ways_out(everything(), tool_worker_labels(everything(), pool))
        return any("0.0.0.0/0" in peer and port == 443 for peer, port in ways)

    assert [reaches_the_world(pool) for pool in ("web_pages", "shell", "files")] == [True, False, False]


def test_the_model_is_reached_by_agent_workers_and_private_addresses_by_nobody() -> None:
    for deployment in deployments(two_pools()):
        ways = ways_out(two_pools(), labels_of(deployment))
        out = [peer for peer, _ in ways if "0.0.0.0/0" in peer]
        assert bool(out) == (labels_of(deployment)["app.kubernetes.io/component"] == "agent-worker")
        assert all("169.254.0.0/16" in peer and "10.0.0.0/8" in peer for peer in out)


def test_webhooks_leave_from_the_gateway_once_there_is_a_secret() -> None:
    for release, expected in ((two_pools(), False), (everything(), True)):
        (gateway,) = [d for d in deployments(release) if d["metadata"]["name"].endswith("-gateway")]
        assert any(port == 443 for _, port in ways_out(release, labels_of(gateway))) == expected
        assert ("ERRANDRY_GATEWAY__WEBHOOK_SECRET" in variables(gateway)) == expected


def test_each_process_has_a_redis_user_of_its_own() -> None:
    """By its secret's key; NOTES.txt says which user each of them is for."""
    keys = [variables(deployment)["ERRANDRY_REDIS_URL"] for deployment in deployments(two_pools())]
    assert len(set(keys)) == len(keys) == 5 and {secret for secret, _ in keys} == {"errandry-redis"}
    said = notes(TWO_POOLS)
    for key, user in (
        ("agents-url", AGENTS),
        ("gateway-url", GATEWAY),
        ("flower-url", FLOWER),
        ("pool-shell-url", pool_user("shell")),
        ("pool-web_pages-url", pool_user("web_pages")),
    ):
        assert f"{key}=redis://{user}:PASSWORD@" in said and ("errandry-redis", key) in keys


def test_the_models_key_is_the_agent_workers_alone() -> None:
    for release in (two_pools(), everything()):
        for deployment in deployments(release):
            is_agents = labels_of(deployment)["app.kubernetes.io/component"] == "agent-worker"
            assert (variables(deployment).get("OPENAI_API_KEY") is not None) == is_agents
            assert ("errandry-model" in str(deployment)) == is_agents


def test_secrets_are_named_and_never_made() -> None:
    for release in (two_pools(), everything()):
        assert not of_kind(release, "Secret")
        for deployment in deployments(release):
            for name, value in variables(deployment).items():
                held = isinstance(value, tuple)
                needs_one = name.endswith(("_URL", "_KEY", "_AUTH", "_TOKEN")) and name != "OPENAI_BASE_URL"
                assert held == needs_one, name


def test_the_secrets_of_a_pool_are_not_anothers() -> None:
    holders = [d["metadata"]["name"] for d in deployments(everything()) if "PROD_TOKEN" in variables(d)]
    assert len(holders) == 1 and "web-pages" in holders[0]


def test_the_gateways_keys_are_a_file_that_nobody_may_write() -> None:
    gateway = named(everything(), "Deployment", "support-gateway")
    (volume,) = [volume for volume in pod_of(gateway)["volumes"] if volume["name"] == "gateway"]
    assert volume["projected"]["defaultMode"] & 0o022 == 0
    (mount,) = [mount for mount in main_container(gateway)["volumeMounts"] if mount["name"] == "gateway"]
    assert mount["readOnly"] is True
    for variable in ("ERRANDRY_GATEWAY__API_KEYS", "ERRANDRY_GATEWAY__WEBHOOK_SECRET"):
        assert variables(gateway)[variable].removeprefix("file:").startswith(mount["mountPath"] + "/")
