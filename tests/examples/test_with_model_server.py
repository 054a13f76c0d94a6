"""How to test an agent of your own over real HTTP: `ModelServer` is an endpoint that answers by rules.

With it the code under test keeps its `OpenAIChat`, its time-outs and its retries, and the endpoint can be made to fail
on request. Rules and faults are explained in `workers.model_server.script` and `workers.model_server.faults`.
"""

from collections.abc import Iterator

import pytest

from agent_core.agent import Agent
from agent_core.errors import ModelError
from agent_core.models.openai import OpenAIChat
from agent_core.run import RunStatus
from agent_core.tools import tool
from workers.model_server.server import ModelServer

SCRIPT = """
[[rules]]
match = '^What is the weather in (?P<city>[A-Z][a-z]+)'
calls = [{ tool = "read_weather", arguments = { city = "{city}" } }]

[[rules]]
match = '^What is the weather in (?P<city>[A-Z][a-z]+)'
turn = 1
text = "In {city} it is {results}."

[[rules]]
match = '^Are you there'
text = "I am."
fault = "server_error;times=2"
"""


@tool
def read_weather(city: str) -> str:
    """Read the weather.

    Args:
        city: where
    """
    return "raining"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(SCRIPT) as server:
        yield server


def agent_at(server: ModelServer, *, max_retries: int = 0) -> Agent:
    # In your own tests, set OPENAI_BASE_URL to `server.base_url` instead, and the agent needs no change at all.
    model = OpenAIChat(id="any", base_url=server.base_url, max_retries=max_retries)
    return Agent(model=model, tools=[read_weather])


def test_the_tool_is_called_and_its_result_is_told(server: ModelServer) -> None:
    run = agent_at(server).run("What is the weather in Oslo?")

    assert run.content == "In Oslo it is raining."
    assert [call.tool_args for call in run.tools] == [{"city": "Oslo"}]
    offered = server.requests[0].body["tools"][0]["function"]
    assert offered["parameters"]["properties"] == {"city": {"description": "where", "type": "string"}}


async def test_the_text_is_streamed(server: ModelServer) -> None:
    agent = agent_at(server)

    pieces = [str(event.content) async for event in agent.arun("What is the weather in Oslo?", stream=True)]

    assert "".join(pieces) == "In Oslo it is raining." and len(pieces) > 1


def test_an_endpoint_that_fails_twice_is_asked_again(server: ModelServer) -> None:
    assert agent_at(server, max_retries=2).run("Are you there?").content == "I am."
    assert [request.fault for request in server.requests] == ["server_error", "server_error", None]


def test_without_retries_the_run_waits_in_error_until_it_is_continued(server: ModelServer) -> None:
    agent = agent_at(server)
    with pytest.raises(ModelError, match="status 500"):
        agent.run("Are you there?", run_id="mine")
    with pytest.raises(ModelError, match="status 500"):
        agent.continue_run(run_id="mine")

    assert agent.continue_run(run_id="mine").status is RunStatus.COMPLETED
