"""Container engines: which one answers on this machine, and the words with which it starts the container of a call.

It never starts a container itself and never asks an engine for less than the whole wall.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from queues.settings import SandboxSettings
from workers.sandbox.base import Limits, SandboxUnavailableError
from workers.sandbox.bootstrap import interpreter
from workers.sandbox.bubblewrap import base_environment
from workers.sandbox.confinement import SCRATCH, SHARED_MEMORY_MB, UID_INSIDE, WORKSPACE, Plan
from workers.sandbox.visible import View

ENGINES: tuple[Literal["podman", "docker"], ...] = ("podman", "docker")
ANSWER_SECONDS = 20
# What an engine's client needs to find its engine; nothing else of the worker's environment is handed on.
CLIENT_VARIABLES = (
    "PATH",
    "HOME",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "CONTAINER_HOST",
    "CONTAINERS_CONF",
)
MOST_PROCESSES_OF_A_USER = 4096


@dataclass(frozen=True)
class Engine:
    """An engine that has answered."""

    name: Literal["podman", "docker"]
    program: Path

    def words(self, *arguments: str) -> list[str]:
        """A command line of its client."""
        return [str(self.program), *arguments]

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run its client and wait; a client that hangs counts as one that failed."""
        command = self.words(*arguments)
        try:
            return subprocess.run(  # noqa: S603 - our own words
                command,
                env=client_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=ANSWER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", f"it did not answer within {ANSWER_SECONDS} s")

    @property
    def removing(self) -> list[str]:
        """The words, before the names, that remove containers at once; podman alone would first ask them to end."""
        return ["rm", "--force", *(["--time", "0"] if self.name == "podman" else [])]

    def remove(self, *names: str) -> None:
        """Have the containers killed and removed; those that are gone already do no harm."""
        self.ask(*self.removing, *names)


def client_environment() -> dict[str, str]:
    """The environment of an engine's client."""
    return {name: os.environ[name] for name in CLIENT_VARIABLES if name in os.environ}


def find_engine() -> Engine:
    """The first engine that answers; raises `SandboxUnavailableError` with what each of them said."""
    said = []
    for name in ENGINES:
        program = shutil.which(name)
        if program is None:
            said.append(f"{name} is not installed")
            continue
        engine = Engine(name, Path(program))
        answer = engine.ask("ps", "--quiet")
        if answer.returncode == 0:
            return engine
        said.append(f"{name} says: {(answer.stderr.strip().splitlines() or ['nothing'])[-1]}")
    raise SandboxUnavailableError(
        f'backend = "container" needs a container engine, and none answers here: {"; ".join(said)}. Install podman, or '
        'give the worker\'s user access to Docker; or set backend = "auto" for a sandbox without containers.'
    )


def refuse_what_no_container_does(settings: SandboxSettings) -> None:
    """Raises `SandboxUnavailableError` for settings that this backend could not keep."""
    unkept = {
        'network = "allowlist"': settings.network == "allowlist",
        'landlock = "require"': settings.landlock == "require",
        'proc = "none"': settings.proc == "none",
    }
    for setting, is_asked in unkept.items():
        if is_asked:
            raise SandboxUnavailableError(
                f'backend = "container" cannot keep {setting}. Take it out of the pool\'s sandbox settings, or set '
                'backend = "auto".'
            )


def container_words(
    engine: Engine, name: str, settings: SandboxSettings, view: View, plan: Plan, *, user: tuple[int, int] | None
) -> list[str]:
    """The command line of one call's container, which waits for its request on stdin and answers on stdout.

    `user` is who the tool is on this machine; None where the engine itself runs without root and maps its own user.
    """
    uid, gid = user or (UID_INSIDE, UID_INSIDE)
    words = engine.words("run", "--rm", "--interactive", "--name", name, "--label", f"errandry.sandbox={name}")
    words += ["--network", settings.network, *([] if settings.network == "host" else ["--hostname", "sandbox"])]
    words += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", f"{uid}:{gid}"]
    words += ["--pull", "never", "--log-driver", "none", "--oom-score-adj", "1000"]
    words += ["--read-only-tmpfs=false"] if engine.name == "podman" else []
    words += ["--init"] if settings.init else []
    words += ["--runtime", settings.runtime] if settings.runtime is not None else []
    words += _limits(engine, Limits.from_settings(settings), noexec=settings.noexec)
    words += _mounts(engine, view)
    for variable, value in base_environment().items():
        words += ["--env", f"{variable}={value}"]
    assert settings.image is not None
    return [*words, "--workdir", str(view.project_dir), settings.image, *_command(view, plan)]


def _limits(engine: Engine, limits: Limits, *, noexec: bool) -> list[str]:
    memory = f"{limits.memory_mb}m"
    words = ["--memory", memory, "--memory-swap", memory, "--pids-limit", str(limits.pids)]
    ceiling = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    processes = MOST_PROCESSES_OF_A_USER if ceiling < 0 else min(ceiling, MOST_PROCESSES_OF_A_USER)
    for what, bound in {
        "nofile": limits.open_files,
        "fsize": limits.file_mb << 20,
        "cpu": int(limits.cpu_seconds) + 1,
        "core": 0,
        # Counted for the user on the whole machine: the number that holds for the call is --pids-limit.
        "nproc": processes,
    }.items():
        words += ["--ulimit", f"{what}={bound}:{bound}"]
    options = f"rw,nosuid,nodev,{'noexec' if noexec else 'exec'},mode=1777"
    # Podman refuses the option; there the memory limit is what bounds the number of files.
    options += f",nr_inodes={limits.inodes}" if engine.name == "docker" else _nothing_copied(engine)
    words += ["--tmpfs", f"{SCRATCH}:{options},size={limits.disk_mb}m"]
    words += ["--tmpfs", f"{WORKSPACE}:{options},size={limits.workspace_mb}m"] if limits.workspace_mb else []
    return [*words, "--shm-size", f"{min(limits.disk_mb, SHARED_MEMORY_MB)}m"]


def _nothing_copied(engine: Engine) -> str:
    # Podman fills a new tmpfs with what it covers, which is just what must not be seen.
    return ",notmpcopyup" if engine.name == "podman" else ""


def _mounts(engine: Engine, view: View) -> list[str]:
    words: list[str] = []
    for bind in view.trees:
        words += ["--volume", f"{bind.source}:{bind.place}:{'rw' if bind.writable else 'ro'}"]
    folders, files = view.masked()
    for folder in folders:
        words += ["--tmpfs", f"{folder}:ro,size=4k,mode=0555{_nothing_copied(engine)}"]
    for file in files:
        words += ["--volume", f"/dev/null:{file}:ro"]
    for bind in view.uncovered:
        words += ["--volume", f"{bind.source}:{bind.place}:ro"]
    return words


def _command(view: View, plan: Plan) -> list[str]:
    return [*interpreter(view.python_path, module="workers.sandbox.contained"), plan.to_json()]
