"""Printing of runs: plain when piped, panels on a terminal."""

import io
import subprocess
import sys

import pytest
from pydantic import BaseModel

from agent_core.agent import Agent
from agent_core.errors import ModelError
from agent_core.models.scripted import ScriptedModel, Turn, call
from agent_core.tools import tool
from agent_core.utils import pprint


class City(BaseModel):
    name: str


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    return command


def agent_of(*turns: Turn) -> Agent:
    return Agent(model=ScriptedModel(turns), tools=[shell], name="ops")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(*turns: Turn, output_schema: type[BaseModel] | None = None) -> str:
    out = io.StringIO()
    pprint.pprint_run_response(agent_of(*turns).run("go", output_schema=output_schema), file=out)
    return out.getvalue()


def test_piped_output_is_the_content_alone() -> None:
    assert printed("**All** done") == "**All** done\n"
    assert printed('{"name": "Oslo"}', output_schema=City) == '{\n  "name": "Oslo"\n}\n'


def test_a_paused_run_shows_what_it_waits_for() -> None:
    text = printed(call("shell", command="ls"))
    assert "paused" in text and '- shell({"command": "ls"})' in text


def test_a_failed_run_shows_why() -> None:
    agent = agent_of(ModelError("the provider is down"))
    with pytest.raises(ModelError):
        agent.run("go", run_id="x")
    failed, out = agent.get_run_output("x"), io.StringIO()
    assert failed is not None
    pprint.pprint_run_response(failed, file=out)
    assert out.getvalue() == "Run x ended as ERROR: the provider is down\n"


def test_a_terminal_gets_a_panel() -> None:
    out = Terminal()
    pprint.pprint_run_response(agent_of("**All** done").run("go"), file=out)

    assert "ops · COMPLETED" in out.getvalue() and "**" not in out.getvalue() and "╭" in out.getvalue()


def test_streams_are_printed_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    agent_of("some words here").print_response("go", stream=True)
    agent_of("some words here").print_response("go")

    assert capsys.readouterr().out == "some words here\n" * 2


async def test_async_runs_are_printed_too(capsys: pytest.CaptureFixture[str]) -> None:
    await pprint.apprint_run_response(agent_of("some words").arun("go", stream=True))
    await pprint.apprint_run_response(await agent_of("some words").arun("go"))

    assert capsys.readouterr().out == "some words\n" * 2


def test_piped_printing_never_loads_rich() -> None:
    program = (
        "import sys; from agent_core.agent import Agent; from agent_core.models.scripted import ScriptedModel; "
        "Agent(model=ScriptedModel(['done'])).print_response('go'); print('rich' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "done\nFalse\n"
