"""A server that cannot keep runs is refused in a sentence, by each process before it serves anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from queues.acl import roles
from queues.checkup import Level
from queues.client import AsyncClient, Client
from queues.connections import check, connect
from queues.errors import StoreRefusedError
from queues.passwords import as_user
from queues.server_checkup import server_findings
from tests.support.command import Command
from tests.support.ports import free_port
from tests.support.sentinel_group import OWNER, WATCHER, Process
from tests.support.waiting import wait_until
from tests.support.walking import PROJECT

pytestmark = pytest.mark.redis

# Nodes talk to each other at a port that is ten thousand higher if it is not named: there may be none, or a taken one.
CLUSTER = (
    'bind 127.0.0.1\nport {port}\ncluster-port {bus}\ndir "{folder}"\naclfile "{folder}/users.acl"\n'
    'cluster-enabled yes\nsave ""\n'
)
SENTINEL = 'bind 127.0.0.1\nport {port}\ndir "{folder}"\nrequirepass {watcher}\n'
SENTENCE = "is a node of a Redis Cluster, which cannot keep runs"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a node that has all slots."""
    node = Process(tmp_path_factory.mktemp("cluster") / "node", CLUSTER, bus=free_port())
    url = f"redis://:{OWNER}@127.0.0.1:{node.port}/0"
    try:
        with connect(url) as operator:
            wait_until(lambda: answers(url), "the node answers", timeout_seconds=30)
            operator.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: operator.cluster("INFO")["cluster_state"] == "ok", "the cluster is up")
        yield url
    finally:
        node.kill()


def answers(url: str) -> bool:
    with connect(url) as connection:
        try:
            return bool(connection.ping())
        except redis.ConnectionError:
            return False


def test_every_user_learns_it_at_the_first_look(cluster: str) -> None:
    with connect(cluster) as operator:
        for role in roles(["shell"]):
            operator.execute_command("ACL", "SETUSER", *role.setuser("pw").split())
            with connect(as_user(cluster, role.user, "pw")) as connection, pytest.raises(StoreRefusedError) as caught:
                check(connection)
            assert SENTENCE in str(caught.value) and "behind Sentinel" in str(caught.value)


async def test_a_producer_is_told_when_it_submits(cluster: str) -> None:
    with Client(cluster) as client, pytest.raises(StoreRefusedError, match=SENTENCE):
        client.submit("ops", "hello")
    async with AsyncClient(cluster) as client:
        with pytest.raises(StoreRefusedError, match=SENTENCE):
            await client.submit("ops", "hello")


def test_the_doctor_calls_it_a_problem(cluster: str) -> None:
    with connect(cluster) as connection:
        (finding,) = server_findings(connection)
    assert finding.level is Level.PROBLEM and SENTENCE in finding.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["agent-worker"], ["tool-worker", "--pool", "python"], ["gateway"], ["flower"], ["up"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_no_process_starts(arguments: list[str], cluster: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for file in PROJECT.glob("*.*"):
        (tmp_path / file.name).write_text(file.read_text())
    command = Command(tmp_path, {"ERRANDRY_REDIS_URL": cluster, "OPENAI_API_KEY": "none"})
    ended = command.run(*arguments)
    assert ended.returncode != 0 and SENTENCE in ended.stderr, ended
    assert OWNER not in ended.stdout + ended.stderr


def test_a_sentinel_is_no_server(tmp_path: Path) -> None:
    sentinel = Process(tmp_path / "sentinel", SENTINEL, "--sentinel")
    url = f"redis://:{WATCHER}@127.0.0.1:{sentinel.port}/0"
    try:
        wait_until(lambda: answers(url), "the Sentinel answers", timeout_seconds=30)
        with connect(url) as connection, pytest.raises(StoreRefusedError, match=r"is a Sentinel.* redis\+sentinel://"):
            check(connection)
    finally:
        sentinel.kill()
