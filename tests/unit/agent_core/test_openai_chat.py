"""`OpenAIChat` against a real HTTP endpoint, in all four modes."""

import asyncio
import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from agent_core.agent import Agent
from agent_core.errors import ModelError
from agent_core.messages import Message, Usage
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.models.openai import OpenAIChat
from agent_core.run import RunStatus
from agent_core.tools import tool
from tests.support.http_model import HttpModel, Reply, http_model
from tests.support.run_modes import RUN_MODES, RunMode

modes = pytest.mark.parametrize("mode", RUN_MODES, ids=str)
streams = pytest.mark.parametrize("mode", [mode for mode in RUN_MODES if "stream" in mode.name], ids=str)


@tool
def add(x: int, y: int) -> int:
    """Add two numbers.

    Args:
        x: the first
    """
    return x + y


def chat(model: HttpModel, **settings: Any) -> OpenAIChat:
    return OpenAIChat("m", base_url=model.base_url, **{"api_key": "k", "max_retries": 0, **settings})


def agent_of(model: HttpModel, **settings: Any) -> Agent:
    return Agent(model=chat(model, **settings), tools=[add], instructions="Be brief.")


@modes
def test_parallel_calls_go_there_and_back(mode: RunMode) -> None:
    calls = [("a", "add", '{"x": 1, "y": 2}'), ("b", "add", '{"x": 3, "y": 4}')]
    with http_model([Reply(content="let me see", calls=calls), Reply(content="3 and 7")]) as model:
        output = mode.run(agent_of(model), "go")

    assert output.content == "3 and 7"
    first, second = model.requests
    assert first["model"] == "m"
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "go"}]
    assert first["tools"] == [
        {
            "type": "function",
            "function": {"name": "add", "description": "Add two numbers.", "parameters": add.parameters},
        }
    ]
    assert second["messages"][2:] == [
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for call_id, name, arguments in calls
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "3"},
        {"role": "tool", "tool_call_id": "b", "content": "7"},
    ]


@modes
def test_usage_is_summed_with_cached_and_reasoning_tokens(mode: RunMode) -> None:
    with http_model([Reply(calls=[("a", "add", '{"x": 1, "y": 2}')]), Reply(content="3")]) as model:
        output = mode.run(agent_of(model), "go")

    assert output.metrics == Usage(
        input_tokens=20, output_tokens=10, total_tokens=30, cached_tokens=8, reasoning_tokens=4, model_calls=2
    )


@streams
def test_text_comes_in_pieces(mode: RunMode) -> None:
    with http_model([Reply(content="hello")] * 2) as model:
        agent = agent_of(model)
        pieces = [event.content for event in agent.run("go", stream=True)]
        assert pieces == list("hello")
        assert mode.run(agent, "go").content == "hello"
    assert model.requests[0]["stream_options"] == {"include_usage": True}


@streams
@pytest.mark.parametrize("drops_connection", [False, True])
def test_a_stream_that_breaks_off_is_an_error(mode: RunMode, drops_connection: bool) -> None:
    broken = Reply(content="hello", breaks_after=3, drops_connection=drops_connection)
    with http_model([broken, Reply(content="hello")]) as model:
        agent = agent_of(model)
        with pytest.raises(ModelError) as caught:
            mode.run(agent, "go", run_id="broken")
        failed = agent.get_run_output("broken")
        assert failed is not None and failed.status is RunStatus.ERROR
        assert mode.continue_run(agent, run_id="broken").content == "hello"
    assert caught.value.retryable
    if not drops_connection:
        assert "finish_reason" in str(caught.value)


def test_a_broken_stream_is_tried_again_only_while_nothing_was_said() -> None:
    silent, spoke = Reply(breaks_after=1), Reply(content="hello", breaks_after=3)
    with http_model([silent, Reply(content="fine")]) as model:
        agent = Agent(model=chat(model), retries=1, retry_delay_seconds=0)
        assert "".join(str(event.content) for event in agent.run("go", stream=True)) == "fine"
    with http_model([spoke, Reply(content="fine")]) as model:
        agent = Agent(model=chat(model), retries=1, retry_delay_seconds=0)
        with pytest.raises(ModelError, match="finish_reason"):
            list(agent.run("go", stream=True))


