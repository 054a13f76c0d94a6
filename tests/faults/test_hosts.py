"""What tests with hosts rest on: a cut is as silent as it says, and nothing is left on the machine's own side."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hosts.places import Host, Hosts, obstacle
from tests.support.waiting import is_running, wait_until

_OBSTACLE = obstacle()
pytestmark = [pytest.mark.fault, pytest.mark.skipif(_OBSTACLE is not None, reason=_OBSTACLE or "")]

_PORT = 4711
_ECHO = f"""
import socket, threading
listener = socket.create_server(("0.0.0.0", {_PORT}))
print("ready", flush=True)
def echo(one):
    while text := one.recv(100):
        print(text.decode(), flush=True)
        one.sendall(text)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
"""
_TALK = f"""
import socket, sys
def said(words):
    try:
        words()
    except OSError as error:
        return type(error).__name__ if isinstance(error, TimeoutError) else error.strerror
    return "answered"
connection = socket.create_connection((sys.argv[1], {_PORT}), 30)
print("ready", flush=True)
for line in sys.stdin:
    word, patience = line.split()
    connection.settimeout(float(patience))
    print(said(lambda: (connection.sendall(word.encode()), connection.recv(100))), flush=True)
    print(said(lambda: socket.create_connection((sys.argv[1], {_PORT}), float(patience)).close()), flush=True)
"""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts("store", "far", "other") as hosts:
        yield hosts


class Program:
    """A Python program on a host, and what it says."""

    def __init__(self, host: Host, code: str, *words: str) -> None:
        command = host.command(sys.executable, "-c", code, *words)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.says() == "ready"

    def says(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def hears(self, word: str, *, patience_seconds: float = 60) -> None:
        """What it is to say to the store, and how long it waits for an answer.

        Long: after a cut TCP tries again only when as much time has passed once more as the cut has lasted.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word} {patience_seconds}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.parametrize(
    ("how", "kept", "anew", "arrives"),
    [
        ("silent", "TimeoutError", "TimeoutError", False),
        ("unplugged", "TimeoutError", "Network is unreachable", False),
        ("deaf", "TimeoutError", "TimeoutError", True),
    ],
)
def test_a_cut_is_what_it_is_called(how: str, kept: str, anew: str, arrives: bool, hosts: Hosts) -> None:
    """A connection that was there stays without a word, and is whole again afterwards."""
    store = Program(hosts["store"], _ECHO)
    far = Program(hosts["far"], _TALK, hosts["store"].address)
    other = Program(hosts["other"], _TALK, hosts["store"].address)
    try:
        far.hears("before")
        assert (far.says(), far.says(), store.says()) == ("answered", "answered", "before")
        hosts.cut("far", how)
        far.hears("during", patience_seconds=1.5)
        assert (far.says(), far.says()) == (kept, anew)
        other.hears("elsewhere")
        assert (other.says(), other.says()) == ("answered", "answered")
        assert store.says() == ("during" if arrives else "elsewhere")
        hosts.heal("far")
        far.hears("after")
        assert (far.says(), far.says()) == ("answered", "answered")
        assert hosts.cut_off == []
    finally:
        for program in (far, other, store):
            program.end()


def test_hosts_reach_the_store_only(hosts: Hosts) -> None:
    before = hosts["far"].tries_elsewhere()
    for where in (hosts["other"].address, "192.0.2.1"):
        with pytest.raises(AssertionError, match="unreachable"):
            hosts["far"].run(sys.executable, "-c", f"import socket; socket.create_connection(({where!r}, 80), 3)")
    assert hosts["far"].tries_elsewhere() == before + 2


def test_a_wire_takes_its_time() -> None:
    with Hosts("store", "far", one_way_seconds=0.1) as hosts:
        store = Program(hosts["store"], _ECHO)
        far = Program(hosts["far"], _TALK, hosts["store"].address)
        began = time.monotonic()
        far.hears("hello")
        assert far.says() == "answered"
        assert time.monotonic() - began >= 0.2
        for program in (far, store):
            program.end()


def test_a_killed_test_leaves_nothing() -> None:
    code = """
import os, time
from tests.support.hosts.places import Hosts
with Hosts("store", "far", one_way_seconds=0.01) as hosts:
    print(hosts["store"].pid, hosts["far"].pid, flush=True)
    time.sleep(600)
"""
    root = Path(__file__).parents[2]
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2 and all(map(is_running, pids)) and not cards_here()
    finally:
        owner.kill()
        owner.communicate()
    wait_until(lambda: not any(map(is_running, pids)), "the hosts are gone")
    assert not cards_here()


def test_a_thread_is_back_where_it_was() -> None:
    here = Path("/proc/thread-self/ns/net").readlink()
    with Hosts("store", "far"):
        assert Path("/proc/thread-self/ns/net").readlink() != here and cards_here()
    assert not cards_here() and Path("/proc/thread-self/ns/net").readlink() == here


def test_what_is_started_afterwards_is_not_in_there() -> None:
    """In a process that has started nothing before."""
    code = """
import subprocess, sys
from pathlib import Path
from queues.tether import spawn_tethered
from tests.support.hosts.places import Hosts
with open("/dev/null", "wb") as nowhere:
    with Hosts("store", "far"):
        spawn_tethered(["/bin/true"], env={}, output=nowhere).wait()
    here = Path("/proc/thread-self/ns/net").readlink()
    later = spawn_tethered(["/bin/sleep", "60"], env={}, output=nowhere)
    assert Path(f"/proc/{later.pid}/ns/net").readlink() == here
    later.kill()
    later.wait()
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, timeout=60)


def cards_here() -> list[str]:
    """The hosts' network cards where this thread is; others come and go there as they like."""
    names = [line.split(":")[0].strip() for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]]
    return [name for name in names if name == "between" or name.startswith("to-")]
