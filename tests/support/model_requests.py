"""Requests to a scripted model server through the `openai` SDK, for the tests of the server itself."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from workers.model_server.server import ModelServer

SCRIPT = """
seed = "tests"

[[rules]]
name = "both"
match = "^Add (?P<a>[0-9]+) and (?P<b>[0-9]+) and list (?P<folder>[^ ]+)"
example = "Add 2 and 3 and list /tmp"
text = "One moment, I shall add and list."
calls = [
    { tool = "add", arguments = { a = "{a}", b = "{b}" } },
    { tool = "list_files", arguments = { folder = "{folder}", note = "für {prompt}" } },
]

[[rules]]
name = "sum, told"
match = "^Add [0-9]+ and [0-9]+ and list"
turn = 1
text = "The sum is {result[0]}; all: {results}"

[[rules]]
name = "only a list"
match = "^List (?P<folder>[^ ]+)"
calls = [{ tool = "list_files", arguments = { folder = "{folder}" } }]

[[rules]]
name = "a person"
match = "^Who is (?P<name>[A-Z][a-z]+), aged (?P<age>[0-9]+)"
answer = { name = "{name}", age = "{age}" }

[[rules]]
name = "flaky"
match = "^Be flaky"
text = "Here I am again."
fault = "rate_limit;times=1;retry_after=0.01"
"""

Messages = list[Any]


def offer(name: str, **properties: str) -> Any:
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS: list[Any] = [offer("add", a="integer", b="integer"), offer("list_files", folder="string", note="string")]
ADD_AND_LIST: Messages = [{"role": "user", "content": "Add 2 and 3 and list /tmp"}]


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    with ModelServer(SCRIPT) as server:
        yield server


@pytest.fixture
def client(model_server: ModelServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=model_server.base_url, api_key="none", max_retries=0, timeout=10) as client:
        yield client


def ask(client: openai.OpenAI, messages: Messages, **more: Any) -> Any:
    return client.chat.completions.create(model="any-model", messages=messages, tools=TOOLS, **more)
