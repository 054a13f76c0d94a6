"""The proxy as a process: what it holds, whom it runs as, how it ends, and that it is a call's only way out."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.egress_scenario import confined_client, page_server, policy_for, scenario
from tests.support.ordinary_user import UID, can_become_one, run_as_ordinary_user
from tests.support.sandboxes import ROOT
from tests.support.waiting import is_running, wait_until
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.egress.proxy import EgressProxy, receive_listener

AS_ORDINARY_USER = """
import json
from tests.support.egress_scenario import scenario
print(json.dumps(scenario()))
"""
SUPERVISOR = """
import sys, time
from tests.support.egress_scenario import policy_for
from workers.sandbox.egress.proxy import EgressProxy
proxy = EgressProxy(policy_for(80))
proxy.start()
print(proxy.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def proxy() -> Iterator[EgressProxy]:
    with closing(EgressProxy(policy_for(80))) as proxy:
        yield proxy


def check(seen: dict[str, Any]) -> None:
    assert seen["allowed"] == "hello"
    assert seen["refused"].startswith("403 evil.test is not in this pool's allow_domains.")
    assert "Tunnel connection failed: 403 evil.test is not in this pool's allow_domains" in seen["tunnel"]
    assert "refused" in seen["direct"], "there is nothing else in that network"
    assert seen["descriptors"] == [], "the call keeps neither the listener nor what it handed it out by"
    place = f"localhost:{seen['port']}"
    assert seen["told"]["refused"] == {f"evil.test:{seen['port']}": 1, "evil.test:443": 1}
    assert seen["told"]["sent"][place] > 50
    assert seen["told"]["received"][place] > 50
    assert seen["no_new_privs"] == "1"


def test_a_call_without_a_network_gets_out_by_the_proxy_alone() -> None:
    seen = scenario()
    check(seen)
    assert 0 not in seen["uids"]


@pytest.mark.skipif(not can_become_one(), reason="only root can become an ordinary user")
def test_the_same_for_an_ordinary_user() -> None:
    seen = run_as_ordinary_user(AS_ORDINARY_USER)
    check(seen)
    assert seen["uids"] == [UID] * 4


def test_the_proxy_holds_nothing_of_its_supervisor(proxy: EgressProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERRANDRY_REDIS_URL", "redis://:hush@127.0.0.1:1/0")
    with socket.create_server(("127.0.0.1", 0)) as kept:
        os.set_inheritable(kept.fileno(), True)
        proxy.start()
        folder = Path("/proc", str(proxy.pid))
        if os.geteuid() == 0:  # others may not look into a process that cannot be examined
            assert b"hush" not in (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            inode = f"socket:[{os.fstat(kept.fileno()).st_ino}]"
            assert inode not in _held(folder / "fd")


def test_the_proxy_ends_with_a_killed_supervisor() -> None:
    with subprocess.Popen(
        [sys.executable, "-B", "-c", SUPERVISOR],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert Path("/proc", str(pid)).exists()
        supervisor.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_running(pid), "the proxy has ended")


def test_a_killed_proxy_is_replaced() -> None:
    with page_server() as port, closing(EgressProxy(policy_for(port))) as proxy:
        url = f"http://localhost:{port}/"
        with confined_client(port, url) as (client, report):
            lost = proxy.serve(receive_listener(report))
            first = proxy.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: not is_running(first), "the proxy is dead")
            said = json.loads(client.communicate("go\n", timeout=30)[0])
            assert "refused" in said[url] or "reset" in said[url].lower(), "a dead proxy leaves no way out"
            assert lost.end() == {}
        with confined_client(port, url) as (client, report):
            way = proxy.serve(receive_listener(report))
            assert json.loads(client.communicate("go\n", timeout=30)[0])[url] == "hello"
            assert way.end()["refused"] == {}
        assert proxy.pid != first


def test_what_does_not_listen_is_not_served(proxy: EgressProxy) -> None:
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(SandboxUnavailableError, match="no listening socket"):
        proxy.serve(ours)
    with pytest.raises(SandboxUnavailableError, match="no listening socket"):
        proxy.serve(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with ours, pytest.raises(SandboxUnavailableError, match="no way to the network"):
        receive_listener(ours)


def test_nothing_is_served_after_the_end(proxy: EgressProxy) -> None:
    proxy.start()
    pid = proxy.pid
    assert pid is not None
    proxy.close()
    proxy.close()
    assert not is_running(pid)
    with pytest.raises(SandboxUnavailableError, match="closed"):
        proxy.serve(socket.create_server(("127.0.0.1", 0)))


def test_calls_leave_nothing_open_in_the_proxy(proxy: EgressProxy) -> None:
    proxy.serve(socket.create_server(("127.0.0.1", 0))).end()
    ours = len(list(Path("/proc/self/fd").iterdir()))
    inside = _descriptors(proxy)
    for _ in range(20):
        proxy.serve(socket.create_server(("127.0.0.1", 0))).end()
    # Fewer, if what an earlier test left was collected meanwhile.
    assert len(list(Path("/proc/self/fd").iterdir())) <= ours
    wait_until(lambda: _descriptors(proxy) <= inside, "the proxy has closed all")


def _held(descriptors: Path) -> set[str]:
    """What a process holds open; what it closes while it is looked at is not held."""
    found = set()
    for entry in descriptors.iterdir():
        with suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found


def _descriptors(proxy: EgressProxy) -> int:
    return len(list(Path("/proc", str(proxy.pid), "fd").iterdir())) if os.geteuid() == 0 else 0
