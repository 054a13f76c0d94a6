"""The compose stack under podman: what differs there, its health, and its end.

What differs: images of this check, fixed addresses instead of names in internal networks (podman's CNI gives those no
names), and health checks run from here (podman leaves them to systemd, which a container has not).
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.checking.engine import Compose, Engine
from deploy.checking.images import PREFIX, ROOT, TAG, image
from deploy.checking.transcript import await_true, say

NAME = "errandry-check"
WORKERS = ("agent-worker", "tool-worker-shell", "tool-worker-python")
SERVICES = ("valkey", *WORKERS, "gateway", "flower")
NETWORKS = {"trusted": "10.213.1", "pool-shell": "10.213.2", "pool-python": "10.213.3"}
# Of their own as well: what podman chooses may be what an earlier network left a route to.
_OPEN_NETWORKS = {"models": "10.213.4", "doors": "10.213.5"}
_HOME = {"tool-worker-shell": "pool-shell", "tool-worker-python": "pool-python"}


class Stack:
    """The services of compose.yaml, and where they can be asked."""

    def __init__(self, engine: Engine, folder: Path, *, namespaces: bool) -> None:
        self.engine = engine
        self.gateway_port, self.flower_port = _free_port(), _free_port()
        files = [ROOT / "deploy/compose.yaml", folder / "podman.json"]
        files[1].write_text(json.dumps(_differences(namespaces=namespaces)), encoding="utf-8")
        self.compose = Compose(
            engine,
            name=NAME,
            files=files,
            variables={
                "ERRANDRY_IMAGES": PREFIX,
                "ERRANDRY_VERSION": TAG,
                "VALKEY_IMAGE": image("valkey"),
                "ERRANDRY_LEVEL": "strict" if namespaces else "landlock",
                "ERRANDRY_LOG_DRIVER": "k8s-file",
                "ERRANDRY_GATEWAY_PORT": str(self.gateway_port),
                "ERRANDRY_FLOWER_PORT": str(self.flower_port),
            },
        )

    @contextmanager
    def up(self) -> Iterator[None]:
        """Everything, healthy, until the end of the block; volumes stay."""
        with self.engine.service(), self._health_checks():
            try:
                self.compose.run("up", "--detach", "--no-build", "--wait", timeout_seconds=300)
                await_true("all services are healthy", lambda: not self.unhealthy(), within_seconds=120)
                yield
            except BaseException:
                self._tell_last_words()
                raise
            finally:
                with contextlib.suppress(Exception):
                    self.compose.run("down", "--timeout", "45", timeout_seconds=300)

    def unhealthy(self) -> dict[str, str]:
        """The services that are not healthy, each with what is known of it."""
        states = {service: self._health(service) for service in SERVICES}
        return {service: state for service, state in states.items() if state != "healthy"}

    def _health(self, service: str) -> str:
        state = self.engine.inspect(self.compose.container(service))["State"]
        health = state.get("Health") or state.get("Healthcheck") or {}
        return str(health.get("Status")) if state.get("Running") else f"ended ({state.get('ExitCode')})"

    def _tell_last_words(self) -> None:
        for service in ("setup", *SERVICES):
            words = ["podman", "logs", "--tail", "15", self.compose.container(service)]
            done = subprocess.run(words, env=self.engine.environment, capture_output=True, text=True, check=False)
            for line in (done.stdout + done.stderr).splitlines():
                say(f"   {service} | {line}")

    def addresses(self, service: str) -> list[str]:
        """Where a service is, one address for each of its networks."""
        settings = self.engine.inspect(self.compose.container(service))["NetworkSettings"]
        return [str(network["IPAddress"]) for network in settings["Networks"].values()]

    def inside(self, service: str, *words: str, check: bool = True) -> str:
        """What a command prints in the container of a service."""
        return self.engine.run("exec", self.compose.container(service), *words, check=check)

    def succeeds_inside(self, service: str, *words: str) -> bool:
        """Whether a command in the container of a service ends with status 0."""
        return self.engine.succeeds("exec", self.compose.container(service), *words)

    def command(self, *words: str) -> str:
        """What the service `cli` prints for a command, run by podman itself.

        Compose cannot: podman says "<nil>" of an internal network's gateway, which Compose takes for an address.
        """
        settings = self.compose.settings("cli")
        variables = [word for name, value in settings["environment"].items() for word in ("--env", f"{name}={value}")]
        return self.engine.run(
            *("run", "--rm", "--init", "--read-only", "--user", settings["user"], "--cap-drop=all"),
            *("--tmpfs", settings["tmpfs"][0], "--network", f"{NAME}_trusted"),
            *("--add-host", f"valkey:{NETWORKS['trusted']}.10", *variables),
            *("--volume", f"{ROOT}/deploy/project:/project:ro"),
            *("--volume", f"{NAME}_operator-credentials:/run/errandry:ro"),
            *("--entrypoint", "errandry", settings["image"], *words),
            check=False,
        )

    def forget(self) -> None:
        """Take everything away that the project left: containers, networks, volumes."""
        label = f"label=com.docker.compose.project={NAME}"
        for kind, remove in (("ps", "rm"), ("network ls", "network rm"), ("volume ls", "volume rm")):
            everything = ["--all"] if kind == "ps" else []
            names = self.engine.run(*kind.split(), *everything, "--quiet", "--filter", label, check=False).split()
            for name in names:
                self.engine.run(*remove.split(), "--force", name, check=False)

    @contextmanager
    def _health_checks(self) -> Iterator[None]:
        """Podman's health checks, which it leaves to systemd."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(1):
                for service in SERVICES:
                    self.engine.succeeds("healthcheck", "run", self.compose.container(service))

        turning = threading.Thread(target=run, name="health-checks")
        turning.start()
        try:
            yield
        finally:
            over.set()
            turning.join()


def _differences(*, namespaces: bool) -> dict[str, object]:
    services: dict[str, dict[str, object]] = {
        service: {"extra_hosts": [f"valkey:{NETWORKS[_HOME.get(service, 'trusted')]}.10"]}
        for service in (*SERVICES[1:], "cli")
    }
    services["valkey"] = {
        # Its own hardware address as well: with another one after each start the others would talk to the old one for a
        # while.
        "networks": {
            network: {"ipv4_address": f"{subnet}.10", "mac_address": f"02:42:0a:d5:0{number}:0a"}
            for number, (network, subnet) in enumerate(NETWORKS.items(), 1)
        },
    }
    for service in _HOME if namespaces else ():
        # The filter itself is in podman's settings; this is its word for Docker's systempaths=unconfined.
        services[service]["security_opt"] = ["unmask=ALL"]
    subnets = NETWORKS | _OPEN_NETWORKS
    networks = {network: {"ipam": {"config": [{"subnet": f"{subnet}.0/24"}]}} for network, subnet in subnets.items()}
    return {"services": services, "networks": networks}


def _free_port() -> int:
    """One below those that the kernel hands out to others in the minutes until it is used."""
    while True:
        port = random.randrange(20_000, 30_000)  # noqa: S311 - guards nothing
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
