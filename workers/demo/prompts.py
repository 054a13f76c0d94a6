"""What the demo asks, and how each run has to end; judges the outputs, and runs nothing."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome

Model = Literal["scripted", "local", "openai"]


@dataclass(frozen=True)
class Prompt:
    """One prompt of the demo, and what it is there to show.

    `calls` are the tools that have to be called, `failing` those of them that have to fail; `pauses` and `answer`
    (texts that stand in the answer) are known as far as the model is predictable.
    """

    text: str
    shows: str
    calls: tuple[str, ...]
    answer: tuple[str, ...] = ()
    pauses: int = 1
    failing: tuple[str, ...] = ()


PROMPTS = (
    Prompt(
        "Execute the shell command uname -a",
        shows="a shell tool, in pool shell",
        calls=("execute_shell_command",),
        answer=(platform.system(),),
    ),
    Prompt(
        "Add 5 and 10",
        shows="a Python function, in pool python",
        calls=("add",),
        answer=("15",),
    ),
    Prompt(
        "Add 5 and 10, list the files in /etc and tell me the current time in UTC",
        shows="two pools and the agent worker side by side",
        calls=("add", "list_files", "current_time"),
        answer=("15", "passwd"),
    ),
    Prompt(
        "List the files in /usr, then add 3 and 4",
        shows="two pools, one after the other",
        calls=("list_files", "add"),
        answer=("7",),
        pauses=2,
    ),
    Prompt(
        "Read the file /data/report.txt",
        shows="a tool that fails; the model reads the error",
        calls=("read_file",),
        answer=("No such file",),
        failing=("read_file",),
    ),
)


def problems_of(prompt: Prompt, output: RunOutput, *, pauses: int, model: Model) -> list[str]:
    """What is not as it has to be, as sentences; none if all is well. A less predictable model is judged by less."""
    if output.status is not RunStatus.COMPLETED:
        return [f"it is {output.status.value}: {output.error or 'it did not end in time'}"]
    called = [call.tool_name for call in output.tools]
    problems = []
    for name in prompt.calls:
        outcomes = [call.outcome for call in output.tools if call.tool_name == name]
        wanted = CallOutcome.FAILED if name in prompt.failing else CallOutcome.SUCCEEDED
        if not outcomes:
            problems.append(f"{name} was not called")
        elif wanted not in outcomes:
            problems.append(f"{name} {outcomes[-1]} instead of {wanted}")
    if model != "openai":
        answer = str(output.content)
        problems += [f"the answer lacks {text!r}: {answer[:200]!r}" for text in prompt.answer if text not in answer]
    if model == "scripted":
        if Counter(called) != Counter(prompt.calls):
            problems.append(f"it called {', '.join(called)}")
        if pauses != prompt.pauses:
            problems.append(f"it paused {pauses} times instead of {prompt.pauses}")
    return problems
