"""Hosts on this machine: network namespaces around one store, whose links can be cut and healed.

Nothing of it has a name or an address on the machine's own side. Each namespace is held by a process that ends with
this one, and with it go its links, so a test that is killed leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from queues import tether, tethered
from tests.support.waiting import wait_until

DEVICE = "eth0"  # a host's own end of its link
_BRIDGE = "between"
_NETWORK = "10.213.77"  # only within these namespaces, which have no way out
_CLONE_NEWNET = 0x40000000
_TOOLS = ("ip", "nsenter", "unshare")
_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """One of them: a namespace of its own with one address."""

    def __init__(self, name: str, address: str, holder: subprocess.Popen[bytes]) -> None:
        self.name, self.address = name, address
        self.port = f"to-{name}"  # the other end of its link, on the bridge
        self._holder = holder

    @property
    def pid(self) -> int:
        """A process that lives there, and does nothing."""
        return self._holder.pid

    def command(self, *words: str) -> list[str]:
        """What starts a program there; it does not outlive the host."""
        return [_found("nsenter"), f"--net=/proc/{self.pid}/ns/net", "--", *words]

    def run(self, *words: str) -> str:
        """What a short command there prints; it must succeed."""
        return _run(*self.command(*words))

    def connections(self) -> int:
        """How many TCP connections the host's programs hold open to other hosts."""
        lines = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]
        rows = (line.split() for line in lines)
        return sum(row[3] == "01" and not row[2].startswith("0100007F") for row in rows)

    def tries_elsewhere(self) -> int:
        """How often a program there tried to send to an address to which the host has no way."""
        names, values = (line.split()[1:] for line in _lines_of(f"/proc/{self.pid}/net/snmp", "Ip:"))
        return int(dict(zip(names, values, strict=True))["OutNoRoutes"])

    def end(self) -> None:
        """Nothing holds it any more but what else lives there."""
        self._holder.kill()
        self._holder.communicate()


