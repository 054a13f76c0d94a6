"""The units under a real systemd: they start, work behind the walls that they promise, and leave in good order."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agent_core.run import RunStatus
from queues.acl import AGENTS, FLOWER, GATEWAY, PRODUCER, pool_user, roles
from queues.announcements import announced
from queues.client import Client
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.ports import free_port
from tests.support.sandboxes import ROOT
from tests.support.systemd_host import SystemdHost, why_not
from tests.support.waiting import wait_until
from workers.model_server.server import ModelServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.redis,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be booted"),
]

UNITS = ROOT / "deploy" / "systemd"
STARTER = ROOT / "workers" / "starter" / "template"
SETTINGS = """agents = ["support.agents:ops"]
[pools.shell]
tools = ["support.tools:execute_shell_command"]
[pools.text]
tools = ["support.tools:count_words"]
"""
STARTED = (
    "errandry-agent-worker",
    "errandry-tool-worker@shell",
    "errandry-tool-worker@text",
    "errandry-gateway",
    "errandry-flower",
)
# No journal there: what units say goes into files.
_TO_FILES = "[Service]\nStandardOutput=append:/out/%n.log\nStandardError=append:/out/%n.log\n"
KEY = "sk-of-the-agent-worker-alone"


@dataclass
class Host:
    """The machine with all units started, and the server that they use."""

    systemd: SystemdHost
    server: EmbeddedServer
    gateway_port: int

    def health(self, *words: str) -> str:
        """What errandry-health says of a process, empty if it takes work."""
        kind = words[0] if words[0] != "tool-worker" else f"tool-worker-{words[2]}"
        place = f"ERRANDRY_BEATS_DIR=/run/errandry/{kind}"
        done = self.systemd.run(
            "sh", "-c", f'{place} /opt/errandry/bin/errandry-health "$@" || echo failed', "sh", *words
        )
        return done.strip()


def files(server: EmbeddedServer, endpoint: str, *, gateway_port: int, flower_port: int) -> dict[str, str]:
    """What an administrator puts onto the machine."""
    units = {
        f"etc/systemd/system/{unit.name}": unit.read_text()
        for unit in UNITS.glob("errandry*.*")
        if unit.suffix in (".service", ".target")
    }
    project = {
        f"srv/errandry/{path.relative_to(STARTER)}": path.read_text()
        for path in STARTER.rglob("*")
        if path.suffix in (".py", ".toml")
    }
    agents = f"ERRANDRY_REDIS_URL={server.url_of(AGENTS)}\nOPENAI_API_KEY={KEY}\nOPENAI_BASE_URL={endpoint}\n"
    return {
        **units,
        **project,
        "srv/errandry/errandry.toml": SETTINGS,
        "usr/lib/sysusers.d/errandry.conf": (UNITS / "errandry.sysusers").read_text(),
        "etc/systemd/system/service.d/said.conf": _TO_FILES,
        "etc/systemd/system/errandry-agent-worker.service.d/credentials.conf": (UNITS / "credentials.conf").read_text(),
        "etc/systemd/system/errandry-tool-worker@text.service.d/landlock.conf": (UNITS / "landlock.conf").read_text(),
        "etc/systemd/system/errandry-flower.service.d/port.conf": "[Service]\nExecStart=\n"
        f"ExecStart=/opt/errandry/bin/errandry flower --port {flower_port}\n",
        "etc/errandry/agent-worker.env": agents,
        "etc/errandry/tool-worker-shell.env": f"ERRANDRY_REDIS_URL={server.url_of(pool_user('shell'))}\n",
        "etc/errandry/tool-worker-text.env": f"ERRANDRY_REDIS_URL={server.url_of(pool_user('text'))}\n"
        "ERRANDRY_POOLS__TEXT__SANDBOX__LEVEL=landlock\n",
        "etc/errandry/gateway.env": f"ERRANDRY_REDIS_URL={server.url_of(GATEWAY)}\n"
        f"ERRANDRY_GATEWAY__PORT={gateway_port}\n",
        "etc/errandry/flower.env": f"ERRANDRY_REDIS_URL={server.url_of(FLOWER)}\n",
    }


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    gateway_port = free_port()
    with (
        EmbeddedServer.start(folder / "server", roles=roles(("shell", "text"))) as server,
        ModelServer(STARTER / "model.toml") as endpoint,
    ):
        written = files(server, endpoint.base_url, gateway_port=gateway_port, flower_port=free_port())
        (folder / "machine").mkdir()
        with SystemdHost(folder / "machine", written) as systemd:
            # As after an installation: the project is nobody's but root's and the group's, and the units are enabled.
            systemd.run("sh", "-c", "chgrp -R errandry /srv/errandry && chmod -R o= /srv/errandry /etc/errandry")
            for unit in STARTED:
                systemd.systemctl("add-wants", "errandry.target", unit)
            systemd.systemctl("daemon-reload")
            systemd.systemctl("start", "errandry.target")
            yield Host(systemd, server, gateway_port)
        shutil.rmtree(folder / "machine", ignore_errors=True)


def test_all_of_it_works_and_leaves_in_good_order(host: Host) -> None:
    with connect(host.server.url) as owner:
        # The wall that the unit leaves room for, and the one that the drop-in does without namespaces.
        for pool, level in (("shell", "ns"), ("text", "landlock")):
            wait_until(lambda pool=pool: announced(owner, pool), f"{pool} is there", timeout_seconds=90)  # type: ignore[misc]
            assert [worker.level for worker in announced(owner, pool)] == [level], host.systemd.said()
        runs_go_through(host)
        probes_say_so(host)
        each_is_a_user_of_its_own(host)

        host.systemd.systemctl("stop", "errandry.target")
        for unit in STARTED:
            wait_until(lambda unit=unit: has_left(host, unit), f"{unit} has left", timeout_seconds=60)  # type: ignore[misc]
            state = {name: host.systemd.state(unit, name) for name in ("ActiveState", "Result", "ExecMainStatus")}
            ended_well = {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
            assert (unit, state) == (unit, ended_well), host.systemd.said()
        # They took leave themselves.
        assert announced(owner, "shell") == [] == announced(owner, "text")


def has_left(host: Host, unit: str) -> bool:
    return host.systemd.state(unit, "ActiveState") not in ("active", "deactivating")


def runs_go_through(host: Host) -> None:
    with Client(host.server.url_of(PRODUCER)) as client:
        listed = client.submit("ops", "Execute the shell command ls /proc | grep -c '^[0-9]'")
        counted = client.submit("ops", "Count the words in one two three")
        output = listed.wait(timeout=90)
        assert output.status is RunStatus.COMPLETED, host.systemd.said()
        # Its own processes, not the machine's.
        assert output.tools is not None and int(str(output.tools[0].result)) < 10
        assert counted.wait(timeout=90).content == "There are 3 words."


def probes_say_so(host: Host) -> None:
    for words in (("agent-worker",), ("tool-worker", "--pool", "shell"), ("tool-worker", "--pool", "text")):
        # Not before its first heartbeat.
        wait_until(lambda words=words: host.health(*words) == "", f"{words} is ready", timeout_seconds=60)  # type: ignore[misc]
        assert host.health(*words, "--alive") == ""
    door = ("gateway", "--port", str(host.gateway_port))
    wait_until(lambda: host.health(*door) == "", "the gateway is ready", timeout_seconds=60)
    for unit in STARTED:
        state = {name: host.systemd.state(unit, name) for name in ("SubState", "NRestarts")}
        assert (unit, state) == (unit, {"SubState": "running", "NRestarts": "0"}), host.systemd.said()


def each_is_a_user_of_its_own(host: Host) -> None:
    """And only the agent worker was given the model's key, by way of a credential."""
    processes = {unit: host.systemd.state(unit, "MainPID") for unit in STARTED}
    users = [host.systemd.run("stat", "-c", "%u", f"/proc/{pid}").strip() for pid in processes.values()]
    assert "0" not in users and len(set(users)) == len(STARTED), users
    holders = [unit for unit, pid in processes.items() if KEY in host.systemd.run("cat", f"/proc/{pid}/environ")]
    assert holders == ["errandry-agent-worker"]
