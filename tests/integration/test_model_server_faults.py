"""Every fault of the model server, as the `openai` SDK meets it over a real socket."""

import json
from typing import Any

import openai
import pytest

from tests.support.model_requests import ADD_AND_LIST, ask, client, model_server
from workers.model_server.server import ModelServer

__all__ = ["client", "model_server"]


def fault(line: str) -> dict[str, Any]:
    return {"extra_headers": {"X-Errandry-Fault": line}}


@pytest.mark.parametrize("stream", [False, True])
class TestFaults:
    """Each fault, on a whole and on a streamed answer."""

    def read(self, client: openai.OpenAI, line: str, *, stream: bool) -> list[Any]:
        answer = ask(client, ADD_AND_LIST, stream=stream, **fault(line))
        return list(answer) if stream else [answer]

    def test_rate_limit(self, client: openai.OpenAI, stream: bool) -> None:
        with pytest.raises(openai.RateLimitError) as caught:
            self.read(client, "rate_limit;retry_after=7.5", stream=stream)
        assert caught.value.response.headers["retry-after"] == "7.5"

    def test_server_error(self, client: openai.OpenAI, stream: bool) -> None:
        with pytest.raises(openai.InternalServerError, match="on request"):
            self.read(client, "server_error", stream=stream)

    def test_disconnect_before_the_answer(self, client: openai.OpenAI, stream: bool) -> None:
        with pytest.raises(openai.APIConnectionError):
            self.read(client, "disconnect", stream=stream)

    def test_disconnect_within_the_answer(self, client: openai.OpenAI, stream: bool) -> None:
        read: list[Any] = []
        with pytest.raises(openai.APIConnectionError):
            answer = ask(client, ADD_AND_LIST, stream=stream, **fault("disconnect_midstream"))
            for chunk in answer:
                read.append(chunk)
        assert bool(read) is stream

    def test_truncation(self, client: openai.OpenAI, stream: bool) -> None:
        answers = self.read(client, "truncate", stream=stream)
        assert answers
        assert all(answer.choices[0].finish_reason is None for answer in answers)

    def test_malformed_arguments(self, client: openai.OpenAI, stream: bool) -> None:
        answers = self.read(client, "malformed_arguments", stream=stream)
        if stream:
            calls = [call for chunk in answers for call in chunk.choices[0].delta.tool_calls or ()]
            arguments = "".join(call.function.arguments for call in calls if call.index == 0)
        else:
            arguments = answers[0].choices[0].message.tool_calls[0].function.arguments
        with pytest.raises(json.JSONDecodeError):
            json.loads(arguments)

    def test_unknown_tool(self, client: openai.OpenAI, stream: bool) -> None:
        answers = self.read(client, "unknown_tool;tool=launch_rocket", stream=stream)
        messages = [answer.choices[0].delta if stream else answer.choices[0].message for answer in answers]
        names = [call.function.name for message in messages for call in message.tool_calls or () if call.function.name]
        assert names == ["launch_rocket", "list_files"]

    def test_slow_answer(self, client: openai.OpenAI, stream: bool) -> None:
        with pytest.raises(openai.APITimeoutError):
            self.read(client.with_options(timeout=0.2), "slow;seconds=5", stream=stream)

    def test_content_filter(self, client: openai.OpenAI, stream: bool) -> None:
        answers = self.read(client, "content_filter", stream=stream)
        assert answers[-1].choices[0].finish_reason == "content_filter"

    def test_a_limited_fault_lets_the_retry_succeed(self, model_server: ModelServer, stream: bool) -> None:
        with openai.OpenAI(base_url=model_server.base_url, api_key="none", max_retries=2) as client:
            assert self.read(client, "disconnect;times=2", stream=stream)
        assert [request.fault for request in model_server.requests] == ["disconnect", "disconnect", None]


def test_faults_are_asked_for_in_the_body_and_by_rules_too(model_server: ModelServer) -> None:
    with openai.OpenAI(base_url=model_server.base_url, api_key="none", max_retries=1) as client:
        assert ask(client, [{"role": "user", "content": "Be flaky"}]).choices[0].message.content == "Here I am again."
        assert ask(client, ADD_AND_LIST, extra_body={"errandry_fault": "server_error;times=1"}).choices
    assert [request.fault for request in model_server.requests] == ["rate_limit", None, "server_error", None]


def test_a_misspelt_fault_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"Unknown fault 'rate_limits'.*server_error"):
        ask(client, ADD_AND_LIST, **fault("rate_limits"))
