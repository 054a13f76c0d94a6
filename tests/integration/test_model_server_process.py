"""The model server as a process of its own, scripted and with the local model."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.model_requests import ADD_AND_LIST, SCRIPT, Messages, ask
from workers.model_server.local import is_installed


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workers.model_server", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Model server ready at http://127.0.0.1:"), process.communicate()[1]
    return line.rsplit(maxsplit=1)[-1]


def test_the_process_says_its_address_and_serves(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT, encoding="utf-8")
    with start("--script", str(script)) as process:
        with openai.OpenAI(base_url=read_url(process), api_key="none") as client:
            assert ask(client, ADD_AND_LIST).choices[0].finish_reason == "tool_calls"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_the_process_says_in_one_sentence_what_is_wrong(tmp_path: Path) -> None:
    with start() as process:
        assert process.communicate(timeout=20)[1] == "A scripted model needs a script: give it with --script FILE.\n"
        assert process.returncode == 1
    with start("--script", str(tmp_path / "none.toml")) as process:
        assert "none.toml cannot be read" in process.communicate(timeout=20)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at the parent's death is Linux's")
def test_the_process_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text(SCRIPT, encoding="utf-8")
    # The parent alone writes: of two writers it would be open who comes first.
    parent_code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-m', 'workers.model_server', '--script',"
        " sys.argv[1]], stdout=subprocess.PIPE, text=True);"
        " print(child.pid, child.stdout.readline(), sep='\\n', end='', flush=True); child.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent_code, str(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        read_url(parent)
        descriptor = os.pidfd_open(child)
        parent.kill()
        assert select.select([descriptor], [], [], 30)[0] == [descriptor]
        os.close(descriptor)


@pytest.mark.skipif(not is_installed(), reason="the package of the local model is not installed")
class TestLocalModel:
    """A real network chooses the calls, in a process of its own that cannot open connections."""

    def test_it_chooses_parallel_calls_and_tells_their_results(self) -> None:
        tools: list[Any] = [
            {
                "type": "function",
                "function": {
                    "name": "get_weather",
                    "description": "Get the weather of a city.",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
                },
            },
            {
                "type": "function",
                "function": {
                    "name": "add",
                    "description": "Add two integers.",
                    "parameters": {
                        "type": "object",
                        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                        "required": ["a", "b"],
                    },
                },
            },
        ]
        prompt = "What is the weather in Tokyo and in Berlin, and add 3 and 4"
        messages: Messages = [{"role": "user", "content": prompt}]
        with start("--mode", "local") as process:
            with openai.OpenAI(base_url=read_url(process), api_key="none", timeout=60) as client:
                chosen = client.chat.completions.create(model="m", messages=messages, tools=tools).choices[0].message
                calls: list[Any] = list(chosen.tool_calls or ())
                assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
                    ("get_weather", {"city": "Tokyo"}),
                    ("get_weather", {"city": "Berlin"}),
                    ("add", {"a": 3, "b": 4}),
                ]
                results = [
                    {"role": "tool", "tool_call_id": call.id, "content": content}
                    for call, content in zip(calls, ["sunny", "rainy", "7"], strict=True)
                ]
                history: Messages = [*messages, chosen.model_dump(exclude_none=True), *results]
                told = client.chat.completions.create(model="m", messages=history, tools=tools).choices[0]
                assert told.finish_reason == "stop"
                assert told.message.content is not None
                assert all(word in told.message.content for word in ("sunny", "rainy", "7"))
                assert "chooses tools" in str(client.chat.completions.create(model="m", messages=messages).choices[0])
            process.kill()

    def test_its_process_opens_no_connections(self) -> None:
        code = (
            "import os, socket\n"
            "from workers.model_server.local import LocalModel\n"
            "LocalModel()\n"
            "assert os.environ['NEEDLE_TELEMETRY'] == '0' and os.environ['DO_NOT_TRACK'] == '1'\n"
            "assert os.environ['HF_HUB_OFFLINE'] == '1'\n"
            "socket.create_connection(('127.0.0.1', 9))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert "PermissionError: The process of the local model opens no connections" in done.stderr