@streams
def test_a_connection_that_is_lost_before_any_text_is_made_up_for(mode: RunMode) -> None:
    """As the SDK does for whole replies: nobody has seen anything of a reply that only calls."""
    calls = [("a", "add", '{"x": 1, "y": 2}')]
    broken = Reply(calls=calls, breaks_after=2, drops_connection=True)
    with http_model([broken, Reply(calls=calls), Reply(content="3")]) as model:
        assert mode.run(agent_of(model, max_retries=1), "go").content == "3"
    assert [request.get("stream", False) for request in model.requests] == [True, False, True]
    for retries, reply in ((0, broken), (5, Reply(content="hello", breaks_after=3, drops_connection=True))):
        with http_model([reply]) as model, pytest.raises(ModelError) as caught:
            mode.run(agent_of(model, max_retries=retries), "go")
        assert caught.value.retryable and len(model.requests) == 1


@modes
def test_a_refusal_is_the_content_in_the_models_words(mode: RunMode) -> None:
    with http_model([Reply(refusal="I would rather not.")]) as model:
        assert mode.run(agent_of(model), "go").content == "I would rather not."


@modes
@pytest.mark.parametrize(
    ("reply", "word", "retryable"),
    [
        (Reply(content="x", finish_reason="content_filter"), "content filter", False),
        (Reply(status=401, raw=b'{"error": {"message": "bad key"}}'), "OPENAI_API_KEY", False),
        (Reply(status=404, raw=b'{"error": {"message": "no such model"}}'), "Check id= and base_url=", False),
        (Reply(status=400, raw=b'{"error": {"message": "too long"}}'), "too long", False),
        (Reply(status=429, raw=b'{"error": {"message": "slow down"}}'), "429", True),
        (Reply(status=503, raw=b"busy"), "503", True),
    ],
)
def test_bad_answers_become_sentences(mode: RunMode, reply: Reply, word: str, retryable: bool) -> None:
    with http_model([reply]) as model, pytest.raises(ModelError) as caught:
        mode.run(agent_of(model), "go")
    assert word in str(caught.value) and caught.value.retryable is retryable


@pytest.mark.parametrize("raw", [b"<html>hello</html>", b"{}", b'{"choices": []}', b"[]", b'"text"'])
def test_an_endpoint_that_is_none_is_recognised(raw: bytes) -> None:
    with http_model([Reply(raw=raw)]) as model, pytest.raises(ModelError):
        agent_of(model).run("go")


@modes
def test_an_endpoint_that_is_not_there_is_named(mode: RunMode) -> None:
    agent = Agent(model=OpenAIChat("m", api_key="k", base_url="http://127.0.0.1:9/v1", max_retries=0))
    with pytest.raises(ModelError, match="could not be reached"):
        mode.run(agent, "go")


def test_a_slow_endpoint_is_left_after_the_timeout() -> None:
    released = threading.Event()

    def slow(body: dict[str, Any]) -> Reply:
        released.wait(timeout=10)
        return Reply(content="late")

    with http_model([slow]) as model:
        with pytest.raises(ModelError, match="did not answer in time"):
            agent_of(model, timeout=0.1).run("go")
        released.set()


def test_the_sdk_retries_as_often_as_asked() -> None:
    with http_model([Reply(status=500, raw=b"{}"), Reply(content="fine")]) as model:
        assert agent_of(model, max_retries=1).run("go").content == "fine"
    assert len(model.requests) == 2


