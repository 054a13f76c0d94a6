"""The command credentials: what it writes opens a real server for each process, and for nobody else."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from queues.acl import OPERATOR, PREFIX, PRODUCER, pool_user, roles
from queues.connections import connect
from queues.passwords import as_user
from queues.server_config import find_server_binary
from tests.support.command import Command
from tests.support.waiting import wait_until
from workers.gateway.api_keys import read_keys

pytestmark = pytest.mark.redis

SETTINGS = """
redis_url = "redis://somewhere:6379/0"
agents = ["support.agents:ops"]
[pools.shell]
tools = ["support.tools:run"]
[pools.remote]
tools = ["support.tools:fetch"]
served_by = "http"
"""


@pytest.fixture
def command(tmp_path: Path) -> Command:
    project = tmp_path / "project"
    project.mkdir()
    (project / "errandry.toml").write_text(SETTINGS, encoding="utf-8")
    return Command(project)


@pytest.fixture
def made(command: Command, tmp_path: Path) -> Path:
    done = command.run("credentials", str(tmp_path / "made"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "made"


def users(made: Path) -> dict[str, dict[str, str]]:
    """Folder -> the Redis users in it, with their passwords."""
    return {path.parent.name: json.loads(path.read_text()) for path in made.glob("*/redis-users.json")}


def content(made: Path) -> dict[str, bytes]:
    return {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*") if path.is_file()}


def test_each_process_gets_its_own_users_and_no_others(made: Path) -> None:
    names = [role.user for role in roles(["shell", "remote"], http_pools=["remote"])]
    wanted = {name.removeprefix(PREFIX): {name} for name in names}
    wanted["operator"] |= {PRODUCER}
    found = users(made)
    assert {folder: set(passwords) for folder, passwords in found.items()} == wanted
    assert found["operator"][PRODUCER] == found["producer"][PRODUCER]
    everything = [password for folder in found.values() for password in folder.values()]
    assert len(set(everything)) == len(names)


def test_only_the_owner_reads_anything(made: Path) -> None:
    for path in made.rglob("*"):
        if path.name != ".gitignore":
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert (made / ".gitignore").read_text() == "*\n"


def test_no_secret_is_shown_and_the_server_gets_hashes_only(command: Command, made: Path) -> None:
    done = command.run("credentials", str(made))
    told = done.stdout + done.stderr + (made / "store/users.acl").read_text()
    secrets = [password for folder in users(made).values() for password in folder.values()]
    secrets.append((made / "flower/basic-auth").read_text().partition(":")[2])
    assert all(len(secret) > 20 and secret not in told for secret in secrets)


def test_a_repeat_keeps_all_and_a_removed_password_is_made_anew(command: Command, made: Path) -> None:
    before = content(made)
    assert command.run("credentials", str(made)).returncode == 0
    assert content(made) == before
    (made / "pool-shell/redis-users.json").unlink()
    assert command.run("credentials", str(made)).returncode == 0
    after = content(made)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"pool-shell/redis-users.json", "store/users.acl"}


def test_the_gateway_lets_nobody_in_before_a_key_is_made(made: Path, command: Command) -> None:
    keys = made / "gateway/api-keys.json"
    (first,) = read_keys(keys)
    assert first.roles == ("read",)
    gateway = Command(command.folder, {"ERRANDRY_GATEWAY__API_KEYS": str(keys)})
    assert gateway.run("key", "create", "me", "--role", "submit").stdout.startswith("ek_")
    assert [key.name for key in read_keys(keys)] == [first.name, "me"]


@pytest.fixture
def url(made: Path, tmp_path: Path) -> Iterator[str]:
    """A server with the ACL file that was made."""
    socket = tmp_path / "server.sock"
    words = [str(find_server_binary()), "--port", "0", "--unixsocket", str(socket), "--aclfile"]
    server = subprocess.Popen(
        [*words, str(made / "store/users.acl"), "--save", ""], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        wait_until(socket.exists, "the server listens")
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait(10)


def answer(url: str, user: str, password: str, *words: str) -> object:
    with connect(as_user(url, user, password)) as connection:
        return connection.execute_command(*words)


def test_a_server_knows_them_and_nobody_else(made: Path, url: str) -> None:
    for folder in users(made).values():
        for user, password in folder.items():
            assert answer(url, user, password, "PING") in (True, "PONG")
    shell = users(made)["pool-shell"][pool_user("shell")]
    with pytest.raises(redis.exceptions.NoPermissionError):
        answer(url, pool_user("shell"), shell, "GET", "errandry:runs")
    with pytest.raises(redis.exceptions.AuthenticationError):
        answer(url, OPERATOR, shell, "PING")
    path = url.removeprefix("unix://")
    with redis.Redis(unix_socket_path=path) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.ping()


def test_whoever_probes_the_server_may_ping_it_and_nothing_else(url: str) -> None:
    path = url.removeprefix("unix://")
    with redis.Redis(unix_socket_path=path, username="health", password="any", protocol=2, driver_info=None) as probe:
        assert probe.ping()
        for words in (
            ("INFO",),
            ("GET", "errandry:runs"),
            ("PUBLISH", "a", "b"),
            ("CLIENT", "LIST"),
            ("ACL", "WHOAMI"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                probe.execute_command(*words)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_hands_everything_to_the_owner(command: Command, tmp_path: Path) -> None:
    for _ in range(2):
        assert command.run("credentials", str(tmp_path / "given"), "--owner", "10001").returncode == 0
        owners = {path.stat().st_uid for path in (tmp_path / "given").rglob("*")}
        assert owners == {10001}


def test_a_folder_that_cannot_be_written_to_is_a_sentence(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command.run("credentials", str(tmp_path / "file"))
    assert done.returncode == 2 and "cannot be written" in done.stderr
