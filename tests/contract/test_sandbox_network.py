"""An allowlist as a tool meets it: listed names by the proxy, nothing else, and an account with each result."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.egress_scenario import page_server
from tests.support.levels import opened_at, project_with
from tests.support.network_tools import NAMES, TOOLS, walk
from tests.support.ordinary_user import can_become_one, run_as_ordinary_user
from tests.support.waiting import is_running, wait_until
from workers.sandbox.base import Outcome, Sandbox, SandboxCall, SandboxLevel, SandboxUnavailableError
from workers.sandbox.calls import ProcessSandbox

WALK = """
import json
from tests.support.network_tools import walk
print(json.dumps(walk()))
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with page_server() as port:
        yield port


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project_with(tmp_path_factory.mktemp("network") / "project", TOOLS)


@pytest.fixture(scope="module")
def sandbox(port: int, project: Path) -> Iterator[Sandbox]:
    settings = SandboxSettings(
        network="allowlist", allow_domains=("localhost", "127.0.0.1"), allow_ports=(port,), allow_private=True
    )
    with closing(opened_at(SandboxLevel.NS, settings, project, *NAMES)) as sandbox:
        yield sandbox


def called(sandbox: Sandbox, tool: str, **arguments: Any) -> Outcome:
    call = SandboxCall(tool, arguments, idempotency_key="run_1:1:call", timeout_seconds=30)
    return sandbox.run(call, cancelled=threading.Event())


def test_a_listed_name_is_reached_and_accounted(sandbox: Sandbox, port: int) -> None:
    outcome = called(sandbox, "fetch", url=f"http://localhost:{port}/")
    assert (outcome.outcome, outcome.content) == (CallOutcome.SUCCEEDED, "hello")
    egress = outcome.detail["egress"]
    assert isinstance(egress, dict)
    assert list(egress["sent"]) == list(egress["received"]) == [f"localhost:{port}"]  # type: ignore[arg-type]
    assert egress["refused"] == {}
    assert outcome.detail["network"] == "allowlist"


def test_a_tool_that_reaches_nothing_says_so(sandbox: Sandbox) -> None:
    outcome = called(sandbox, "descriptors")
    assert outcome.detail["egress"] == {"sent": {}, "received": {}, "refused": {}}
    assert all("socket" not in name for name in json.loads(outcome.content)), "neither listener nor control is left"


def test_a_refusal_can_be_acted_on(sandbox: Sandbox, port: int) -> None:
    outcome = called(sandbox, "fetch", url=f"http://evil.test:{port}/")
    assert outcome.content.startswith("403 evil.test is not in this pool's allow_domains.")
    assert "these can be: localhost, 127.0.0.1." in outcome.content
    assert outcome.detail["egress"] == {"sent": {}, "received": {}, "refused": {f"evil.test:{port}": 1}}
    assert "Port 1 is not in this pool's allow_ports" in called(sandbox, "fetch", url="http://localhost:1/").content


def test_there_is_no_way_but_the_proxy(sandbox: Sandbox, port: int) -> None:
    said = json.loads(called(sandbox, "other_ways", port=port).content)
    assert set(said.values()) == {"refused"}, said


def test_programs_find_the_proxy(sandbox: Sandbox) -> None:
    variables = json.loads(called(sandbox, "proxies").content)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        assert variables[name] == variables[name.lower()] == "http://127.0.0.1:3128"
    assert variables["NO_PROXY"] == variables["no_proxy"] == ""


def test_calls_have_ways_of_their_own(sandbox: Sandbox, port: int) -> None:
    with ThreadPoolExecutor(6) as threads:
        urls = [f"http://{'localhost' if n % 2 else 'evil.test'}:{port}/" for n in range(12)]
        outcomes = list(threads.map(lambda url: called(sandbox, "fetch", url=url), urls))
    for number, outcome in enumerate(outcomes):
        egress = outcome.detail["egress"]
        assert isinstance(egress, dict)
        assert bool(egress["sent"]) == bool(number % 2)
        assert bool(egress["refused"]) == (number % 2 == 0)


def test_a_killed_call_leaves_no_connection(sandbox: Sandbox) -> None:
    assert isinstance(sandbox, ProcessSandbox)
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        call = SandboxCall("hold_connections", {}, idempotency_key="run_1:1:call")
        waiting = threads.submit(sandbox.run, call, cancelled=cancelled)
        before = called(sandbox, "descriptors")
        cancelled.set()
        assert waiting.result(timeout=60).outcome is CallOutcome.CANCELLED
    assert before.outcome is CallOutcome.SUCCEEDED


def test_a_killed_proxy_is_replaced_for_the_next_call(sandbox: Sandbox, port: int) -> None:
    assert isinstance(sandbox, ProcessSandbox)
    proxy = sandbox._proxy
    assert proxy is not None
    assert proxy.pid is not None
    first = proxy.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_running(first), "the proxy is dead")
    assert called(sandbox, "fetch", url=f"http://localhost:{port}/").content == "hello"


def test_the_proxy_ends_with_the_sandbox(port: int, project: Path) -> None:
    settings = SandboxSettings(network="allowlist", allow_domains=("localhost",), allow_private=True)
    sandbox = opened_at(SandboxLevel.NS, settings, project, *NAMES)
    assert isinstance(sandbox, ProcessSandbox)
    assert sandbox._proxy is not None
    pid = sandbox._proxy.pid
    assert pid is not None
    sandbox.close()
    assert not is_running(pid)


@pytest.mark.parametrize("level", [SandboxLevel.SHARED, SandboxLevel.LANDLOCK])
def test_levels_without_a_network_of_their_own_refuse(level: SandboxLevel, project: Path) -> None:
    settings = SandboxSettings(network="allowlist", allow_domains=("localhost",))
    with pytest.raises(SandboxUnavailableError, match=r'network = "allowlist" needs .*network namespace.*level ns'):
        opened_at(level, settings, project, *NAMES)


def test_without_an_allowlist_there_is_no_proxy(project: Path) -> None:
    with closing(opened_at(SandboxLevel.NS, SandboxSettings(), project, *NAMES)) as sandbox:
        outcome = called(sandbox, "proxies")
        assert json.loads(outcome.content) == {}
        assert "egress" not in outcome.detail


def test_a_module_that_fetches_at_its_import_can_be_described(port: int, tmp_path: Path) -> None:
    fetched = f'urllib.request.urlopen("http://localhost:{port}/", timeout=10).read().decode()'
    code = f"import urllib.request\nPAGE = {fetched}\n"
    project = project_with(tmp_path / "eager", code + "def page() -> str:\n    return PAGE\n")
    settings = SandboxSettings(
        network="allowlist", allow_domains=("localhost",), allow_ports=(port,), allow_private=True
    )
    with closing(opened_at(SandboxLevel.NS, settings, project, "page")) as sandbox:
        assert called(sandbox, "page").content == "hello"


@pytest.mark.skipif(not can_become_one(), reason="only root can become an ordinary user")
def test_the_same_for_an_ordinary_user() -> None:
    assert run_as_ordinary_user(WALK) == {"allowed": "hello", "refused": "403", "others": ["refused"]}


def test_the_walk_of_an_ordinary_user_holds_here_too() -> None:
    assert walk() == {"allowed": "hello", "refused": "403", "others": ["refused"]}
