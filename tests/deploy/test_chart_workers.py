"""The chart and the product speak of the same things: commands, variables, queues, drains, probes, names of pools."""

from __future__ import annotations

import itertools
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from queues.acl import SCALER
from queues.settings import Settings, load_settings
from queues.settings_values import PoolName
from queues.topology import pool_queues
from tests.support.chart import (
    CHART,
    Manifest,
    chooses,
    every_option,
    labels_of,
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
from tests.support.command import ERRANDRY
from workers import health

pytestmark = [pytest.mark.deploy, pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be rendered")]

POOLS = ("a", "a_b", "a-b", "a-", "web-pages", "x" * 41)
# What a process may spend after its drain: it lets go of what it holds, and says so.
LEAVING_SECONDS = 15


@cache
def release() -> tuple[Manifest, ...]:
    scaled: dict[str, Any] = {"keda": {"enabled": True}}
    values = {"pools": dict.fromkeys(POOLS, scaled), "redis": {"host": "valkey"}, "flower": {"enabled": True}}
    return tuple(rendered(values))


@cache
def everything() -> tuple[Manifest, ...]:
    return tuple(rendered(every_option()))


def tool_workers() -> dict[str, Manifest]:
    """The Deployments by the pool that their command names."""
    found = {pool_of(deployment): deployment for deployment in of_kind(release(), "Deployment")}
    return {pool: deployment for pool, deployment in found.items() if pool is not None}


def test_each_pool_has_workers_with_a_name_of_its_own() -> None:
    workers = tool_workers()
    assert set(workers) == set(POOLS)
    assert len({deployment["metadata"]["name"] for deployment in workers.values()}) == len(POOLS)
    # And so has nobody the pods of another's.
    for deployment in of_kind(release(), "Deployment"):
        chosen = [
            other
            for other in of_kind(release(), "Deployment")
            if chooses(deployment["spec"]["selector"], labels_of(other))
        ]
        assert chosen == [deployment]


@pytest.mark.parametrize("pool", POOLS)
def test_the_variables_of_a_pool_are_read_as_settings_of_that_pool(
    pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "errandry.toml").write_text(f'[pools.{pool}]\ntools = ["a.b:c"]\n')
    for name, value in variables(tool_workers()[pool]).items():
        monkeypatch.setenv(name, value if isinstance(value, str) else "redis://errandry-user:password@h:6379/0")
    settings = load_settings(tmp_path)
    assert list(settings.pools) == [pool] and settings.pools[pool].sandbox.level == "landlock"
    assert settings.drain_seconds == 20 and settings.redis_url is not None


def test_names_of_pools_are_those_of_the_settings() -> None:
    from pydantic import TypeAdapter  # noqa: PLC0415

    for pool in POOLS:
        TypeAdapter(PoolName).validate_python(pool)


def test_every_variable_is_one_that_the_product_reads() -> None:
    keys = set(Settings.model_fields) | {"config"}
    for deployment in (*of_kind(release(), "Deployment"), *of_kind(everything(), "Deployment")):
        for name in variables(deployment):
            if name.startswith("ERRANDRY_"):
                assert name.removeprefix("ERRANDRY_").split("__")[0].lower() in keys, name


def test_settings_in_a_config_map_are_found_and_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = named(everything(), "ConfigMap", "support-settings")["data"]["errandry.toml"]
    for deployment in of_kind(everything(), "Deployment"):
        said = variables(deployment)
        mounts = {mount["name"]: mount["mountPath"] for mount in main_container(deployment)["volumeMounts"]}
        assert said["ERRANDRY_CONFIG"] == f"{mounts['settings']}/errandry.toml"
        assert said["ERRANDRY_PROJECT_DIR"] == "/project" == mounts["project"]
        assert mounts["state"] == "/project/.errandry"
    (tmp_path / "errandry.toml").write_text(text)
    monkeypatch.setenv("ERRANDRY_PROJECT_DIR", "/project")
    settings = load_settings(tmp_path / "errandry.toml")
    assert settings.state_dir == Path("/project/.errandry") and set(settings.pools) == set(every_option()["pools"])


@pytest.mark.parametrize("component", ["agent-worker", "tool-worker", "gateway", "flower"])
def test_the_commands_are_those_of_the_product(component: str) -> None:
    found = [d for d in of_kind(release(), "Deployment") if labels_of(d)["app.kubernetes.io/component"] == component]
    program, command, *options = main_container(found[0])["command"]
    assert (program, command) == ("errandry", component)
    page = subprocess.run([ERRANDRY, command, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    for option in options:
        assert not option.startswith("--") or option in page
    assert main_container(found[0])["image"] == f"errandry/{component}:0.1.0"


def test_probes_are_questions_that_the_product_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERRANDRY_BEATS_DIR", str(tmp_path))
    for deployment in of_kind(release(), "Deployment"):
        container = main_container(deployment)
        probes = [container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 120
        for probe in probes:
            if "exec" in probe:
                program, *words = probe["exec"]["command"]
                assert program == "errandry-health"
                # Not ready, as nobody left a note here; what is misused would be 2.
                assert health.main(words) == 1, words
                capsys.readouterr()
            else:
                assert probe["httpGet"]["path"] in {"/ready", "/health", "/healthcheck"}
        alive = container["livenessProbe"]
        assert "--alive" in alive.get("exec", {}).get("command", ["--alive"])
    gateway = main_container(named(release(), "Deployment", "errandry-gateway"))
    assert [gateway[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")] == ["/ready", "/health"]


@pytest.mark.parametrize("seconds", [0, 20, 90.5, 3600])
def test_the_grace_period_is_longer_than_the_drain(seconds: float) -> None:
    for deployment in of_kind(rendered({"pools": {"shell": {}}, "drainSeconds": seconds}), "Deployment"):
        said = variables(deployment)
        grace = pod_of(deployment)["terminationGracePeriodSeconds"]
        if "ERRANDRY_DRAIN_SECONDS" in said:
            assert float(said["ERRANDRY_DRAIN_SECONDS"]) == seconds
            assert grace > seconds + LEAVING_SECONDS
        else:
            assert grace >= 30


def test_budgets_and_services_choose_the_pods_that_they_are_for() -> None:
    deployments = {d["metadata"]["name"]: d for d in of_kind(release(), "Deployment")}
    budgets = of_kind(release(), "PodDisruptionBudget")
    # Flower is one pod, and may go when its node does.
    assert {budget["metadata"]["name"] for budget in budgets} == set(deployments) - {"errandry-flower"}
    for budget in budgets:
        chosen = [n for n, d in deployments.items() if chooses(budget["spec"]["selector"], labels_of(d))]
        assert chosen == [budget["metadata"]["name"]]
    for service in of_kind(release(), "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (chosen_one,) = [d for d in deployments.values() if chooses(selector, labels_of(d))]
        ports = {port["name"] for port in main_container(chosen_one)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        (spread,) = pod_of(chosen_one)["topologySpreadConstraints"]
        assert chooses(spread["labelSelector"], labels_of(chosen_one))


def test_keda_counts_the_lists_that_the_pools_workers_consume() -> None:
    workers = tool_workers()
    for pool in POOLS:
        scaled = named(release(), "ScaledObject", workers[pool]["metadata"]["name"])["spec"]
        assert scaled["scaleTargetRef"]["name"] == workers[pool]["metadata"]["name"]
        assert {trigger["metadata"]["listName"] for trigger in scaled["triggers"]} == set(pool_queues(pool))
        names = {trigger["name"] for trigger in scaled["triggers"]}
        assert set(scaled["advanced"]["scalingModifiers"]["formula"].split(" + ")) == names and len(names) == 3
        # What executes stands in no list.
        assert scaled["minReplicaCount"] >= 1
        # KEDA and Helm would otherwise each set what the other has set.
        assert "replicas" not in workers[pool]["spec"]


def test_keda_has_a_user_by_reference() -> None:
    (authentication,) = of_kind(release(), "TriggerAuthentication")
    asked = {entry["parameter"]: (entry["name"], entry["key"]) for entry in authentication["spec"]["secretTargetRef"]}
    assert asked == {
        "username": ("errandry-redis", "scaler-user"),
        "password": ("errandry-redis", "scaler-password"),
    }
    for scaled in of_kind(release(), "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    assert f"scaler-user={SCALER}" in notes({"pools": {"a": {"keda": {"enabled": True}}}, "redis": {"host": "h"}})


def test_keda_may_ask_prometheus_for_all_calls_without_an_answer() -> None:
    (scaled,) = [s for s in of_kind(everything(), "ScaledObject") if s["spec"]["triggers"][0]["type"] == "prometheus"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["query"] == 'max(errandry_calls_open{pool="web_pages", namespace="agents"})'
    assert "scalingModifiers" not in scaled["spec"]["advanced"]


def test_without_keda_the_number_of_workers_is_fixed() -> None:
    fixed = rendered({"pools": {"shell": {"replicas": 3}}})
    assert named(fixed, "Deployment", "errandry-tools-shell")["spec"]["replicas"] == 3
    assert not of_kind(fixed, "ScaledObject") and not of_kind(fixed, "TriggerAuthentication")


def test_the_project_is_copied_without_what_a_config_map_adds(tmp_path: Path) -> None:
    """The very command of the pod, on a folder as a ConfigMap is mounted: with links into a hidden one."""
    values = {"project": {"configMap": "support", "configMapItems": [{"key": "tools", "path": "support/tools.py"}]}}
    (container,) = pod_of(named(rendered(values), "Deployment", "errandry-agent-worker"))["initContainers"]
    source, copy = tmp_path / "source", tmp_path / "copy"
    hidden = source / "..2026_11_23" / "support"
    hidden.mkdir(parents=True)
    (hidden / "tools.py").write_text("print()\n")
    (source / "..data").symlink_to("..2026_11_23")
    (source / "support").symlink_to("..data/support")
    copy.mkdir()
    assert container["command"][-2:] == ["/source", "/copy"]
    subprocess.run([*container["command"][:-2], str(source), str(copy)], check=True, timeout=30)
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == [
        ".errandry",
        "support",
        "support/tools.py",
    ]
    assert not (copy / "support").is_symlink()


def test_each_value_has_a_sentence() -> None:
    """In the line above; tables that speak for themselves and what stands in examples of peers are left out."""
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        said = before.strip().startswith("#")
        name = line.strip().partition(":")[0]
        is_value = bool(re.match(r" {0,6}[a-zA-Z]+: \S", line)) and name not in ("requests", "limits", "cidr", "except")
        assert said or not is_value or name == "matchLabels", f"{line.strip()} stands there without a word"
