"""What a run with one pause costs on top of its two requests of the model, streamed and async; `errandry bench` says it
of whole replies.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.run import RunOutput
from agent_core.tools import tool
from tests.benchmarks.served_model import PROMPT, served_model
from workers.bench.pairs import compare

pytestmark = pytest.mark.benchmark

FILES = "june.csv\njuly.csv\n"
ANSWER = f"I see these files: {FILES}"
CONNECTION: dict[str, Any] = {"api_key": "none", "max_retries": 0}


@tool(external_execution=True)
def list_files(folder: str) -> str:
    """List the files in a folder.

    Args:
        folder: where to look
    """
    raise AssertionError("an external tool is never called by its agent")


OFFER: Any = [
    {
        "type": "function",
        "function": {
            "name": "list_files",
            "description": "List the files in a folder.",
            "parameters": list_files.parameters,
        },
    }
]


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    with served_model(tmp_path) as url:
        yield url


def first_messages() -> list[Any]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]


def asked(completion: ChatCompletion) -> tuple[str, str]:
    calls = completion.choices[0].message.tool_calls
    assert calls is not None and calls[0].type == "function"
    return calls[0].id, calls[0].function.arguments


def second_messages(call_id: str, arguments: str) -> list[Any]:
    call = {"id": call_id, "type": "function", "function": {"name": "list_files", "arguments": arguments}}
    return [
        *first_messages(),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": FILES},
    ]


def answer_all(output: RunOutput) -> RunOutput:
    for call in output.tools_awaiting_external_execution:
        call.result = FILES
    return output


def agent_at(base_url: str) -> Agent:
    model = OpenAIChat("m", base_url=base_url, **CONNECTION)
    return Agent(model=model, tools=[list_files], instructions="Be brief.")


def show(capsys: pytest.CaptureFixture[str], table: str) -> None:
    with capsys.disabled():
        print(table)


def test_streamed_replies(base_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    agent = agent_at(base_url)

    def run() -> None:
        *_, paused = agent.run(PROMPT, stream=True, yield_run_output=True)
        assert isinstance(paused, RunOutput)
        tools = answer_all(paused).tools
        parts = agent.continue_run(run_id=paused.run_id, updated_tools=tools, stream=True)
        assert "".join(str(part.content) for part in parts) == ANSWER

    with openai.OpenAI(base_url=base_url, **CONNECTION) as client:

        def ask() -> None:
            call_id, arguments = "", ""
            for chunk in client.chat.completions.create(
                model="m", messages=first_messages(), tools=OFFER, stream=True, stream_options={"include_usage": True}
            ):
                for part in (chunk.choices[0].delta.tool_calls or ()) if chunk.choices else ():
                    call_id = part.id or call_id
                    arguments += (part.function and part.function.arguments) or ""
            with client.chat.completions.create(
                model="m",
                messages=second_messages(call_id, arguments),
                tools=OFFER,
                stream=True,
                stream_options={"include_usage": True},
            ) as chunks:
                text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text == ANSWER

        comparison = compare(ask, run, pairs=20, repeats=3)
    show(capsys, comparison.table("run, pause, continue over two bare requests, streamed"))


def test_async_replies(base_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    agent = agent_at(base_url)

    async def run() -> None:
        paused = answer_all(await agent.arun(PROMPT))
        done = await agent.acontinue_run(run_id=paused.run_id, updated_tools=paused.tools)
        assert done.content == ANSWER

    async def ask(client: openai.AsyncOpenAI) -> None:
        create = client.chat.completions.create
        messages = second_messages(*asked(await create(model="m", messages=first_messages(), tools=OFFER)))
        assert (await create(model="m", messages=messages, tools=OFFER)).choices[0].message.content == ANSWER

    with asyncio.Runner() as runner:
        client = openai.AsyncOpenAI(base_url=base_url, **CONNECTION)
        comparison = compare(lambda: runner.run(ask(client)), lambda: runner.run(run()), pairs=20, repeats=3)
        runner.run(client.close())
    show(capsys, comparison.table("the same, async"))
