"""Makes the project's virtual environment from the lock files, once, and runs a command in it.

Never installs a package that a lock file does not hold with its hash, and never leaves a half-made environment to be
taken for a finished one.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USAGE = """Usage: python3 deploy/bootstrap.py demo [options of `errandry demo`]
       python3 deploy/bootstrap.py test [options of pytest]"""
LOCKS = {
    "demo": "requirements.lock",
    "local model": "deploy/localmodel.lock",
    "test": "tests/requirements.lock",
}
"""What the environment can be for, and the lock that is enough for it; each holds all that the ones before it hold."""
# Most tests wait for processes; files stay whole, because their tests share what they start.
ALL_TESTS = ("--numprocesses=2", "--dist=loadfile")
CHECKS = (
    ("ruff", "format", "--check", "."),
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
)
PIP_SETTINGS = {
    "PIP_USER": "0",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_PROGRESS_BAR": "off",
}
OFFLINE_SIGNS = ("NewConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError", "NameResolution")


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def run(arguments: Sequence[str]) -> int:
    """Set up what the command needs, then become the command; gives an exit code only if that fails."""
    if not arguments or arguments[0] not in {"demo", "test"}:
        sys.stderr.write(f"{USAGE}\n")
        return 2
    command, *options = arguments
    wants_local_model = command == "demo" and "local" in " ".join(options).replace("=", " ").split()
    try:
        with only_one_at_a_time(ROOT) as lock:
            Environment(ROOT, lock=lock).prepare("local model" if wants_local_model else command)
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; the next start sets up afresh.\n")
        return 130
    if command == "demo":
        return _become(ROOT / ".venv/bin/errandry", "demo", *options)
    os.chdir(ROOT)
    for name, *parameters in CHECKS:
        _say(f"$ {' '.join([name, *parameters])}")
        code = subprocess.call([ROOT / ".venv/bin" / name, *parameters])
        if code:
            return code
    chosen = options or ALL_TESTS
    _say(f"$ {' '.join(['pytest', *chosen])}")
    return _become(ROOT / ".venv/bin/pytest", *chosen)


class Environment:
    """The virtual environment `.venv` of a project folder.

    Its stamp names what it was made from, per purpose (see LOCKS). Without a stamp an environment that was begun here
    is unfinished and is made anew; one that somebody else made is completed in place.
    """

    def __init__(self, root: Path, *, lock: int) -> None:
        self.folder = root / ".venv"
        self._root = root
        self._lock = lock
        self._begun = self.folder / "errandry-begun"
        self._stamp = self.folder / "errandry-stamp.json"

    def prepare(self, purpose: str) -> None:
        """Make the environment serve the purpose; nothing is done if it already does. Raises SetupError."""
        if self._read_stamp().get(purpose) == self._fingerprint(purpose):
            return
        started = time.monotonic()
        try:
            self._prepare(purpose)
        except OSError as error:
            raise SetupError(
                f"The environment cannot be set up in {self.folder}: {error.strerror or error}. "
                "It needs a folder that you may write to."
            ) from error
        _say(f"Set up in {time.monotonic() - started:.0f} seconds.")

    def _prepare(self, purpose: str) -> None:
        same_python = self._read_stamp().get("python") == _python_identity()
        self._stamp.unlink(missing_ok=True)
        if self._begun.exists() and not same_python:
            shutil.rmtree(self.folder)
        if not self.folder.exists():
            self._create()
        self._install(LOCKS[purpose])
        served = list(LOCKS)[: list(LOCKS).index(purpose) + 1]
        stamp = {"python": _python_identity()} | {name: self._fingerprint(name) for name in served}
        unfinished = self._stamp.with_suffix(".new")
        unfinished.write_text(json.dumps(stamp), encoding="utf-8")
        unfinished.replace(self._stamp)

    def _create(self) -> None:
        _say("Setting up (once): creating .venv ...")
        self.folder.mkdir()
        self._begun.touch()
        made = self._run(sys.executable, "-m", "venv", str(self.folder))
        if made.returncode:
            raise SetupError(f"Python could not make a virtual environment in {self.folder}: {_last_line(made.stdout)}")

    def _install(self, lock: str) -> None:
        count = sum("==" in line for line in (self._root / lock).read_text(encoding="utf-8").splitlines())
        _say(f"Setting up (once): installing {count} packages, which may take a minute ...")
        self._pip("--require-hashes", "--only-binary", ":all:", "--requirement", str(self._root / lock))
        _say("Setting up (once): installing this project ...")
        self._pip("--no-index", "--no-deps", "--no-build-isolation", "--editable", str(self._root))

    def _pip(self, *parameters: str) -> None:
        python = self.folder / "bin" / "python"
        try:
            done = self._run(str(python), "-m", "pip", "install", "--quiet", *parameters)
        except FileNotFoundError as error:
            raise SetupError(
                f"{self.folder} was not made by this command and holds no Python; move it away, then start again."
            ) from error
        if done.returncode == 0:
            return
        said = _last_line(done.stdout)
        if any(sign in done.stdout for sign in OFFLINE_SIGNS):
            raise SetupError(
                "The packages cannot be fetched: this machine seems to be offline, or needs a proxy or a mirror "
                f"(pip's own settings are used). pip said: {said}"
            )
        if "No space left on device" in done.stdout:
            raise SetupError(f"The disk is full: the environment in {self.folder} needs about 300 MB.")
        tail = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-12:])
        raise SetupError(f"pip could not install the packages of this project: {said}\n{tail}")

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a step of the set-up; pip keeps the user's settings, except those that lead out of `.venv`."""
        leading_out = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_HASHES", "PYTHONHOME", "PYTHONPATH"}
        environment = {name: value for name, value in os.environ.items() if name not in leading_out}
        return subprocess.run(
            command,
            env=environment | PIP_SETTINGS,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            # The step holds the lock too: if this process is killed, nobody starts over while pip still writes.
            pass_fds=[self._lock],
        )

    def _read_stamp(self) -> dict[str, str]:
        try:
            stamp = json.loads(self._stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def _fingerprint(self, purpose: str) -> str:
        # The place counts as well: scripts in an environment name their interpreter by its full path.
        digest = hashlib.sha256(f"{_python_identity()} {self._root}".encode())
        for name in ("pyproject.toml", LOCKS[purpose]):
            digest.update(hashlib.sha256((self._root / name).read_bytes()).digest())
        return digest.hexdigest()


@contextlib.contextmanager
def only_one_at_a_time(folder: Path) -> Iterator[int]:
    """Hold the lock of the project folder; the folder itself is locked, as no file in it need be writable."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Another start is setting up; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _become(program: Path, *arguments: str) -> int:
    """Replace this process by the program, so that signals and the exit code are its own."""
    sys.stdout.flush()
    try:
        os.execv(program, [str(program), *arguments])
    except OSError as error:
        sys.stderr.write(f"{program} cannot be started ({error.strerror}); remove .venv, then start again.\n")
        return 1


def _python_identity() -> str:
    return f"{sys.implementation.cache_tag} {platform.python_version()} {platform.machine()} {sys.base_prefix}"


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    return (errors or lines or ["nothing"])[-1].removeprefix("ERROR:").removeprefix("error:").strip()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
