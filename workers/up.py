"""All processes of a project on this machine: what is started, in which order, with which environment.

Never watches a process itself (`processes` does), and never gives the model's key to anything but agent workers.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_core.errors import ErrandryError
from queues.acl import AGENTS, FLOWER, GATEWAY, PRODUCER, pool_user
from queues.connections import check, connect
from queues.embedded import EmbeddedServer
from queues.errors import SettingsError
from queues.redis_url import project_roles, resolved, url_of
from queues.settings import PoolSettings, Settings
from workers.child import ChildCommand, LineSink
from workers.processes import ProcessError, ProcessGroup, ensure_port_free

_MODEL_VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
_MODEL_SERVER = "model-server"
_READY_SECONDS = 60.0
_REVIVE_SECONDS = 0.5
# How long workers get beyond their drain to hand back what they could not finish; then they are killed.
_HAND_BACK_SECONDS = 8.0
_LOCALHOST = "127.0.0.1"


class StartError(ErrandryError):
    """A process of the project does not start; the sentence is its own."""


@dataclass(frozen=True)
class ModelServerChoice:
    """The model that takes the place of a real endpoint: a script, or (without one) the local model."""

    script: Path | None


@dataclass(frozen=True)
class Running:
    """A project whose processes all run, each as a Redis user of its own. The settings are as they were given."""

    settings: Settings
    group: ProcessGroup
    server: EmbeddedServer | None
    flower_url: str | None
    gateway_url: str | None

    def pids(self) -> dict[str, int]:
        """The process of each name."""
        server = {"valkey": self.server.pid} if self.server is not None else {}
        return {**server, **self.group.pids()}

    def supervise(self) -> None:
        """Start again what crashes, until a signal's exception interrupts this."""
        over = threading.Event()
        if self.server is not None:
            threading.Thread(target=_revive, args=(self.server, over), name="revive-valkey", daemon=True).start()
        try:
            self.group.supervise()
        finally:
            over.set()


@contextmanager
def running(
    settings: Settings,
    *,
    on_line: LineSink,
    flower_port: int | None,
    gateway_port: int | None,
    model: ModelServerChoice | None = None,
    drain_seconds: float | None = None,
) -> Iterator[Running]:
    """Start everything and wait until all is ready; at the end of the block drain the workers, and the server last.

    Workers get `drain_seconds`, else those of the settings, for what they hold; then they hand it back.

    A port of 0 takes a free one, None leaves Flower or the gateway out. An exception in the block, also that of a
    signal, drains all the same. Raises the errors of the settings and of Redis, ProcessError for a taken port,
    StartError for a process that does not start.
    """
    if not settings.agents and not settings.pools:
        raise SettingsError(
            f"{settings.config_file or settings.project_dir} lists no agents and no pools, so there is nothing to "
            "start; `errandry init DIR` writes a project to begin with."
        )
    if flower_port:
        ensure_port_free(_LOCALHOST, flower_port, what="Flower", option="--flower-port")
    if gateway_port:
        ensure_port_free(
            settings.gateway.host, gateway_port, what="the gateway", option="--gateway-port, or port in [gateway]"
        )
    if drain_seconds is not None:
        settings = settings.model_copy(update={"drain_seconds": drain_seconds})
    with ExitStack() as stack:
        server = None
        if settings.redis_url is None:
            server = stack.enter_context(EmbeddedServer.start(settings.state_dir, roles=project_roles(settings)))
        _check_redis(settings)
        last_words: dict[str, str] = {}

        def note(name: str, line: str) -> None:
            if line.strip():
                last_words[name] = line.strip()
            on_line(name, line)

        group = stack.enter_context(
            ProcessGroup(on_line=note, drain_seconds=settings.drain_seconds + _HAND_BACK_SECONDS)
        )
        model_port, *free_ports = _free_ports(3)
        flower_port = free_ports[0] if flower_port == 0 else flower_port
        gateway_port = free_ports[1] if gateway_port == 0 else gateway_port
        commands = _commands(
            settings, model=model, model_port=model_port, flower_port=flower_port, gateway_port=gateway_port
        )
        try:
            # A stage of its own, which stops last: a worker that drains may still ask the model.
            group.start(*(command for command in commands if command.name == _MODEL_SERVER))
            group.start(*(command for command in commands if command.name != _MODEL_SERVER))
        except ProcessError as error:
            raise _start_error(error, commands, group, last_words) from error
        yield Running(
            settings=settings,
            group=group,
            server=server,
            flower_url=_url(_LOCALHOST, flower_port),
            gateway_url=_url(settings.gateway.host, gateway_port),
        )


def _url(host: str, port: int | None) -> str | None:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}" if port is not None else None


