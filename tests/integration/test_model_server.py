"""The model server over real sockets: the `openai` SDK reads every answer."""

import json
import textwrap
from typing import Any

import httpx2
import openai
import pytest

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.tools import tool
from tests.support.model_requests import ADD_AND_LIST, SCRIPT, TOOLS, Messages, ask, client, model_server
from workers.model_server import server as server_module
from workers.model_server.server import ModelServer

__all__ = ["client", "model_server"]


def test_parallel_calls_carry_arguments_of_the_types_that_their_schemas_ask_for(client: openai.OpenAI) -> None:
    completion = ask(client, ADD_AND_LIST)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "One moment, I shall add and list."
    assert [call.function.name for call in choice.message.tool_calls] == ["add", "list_files"]
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"a": 2, "b": 3}
    second = json.loads(choice.message.tool_calls[1].function.arguments)
    assert second == {"folder": "/tmp", "note": "für Add 2 and 3 and list /tmp"}
    assert len({call.id for call in choice.message.tool_calls}) == 2
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert completion.model == "any-model"


def test_the_next_turn_is_answered_by_the_rule_for_it(client: openai.OpenAI) -> None:
    calls = ask(client, ADD_AND_LIST).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": content}
        for call, content in zip(calls.tool_calls, ["5", "a.txt"], strict=True)
    ]
    completion = ask(client, [*ADD_AND_LIST, calls.model_dump(exclude_none=True), *results])
    assert completion.choices[0].message.content == "The sum is 5; all: 5\na.txt"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.tool_calls is None


def test_a_rule_without_an_answer_for_the_next_turn_is_answered_with_the_results(client: openai.OpenAI) -> None:
    messages: Messages = [{"role": "user", "content": "List /data"}]
    calls = ask(client, messages).choices[0].message
    result = {"role": "tool", "tool_call_id": calls.tool_calls[0].id, "content": "b.txt"}
    completion = ask(client, [*messages, calls.model_dump(exclude_none=True), result])
    assert completion.choices[0].message.content == "list_files returned: b.txt"


def test_a_stream_puts_together_to_the_same_answer(client: openai.OpenAI) -> None:
    whole = ask(client, ADD_AND_LIST)
    chunks = list(ask(client, ADD_AND_LIST, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    arguments: dict[int, list[str]] = {}
    heads: dict[int, tuple[str, str]] = {}
    for call in (call for delta in deltas for call in delta.tool_calls or ()):
        if call.id:
            heads[call.index] = (call.id, call.function.name)
        arguments.setdefault(call.index, []).append(call.function.arguments)
    for index, call in enumerate(whole.choices[0].message.tool_calls):
        assert heads[index] == (call.id, call.function.name)
        assert "".join(arguments[index]) == call.function.arguments
        assert len(arguments[index]) > 2
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_a_stream_ends_with_done_and_has_usage_only_when_asked_for(model_server: ModelServer) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    with httpx2.stream("POST", f"{model_server.base_url}/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all("usage" not in json.loads(line.removeprefix("data: ")) for line in lines[:-1])


async def test_the_asynchronous_client_is_served_alike(model_server: ModelServer) -> None:
    async with openai.AsyncOpenAI(base_url=model_server.base_url, api_key="none", max_retries=0) as client:
        whole = await client.chat.completions.create(model="m", messages=ADD_AND_LIST, tools=TOOLS)
        assert len(whole.choices[0].message.tool_calls or ()) == 2
        stream = await client.chat.completions.create(model="m", messages=ADD_AND_LIST, tools=TOOLS, stream=True)
        text = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(text) == whole.choices[0].message.content


def test_an_unknown_prompt_is_told_what_the_script_knows(client: openai.OpenAI) -> None:
    text = ask(client, [{"role": "user", "content": "Sing a song"}]).choices[0].message.content
    assert "scripted" in text
    assert "'Sing a song'" in text
    assert "- Add 2 and 3 and list /tmp" in text


def test_a_tool_that_is_not_offered_is_never_called(client: openai.OpenAI) -> None:
    messages: Messages = [{"role": "user", "content": "List /data"}]
    for more in ({"tools": [TOOLS[0]]}, {"tools": TOOLS, "tool_choice": "none"}):
        message = client.chat.completions.create(model="m", messages=messages, **more).choices[0].message
        assert message.tool_calls is None
        assert "calls list_files, which this request does not offer" in message.content


def test_a_rule_answers_with_json_for_a_response_format(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    response_format = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    messages: Messages = [{"role": "user", "content": "Who is Ada, aged 36?"}]
    completion = ask(client, messages, response_format=response_format)
    assert json.loads(completion.choices[0].message.content) == {"name": "Ada", "age": 36}


def test_models_health_and_requests_can_be_asked_for(model_server: ModelServer, client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["scripted"]
    root = model_server.base_url.removesuffix("/v1")
    assert httpx2.get(f"{root}/health").json() == {"status": "ok"}
    ask(client, ADD_AND_LIST, temperature=0.5)
    recorded = httpx2.get(f"{root}/requests").json()
    assert recorded == [request.model_dump(mode="json") for request in model_server.requests]
    assert recorded[0]["rule"] == "both"
    assert recorded[0]["fault"] is None
    assert recorded[0]["body"]["messages"] == ADD_AND_LIST
    assert recorded[0]["body"]["temperature"] == 0.5


@pytest.mark.parametrize("call_ids", ["reused", "same"])
def test_call_ids_can_be_as_bad_as_some_providers_make_them(call_ids: str) -> None:
    script = f'call_ids = "{call_ids}"\n{SCRIPT}'
    with ModelServer(script) as server, openai.OpenAI(base_url=server.base_url, api_key="none") as client:
        ids = [call.id for call in ask(client, ADD_AND_LIST).choices[0].message.tool_calls]
        again = ask(client, [*ADD_AND_LIST, {"role": "user", "content": "List /data"}]).choices[0].message
    assert ids == (["call_0", "call_1"] if call_ids == "reused" else ["call_0", "call_0"])
    assert again.tool_calls[0].id == "call_0"


def test_seeded_ids_are_the_same_in_another_server_and_differ_with_the_conversation(client: openai.OpenAI) -> None:
    first = [call.id for call in ask(client, ADD_AND_LIST).choices[0].message.tool_calls]
    longer: Messages = [{"role": "user", "content": "Hello"}, *ADD_AND_LIST]
    with ModelServer(SCRIPT) as other, openai.OpenAI(base_url=other.base_url, api_key="none") as second_client:
        assert [call.id for call in ask(second_client, ADD_AND_LIST).choices[0].message.tool_calls] == first
        assert [call.id for call in ask(second_client, longer).choices[0].message.tool_calls] != first


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "tool", "tool_call_id": "x", "content": ""}], "follows no message with tool calls"),
        ([{"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}]}], "no tool"),
        ([], "messages"),
    ],
)
def test_what_a_provider_refuses_is_refused(client: openai.OpenAI, messages: Messages, reason: str) -> None:
    with pytest.raises(openai.BadRequestError, match=reason):
        ask(client, messages)


def test_the_sample_for_tests_of_users_runs() -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    sample = (server_module.__doc__ or "").partition("\n\n    ")[2].partition("\n\nHow scripts")[0]
    names: dict[str, Any] = {"Agent": Agent, "OpenAIChat": OpenAIChat, "add": add}
    exec(textwrap.dedent(f"    {sample}"), names)
    names["test_my_agent"]()
