"""A pool whose tools try every way to the network, and a walk through them that any user can take.

It imports no test; an ordinary user runs it in an interpreter of its own.
"""

from __future__ import annotations

import json
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from queues.settings import SandboxSettings
from tests.support.egress_scenario import page_server
from tests.support.levels import opened_at, project_with
from workers.sandbox.base import SandboxCall, SandboxLevel

TOOLS = """
import os, socket, time, urllib.error, urllib.request

def fetch(url: str) -> str:
    try:
        return urllib.request.urlopen(url, timeout=10).read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"

def _tried(kind, *arguments):
    try:
        kind(*arguments)
    except OSError:
        return "refused"
    return "connected"

def _unix(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)

def _datagram(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect((host, port))
        one.send(b"x")

def other_ways(port: int) -> dict[str, str]:
    ways = {
        "direct": _tried(socket.create_connection, ("127.0.0.1", port), 2),
        "public": _tried(socket.create_connection, ("93.184.216.34", 80), 2),
        "metadata": _tried(socket.create_connection, ("169.254.169.254", 80), 2),
        "name": _tried(socket.getaddrinfo, "example.com", 80),
        "datagram": _tried(_datagram, "8.8.8.8", 53),
        "abstract": _tried(_unix, chr(0) + "errandry"),
        "file": _tried(_unix, "/run/dbus/system_bus_socket"),
    }
    return ways

def proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "PROXY" in name.upper()}

def descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        if os.path.exists(f"/proc/self/fd/{fd}"):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return found

def hold_connections() -> None:
    held = [socket.create_connection(("127.0.0.1", 3128)) for _ in range(20)]
    for one in held:
        one.send(b"GET http://localhost/ HT")
    time.sleep(60)
"""
NAMES = ("fetch", "other_ways", "proxies", "descriptors", "hold_connections")


def walk() -> dict[str, object]:
    """An allowed page, a refused one, and every other way."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, page_server() as port:
        project = project_with(Path(folder) / "project", TOOLS)
        Path(folder).chmod(0o755)
        settings = SandboxSettings(
            network="allowlist", allow_domains=("localhost",), allow_ports=(port,), allow_private=True
        )
        with closing(opened_at(SandboxLevel.NS, settings, project, *NAMES)) as sandbox:

            def said(tool: str, **arguments: str | int) -> str:
                call = SandboxCall(tool, arguments, idempotency_key="run_1:1:call")
                return sandbox.run(call, cancelled=threading.Event()).content

            others = json.loads(said("other_ways", port=port))
            return {
                "allowed": said("fetch", url=f"http://localhost:{port}/"),
                "refused": said("fetch", url=f"http://evil.test:{port}/")[:3],
                "others": sorted(set(others.values())),
            }