def has_endpoint(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a real model endpoint."""
    return any(environment.get(name) for name in _MODEL_VARIABLES)


def _commands(
    settings: Settings,
    *,
    model: ModelServerChoice | None,
    model_port: int,
    flower_port: int | None,
    gateway_port: int | None,
) -> list[ChildCommand]:
    signing = _signing_variable(settings)
    shared = {name: value for name, value in os.environ.items() if name != signing}
    plain = _without_model(shared)
    commands = []
    agent_environment = {**shared, **_settings_for(AGENTS, settings)}
    if model is not None:
        agent_environment |= {"OPENAI_BASE_URL": f"http://{_LOCALHOST}:{model_port}/v1", "OPENAI_API_KEY": "none"}
        commands.append(_model_server(model, model_port, plain, settings.project_dir))
    if settings.agents:
        commands.append(_ours("agent-worker", ["agent-worker"], agent_environment, settings, r"worker is ready"))
    for pool, described in settings.pools.items():
        if pool in settings.http_pools:
            continue
        environment = {**plain, **_named_by(described, signing), **_settings_for(pool_user(pool), settings)}
        name = f"tool-worker {pool}"
        commands.append(_ours(name, ["tool-worker", "--pool", pool], environment, settings, r"worker is ready"))
    if flower_port is not None:
        environment = {**plain, **_settings_for(FLOWER, settings)}
        arguments = ["flower", "--port", str(flower_port)]
        commands.append(_ours("flower", arguments, environment, settings, r"Flower is ready at"))
    if gateway_port is not None:
        environment = {**_without_model(os.environ), **_settings_for(GATEWAY, settings)}
        arguments = ["gateway", "--port", str(gateway_port)]
        commands.append(_ours("gateway", arguments, environment, settings, r"Gateway is ready at"))
    return commands


def _settings_for(user: str, settings: Settings) -> dict[str, str]:
    """The settings as variables, with the Redis password of one user and of no other."""
    return resolved(settings, user).as_environment()


def _ours(
    name: str, arguments: list[str], environment: Mapping[str, str], settings: Settings, ready: str
) -> ChildCommand:
    return ChildCommand(
        name=name,
        # -P: a package of the user's that is named as one of ours must not take its place.
        command=[sys.executable, "-P", "-m", "workers.cli", *arguments],
        env={**environment, "PYTHONUNBUFFERED": "1"},
        cwd=settings.project_dir,
        ready_line=re.compile(ready),
        ready_timeout_seconds=_READY_SECONDS,
    )


def _model_server(model: ModelServerChoice, port: int, environment: Mapping[str, str], folder: Path) -> ChildCommand:
    who = ["--mode", "local"] if model.script is None else ["--script", str(model.script.resolve())]
    return ChildCommand(
        name=_MODEL_SERVER,
        command=[sys.executable, "-P", "-m", "workers.model_server", *who, "--port", str(port)],
        env=environment,
        cwd=folder,
        ready_line=re.compile(r"^Model server ready at"),
        ready_timeout_seconds=_READY_SECONDS,
    )


def _without_model(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _MODEL_VARIABLES}


def _signing_variable(settings: Settings) -> str | None:
    """The variable with the secret of webhooks, if it is one: the gateway's alone."""
    kind, _, name = (settings.gateway.webhook_secret or "").partition(":")
    return name if kind == "env" else None


def _named_by(pool: PoolSettings, signing: str | None) -> dict[str, str]:
    """What a pool asks for by name it gets, even if that is the model's key."""
    wanted = {*pool.sandbox.env, *pool.sandbox.secrets}
    return {name: os.environ[name] for name in (*_MODEL_VARIABLES, signing) if name in wanted and name in os.environ}


def _check_redis(settings: Settings) -> None:
    """Whether each process will get in, before any is started: that one of them does not would be said by it alone."""
    worked = (pool for pool in settings.pools if pool not in settings.http_pools)
    users = [PRODUCER, *([AGENTS] if settings.agents else []), *map(pool_user, worked)]
    for url in {url_of(settings, user) for user in users}:
        with connect(url) as connection:
            check(connection)


def _start_error(
    error: ProcessError, commands: list[ChildCommand], group: ProcessGroup, last_words: Mapping[str, str]
) -> ErrandryError:
    """The sentence of the process that ended, if it said one; its last words are its sentence."""
    for command in commands:
        if command.name not in group.pids() and command.name in last_words:
            return StartError(f"{command.name}: {last_words[command.name].removeprefix('Error: ')}")
    return error


def _revive(server: EmbeddedServer, over: threading.Event) -> None:
    while not over.wait(_REVIVE_SECONDS):
        server.revive()


def _free_ports(count: int) -> list[int]:
    # All at once: a port that was let go of may be the next one that is given.
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server((_LOCALHOST, 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]
