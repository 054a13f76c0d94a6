"""Payloads that go for files: reading what is not theirs, writing where nothing may change."""

# ruff: noqa: PTH111, PTH112, PTH116, PTH208 - payloads go as straight to the kernel as they can
from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

from tests.support.hostile.attempts import Loot, Targets, first_bytes, opened_for_reading, scratch

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


def read_the_machines_secrets(targets: Targets) -> list[str]:
    """Passwords, keys and histories of the machine."""
    loot = Loot()
    places = ["/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/machine-id", "/etc/crontab", "/var/log/dpkg.log"]
    for base in (Path("/root"), Path("/home"), Path("/etc/ssh"), Path("/etc/ssl/private"), Path("/var/lib")):
        with contextlib.suppress(OSError):
            places += [str(path) for path in base.iterdir() if path.name not in {".pyenv", ".local"}]
    for place in places:
        loot.trying(place, lambda place=place: os.listdir(place) if os.path.isdir(place) else first_bytes(place))
    return loot


def read_canaries(targets: Targets) -> list[str]:
    """Files of other people that everybody on the machine may read."""
    loot = Loot()
    for path in targets["canaries"]:
        loot.trying(path, lambda path=path: first_bytes(path))
    return loot


def learn_about_canaries(targets: Targets) -> list[str]:
    """Not their text, but that they are there, how long, and whose."""
    loot = Loot()
    for path in targets["canaries"]:
        loot.trying(path, lambda path=path: os.stat(path).st_ino)
    return loot


def read_another_project(targets: Targets) -> list[str]:
    """The project next door, found by walking."""
    loot = Loot()
    other = Path(targets["other_project"])
    loot.trying("list", lambda: os.listdir(other))
    loot.trying("list its parent", lambda: os.listdir(other.parent))
    for name in (".env", "errandry.toml", "app.py"):
        loot.trying(name, lambda name=name: first_bytes(other / name))
    return [line for line in loot if "project" not in line or "other" in line]


def read_the_own_projects_secrets(targets: Targets) -> list[str]:
    """What lies in the project besides its code: settings, state, history."""
    loot = Loot()
    project = Path(targets["project"])
    for name in (".env", ".env.local", "errandry.toml", ".git/config", ".errandry/valkey.conf"):
        loot.trying(name, lambda name=name: first_bytes(project / name))
        loot.trying(f"{name} relative", lambda name=name: first_bytes(name))
        loot.trying(f"{name} by proc", lambda name=name: first_bytes(f"/proc/self/cwd/{name}"))
    return loot


def read_a_home(targets: Targets) -> list[str]:
    """The credentials that tools keep in a home folder."""
    loot = Loot()
    names = (".ssh/id_ed25519", ".netrc", ".aws/credentials", ".kube/config", ".docker/config.json", ".bash_history")
    for home in (targets["home"], "~", "~root", f"/proc/self/root{targets['home']}"):
        for name in names:
            loot.trying(
                f"{home}/{name}", lambda home=home, name=name: first_bytes(os.path.expanduser(f"{home}/{name}"))
            )
    return loot


def read_other_processes_environment(targets: Targets) -> list[str]:
    """Variables of whoever /proc shows."""
    loot = Loot()
    for pid in [*targets["pids"], *range(1, 40), os.getppid()]:
        with contextlib.suppress(OSError):
            if targets["mark"].encode() in Path(f"/proc/{pid}/environ").read_bytes():
                loot.append(f"environment of {pid}")
        with contextlib.suppress(OSError):
            if targets["mark"].encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                loot.append(f"command line of {pid}")
    return loot


def reach_through_proc(targets: Targets) -> list[str]:
    """The root, the current folder and the descriptors of other processes."""
    loot = Loot()
    canary = targets["canaries"][0]
    for pid in {*targets["pids"], 1, os.getppid(), os.getpid()}:
        loot.trying(f"root of {pid}", lambda pid=pid: first_bytes(f"/proc/{pid}/root{canary}"))
        loot.trying(f"cwd of {pid}", lambda pid=pid: first_bytes(f"/proc/{pid}/cwd/{os.path.relpath(canary, '/')}"))
        for fd in range(40):
            with contextlib.suppress(OSError):
                if canary in str(Path(f"/proc/{pid}/fd/{fd}").readlink()):
                    loot.append(f"descriptor {fd} of {pid}")
    return loot


def climb_out_with_dots(targets: Targets) -> list[str]:
    """Up from every folder, and down again on the other side."""
    loot = Loot()
    relative = os.path.relpath(targets["canaries"][0], "/")
    for start in (".", "/tmp", "/proc/self/cwd", sys.prefix):
        with contextlib.suppress(OSError):
            folder = os.open(start, os.O_RDONLY | os.O_DIRECTORY)
            loot.doing(
                f"from {start}", lambda folder=folder: os.open("../" * 20 + relative, os.O_RDONLY, dir_fd=folder)
            )
    return loot


def follow_a_symlink_out(targets: Targets) -> list[str]:
    """A link in scratch that points at what cannot be opened directly."""
    loot = Loot()
    for number, path in enumerate([*targets["canaries"], "/etc/shadow"]):
        link = Path(scratch(f"link{number}-{targets['plant']}"))
        with contextlib.suppress(OSError):
            link.symlink_to(path)
        loot.trying(f"link to {path}", lambda link=link: first_bytes(link))
        with contextlib.suppress(OSError):
            link.unlink()
    return loot


def open_device_nodes(targets: Targets) -> list[str]:
    """Those that the machine has."""
    loot = Loot()
    for name in (
        "mem",
        "kmem",
        "port",
        "kmsg",
        "vda",
        "sda",
        "nvme0n1",
        "fuse",
        "kvm",
        "loop-control",
        "loop0",
        "net/tun",
        "vsock",
        "vhost-net",
        "uinput",
        "mapper/control",
        "btrfs-control",
        "userfaultfd",
        "rtc0",
        "console",
    ):
        loot.trying(name, lambda name=name: opened_for_reading(f"/dev/{name}"))
    return loot


def talk_to_the_machines_services(targets: Targets) -> list[str]:
    """Sockets in the file system whose other side is as good as root."""
    loot = Loot()
    for path in (
        targets["unix_socket"],
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/containerd/containerd.sock",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
        "/dev/log",
        "/run/systemd/journal/socket",
        f"/proc/1/root{targets['unix_socket']}",
    ):

        def connect(path: str = path) -> bool:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.connect(path)
                return True

        loot.trying(path, connect)
    return loot