class Hosts:
    """A store's host, and others that reach it and nothing else, for the length of a `with` block.

    Meanwhile the calling thread, and all that it starts, stands between them and reaches each. `one_way_seconds` is how
    long everything takes between the store's host and another. `mark` stands in the environment of the processes that
    this takes.
    """

    def __init__(self, store: str, *others: str, one_way_seconds: float = 0.0, mark: str = "") -> None:
        self.store_name, self._names = store, (store, *others)
        self._one_way_seconds = one_way_seconds
        self._mark = mark
        self._hosts: dict[str, Host] = {}
        self._wires: list[subprocess.Popen[bytes]] = []
        self._home = -1
        self._cutting = threading.Lock()
        self._cuts: dict[str, str] = {}

    def __enter__(self) -> Self:
        # One thread of this process starts all tethered programs, and stays where it was made: not in there.
        tether.spawn_tethered([_found("true")], env={}, output=subprocess.DEVNULL).wait()
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        _check(_libc.unshare(_CLONE_NEWNET))
        try:
            _run("ip", "link", "set", "lo", "up")
            _run("ip", "link", "add", _BRIDGE, "type", "bridge")
            _run("ip", "link", "set", _BRIDGE, "up")
            _run("ip", "address", "add", f"{_NETWORK}.1/24", "dev", _BRIDGE)
            for number, name in enumerate(self._names, start=2):
                self._hosts[name] = self._host(name, f"{_NETWORK}.{number}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def close(self) -> None:
        """End what holds the hosts, and bring the thread back to the machine's own side. May be repeated."""
        for host in self._hosts.values():
            host.end()
        for wire in self._wires:
            wire.kill()
            wire.communicate()
        self._hosts.clear()
        self._wires.clear()
        if self._home >= 0:
            _check(_libc.setns(self._home, _CLONE_NEWNET))
            os.close(self._home)
            self._home = -1

    def cut(self, name: str, how: str) -> None:
        """Cut a host off; one that is cut off already stays as it is.

        `silent`: nothing goes through, and nobody is told. `unplugged`: as that, and the host itself notices: it has no
        way to anywhere. `deaf`: what the host says arrives, what it is answered is lost (not for the store's host).
        """
        with self._cutting:
            if name not in self._cuts:
                getattr(self, f"_begin_{how}")(self._hosts[name])
                self._cuts[name] = how

    def heal(self, name: str) -> None:
        """End the host's cut, if there is one."""
        with self._cutting:
            if (how := self._cuts.pop(name, None)) is not None and name in self._hosts:
                getattr(self, f"_end_{how}")(self._hosts[name])

    @property
    def cut_off(self) -> list[str]:
        """The hosts that are cut off."""
        return list(self._cuts)

    def _host(self, name: str, address: str) -> Host:
        here = Path("/proc/thread-self/ns/net").readlink()
        host = Host(name, address, self._started(_found("unshare"), "--net", _found("sleep"), "infinity"))
        wait_until(lambda: Path(f"/proc/{host.pid}/ns/net").readlink() != here, f"the host {name} is there")
        # Of no great moment; it saves every process there some packets at its start.
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        host.run("ip", "link", "set", "lo", "up")
        if self._one_way_seconds and name != self.store_name:
            self._lay_wire(host)
        else:
            _run("ip", "link", "add", host.port, "type", "veth", "peer", "name", DEVICE, "netns", str(host.pid))
        _run("ip", "link", "set", host.port, "master", _BRIDGE, "up")
        host.run("ip", "address", "add", f"{address}/32", "dev", DEVICE)
        self._plug_in(host)
        return host

    def _lay_wire(self, host: Host) -> None:
        command = ["-m", "tests.support.hosts.wire", host.port, str(host.pid), str(self._one_way_seconds)]
        wire = self._started(sys.executable, *command)
        self._wires.append(wire)
        assert wire.stdout is not None
        assert wire.stdout.readline() == b"ready\n", "the wire could not be laid"

    def _plug_in(self, host: Host) -> None:
        host.run("ip", "link", "set", DEVICE, "up")
        if host.name == self.store_name:
            host.run("ip", "route", "replace", f"{_NETWORK}.0/24", "dev", DEVICE)
        else:
            host.run("ip", "route", "replace", f"{self._hosts[self.store_name].address}/32", "dev", DEVICE)

    def _begin_silent(self, host: Host) -> None:
        _run("ip", "link", "set", host.port, "nomaster")

    def _end_silent(self, host: Host) -> None:
        _run("ip", "link", "set", host.port, "master", _BRIDGE)

    def _begin_unplugged(self, host: Host) -> None:
        host.run("ip", "link", "set", DEVICE, "down")

    _end_unplugged = _plug_in

    def _begin_deaf(self, host: Host) -> None:
        # The store's host sends what is for the deaf one to a network card that does not exist.
        self._hosts[self.store_name].run(
            *("ip", "neighbour", "replace", host.address, "lladdr", "02:00:00:00:00:01", "dev", DEVICE),
            *("nud", "permanent"),
        )

    def _end_deaf(self, host: Host) -> None:
        self._hosts[self.store_name].run("ip", "neighbour", "del", host.address, "dev", DEVICE)

    def _started(self, *command: str) -> subprocess.Popen[bytes]:
        """A process beside this thread, which ends with it."""
        tied = [sys.executable, "-I", "-S", tethered.__file__, str(os.getpid()), str(int(signal.SIGKILL)), *command]
        env = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(__file__).parents[3]), "HOSTS": self._mark}
        return subprocess.Popen(tied, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)


def obstacle() -> str | None:
    """Why there can be no hosts here, or None."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"hosts need {', '.join(missing)} (iproute2, util-linux)"
    trial = f"ip link add {_BRIDGE} type bridge && ip link add port type veth peer name {DEVICE}"
    tried = subprocess.run(["unshare", "--net", "sh", "-c", trial], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"network namespaces with a bridge cannot be made here: {tried.stderr.strip() or 'not permitted'}"
    return None


def _run(*words: str) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise AssertionError(f"{' '.join(words)}: {error.stderr.strip()}") from error


def _found(program: str) -> str:
    path = shutil.which(program)
    assert path is not None, program
    return path


def _lines_of(path: str, beginning: str) -> list[str]:
    return [line for line in Path(path).read_text().splitlines() if line.startswith(beginning)]


def _check(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
