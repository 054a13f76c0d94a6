"""The ways to use external execution that the reference page shows, word for word in what they call.

No store is configured and the model is reached over HTTP, as a newcomer's program does.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat
from agent_core.tools import tool
from agent_core.tools.execution import ToolExecution
from agent_core.tools.toolkit import Toolkit
from agent_core.utils import pprint
from tests.support.http_model import HttpModel, Reply, http_model


@tool(external_execution=True)
def execute_shell_command(command: str) -> str:
    """Execute a command in the shell.

    Args:
        command (str): What to execute

    Returns:
        str: What the command printed
    """
    return subprocess.check_output(command, shell=True).decode("utf-8")


class ShellTools(Toolkit):
    def __init__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(
            tools=[self.list_dir, self.get_env],
            external_execution_required_tools=["list_dir"],
            *args,  # type: ignore[misc] # noqa: B026 - this is how the page writes it
            **kwargs,
        )

    def list_dir(self, directory: str):  # type: ignore[no-untyped-def]
        """Lists what is in a directory."""
        return subprocess.check_output(f"ls {directory}", shell=True).decode("utf-8")

    def get_env(self, var_name: str):  # type: ignore[no-untyped-def]
        """Gets an environment variable."""
        import os  # noqa: PLC0415 - this is how the page writes it

        return os.getenv(var_name, "Not found")


@tool(external_execution=True)
def sensitive_database_query(query: str) -> str:
    """Query a database."""
    return ""


@tool
def safe_calculation(x: int, y: int) -> int:
    """Add safely."""
    return x + y


@tool(external_execution=True)
async def async_external_tool(data: str) -> str:
    """Process data elsewhere."""
    return ""


@pytest.fixture
def served(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpModel]:
    with http_model(request.param) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        yield model


def serve(*replies: Reply) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("served", [replies], indirect=True, ids=["http"])


def results(model: HttpModel) -> list[tuple[str, str]]:
    return [(m["tool_call_id"], m["content"]) for m in model.requests[-1]["messages"] if m["role"] == "tool"]


@serve(Reply(calls=[("c", "execute_shell_command", '{"command": "echo a b"}')]), Reply(content="You have a and b."))
def test_the_basic_loop(served: HttpModel, capsys: pytest.CaptureFixture[str]) -> None:
    agent = Agent(
        model=OpenAIChat(id="gpt-5-mini"),
        tools=[execute_shell_command],
        markdown=True,
    )

    run_response = agent.run("What files do I have in my current directory?")
    assert run_response.is_paused
    for tool in run_response.tools_awaiting_external_execution:  # noqa: F402
        assert tool.tool_name == execute_shell_command.name
        assert tool.external_execution_required is True and tool.result is None
        result = execute_shell_command.entrypoint(**tool.tool_args)
        tool.result = result

    run_response = agent.continue_run(run_id=run_response.run_id, updated_tools=run_response.tools)
    pprint.pprint_run_response(run_response)

    assert results(served) == [("c", "a b\n")]
    assert capsys.readouterr().out == "You have a and b.\n"
    shown = served.requests[0]["tools"][0]["function"]
    assert shown["description"] == "Execute a command in the shell."
    assert shown["parameters"]["properties"] == {"command": {"type": "string", "description": "What to execute"}}


@serve(Reply(calls=[("c", "execute_shell_command", '{"command": "ls"}')]), Reply(content="done"))
def test_continuing_without_a_result_is_a_value_error(served: HttpModel) -> None:
    agent = Agent(model=OpenAIChat(id="gpt-5-mini"), tools=[execute_shell_command])
    run_response = agent.run("go")

    with pytest.raises(ValueError, match="execute_shell_command"):
        agent.continue_run(run_id=run_response.run_id, updated_tools=run_response.tools)
    assert len(served.requests) == 1


@serve(
    Reply(calls=[("a", "list_dir", '{"directory": "."}'), ("b", "get_env", '{"var_name": "GREETING"}')]),
    Reply(content="done"),
)
def test_a_toolkit_with_one_external_tool(served: HttpModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREETING", "hello")
    agent = Agent(
        model=OpenAIChat(id="gpt-4o-mini"),
        tools=[ShellTools()],  # type: ignore[no-untyped-call]
        markdown=True,
    )

    run_response = agent.run("What files are in my current directory and what's my PATH?")
    assert run_response.is_paused
    assert [tool.tool_name for tool in run_response.tools_awaiting_external_execution] == ["list_dir"]
    for tool in run_response.tools_awaiting_external_execution:  # noqa: F402
        result = ShellTools().list_dir(**tool.tool_args)  # type: ignore[no-untyped-call, arg-type]
        tool.result = result

    run_response = agent.continue_run(run_id=run_response.run_id, updated_tools=run_response.tools)

    assert results(served) == [("a", "file.txt\n"), ("b", "hello")]
    assert run_response.content == "done"


@serve(
    Reply(
        calls=[
            ("a", "safe_calculation", '{"x": 5, "y": 10}'),
            ("b", "sensitive_database_query", '{"query": "select * from users"}'),
        ]
    ),
    Reply(content="done"),
)
def test_external_and_inline_tools_in_one_batch(served: HttpModel) -> None:
    agent = Agent(
        model=OpenAIChat(id="gpt-4o-mini"),
        tools=[sensitive_database_query, safe_calculation],
        markdown=True,
    )

    response = agent.run("Calculate 5 + 10 and query the users table")
    assert response.is_paused
    for tool in response.tools_awaiting_external_execution:  # noqa: F402
        assert tool.tool_name == "sensitive_database_query"
        tool.result = [{"query": tool.tool_args["query"], "rows": 2}]

    response = agent.continue_run(run_id=response.run_id, updated_tools=response.tools)

    assert results(served) == [("a", "15"), ("b", '[{"query":"select * from users","rows":2}]')]


@serve(Reply(calls=[("c", "async_external_tool", '{"data": "d"}')]), Reply(content="done"))
async def test_the_async_loop(served: HttpModel) -> None:
    async def my_async_external_service(tool_args: object) -> object:
        return {"got": tool_args}

    agent = Agent(
        model=OpenAIChat(id="gpt-4o-mini"),
        tools=[async_external_tool],
        markdown=True,
    )

    run_response = await agent.arun("Process some data")
    assert run_response.is_paused
    for tool in run_response.tools_awaiting_external_execution:  # noqa: F402
        result = await my_async_external_service(tool.tool_args)
        tool.result = result

    response = await agent.acontinue_run(run_id=run_response.run_id, updated_tools=run_response.tools)

    assert response.content == "done"
    assert results(served) == [("c", '{"got":{"data":"d"}}')]


@serve(
    Reply(content="Let me look. ", calls=[("c", "execute_shell_command", '{"command": "ls"}')]),
    Reply(content="There is one file."),
)
def test_the_streamed_loop(served: HttpModel, capsys: pytest.CaptureFixture[str]) -> None:
    def execute_tool_externally(tool: ToolExecution) -> str:
        return f"executed {tool.tool_name}"

    agent = Agent(model=OpenAIChat(id="gpt-5-mini"), tools=[execute_shell_command])

    for run_event in agent.run("What files are in my current directory?", stream=True):
        if run_event.is_paused:
            for tool in run_event.tools_awaiting_external_execution:
                result = execute_tool_externally(tool)
                tool.result = result

            for response in agent.continue_run(
                run_id=run_event.run_id,
                updated_tools=run_event.tools,
                stream=True,
            ):
                print(response.content, end="")
        else:
            print(run_event.content, end="")

    assert capsys.readouterr().out == "Let me look. There is one file."
    assert results(served) == [("c", "executed execute_shell_command")]


def test_the_patterns_exclude_one_another() -> None:
    with pytest.raises(ValueError, match="one way only"):
        tool(external_execution=True, requires_confirmation=True)(execute_shell_command.entrypoint)
    with pytest.raises(ValueError, match="one way only"):
        tool(external_execution=True, requires_user_input=True)(execute_shell_command.entrypoint)
