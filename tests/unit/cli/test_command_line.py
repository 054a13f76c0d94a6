"""The command line without any process: its pages, its refusals, its exit codes, and what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from agent_core.errors import ErrandryError
from queues.errors import SettingsError, StoreUnreachableError
from workers import cli

COMMANDS = (
    "demo", "up", "agent-worker", "tool-worker", "flower", "submit", "runs", "show", "follow", "cancel", "pending",
    "settle", "approve", "answer", "init", "retry", "doctor", "dead", "pools", "gateway", "key",
    "deny", "acl", "bench",
)  # fmt: skip


@pytest.mark.parametrize(
    "command", [*COMMANDS, "dead list", "dead show", "dead requeue", "key create", "key list", "key revoke"]
)
def test_every_page_has_words_and_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*command.split(), "--help"]) == 0
    page = capsys.readouterr().out
    assert f"Example: {'OPENAI_API_KEY=… ' if command == 'agent-worker' else ''}errandry {command}" in page
    assert f"Usage: errandry {command}" in page


def test_the_first_page_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    page = capsys.readouterr().out
    assert [command for command in COMMANDS if f"│ {command} " not in page] == []
    assert "Exit codes: 0 done" in page


def test_the_pages_import_nothing_heavy() -> None:
    script = (
        "import sys; from workers import cli; cli.main(['--help']); "
        "heavy = {'celery', 'kombu', 'redis', 'openai', 'flower', 'pydantic_settings', "
        "'fastapi', 'uvicorn', 'starlette'}; "
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=Path(__file__).parent,
    )
    assert done.stderr == "[]\n"


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("errandry 0.")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["subm"], "No such command 'subm'. Did you mean 'submit'?"),
        (["submit", "ops"], "Missing argument 'INPUT'."),
        (["submit", "ops", "hi", "--priority", "urgent"], "Invalid value for '--priority'"),
        (["runs", "--limit", "0"], "Invalid value for '--limit'"),
        (["tool-worker"], "Missing option '--pool'."),
        (["submit", "ops", "hi", "--deadline-seconds", "0"], "Invalid value for '--deadline-seconds': give a time"),
        (["submit", "ops", "hi", "--deadline-seconds", "nan"], "Invalid value for '--deadline-seconds': give a time"),
        (["doctor", "--limit", "0"], "Invalid value for '--limit'"),
        (["dead", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["dead", "requeue"], "Missing argument 'ID'."),
        (["retry"], "Missing argument 'RUN'."),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.startswith(f"Error: {sentence}")
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (SettingsError("no such key"), 2, "Error: no such key\n"),
        (StoreUnreachableError("Redis is away"), 1, "Error: Redis is away\n"),
        (ErrandryError("it failed"), 1, "Error: it failed\n"),
        (KeyError("x"), 1, "Error: KeyError: 'x'. This was not foreseen; `errandry --debug …` shows where.\n"),
    ],
)
def test_errors_become_a_sentence_and_a_code(
    error: Exception,
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = typer.Typer(callback=cli.before_any_command)

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    assert cli.main(["fail"]) == code
    assert capsys.readouterr().err == sentence
    if isinstance(error, ErrandryError):
        assert cli.main(["--debug", "fail"]) == code
        assert "Traceback" in capsys.readouterr().err
    else:
        with pytest.raises(KeyError):
            cli.main(["--debug", "fail"])


def test_ctrl_c_is_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(callback=cli.before_any_command)

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", app)
    assert cli.main(["wait"]) == cli.INTERRUPTED
