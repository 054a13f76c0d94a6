"""How ends are called: each has its own sentence, and the weaker evidence never wins."""

import json
import signal

import pytest

from agent_core.tools.execution import CallOutcome
from workers.sandbox.base import Limits
from workers.sandbox.process import Ended, Stop
from workers.sandbox.verdict import judge
from workers.sandbox.watching import Usage

ANSWER = json.dumps({"ok": True, "content": "3", "truncated": False, "tools": []}).encode()
LIMITS = Limits()


@pytest.mark.parametrize(
    ("ended", "outcome", "words"),
    [
        (Ended(answer=ANSWER, exit_code=0), CallOutcome.SUCCEEDED, "3"),
        (Ended(answer=ANSWER, exit_code=0, stop=Stop.WALL), CallOutcome.TIMED_OUT, "stopped after 7 s"),
        (Ended(answer=ANSWER, exit_code=0, stop=Stop.CANCELLED), CallOutcome.CANCELLED, "cancelled"),
        (Ended(exit_code=137, stop=Stop.CPU), CallOutcome.TIMED_OUT, "10 s of CPU time"),
        (Ended(exit_code=137, stop=Stop.PROCESSES), CallOutcome.FAILED, "more than 64 processes"),
        (Ended(exit_code=137, stop=Stop.MEMORY), CallOutcome.FAILED, "256 MiB of memory"),
        (Ended(answer=ANSWER, exit_code=None), CallOutcome.LOST, "not known"),
        (Ended(answer=ANSWER, exit_code=1), CallOutcome.FAILED, "status 1"),
        (Ended(exit_code=-9, stop=Stop.ANSWER), CallOutcome.FAILED, "more than 1024 KiB"),
        (Ended(exit_code=-9, stop=Stop.FLOOD), CallOutcome.FAILED, "more than 1024 MiB to stdout"),
        (Ended(exit_code=-9, out_of_memory=True), CallOutcome.FAILED, "256 MiB of memory and was stopped"),
        (Ended(exit_code=1, out_of_memory=True), CallOutcome.FAILED, "stopped at the limit of 256 MiB"),
        (Ended(exit_code=1, processes_refused=True), CallOutcome.FAILED, "limit of 64 processes"),
        (Ended(exit_code=0), CallOutcome.FAILED, "gave no result"),
        (Ended(exit_code=128 + signal.SIGSEGV), CallOutcome.FAILED, "signal 11 (SIGSEGV)"),
        (Ended(exit_code=-signal.SIGSEGV), CallOutcome.FAILED, "signal 11 (SIGSEGV)"),
        (Ended(exit_code=137), CallOutcome.FAILED, "signal 9 (SIGKILL)"),
        (Ended(exit_code=137, usage=Usage(cpu_seconds=10.2)), CallOutcome.TIMED_OUT, "10 s of CPU time"),
        (Ended(exit_code=255), CallOutcome.FAILED, "status 255"),
        (Ended(exit_code=1, usage=Usage(tasks=64)), CallOutcome.FAILED, "limit of 64 processes"),
        (Ended(exit_code=1, stderr_text="words\n"), CallOutcome.FAILED, "stderr:\nwords"),
    ],
)
def test_each_end_has_its_sentence(ended: Ended, outcome: CallOutcome, words: str) -> None:
    verdict = judge(ended, limits=LIMITS, wall_seconds=7)

    assert verdict.outcome is outcome
    assert words in verdict.content
    assert (verdict.answer is not None) == (outcome is CallOutcome.SUCCEEDED)


def test_what_a_succeeding_tool_wrote_is_not_shown() -> None:
    ended = Ended(answer=ANSWER, exit_code=0, stdout_text="chatter", stderr_text="chatter")

    assert judge(ended, limits=LIMITS, wall_seconds=7).content == "3"
