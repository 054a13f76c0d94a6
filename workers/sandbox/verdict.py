"""How a process's end is called, and the sentence that tells the model so that it can act on it.

It only judges what `process` measured; it starts nothing and believes the answer only together with exit status 0.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import assert_never

from agent_core.tools.execution import CallOutcome
from workers.sandbox.base import Limits
from workers.sandbox.process import Ended, Stop
from workers.sandbox.wire import Answer, BadAnswerError, parse_answer

# The watcher and the reaper of a namespace are not the tool's.
WALL_TASKS = 2
_SIGNALLED = 128


@dataclass(frozen=True)
class Verdict:
    """The outcome, what the model reads, and the answer if there was a good one."""

    outcome: CallOutcome
    content: str
    answer: Answer | None = None


def judge(ended: Ended, *, limits: Limits, wall_seconds: float) -> Verdict:
    """The verdict on a process that has ended; only a full valid answer with exit status 0 counts as succeeded."""
    if ended.stop is not None:
        return _stopped(ended.stop, limits=limits, wall_seconds=wall_seconds)
    if ended.exit_code is None:
        words = "The sandbox broke down while the tool was running; whether the tool had an effect is not known."
        return Verdict(CallOutcome.LOST, words)
    if ended.exit_code != 0:
        return _exited(ended, ended.exit_code, limits)
    if ended.answer_overflow:
        return Verdict(CallOutcome.FAILED, f"The tool gave a result of more than {limits.output_kb} KiB.")
    try:
        answer = parse_answer(ended.answer)
    except BadAnswerError as error:
        words = f"The tool ended its process with status 0 and {error}."
        return Verdict(CallOutcome.FAILED, words + _streams(ended, limits))
    if answer.ok:
        return Verdict(CallOutcome.SUCCEEDED, answer.content, answer)
    return Verdict(CallOutcome.FAILED, answer.content + _streams(ended, limits), answer)


def _stopped(stop: Stop, *, limits: Limits, wall_seconds: float) -> Verdict:
    match stop:
        case Stop.CANCELLED:
            return Verdict(CallOutcome.CANCELLED, "The call was cancelled and the tool was stopped.")
        case Stop.WALL:
            return Verdict(CallOutcome.TIMED_OUT, f"The tool was stopped after {wall_seconds:g} s, its limit of time.")
        case Stop.CPU:
            return _out_of_cpu(limits)
        case Stop.MEMORY:
            words = f"The tool used more than {limits.memory_mb} MiB of memory and was stopped."
            return Verdict(CallOutcome.FAILED, words)
        case Stop.PROCESSES:
            words = f"The tool started more than {limits.pids} processes and threads and was stopped."
            return Verdict(CallOutcome.FAILED, words)
        case _:
            assert_never(stop)


def _out_of_cpu(limits: Limits) -> Verdict:
    words = f"The tool used more than {limits.cpu_seconds:g} s of CPU time and was stopped."
    return Verdict(CallOutcome.TIMED_OUT, words)


def _exited(ended: Ended, exit_code: int, limits: Limits) -> Verdict:
    if not ended.answer and ended.stderr_text.startswith("bwrap: "):
        words = f"The sandbox could not be set up for this call: {ended.stderr_text.strip()}"
        return Verdict(CallOutcome.FAILED, words)
    # A shell's convention, which bubblewrap follows; without a wall Python's negative numbers say the same.
    number = -exit_code if exit_code < 0 else exit_code - _SIGNALLED
    if not 0 < number <= signal.SIGRTMAX:
        return Verdict(CallOutcome.FAILED, f"The tool exited with status {exit_code}.{_streams(ended, limits)}")
    cpu_is_spent = ended.usage.cpu_seconds >= limits.cpu_seconds
    if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_is_spent):
        return _out_of_cpu(limits)
    name = signal.Signals(number).name if number in set(signal.Signals) else "unknown"
    return Verdict(CallOutcome.FAILED, f"The tool was killed by signal {number} ({name}).{_streams(ended, limits)}")


def _streams(ended: Ended, limits: Limits) -> str:
    """What a failed tool wrote, and the limit that it had reached, if one can be named."""
    words = ""
    if ended.usage.tasks - WALL_TASKS >= limits.pids:
        words += f"\nIt had reached its limit of {limits.pids} processes and threads."
    for name, text in (("stdout", ended.stdout_text), ("stderr", ended.stderr_text)):
        words += f"\n\n{name}:\n{text.strip()}" if text.strip() else ""
    return words
