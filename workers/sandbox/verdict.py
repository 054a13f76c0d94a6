"""How a process's end is called, and the sentence that tells the model so that it can act on it.

It only judges what `process` measured; it starts nothing and believes the answer only together with exit status 0.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from agent_core.tools.execution import CallOutcome
from workers.sandbox.base import Limits
from workers.sandbox.process import FLOOD_BYTES, Ended, Stop
from workers.sandbox.wire import Answer, BadAnswerError, parse_answer

_SIGNALLED = 128


class Status(StrEnum):
    """What came of a call, more exactly than its outcome: reported with it for people and machines."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    BAD_ANSWER = "bad_answer"
    TIMEOUT = "timeout"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"
    OUTPUT_LIMIT = "output_limit"
    CANCELLED = "cancelled"
    KILLED = "killed"
    EXITED = "exited"
    LOST = "lost"


@dataclass(frozen=True)
class Verdict:
    """The outcome, what the model reads, and the answer if there was a good one."""

    outcome: CallOutcome
    content: str
    status: Status
    answer: Answer | None = None


def judge(ended: Ended, *, limits: Limits, wall_seconds: float) -> Verdict:
    """The verdict on a process that has ended; only a full valid answer with exit status 0 counts as succeeded."""
    if ended.stop is not None:
        return _stopped(ended.stop, limits=limits, wall_seconds=wall_seconds)
    if ended.exit_code is None:
        words = "The sandbox broke down while the tool was running; whether the tool had an effect is not known."
        return Verdict(CallOutcome.LOST, words, Status.LOST)
    if ended.exit_code != 0:
        return _exited(ended, ended.exit_code, limits)
    try:
        answer = parse_answer(ended.answer)
    except BadAnswerError as error:
        words = f"The tool ended its process with status 0 and {error}."
        return Verdict(CallOutcome.FAILED, words + _streams(ended, limits), Status.BAD_ANSWER)
    if answer.ok:
        return Verdict(CallOutcome.SUCCEEDED, answer.content, Status.OK, answer)
    return Verdict(CallOutcome.FAILED, answer.content + _streams(ended, limits), Status.TOOL_ERROR, answer)


def _stopped(stop: Stop, *, limits: Limits, wall_seconds: float) -> Verdict:
    match stop:
        case Stop.CANCELLED:
            words = "The call was cancelled and the tool was stopped."
            return Verdict(CallOutcome.CANCELLED, words, Status.CANCELLED)
        case Stop.WALL:
            words = f"The tool was stopped after {wall_seconds:g} s, its limit of time."
            return Verdict(CallOutcome.TIMED_OUT, words, Status.TIMEOUT)
        case Stop.CPU:
            return _out_of_cpu(limits)
        case Stop.MEMORY:
            return _out_of_memory(limits)
        case Stop.PROCESSES:
            words = f"The tool started more than {limits.pids} processes and threads and was stopped."
            return Verdict(CallOutcome.FAILED, words, Status.PROCESSES)
        case Stop.DISK:
            words = f"The tool wrote more than {limits.disk_mb} MiB, or {limits.inodes} files, and was stopped."
            return Verdict(CallOutcome.FAILED, words, Status.DISK)
        case Stop.ANSWER:
            words = f"The tool gave a result of more than {limits.output_kb} KiB and was stopped."
            return Verdict(CallOutcome.FAILED, words, Status.OUTPUT_LIMIT)
        case Stop.FLOOD:
            words = f"The tool wrote more than {FLOOD_BYTES >> 20} MiB to stdout or stderr and was stopped."
            return Verdict(CallOutcome.FAILED, words, Status.OUTPUT_LIMIT)
        case _:
            assert_never(stop)


def _out_of_cpu(limits: Limits) -> Verdict:
    words = f"The tool used more than {limits.cpu_seconds:g} s of CPU time and was stopped."
    return Verdict(CallOutcome.TIMED_OUT, words, Status.CPU)


def _out_of_memory(limits: Limits) -> Verdict:
    words = f"The tool used more than {limits.memory_mb} MiB of memory and was stopped."
    return Verdict(CallOutcome.FAILED, words, Status.MEMORY)


def _exited(ended: Ended, exit_code: int, limits: Limits) -> Verdict:
    # A shell's convention, which an init follows; otherwise Python's negative numbers say the same.
    number = -exit_code if exit_code < 0 else exit_code - _SIGNALLED
    if not 0 < number <= signal.SIGRTMAX:
        words = f"The tool exited with status {exit_code}.{_streams(ended, limits)}"
        return Verdict(CallOutcome.FAILED, words, Status.EXITED)
    if number == signal.SIGKILL and ended.out_of_memory:
        return _out_of_memory(limits)
    cpu_is_spent = ended.usage.cpu_seconds >= limits.cpu_seconds
    if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_is_spent):
        return _out_of_cpu(limits)
    name = signal.Signals(number).name if number in set(signal.Signals) else "unknown"
    words = f"The tool was killed by signal {number} ({name}).{_streams(ended, limits)}"
    return Verdict(CallOutcome.FAILED, words, Status.KILLED)


def _streams(ended: Ended, limits: Limits) -> str:
    """What a failed tool wrote, and the limit that it had reached, if one can be named."""
    words = ""
    if ended.out_of_memory:
        words += f"\nA process of it was stopped at the limit of {limits.memory_mb} MiB of memory."
    if ended.processes_refused or ended.usage.tasks >= limits.pids:
        words += f"\nIt had reached its limit of {limits.pids} processes and threads."
    for name, text in (("stdout", ended.stdout_text), ("stderr", ended.stderr_text)):
        words += f"\n\n{name}:\n{text.strip()}" if text.strip() else ""
    return words
