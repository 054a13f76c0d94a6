"""A call without a run, through real tool workers: behind the wall, with its errors, its time-out, a dead worker."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel, call
from agent_core.run import RunStatus
from agent_core.tools import tool
from agent_core.tools.execution import CallOutcome
from queues.client import AsyncClient, WaitTimeoutError
from queues.embedded import EmbeddedServer
from queues.errors import CallFailedError, UnknownToolError
from queues.redis_url import url_of
from tests.support.processes import processes
from tests.support.waiting import wait_until
from tests.support.walking import Walk, kill, tool_worker, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    with walking(tmp_path_factory.mktemp("execute"), cleared_server.url) as running:
        yield running


def runs(command: str) -> bool:
    return any(command in shown for _, shown in processes())


def test_a_named_tool_is_executed_in_its_pool(walk: Walk) -> None:
    assert walk.client.execute("run_command", {"command": "echo hello; id -u"}, timeout=BOUND).startswith("hello\n")
    assert walk.client.execute("count_words", {"text": "one two three"}, timeout=BOUND) == "3"
    seen = walk.client.execute("whoami_inside", timeout=BOUND)
    assert '"key":"exec_' in seen and "sk-of-the-agent-worker" not in seen


async def test_the_async_client_does_the_same(walk: Walk) -> None:
    async with AsyncClient(url_of(walk.settings)) as client:
        assert await client.execute("count_words", {"text": "one two"}, timeout=BOUND) == "2"
        with pytest.raises(CallFailedError, match="no such customer"):
            await client.execute("fail_always", {"reason": "no such customer"}, timeout=BOUND)


def test_the_loop_of_a_plain_process_becomes_sandboxed(walk: Walk) -> None:
    @tool(external_execution=True)
    def run_command(command: str) -> str:
        """Run a shell command."""
        raise AssertionError("nobody calls it here")

    model = ScriptedModel([call("run_command", command="echo from the pool"), "done"])
    agent = Agent(model=model, tools=[run_command])
    response = agent.run("What files are there?")
    for asked in response.tools_awaiting_external_execution:
        asked.result = walk.client.execute(asked, timeout=BOUND)
    response = agent.continue_run(response)
    assert response.status is RunStatus.COMPLETED
    assert "from the pool" in str(response.tools[0].result)


def test_what_is_known_is_told(walk: Walk) -> None:
    assert walk.client.agents() == ["careful", "ops"]
    pools = {pool.name: pool for pool in walk.client.pools()}
    assert "run_command" in pools["shell"].tools and "count_words" in pools["python"].tools
    assert [worker.level for worker in pools["shell"].workers] == ["ns"]
    assert pools["shell"].concurrency == 2 and set(pools["shell"].waiting.values()) == {0}
    with pytest.raises(UnknownToolError, match="run_command"):
        walk.client.execute("run_commnad", {"command": "id"})


def test_a_tool_that_its_pool_does_not_have_is_failed_by_it(walk: Walk) -> None:
    with pytest.raises(CallFailedError, match="Pool shell has no tool named nothing"):
        walk.client.execute("nothing", {}, pool="shell", timeout=BOUND)


def test_wrong_arguments_are_told(walk: Walk) -> None:
    with pytest.raises(CallFailedError, match="command"):
        walk.client.execute("run_command", {"comand": "id"}, timeout=BOUND)


def test_the_time_out_kills_the_process_in_the_sandbox(walk: Walk) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(walk.client.execute, "run_command", {"command": "sleep 41.17; echo no"}, timeout=5)
        wait_until(lambda: runs("sleep 41.17"), "the command runs")
        with pytest.raises(WaitTimeoutError, match="in 5 s; it is cancelled"):
            running.result()
    wait_until(lambda: not runs("sleep 41.17"), "it is killed", timeout_seconds=BOUND)


@pytest.mark.fault
def test_a_killed_worker_is_told(walk: Walk) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(walk.client.execute, "run_command", {"command": "sleep 43.19"}, timeout=BOUND)
        wait_until(lambda: runs("sleep 43.19"), "the command runs", timeout_seconds=BOUND)
        kill(walk, "shell")
        with pytest.raises(CallFailedError, match="died") as failed:
            running.result()
    assert failed.value.outcome is CallOutcome.LOST
    walk.processes.start(tool_worker(walk, "shell", name="shell"))
    assert walk.client.execute("run_command", {"command": "echo back"}, timeout=BOUND) == "back\n"
