"""The messages with which a run begins.

Never reads a store: the earlier runs are handed in.
"""

from collections.abc import Iterable, Sequence

from agent_core.messages import Message
from agent_core.run import RunSnapshot
from agent_core.tools.function import Function
from agent_core.tools.toolkit import Toolkit


def system_prompt(
    *,
    description: str | None,
    instructions: str | Sequence[str] | None,
    markdown: bool,
    tools: Iterable[Function | Toolkit],
) -> str:
    """Return the system message of an agent, or an empty text if there is nothing to say."""
    lines = [instructions] if isinstance(instructions, str) else [f"- {line}" for line in instructions or ()]
    parts = [description or "", "\n".join(lines), *_tool_instructions(tools)]
    if markdown:
        parts.append("Write your answers in Markdown.")
    return "\n\n".join(part for part in parts if part)


def opening_messages(prompt: str, snapshot: RunSnapshot, *, history: Sequence[RunSnapshot]) -> list[Message]:
    """Return system prompt, earlier runs of the session and the input.

    Only completed runs are taken, and of them what was new then: no system prompt, no history of theirs.
    """
    earlier = [
        message.model_copy(update={"from_history": True})
        for run in history
        for message in run.output.messages
        if message.role != "system" and not message.from_history
    ]
    system = [Message(role="system", content=prompt)] if prompt else []
    return [*system, *earlier, Message(role="user", content=snapshot.output.input)]


def _tool_instructions(tools: Iterable[Function | Toolkit]) -> list[str]:
    parts = []
    for entry in tools:
        parts.append(entry.instructions or "")
        if isinstance(entry, Toolkit):
            parts.extend(function.instructions or "" for function in entry.functions.values())
    return parts
