"""Tries each zygote's wall out before a call is trusted to it: a real child behind it says what it can reach.

It never asks for versions and never guesses; the words of a refusal are the machine's own, with the remedy added.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from workers.sandbox.base import Limits, SandboxUnavailableError
from workers.sandbox.children import Child
from workers.sandbox.confinement import address_space_bytes
from workers.sandbox.levels import Level
from workers.sandbox.process import Order, execute
from workers.sandbox.wire import parse_answer, probe_bytes

PROBE_SECONDS = 30
_CANARY, _CANARY_SECONDS = "errandry-canary-", 600
_USERNS = (
    "User namespaces are refused here. Set the sysctl kernel.unprivileged_userns_clone=1 and user.max_user_namespaces "
    "above 0, or, in a container, start it with a seccomp profile that allows user namespaces."
)
_APPARMOR = (
    "AppArmor restricts user namespaces here. Install the system's bubblewrap package together with its profile "
    "(on Ubuntu: apt install bubblewrap apparmor-profiles, then load bwrap-userns-restrict)."
)
_UNREADABLE = (
    "The sandbox's user cannot get at what tools need. Make the project and the interpreter readable (chmod -R o+rX), "
    "or move them to a place where they are."
)
REMEDIES = {
    "RTM_NEWADDR": _APPARMOR,
    "setting up uid map": _APPARMOR,
    "No permissions to creat": _USERNS,
    "Creating new namespace failed": _USERNS,
    "mount proc": (
        "The container masks /proc. Start it with an unmasked one (Kubernetes: procMount: Unmasked with hostUsers: "
        "false; Docker: --security-opt systempaths=unconfined)."
    ),
    "Can't find source path": _UNREADABLE,
    "Permission denied": _UNREADABLE,
}
OTHER_REMEDY = "Place the pool on a Linux host that allows unprivileged user namespaces."

_WORDS = {
    "python": "its interpreter is another one",
    "capabilities": "it has capabilities",
    "bounding": "it could be given capabilities",
    "no_new_privs": "it can gain privileges",
    "filtered": "its system calls are not filtered",
    "threads": "it is not alone in its process",
    "canary": "it sees files of this machine's /tmp",
    "project": "the project cannot be read there",
    "project_writable": "it can write to the project",
    "host_root": "it has the rights of this machine's root",
    "system_writable": "it can write to the system",
    "scratch": "it cannot write to its own /tmp",
    "supervisor": "it can send signals to its supervisor",
    "stranger": "it can send signals to other processes",
    "namespaces": "it can make namespaces",
    "mounts": "it can mount file systems",
    "memory": "it gets more memory than its limit",
    "processes": "it sees processes of this machine",
    "descriptors": "it holds descriptors that are not its own",
}


def _forget_canaries() -> None:
    # Those of workers that were killed while they tried their wall out.
    for path in Path("/tmp").glob(f"{_CANARY}*"):  # noqa: S108
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.geteuid() and time.time() - path.lstat().st_mtime > _CANARY_SECONDS:
                path.unlink()


def probe(order: Callable[[], Child], level: Level) -> None:
    """Have the child that `order` gives try its wall, believe only what it finds; raises `SandboxUnavailableError`."""
    _forget_canaries()
    with (
        tempfile.NamedTemporaryFile(prefix=_CANARY, dir="/tmp") as canary,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        Path(canary.name).chmod(0o644)
        asked = {
            "canary": canary.name,
            "port": listener.getsockname()[1],
            "project": level.plan.project_dir,
            "python": sys.version_info[:2],
            "supervisor": os.getpid(),
            "too_many_bytes": address_space_bytes(level.plan.limits) + 1,
        }
        child = order()
        # Behind another machine's engine nobody here can tell.
        owner = Path(f"/proc/{child.pid}").stat().st_uid if child.pid is not None else None
        ended = execute(child, _order(asked), cancelled=threading.Event())
    if ended.exit_code != 0:
        raise refusal(ended.stderr.text({}) or f"its first process ended with status {ended.exit_code}", "")
    try:
        said = json.loads(parse_answer(ended.answer).content)
    except ValueError as error:
        raise refusal(f"its first process answered nonsense: {error}", "") from error
    problems = [_words(name, wanted) for name, wanted in level.expected.items() if said.get(name) != wanted]
    if owner == 0:
        problems.append("it runs as this machine's root")
    if problems:
        raise SandboxUnavailableError(
            f"The sandbox was tried out and does not hold: {'; '.join(problems)}. {OTHER_REMEDY}"
        )


def _words(name: str, wanted: object) -> str:
    if name == "network":
        return "it does not reach the network that it was promised" if wanted else "it reaches this machine's network"
    return _WORDS[name]


def _order(asked: dict[str, object]) -> Order:
    limits = Limits(wall_seconds=PROBE_SECONDS, cpu_seconds=PROBE_SECONDS, memory_mb=1 << 20)
    return Order(
        request=probe_bytes(asked),
        limits=limits,
        wall_seconds=PROBE_SECONDS,
        answer_bytes=1 << 16,
        counted=True,
    )


def refusal(words: str, launcher_words: str) -> SandboxUnavailableError:
    """The error for a wall that cannot be put up, in the machine's own words with the remedy."""
    remedy = next((remedy for sign, remedy in REMEDIES.items() if sign in words), OTHER_REMEDY)
    also = f" (Before that: {launcher_words}.)" if launcher_words else ""
    return SandboxUnavailableError(f"The sandbox does not start: {' '.join(words.split()).rstrip('.')}.{also} {remedy}")
