"""What the check asks of a stack that runs; each trial ends the check where something is not as it has to be."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from deploy.checking.caller import Caller
from deploy.checking.stack import NAME, SERVICES, WORKERS, Stack
from deploy.checking.transcript import await_true, found, say, step

_BOTH_POOLS = "Count the words in what id -u says and in one two three"
_MANY, _AT_ONCE = 200, 8
# Reaches for each "host:port" of its arguments, and prints those that answer.
_REACH = """
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(':', 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        print(place)
    except OSError:
        pass
"""


def runs_go_through(stack: Stack, caller: Caller, *, level: str) -> None:
    """A run whose calls two pools execute, behind the wall that was asked for, and one that pauses."""
    with step(f"runs through the gateway, sandbox level {level}"):
        ended = caller.wait(caller.submit(_BOTH_POOLS))
        found("a run with calls in both pools ends", ended["status"] == "COMPLETED", repr(ended["content"]))
        levels = {call["pool"]: call["metrics"]["sandbox_level"] for call in ended["tools"]}
        found("each call reports the level", levels == {"shell": level, "python": level}, levels)
        caller.go_on(caller.paused())


def how_fast(caller: Caller) -> None:
    """What the whole stack carries on this machine, all its processes and the caller together; said, never judged."""
    with step(f"{_MANY} runs with two calls each, {_AT_ONCE} at a time"), ThreadPoolExecutor(_AT_ONCE) as threads:
        started = time.monotonic()
        ended = list(threads.map(lambda _: caller.wait(caller.submit(_BOTH_POOLS))["status"], range(_MANY)))
        took = time.monotonic() - started
        found("all of them end", set(ended) == {"COMPLETED"})
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        say(f"   {_MANY / took:.1f} runs/s, {2 * _MANY / took:.1f} calls/s; {os.cpu_count()} cores, load {load}")


def containers_are_closed(stack: Stack) -> None:
    """No root, no writable system, no capabilities, no way from a tool worker to anything but the store."""
    with step("what the containers may do"):
        users = {service: stack.inside(service, "id", "-u") for service in SERVICES}
        found("none runs as root", set(users.values()) == {"10001"}, users)
        found(
            "no system can be written to",
            not any(stack.succeeds_inside(service, "sh", "-c", "echo > /usr/written") for service in SERVICES),
        )
        powers = {stack.inside(service, "grep", "CapBnd", "/proc/1/status").split()[1] for service in SERVICES}
        found("none may ever gain a capability", powers == {"0" * 16}, *powers)
    with step("what a tool worker reaches"):
        others = [
            f"{address}:{port}"
            for service, port in (("gateway", 8700), ("flower", 5555), ("model", 8000), ("valkey", 6379))
            for address in stack.addresses(service)
        ]
        places = ["valkey:6379", *others, "1.1.1.1:443", "deb.debian.org:80", "model:8000"]
        for pool, subnet in (("shell", "10.213.2"), ("python", "10.213.3")):
            reached = stack.inside(f"tool-worker-{pool}", "python", "-c", _REACH, *places).split()
            wanted = {"valkey:6379", f"{subnet}.10:6379"}
            found(f"{pool}: the store, of {len(places)} places, and nothing else", set(reached) == wanted, reached)
        reached = stack.inside("agent-worker", "python", "-c", _REACH, "model:8000", "valkey:6379").split()
        found("the agent worker reaches model and store", len(reached) == 2, reached)


def doors_are_shut(stack: Stack) -> None:
    """Flower and the gateway ask who is there."""
    with step("doors"):
        flower, gateway = f"http://127.0.0.1:{stack.flower_port}/", f"http://127.0.0.1:{stack.gateway_port}/v1/runs"
        found("Flower asks for credentials", _status(flower) == 401, _status(flower))
        known = stack.inside("flower", "cat", "/run/errandry/basic-auth")
        basic = {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"}
        found("Flower opens to those of its volume", _status(flower, basic) == 200, _status(flower, basic))
        found("the gateway asks for a key", _status(gateway) == 401, _status(gateway))


def probes_mean_it(stack: Stack) -> None:
    """While the store is frozen nobody is ready, yet nobody is to be restarted; once it is back, all are ready."""
    with step("probes, with the store frozen"):
        probes = {
            "agent-worker": ("agent-worker",),
            "tool-worker-shell": ("tool-worker", "--pool", "shell"),
            "tool-worker-python": ("tool-worker", "--pool", "python"),
        }

        def ready(service: str, *more: str) -> bool:
            return stack.succeeds_inside(service, "errandry-health", *probes[service], *more)

        stack.engine.run("pause", stack.compose.container("valkey"))
        try:
            await_true("no worker is ready", lambda: not any(map(ready, WORKERS)), within_seconds=120)
            found("all are alive, so none would be restarted", all(ready(service, "--alive") for service in WORKERS))
        finally:
            stack.engine.run("unpause", stack.compose.container("valkey"))
        await_true("all are ready again", lambda: all(map(ready, WORKERS)), within_seconds=120)


def restart_loses_nothing(stack: Stack, caller: Caller) -> None:
    """A killed store comes back with every run, and a paused one goes on."""
    with step("the store is killed and started again"):
        run_id = caller.paused()
        before = {run["run_id"]: run["status"] for run in caller.ask("/v1/runs?limit=200")["runs"]}
        name = stack.compose.container("valkey")
        stack.engine.run("kill", "--signal", "KILL", name)
        await_true("it is gone", lambda: not stack.engine.inspect(name)["State"]["Running"], within_seconds=20)
        stack.engine.run("start", name)
        await_true("the gateway is ready again", lambda: _status_ready(stack), within_seconds=60)
        after = {run["run_id"]: run["status"] for run in caller.ask("/v1/runs?limit=200")["runs"]}
        found("all runs are there as they were", after == before, f"{len(after)} runs")
        caller.go_on(run_id)
        ended = caller.wait(caller.submit(_BOTH_POOLS))
        found("a new run goes through both pools", ended["status"] == "COMPLETED")


def the_command_line_works(stack: Stack) -> None:
    """What an operator would type."""
    with step("errandry doctor --no-sandbox, as the service cli"):
        said = json.loads(stack.command("doctor", "--no-sandbox", "--json"))
        worse = [finding["text"] for finding in said["findings"] if finding["level"] != "ok"]
        found(f"all of {len(said['findings'])} findings are well", said["level"] == "ok", *worse)


def sizes(stack: Stack) -> None:
    """Memory of each container, as its control group counts it, and of its largest process."""
    with step("memory (container: control group without page cache; largest process: resident)"):
        for service in (*SERVICES, "model"):
            resident = stack.inside(service, "sh", "-c", "grep -h VmRSS /proc/[0-9]*/status | sort -rnk2 | head -1")
            name = stack.compose.container(service)
            counted = stack.engine.run("stats", "--no-stream", "--format", "{{.MemUsage}}, {{.PIDs}} processes", name)
            say(f"   {service:20} {counted:36} largest {int(resident.split()[1]) / 1000:.0f} MB")


def a_copy_of_the_store(stack: Stack, archive: str) -> None:
    """What the README calls a backup, taken while everything runs."""
    with step("backup: the store's volume, copied while it runs"):
        stack.engine.run("volume", "export", f"{NAME}_valkey-data", "--output", archive)


def restored(stack: Stack, archive: str) -> None:
    """A new volume from the copy; the rest of the project has been forgotten."""
    with step("restore: everything is removed, a new volume is filled from the copy"):
        stack.forget()
        labels = {"com.docker.compose.project": NAME, "com.docker.compose.volume": "valkey-data"}
        words = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
        stack.engine.run("volume", "create", *words, f"{NAME}_valkey-data")
        stack.engine.run("volume", "import", f"{NAME}_valkey-data", archive)


def _status(url: str, headers: Mapping[str, str] | None = None) -> int:
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _status_ready(stack: Stack) -> bool:
    return _status(f"http://127.0.0.1:{stack.gateway_port}/ready") == 200
