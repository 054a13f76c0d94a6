"""What it costs a call that readers are told what it writes, against the same call that nobody listens to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from pydantic import JsonValue

from agent_core.tools.execution import CallOutcome
from queues.settings import SandboxSettings
from tests.support.sandboxes import opened
from workers.bench.pairs import compare
from workers.sandbox.base import Sandbox, SandboxCall

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(
        opened(SandboxSettings(cpu_seconds=60, secrets={"TOKEN": "env:TOKEN"}), TOKEN="tok-4711/é")
    ) as sandbox:
        sandbox.describe()
        yield sandbox


def calling(
    sandbox: Sandbox, tool_name: str, tool_args: dict[str, JsonValue], tell: Callable[[str], object] | None
) -> Callable[[], None]:
    call = SandboxCall(tool_name, tool_args, idempotency_key="run_1:2:call_3", tell=tell)

    def carry_out() -> None:
        assert sandbox.run(call, cancelled=threading.Event()).outcome is CallOutcome.SUCCEEDED

    return carry_out


@pytest.mark.parametrize(
    ("title", "tool_name", "tool_args", "pairs"),
    [
        ("A tool that is silent", "add", {"a": 1, "b": 2}, 60),
        ("A tool that prints a line", "print_answer", {}, 60),
        ("A tool that writes 200 MiB", "flood", {"megabytes": 200}, 15),
    ],
)
def test_of_being_listened_to(
    sandbox: Sandbox,
    title: str,
    tool_name: str,
    tool_args: dict[str, JsonValue],
    pairs: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[str] = []
    silent, listened = (calling(sandbox, tool_name, tool_args, tell) for tell in (None, told.append))
    taken = compare(silent, listened, pairs=pairs)
    with capsys.disabled():
        print(taken.table(f"{title}: not listened to, and listened to"))
