"""What a tool writes is told while it runs, behind every wall; without anybody to tell, nothing is different."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import JsonValue

from agent_core.tools.execution import CallOutcome
from tests.support.backends import BACKENDS, open_backend
from tests.support.ordinary_user import can_become_one, run_as_ordinary_user
from tests.support.sandboxes import run
from tests.support.waiting import wait_until
from workers.sandbox import landlock
from workers.sandbox.base import Outcome, Sandbox, SandboxCall
from workers.sandbox.live import CUT, PIECE_BYTES

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's"),
    pytest.mark.timeout(240),
]

_TOKEN = 'tok-"quoted"/é-4711'
_STDOUT_KB = 20


@pytest.fixture(scope="module", params=BACKENDS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    variables = {"TOKEN": _TOKEN}
    opened = open_backend(
        request.param, variables=variables, secrets=["TOKEN"], stdout_kb=_STDOUT_KB, cpu_seconds=20, wall_seconds=90
    )
    opened.describe()
    yield opened
    opened.close()


def told(sandbox: Sandbox, tool_name: str, pieces: list[str], **tool_args: JsonValue) -> Outcome:
    """Call one tool; what it writes is appended to `pieces`."""
    return sandbox.run(listening(tool_name, pieces, tool_args), cancelled=threading.Event())


def listening(tool_name: str, pieces: list[str], tool_args: dict[str, JsonValue]) -> SandboxCall:
    return SandboxCall(tool_name, tool_args, idempotency_key="run_1:2:call_3", tell=pieces.append)


def test_a_line_is_told_while_the_tool_still_runs(sandbox: Sandbox) -> None:
    pieces: list[str] = []
    cancelled = threading.Event()
    staying = listening("say_and_stay", pieces, {"words": "a first line", "seconds": 80})
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(sandbox.run, staying, cancelled=cancelled)
        try:
            wait_until(lambda: pieces or call.done(), "the tool has said something", timeout_seconds=70)
            assert not call.done(), call.result()
            assert pieces == ["a first line\n"]
        finally:
            cancelled.set()

    assert call.result().outcome is CallOutcome.CANCELLED
    assert pieces == ["a first line\n"]


def test_all_of_it_is_told_by_the_end_of_the_call(sandbox: Sandbox) -> None:
    pieces: list[str] = []
    outcome = told(sandbox, "say_and_stay", pieces, words="größe\x1b[2J", seconds=0)

    assert (outcome.outcome, outcome.content) == (CallOutcome.SUCCEEDED, "stayed")
    assert sorted("".join(pieces).splitlines()) == ["at last", "größe\x1b[2J"]


def test_a_secret_in_two_writes_is_not_told(sandbox: Sandbox) -> None:
    pieces: list[str] = []
    told(sandbox, "tell_in_halves", pieces, name="TOKEN")

    assert "".join(pieces) == "it is [secret TOKEN] indeed\n"


def test_a_flood_is_told_up_to_the_limit(sandbox: Sandbox) -> None:
    pieces: list[str] = []
    outcome = told(sandbox, "flood", pieces, megabytes=20)

    assert outcome.content == "flooded"
    assert "".join(pieces) == "first" + "x" * (_STDOUT_KB * 1024 - 5) + CUT
    assert max(len(piece.encode()) for piece in pieces) <= PIECE_BYTES


@pytest.mark.parametrize(
    ("tool_name", "tool_args"),
    [
        ("flood", {"megabytes": 1, "fails": True}),
        ("tell_variable", {"name": "TOKEN", "streams": True}),
        ("fail", {"words": "no such customer"}),
        ("leave", {"status": 3}),
        ("no_such_tool", {}),
    ],
)
def test_the_result_is_the_same(sandbox: Sandbox, tool_name: str, tool_args: dict[str, Any]) -> None:
    listened, silent = told(sandbox, tool_name, [], **tool_args), run(sandbox, tool_name, **tool_args)

    # A container has one pipe for both streams, and there a line that is not buffered is in its place.
    assert sorted(listened.content.splitlines()) == sorted(silent.content.splitlines())
    assert (listened.outcome, listened.truncated) == (silent.outcome, silent.truncated)


_UNDER_LANDLOCK = """
import json, threading
from tests.support.backends import opened_exactly
from tests.support.sandboxes import MODULE, ROOT
from workers.sandbox.base import SandboxCall
tools = [f"{MODULE}:{name}" for name in ("say_and_stay", "tell_in_halves")]
settings, variables = {"secrets": ["TOKEN"]}, {"TOKEN": "s3cr3t-4711"}
sandbox = opened_exactly("landlock", settings, tools=tools, project_dir=ROOT, variables=variables)
sandbox.describe()
said, halves, cancelled = [], [], threading.Event()
def heard(piece):
    said.append(piece)
    cancelled.set()
staying = SandboxCall("say_and_stay", {"words": "one", "seconds": 25}, "r:1:a", tell=heard)
stopped = sandbox.run(staying, cancelled=cancelled)
telling = SandboxCall("tell_in_halves", {"name": "TOKEN"}, "r:1:b", tell=halves.append)
sandbox.run(telling, cancelled=threading.Event())
sandbox.close()
print(json.dumps([sandbox.level, stopped.outcome, said, "".join(halves)]))
"""


@pytest.mark.skipif(not can_become_one(), reason="only root can become another user")
@pytest.mark.skipif(landlock.abi() < 6, reason="needs a kernel with Landlock ABI 6")
def test_under_landlock_as_well() -> None:
    expected = ["landlock", "cancelled", ["one\n"], "it is [secret TOKEN] indeed\n"]
    assert run_as_ordinary_user(_UNDER_LANDLOCK) == expected
