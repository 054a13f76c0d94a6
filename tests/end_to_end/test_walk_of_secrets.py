"""Through real processes: a run's workspace goes from call to call; a pool's secret is nowhere but in its tool."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from agent_core.run import RunOutput, RunStatus
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.walking import Walk, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60
VALUE = "s3cr3t+of/the=shell"


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ERRANDRY_POOLS__SHELL__SANDBOX__WORKSPACE_MB", "4")
        patch.setenv("ERRANDRY_POOLS__SHELL__SANDBOX__SECRETS", '{"TOKEN": "env:WALK_TOKEN"}')
        patch.setenv("WALK_TOKEN", VALUE)
        with walking(tmp_path_factory.mktemp("walk"), cleared_server.url) as running:
            yield running


def done(walk: Walk, prompt: str) -> RunOutput:
    output = walk.client.submit("ops", prompt).wait(timeout=BOUND)
    assert output.status is RunStatus.COMPLETED, (output.status, output.error)
    return output


def test_a_later_call_of_the_run_finds_what_an_earlier_one_left(walk: Walk) -> None:
    place = "$ERRANDRY_WORKSPACE/note"
    output = done(walk, f"First echo kept > {place} and then cat {place}; pwd")
    assert output.content == f"in the end: kept\n{walk.settings.project_dir}\n"
    assert "No such file" in str(done(walk, f"Run cat {place} 2>&1 || true").tools[0].result)
    kept = walk.settings.state_dir / "workspaces" / "shell"
    assert sorted(path.suffix for path in kept.iterdir()) == [".lock", ".lock", ".tar", ".tar"]


def test_a_secret_reaches_the_tool_and_neither_redis_nor_a_log(walk: Walk, embedded_server: EmbeddedServer) -> None:
    output = done(walk, "Run echo $TOKEN; printf %s $TOKEN | base64; printf %s $TOKEN | wc -c; printf %s $TOKEN >&2")
    (call,) = output.tools
    assert str(call.result).split("\n")[2].strip() == str(len(VALUE))
    assert str(call.result).count("[secret TOKEN]") == 2
    failed = done(walk, "Run printf %s $TOKEN >&2; exit 3")
    assert failed.tools[0].tool_call_error
    with connect(embedded_server.url) as connection:
        stored = [*walk.lines, *(str(everything(connection, key)) for key in connection.scan_iter(count=1000))]
    assert any("[secret TOKEN]" in text for text in stored), "the looking finds what is there"
    for form in (VALUE, base64.b64encode(VALUE.encode()).decode(), VALUE.encode().hex(), repr(VALUE.encode())[2:-1]):
        assert not any(form in text for text in stored)


def everything(connection: redis.Redis, key: Any) -> object:
    """All that a key holds, whatever its type."""
    match connection.type(key):
        case "string":
            return connection.get(key)
        case "hash":
            return connection.hgetall(key)
        case "list":
            return connection.lrange(key, 0, -1)
        case "set":
            return connection.smembers(key)
        case "zset":
            return connection.zrange(key, 0, -1)
        case "stream":
            return connection.xrange(key)
        case "none":
            return "gone since"
    raise AssertionError(f"{key} is of a type that is not looked into")
