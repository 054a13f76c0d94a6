"""The compose files: Compose accepts them, no service may more than it must, and no secret stands in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent_core.agent import Agent
from queues import server_config
from queues.acl import OPERATOR, PREFIX, PRODUCER, roles
from queues.settings import load_settings
from tests.support.compose import DEPLOY, NAMESPACES, PLAIN, compose, merged, services, why_not
from workers.agents import load_project
from workers.health import main as health
from workers.model_server.script import load_script

pytestmark = [pytest.mark.deploy, pytest.mark.skipif(bool(why_not()), reason=why_not() or "Compose can be asked")]

BOTH = pytest.mark.parametrize("files", [PLAIN, NAMESPACES], ids=["plain", "ns"])
PROJECT = DEPLOY / "project"
POOLS = ("shell", "python")
ONCE = {"setup", "cli"}
CREDENTIALS = "/run/errandry"


@BOTH
def test_compose_finds_nothing_wrong(files: tuple[Path, ...]) -> None:
    done = compose("config", "--quiet", files=files)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_compose_would_find_a_misspelt_key(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("services: {flower: {read_onyl: true}}\n", encoding="utf-8")
    assert "read_onyl" in compose("config", "--quiet", files=(*PLAIN, wrong)).stderr


@BOTH
def test_the_specification_allows_every_key(files: tuple[Path, ...]) -> None:
    program = Path(sys.executable).parent / "check-jsonschema"
    words = [str(program), "--builtin-schema", "vendor.compose-spec", *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@BOTH
def test_no_service_may_more_than_it_must(files: tuple[Path, ...]) -> None:
    for name, service in services(files).items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"][0] == "no-new-privileges:true", name
        assert int(service["mem_limit"]) > 0 and int(service["pids_limit"]) > 0, name
        assert not service.get("privileged") and not service.get("devices") and not service.get("pid"), name
        if name == "setup":
            assert (service["user"], service["network_mode"], service["restart"]) == ("0:0", "none", "no")
            assert service["cap_add"] == ["CHOWN", "DAC_OVERRIDE"]
        else:
            assert service["user"] == "10001:10001" and not service.get("cap_add"), name
            assert service["init"] and service["restart"] == ("no" if name in ONCE else "unless-stopped"), name


def test_only_tool_workers_may_make_namespaces_and_only_when_asked() -> None:
    for name, service in services().items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
    for name, service in services(NAMESPACES).items():
        more = service["security_opt"][1:]
        wanted = ["seccomp:./seccomp.json", "systempaths=unconfined"] if name.startswith("tool-worker-") else []
        assert more == wanted, name
    assert (DEPLOY / "seccomp.json").exists()


def members(network: str) -> set[str]:
    return {name for name, service in services().items() if network in service.get("networks", {})}


def test_a_tool_worker_shares_a_network_with_the_store_and_nobody_else() -> None:
    networks = merged()["networks"]
    for pool in POOLS:
        (network,) = services()[f"tool-worker-{pool}"]["networks"]
        assert networks[network]["internal"] is True
        assert members(network) == {f"tool-worker-{pool}", "valkey"}


def test_only_the_agent_worker_reaches_models_and_only_doors_are_open() -> None:
    networks = merged()["networks"]
    assert members("models") == {"agent-worker", "model"}
    assert members("doors") == {"gateway", "flower"}
    assert {name for name, network in networks.items() if not network.get("internal")} == {"models", "doors"}
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published.keys() == {"gateway", "flower"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def place(user: str) -> str:
    return user.removeprefix(PREFIX)


def mounted(service: Mapping[str, Any]) -> dict[str, str]:
    """Target -> volume or folder."""
    return {volume["target"]: volume["source"] for volume in service.get("volumes", [])}


def test_each_process_finds_its_own_credentials_and_no_others() -> None:
    users = {place(role.user) for role in roles(POOLS)}
    own = {
        "agent-worker": "agents",
        "tool-worker-shell": "pool-shell",
        "tool-worker-python": "pool-python",
        "gateway": "gateway",
        "flower": "flower",
        "cli": place(OPERATOR),
        "valkey": "store",
    }
    assert set(own.values()) <= users | {"store"}
    for name, service in services().items():
        volumes = {target: source for target, source in mounted(service).items() if source.endswith("-credentials")}
        if name == "setup":
            wanted = {*own.values(), place(PRODUCER)}
            assert volumes == {f"/credentials/{one}": f"{one}-credentials" for one in wanted}
        elif name in own:
            assert volumes == {CREDENTIALS: f"{own[name]}-credentials"}
        else:
            assert volumes == {}
    writable = {
        name
        for name, service in services().items()
        for volume in service.get("volumes", [])
        if volume["target"] == CREDENTIALS and not volume.get("read_only")
    }
    assert writable == {"gateway"}


@BOTH
def test_no_secret_stands_in_the_files(files: tuple[Path, ...]) -> None:
    for file in (*files, DEPLOY / "scripted-model.env"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"://[^\s/@]*:[^\s/@]+@", text), f"{file}: an address with a password"
        named = dict(re.findall(r"(?im)^\s*-?\s*(\w*(?:password|secret|token|api_key))\s*[=:]\s*(\S.*)$", text))
        assert named.keys() <= {"OPENAI_API_KEY"} and set(named.values()) <= {"none"}, file
    for name, service in services(files).items():
        address = (service.get("environment") or {}).get("ERRANDRY_REDIS_URL", "redis://valkey:6379/0")
        assert address == "redis://valkey:6379/0", name


def test_only_the_agent_worker_is_told_of_the_model() -> None:
    raw = yaml.safe_load(PLAIN[0].read_text(encoding="utf-8"))["services"]
    assert [name for name, service in raw.items() if "env_file" in service] == ["agent-worker"]
    told = [
        name for name, service in services().items() if any("OPENAI" in key for key in service.get("environment") or ())
    ]
    assert told == ["agent-worker"]


@pytest.mark.parametrize("level", ["landlock", "strict"])
@pytest.mark.parametrize("pool", POOLS)
def test_settings_are_what_the_pool_wants(pool: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = services(PLAIN if level == "landlock" else NAMESPACES)[f"tool-worker-{pool}"]
    assert service["command"] == ["--pool", pool]
    for name in [name for name in os.environ if name.startswith("ERRANDRY_")]:
        monkeypatch.delenv(name)
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings(PROJECT)
    assert settings.pools.keys() == set(POOLS)
    assert {name: described.sandbox.level for name, described in settings.pools.items()} == {
        name: level if name == pool else "strict" for name in POOLS
    }
    assert settings.redis_users_file == Path(CREDENTIALS, "redis-users.json")


def test_the_example_project_has_what_the_stack_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))
    project = load_project(load_settings(PROJECT))
    (agent,) = project.agents.values()
    assert isinstance(agent, Agent) and agent.name == "office"
    tools = agent.functions()
    asked = {call.tool for rule in load_script(PROJECT / "model.toml").rules for call in rule.calls}
    assert asked == tools.keys()
    assert mounted(services()["agent-worker"])["/project"] == str(PROJECT)


def test_every_service_that_stays_says_how_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ERRANDRY_BEATS_DIR", str(tmp_path))
    for name, service in services().items():
        if name in ONCE | {"model"}:
            continue
        _, program, *words = service["healthcheck"]["test"]
        if name != "valkey":
            # 1: no such process is here; 2 would be a probe that does not understand its own words.
            assert (program, health(words)) == ("errandry-health", 1), name
            assert service["depends_on"].keys() == {"setup", "valkey"}, name
            conditions = {other: one["condition"] for other, one in service["depends_on"].items()}
            assert conditions == {"setup": "service_completed_successfully", "valkey": "service_healthy"}, name


def test_the_store_is_as_durable_as_the_embedded_one() -> None:
    program, *given = services()["valkey"]["command"]
    assert program == "valkey-server"
    ours = {words.removeprefix("--").partition(" ")[0]: words.partition(" ")[2] for words in given}
    embedded = dict(line.split(" ", 1) for line in server_config._SETTINGS.splitlines() if not line.startswith("#"))
    # Where it listens, and where its files lie, is the container's business.
    elsewhere = {"bind", "port", "protected-mode", "daemonize", "loglevel", "dir", "aclfile"}
    assert {name: ours.get(name) for name in embedded.keys() - elsewhere} == {
        name: value for name, value in embedded.items() if name not in elsewhere
    }
    assert ours["aclfile"] == f"{CREDENTIALS}/users.acl" and ours["dir"] in mounted(services()["valkey"])
