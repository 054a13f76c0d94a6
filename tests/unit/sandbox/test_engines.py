"""The words that start a call's container, and what is refused before any engine is asked."""

import itertools
import resource
import stat
import sys
from pathlib import Path

import pytest

from queues.settings import SandboxSettings
from workers.sandbox.base import SandboxUnavailableError
from workers.sandbox.confinement import Plan
from workers.sandbox.engines import (
    Engine,
    client_environment,
    container_words,
    find_engine,
    refuse_what_no_container_does,
)
from workers.sandbox.visible import view_of

PODMAN, DOCKER = Engine("podman", Path("/usr/bin/podman")), Engine("docker", Path("/usr/bin/docker"))
PLAN = Plan(steps=(), limits={}, project_dir="/")


def _settings(**changes: object) -> SandboxSettings:
    return SandboxSettings.model_validate({"backend": "container", "image": "tools:1", **changes})


def _words(
    tmp_path: Path, engine: Engine = PODMAN, user: tuple[int, int] | None = (65534, 65534), **changes: object
) -> list[str]:
    return container_words(engine, "errandry-1-2-3-4", _settings(**changes), view_of(tmp_path), PLAN, user=user)


def _after(words: list[str], option: str) -> list[str]:
    return [after for word, after in itertools.pairwise(words) if word == option]


@pytest.mark.parametrize("engine", [PODMAN, DOCKER], ids=["podman", "docker"])
def test_nothing_of_the_wall_is_left_out(tmp_path: Path, engine: Engine) -> None:
    words = _words(tmp_path, engine, memory_mb=100, pids=7, cpu_seconds=2.5, open_files=99, file_mb=3, disk_mb=4)

    assert words[:3] == [str(engine.program), "run", "--rm"]
    assert {"--read-only", "--interactive"} <= set(words)
    assert _after(words, "--network") == ["none"] and _after(words, "--cap-drop") == ["ALL"]
    assert _after(words, "--security-opt") == ["no-new-privileges"]
    assert _after(words, "--user") == ["65534:65534"]
    assert _after(words, "--memory") == _after(words, "--memory-swap") == ["100m"]
    assert _after(words, "--pids-limit") == ["7"]
    assert {"nofile=99:99", "fsize=3145728:3145728", "cpu=3:3", "core=0:0"} <= set(_after(words, "--ulimit"))
    assert _after(words, "--pull") == ["never"] and _after(words, "--log-driver") == ["none"]
    assert "size=4m" in _after(words, "--tmpfs")[0]
    assert words[words.index("tools:1") + 1] == sys.executable


def test_engines_differ_where_they_must(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    podman, docker = _words(tmp_path, PODMAN), _words(tmp_path, DOCKER)

    assert "--read-only-tmpfs=false" in podman and "--read-only-tmpfs=false" not in docker
    assert "nr_inodes=16384" in _after(docker, "--tmpfs")[0] and "nr_inodes" not in " ".join(podman)
    # Podman would fill what covers a folder with what it covers.
    assert all("notmpcopyup" in mount for mount in _after(podman, "--tmpfs"))
    assert f"{tmp_path}/.git:ro,size=4k,mode=0555,notmpcopyup" in _after(podman, "--tmpfs")
    assert _after(_words(tmp_path, user=None), "--user") == ["1000:1000"]


def test_the_project_is_read_only_and_its_secrets_are_covered(tmp_path: Path) -> None:
    for name in (".env", "errandry.toml"):
        (tmp_path / name).write_text("canary")
    volumes = _after(_words(tmp_path), "--volume")

    assert f"{tmp_path}:{tmp_path}:ro" in volumes
    assert {f"/dev/null:{tmp_path}/.env:ro", f"/dev/null:{tmp_path}/errandry.toml:ro"} <= set(volumes)
    assert all(volume.endswith(":ro") for volume in volumes)


def test_what_a_pool_asks_for_is_handed_on(tmp_path: Path) -> None:
    words = _words(tmp_path, runtime="runsc", init=True, noexec=True, network="host")

    assert _after(words, "--runtime") == ["runsc"] and "--init" in words
    assert ",noexec," in _after(words, "--tmpfs")[0]
    assert _after(words, "--network") == ["host"] and "--hostname" not in words


def test_no_secret_stands_in_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "tok-4711")
    assert "tok-4711" not in " ".join(_words(tmp_path, secrets=["TOKEN"]))
    assert "TOKEN" not in client_environment() and "PATH" in client_environment()


def test_the_users_own_ceiling_of_processes_is_kept(tmp_path: Path) -> None:
    (processes,) = [word for word in _after(_words(tmp_path), "--ulimit") if word.startswith("nproc=")]
    ceiling = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    assert int(processes.removeprefix("nproc=").split(":")[0]) <= (ceiling if ceiling > 0 else 4096)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": "allowlist", "allow_domains": ["example.com"]}, 'network = "allowlist"'),
        ({"landlock": "require"}, 'landlock = "require"'),
        ({"proc": "none"}, 'proc = "none"'),
    ],
)
def test_what_cannot_be_kept_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SandboxUnavailableError, match=f"cannot keep {words}"):
        refuse_what_no_container_does(_settings(**changes))


def _client(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(stat.S_IRWXU)


def test_the_first_engine_that_answers_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _client(tmp_path, "podman", "echo 'cannot connect' >&2; exit 1")
    _client(tmp_path, "docker", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    assert find_engine() == Engine("docker", tmp_path / "docker")


def test_without_an_engine_each_one_is_quoted_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _client(tmp_path, "podman", "echo 'cannot connect' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SandboxUnavailableError, match=r"podman says: cannot connect; docker is not installed.*Install"):
        find_engine()
