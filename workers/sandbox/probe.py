"""Tries the wall out before anything is trusted to it: a real process behind it says what it can reach.

It never asks for versions and never guesses; the words of a refusal are the machine's own, with the remedy added.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from workers.sandbox.base import Limits, SandboxUnavailableError
from workers.sandbox.launching import Launcher
from workers.sandbox.process import Ended, Order, execute

PROBE_SECONDS = 30
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

# Runs behind the wall; imports only what lies in the standard library's smallest part.
_QUESTIONS = """
import json, os, socket, sys
asked = json.load(open(3))
said = {"python": sys.version_info[:2] == tuple(asked["python"])}
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
said["capabilities"] = [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
said["no_new_privs"] = status["NoNewPrivs"].strip() == "1"
said["filtered"] = status["Seccomp"].strip() == "2"
said["canary"] = os.path.exists(asked["canary"])
said["project"] = os.access(asked["project"], os.R_OK | os.X_OK) and not os.access(asked["project"], os.W_OK)
try:
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)); said["host_root"] = True
except OSError:
    said["host_root"] = False
try:
    open("/usr/errandry-probe", "w"); said["system_writable"] = True
except OSError:
    said["system_writable"] = False
try:
    open("/tmp/probe", "w").write("x"); said["scratch"] = True
except OSError:
    said["scratch"] = False
try:
    socket.create_connection(("127.0.0.1", asked["port"]), timeout=2).close(); said["network"] = True
except OSError:
    said["network"] = False
said["pid"] = len([name for name in os.listdir("/proc") if name.isdigit()])
os.write(4, json.dumps(said).encode())
os._exit(0)
"""


def probe(
    launcher: Launcher,
    walled: Callable[[Sequence[str]], list[str]],
    *,
    project_dir: Path,
    network: bool,
    filters: bytes,
) -> None:
    """Start a process behind the wall and believe only what it finds; raises `SandboxUnavailableError` on any miss."""
    with (
        tempfile.NamedTemporaryFile(prefix="errandry-canary-", dir="/tmp") as canary,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        Path(canary.name).chmod(0o644)
        questions = {
            "canary": canary.name,
            "port": listener.getsockname()[1],
            "project": str(project_dir),
            "python": sys.version_info[:2],
        }
        ended = _asked(launcher, walled([sys.executable, "-I", "-S", "-c", _QUESTIONS]), questions, filters)
    if ended.exit_code != 0:
        raise SandboxUnavailableError(_refusal(ended, launcher.words))
    problems = _problems(json.loads(ended.answer), network=network)
    if problems:
        raise SandboxUnavailableError(
            f"The sandbox was tried out and does not hold: {'; '.join(problems)}. {OTHER_REMEDY}"
        )


def _asked(launcher: Launcher, argv: Sequence[str], questions: dict[str, object], filters: bytes) -> Ended:
    order = Order(
        argv=argv,
        environment={},
        request=json.dumps(questions).encode(),
        limits=Limits(wall_seconds=PROBE_SECONDS, cpu_seconds=PROBE_SECONDS),
        wall_seconds=PROBE_SECONDS,
        answer_bytes=1 << 16,
        walled=True,
        filters=filters,
    )
    return execute(launcher, order, cancelled=threading.Event())


def _refusal(ended: Ended, launcher_words: str) -> str:
    words = ended.stderr.text({}).strip() or f"it ended with status {ended.exit_code} and no words"
    remedy = next((remedy for sign, remedy in REMEDIES.items() if sign in words), OTHER_REMEDY)
    also = f" (Before that: {launcher_words}.)" if launcher_words else ""
    return f"The sandbox does not start: {' '.join(words.split())}.{also} {remedy}"


def _problems(said: dict[str, object], *, network: bool) -> list[str]:
    held = {
        "it has the rights of this machine's root": said["host_root"] is not False,
        "it has capabilities": said["capabilities"] != [0] * 5,
        "it can gain privileges": said["no_new_privs"] is not True,
        "its system calls are not filtered": said["filtered"] is not True,
        "it sees files of this machine's /tmp": said["canary"] is not False,
        "it can write to the system": said["system_writable"] is not False,
        "it cannot write to its own /tmp": said["scratch"] is not True,
        "it reaches the network of this machine": not network and said["network"] is not False,
        "it does not reach the network that it was promised": network and said["network"] is not True,
        "the project cannot be read there, or can be written to": said["project"] is not True,
        "it sees processes of this machine": not isinstance(said["pid"], int) or said["pid"] > 3,
        "its interpreter is another one": said["python"] is not True,
    }
    return [words for words, is_so in held.items() if is_so]