@modes
def test_without_a_key_the_way_out_is_named(mode: RunMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    with pytest.raises(ModelError, match=r"OPENAI_API_KEY.*base_url.*ScriptedModel"):
        mode.run(Agent(model=OpenAIChat(id="gpt-5-mini")), "go")


def test_the_environment_counts_and_an_own_endpoint_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with http_model([Reply(content="a"), Reply(content="b")]) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        assert Agent(model=OpenAIChat("m")).run("go").content == "a"
        monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
        assert Agent(model=OpenAIChat("m")).run("go").content == "b"
    assert model.headers[1]["authorization"] == "Bearer from-the-environment"


def test_parameters_are_sent_by_name_and_unknown_ones_refused() -> None:
    with http_model([Reply(content="a")] * 2) as model:
        settings = {"temperature": 0.0, "max_tokens": 5, "seed": 1, "stop": ["x"], "parallel_tool_calls": False}
        agent_of(model, **settings, extra_body={"top_k": 3}, extra_headers={"X-Trace": "t"}).run("go")
        Agent(model=chat(model, parallel_tool_calls=False)).run("go")
    assert {name: model.requests[0][name] for name in settings} == settings
    assert model.requests[0]["top_k"] == 3 and model.headers[0]["x-trace"] == "t"
    assert "parallel_tool_calls" not in model.requests[1]
    with pytest.raises(TypeError, match="temprature"):
        OpenAIChat("m", temprature=1)  # type: ignore[call-arg]


def test_strictness_of_tools_and_of_the_output_is_asked_for() -> None:
    class Sum(BaseModel):
        value: int

    strict = tool(strict=True, name="add_strictly")(add.entrypoint)
    with http_model([Reply(content='{"value": 3}')]) as model:
        output = Agent(model=chat(model), tools=[strict, add], output_schema=Sum).run("go")

    assert output.content == Sum(value=3)
    (request,) = model.requests
    assert [offer["function"].get("strict") for offer in request["tools"]] == [True, None]
    assert request["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "Sum",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"value": {"type": "integer"}},
                "required": ["value"],
                "additionalProperties": False,
            },
        },
    }


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(OpenAIChat("m", api_key="secret", default_headers={"x": "secret"}))


def test_no_more_tools_are_wanted_past_the_limit() -> None:
    with http_model([Reply(calls=[("a", "add", '{"x": 1, "y": 2}')]), Reply(content="3")]) as model:
        Agent(model=chat(model), tools=[add], tool_call_limit=1).run("go")
    assert [request.get("tool_choice") for request in model.requests] == [None, "none"]


def test_one_model_serves_many_event_loops_and_closes_its_connections() -> None:
    with http_model([Reply(content=str(number)) for number in range(3)]) as model:
        agent = agent_of(model)

        async def go() -> object:
            return (await agent.arun("go")).content

        assert [asyncio.run(go()) for _ in range(3)] == ["0", "1", "2"]


def test_a_stream_without_call_indexes_is_understood() -> None:
    def chunk(**delta: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": delta.pop("finish_reason", None)}
        return b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}).encode()

    first = {"id": "a", "function": {"name": "add", "arguments": '{"x": 1,'}}
    second = {"id": "b", "function": {"name": "add", "arguments": '{"x": 5, "y": 5}'}}
    body = b"\n\n".join(
        [
            chunk(tool_calls=[first]),
            chunk(tool_calls=[{"function": {"arguments": ' "y": 2}'}}]),
            chunk(tool_calls=[second]),
            chunk(finish_reason="tool_calls"),
            b"data: [DONE]\n\n",
        ]
    )
    with http_model([Reply(raw=body)]) as model:
        request = ModelRequest(messages=(Message(role="user", content="go"),))
        (reply,) = chat(model).stream(request)

    assert isinstance(reply, ModelReply)
    assert [(call.id, call.arguments) for call in reply.tool_calls] == [
        ("a", '{"x": 1, "y": 2}'),
        ("b", '{"x": 5, "y": 5}'),
    ]


def test_the_sdk_is_not_loaded_before_the_first_call() -> None:
    program = (
        "import sys; from agent_core.agent import Agent; from agent_core.models.openai import OpenAIChat; "
        "Agent(model=OpenAIChat(id='m')); "
        "print([name for name in ('openai', 'rich', 'docstring_parser') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
