"""Everything that can go wrong between an agent and its model, over real HTTP, in all four modes.

A run is paused by an external call; the fault then hits the model's next reply, when results could be lost.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agent_core.agent import Agent
from agent_core.errors import ModelError
from agent_core.models.openai import OpenAIChat
from agent_core.run import RunOutput, RunStatus
from agent_core.tools import tool
from agent_core.tools.execution import CallOutcome
from tests.support.run_modes import RUN_MODES, RunMode
from tests.support.waiting import wait_until
from workers.model_server.server import ModelServer

modes = pytest.mark.parametrize("mode", RUN_MODES, ids=str)


@tool(external_execution=True)
def list_files(folder: str) -> str:
    """List the files in a folder."""
    raise AssertionError("an external tool is never called by its agent")


def script(*, asking: str = "", telling: str = "") -> str:
    """Return a script whose first reply asks for a call and whose second tells the result, each with its fault."""
    return f"""
        [[rules]]
        match = "^List (?P<folder>[^ ]+)"
        text = "I shall look."
        calls = [{{ tool = "list_files", arguments = {{ folder = "{{folder}}" }} }}]
        {f'fault = "{asking}"' if asking else ""}

        [[rules]]
        match = "^List"
        turn = 1
        text = "There is: {{results}}"
        {f'fault = "{telling}"' if telling else ""}

        [[rules]]
        match = "^List"
        turn = 2
        text = "At last: {{results}}"
        """


@contextmanager
def served(text: str, **settings: Any) -> Iterator[tuple[ModelServer, Agent]]:
    with ModelServer(text) as server:
        model = OpenAIChat("m", base_url=server.base_url, **{"max_retries": 0, "timeout": 30, **settings})
        yield server, Agent(model=model, tools=[list_files])


def paused(mode: RunMode, agent: Agent) -> RunOutput:
    run = mode.run(agent, "List /srv")
    (call,) = run.tools_awaiting_external_execution
    call.result = "a.txt"
    return run


def results(output: RunOutput) -> list[str | None]:
    return [message.content for message in output.messages if message.role == "tool"]


@modes
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("rate_limit;retry_after=0.01", "answered with status 429"),
        ("server_error", "answered with status 500"),
        ("disconnect", "could not be reached"),
        ("disconnect_midstream", "'m'"),
        ("truncate", "finish_reason"),
    ],
)
def test_a_fault_loses_nothing_and_the_run_goes_on(mode: RunMode, fault: str, words: str) -> None:
    with served(script(telling=f"{fault};times=1")) as (server, agent):
        run = paused(mode, agent)
        with pytest.raises(ModelError, match=words) as caught:
            mode.continue_run(agent, run)
        failed = agent.get_run_output(run.run_id)
        output = mode.continue_run(agent, run_id=run.run_id)

    assert caught.value.retryable
    assert failed is not None and failed.status is RunStatus.ERROR and results(failed) == ["a.txt"]
    assert (output.status, output.content, results(output)) == (RunStatus.COMPLETED, "There is: a.txt", ["a.txt"])
    assert [request.fault for request in server.requests] == [None, fault.partition(";")[0], None]


@modes
@pytest.mark.parametrize("fault", ["rate_limit;retry_after=0.01", "server_error", "disconnect"])
def test_the_sdk_tries_again_as_often_as_it_is_told(mode: RunMode, fault: str) -> None:
    with served(script(telling=f"{fault};times=1"), max_retries=1) as (server, agent):
        output = mode.continue_run(agent, paused(mode, agent))

    assert output.content == "There is: a.txt" and output.metrics.model_calls == 2
    assert [request.fault for request in server.requests] == [None, fault.partition(";")[0], None]


@modes
def test_a_wait_that_the_endpoint_asks_for_is_kept(mode: RunMode) -> None:
    # Without Retry-After the first wait is half a second at the most.
    with served(script(telling="rate_limit;times=1;retry_after=0.8"), max_retries=1) as (_, agent):
        run, begun = paused(mode, agent), time.monotonic()
        assert mode.continue_run(agent, run).content == "There is: a.txt"
        assert time.monotonic() - begun >= 0.8


@modes
@pytest.mark.parametrize("fault", ["malformed_arguments", "unknown_tool;tool=launch"])
def test_a_call_that_cannot_be_made_is_told_to_the_model_and_never_pauses(mode: RunMode, fault: str) -> None:
    with served(script(asking=f"{fault};times=1")) as (server, agent):
        output = mode.run(agent, "List /srv")

    (call,) = output.tools
    assert (output.status, call.outcome, call.external_execution_required) == (
        RunStatus.COMPLETED,
        CallOutcome.FAILED,
        False,
    )
    assert output.content == f"There is: {results(output)[0]}"
    reason = "not JSON" if fault.startswith("malformed") else "There is no tool 'launch'. The tools are: list_files."
    assert reason in str(call.result)
    # What went back to the endpoint is JSON that any endpoint can parse.
    asked = server.requests[-1].body["messages"][-2]["tool_calls"][0]["function"]
    assert asked["arguments"] in ("{}", '{"folder": "/srv"}')


@modes
def test_a_withheld_reply_says_so_and_is_not_tried_again(mode: RunMode) -> None:
    with served(script(telling="content_filter;times=1")) as (_, agent):
        run = paused(mode, agent)
        with pytest.raises(ModelError, match="content filter") as caught:
            mode.continue_run(agent, run)
    assert not caught.value.retryable


@modes
def test_an_endpoint_that_is_too_slow_is_left(mode: RunMode) -> None:
    with served(script(telling="slow;seconds=60;times=1")) as (server, agent):
        run, patient = paused(mode, agent), agent.model
        # For the slow reply alone: on a busy machine any other may take longer than that.
        agent.model = OpenAIChat("m", base_url=server.base_url, max_retries=0, timeout=0.3)
        with pytest.raises(ModelError, match="did not answer in time"):
            mode.continue_run(agent, run)
        wait_until(lambda: len(server.requests) == 2, "the slow reply is under way")
        agent.model = patient
        assert mode.continue_run(agent, run_id=run.run_id).content == "There is: a.txt"
