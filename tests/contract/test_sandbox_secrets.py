"""Secrets by reference, through the wall: in the call's environment, in nobody else's hands, and gone when rotated."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.levels import opened_at, project_with
from workers.sandbox.base import Outcome, Sandbox, SandboxCall, SandboxLevel, SandboxUnavailableError

TOOLS = """
import base64, os, sys, time, urllib.parse

def length(name: str) -> int:
    return len(os.environ.get(name, ""))

def tell(name: str, way: str) -> str:
    value = os.environ[name]
    ways = {
        "plain": value,
        "basic": base64.b64encode(f"user:{value}".encode()).decode(),
        "url": "https://host/?key=" + urllib.parse.quote(value, safe=""),
        "hex": value.encode().hex(),
    }
    if way == "raise":
        raise ValueError(value)
    if way == "stderr":
        sys.stderr.write(value)
        sys.exit(1)
    return ways[way]

def wait(seconds: float) -> str:
    open("/tmp/begun", "w").close()
    time.sleep(seconds)
    return "done"
"""
NAMES = ("length", "tell", "wait")
VALUE = "s3cr3t/with+signs=&4711"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_with(tmp_path / "project", TOOLS)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(VALUE[::-1] + "\n")
    file.chmod(0o600)
    return file


@pytest.fixture(params=[SandboxLevel.NS, SandboxLevel.SHARED, SandboxLevel.NONE])
def sandbox(request: pytest.FixtureRequest, project: Path, key_file: Path) -> Iterator[Sandbox]:
    settings = SandboxSettings.model_validate({"secrets": {"TOKEN": "env:PROD_TOKEN", "KEY": f"file:{key_file}"}})
    with closing(opened_at(request.param, settings, project, *NAMES, PROD_TOKEN=VALUE)) as sandbox:
        yield sandbox


def called(sandbox: Sandbox, tool: str, **arguments: Any) -> Outcome:
    call = SandboxCall(tool, arguments, idempotency_key="run_1:1:call")
    return sandbox.run(call, cancelled=threading.Event())


def test_the_tool_finds_what_the_references_lead_to(sandbox: Sandbox) -> None:
    assert called(sandbox, "length", name="TOKEN").content == str(len(VALUE))
    assert called(sandbox, "length", name="KEY").content == str(len(VALUE))
    assert called(sandbox, "length", name="PROD_TOKEN").content == "0", "under its own name it is not handed on"


@pytest.mark.parametrize("way", ["plain", "basic", "url", "hex", "raise", "stderr"])
def test_it_does_not_leave_in_any_common_form(sandbox: Sandbox, way: str) -> None:
    content = called(sandbox, "tell", name="TOKEN", way=way).content
    assert "[secret TOKEN]" in content
    for form in (VALUE, base64.b64encode(VALUE.encode()).decode()[:-4], VALUE.encode().hex(), "4711"):
        assert form not in content


def test_a_rotated_file_is_the_next_calls(sandbox: Sandbox, key_file: Path) -> None:
    fresh = key_file.with_name("fresh")
    fresh.write_text("rotated!")
    fresh.chmod(0o600)
    fresh.replace(key_file)
    assert called(sandbox, "length", name="KEY").content == "8"
    assert called(sandbox, "tell", name="KEY", way="plain").content == "[secret KEY]"


def test_a_secret_that_is_gone_fails_the_call_and_not_the_worker(sandbox: Sandbox, key_file: Path) -> None:
    key_file.rename(key_file.with_name("away"))
    outcome = called(sandbox, "length", name="TOKEN")
    assert (outcome.outcome, outcome.detail["status"]) == (CallOutcome.FAILED, "tool_error")
    assert outcome.content.startswith(f"The pool's secret KEY cannot be taken from {key_file}: no such file")
    key_file.with_name("away").rename(key_file)
    assert called(sandbox, "length", name="TOKEN").outcome is CallOutcome.SUCCEEDED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into every process")
def test_no_process_shows_it(sandbox: Sandbox) -> None:
    forms = [VALUE.encode(), VALUE[::-1].encode()]
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(called, sandbox, "wait", seconds=2)
        shown: list[str] = []
        looks = 0
        while not running.done() or looks < 3:
            looks += 1
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit() and int(folder.name) != os.getpid():
                    shown += [
                        f"{folder.name}/{name}" for name in ("cmdline", "environ") if _holds(folder / name, forms)
                    ]
        assert running.result().content == "done"
    assert shown == []


def _holds(file: Path, forms: list[bytes]) -> bool:
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return any(form in content for form in forms)


def test_a_missing_one_refuses_the_pool_by_name(project: Path, key_file: Path) -> None:
    settings = SandboxSettings.model_validate({"secrets": {"TOKEN": "env:PROD_TOKEN", "KEY": f"file:{key_file}"}})
    with pytest.raises(SandboxUnavailableError, match=r"lists the secret TOKEN, but .* does not hold PROD_TOKEN"):
        opened_at(SandboxLevel.NS, settings, project, *NAMES, TOKEN=VALUE)
    key_file.chmod(0o622)
    with pytest.raises(SandboxUnavailableError, match=r"secret KEY cannot be taken .* others can write to it"):
        opened_at(SandboxLevel.NS, settings, project, *NAMES, PROD_TOKEN=VALUE)


def test_a_module_that_wants_a_secret_at_its_import_gets_it(tmp_path: Path) -> None:
    code = 'import os\nLENGTH = len(os.environ["TOKEN"])\ndef length() -> int:\n    return LENGTH\n'
    project = project_with(tmp_path / "eager", code)
    settings = SandboxSettings.model_validate({"secrets": ["TOKEN"]})
    with closing(opened_at(SandboxLevel.NS, settings, project, "length", TOKEN=VALUE)) as sandbox:
        outcome = called(sandbox, "length")
        assert outcome.content == str(len(VALUE))
        assert outcome.detail["preloaded"] is False
