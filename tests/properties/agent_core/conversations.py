"""What a model may ask for, good and bad, and what a conversation must look like whatever it asked.

Never runs an agent: the tests do.
"""

import json

from hypothesis import strategies as st

from agent_core.messages import Message, ToolCall
from agent_core.tools import Function, tool


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    return command


@tool
def add(x: int, y: int) -> int:
    """Add."""
    return x + y


@tool(requires_confirmation=True)
def send(text: str) -> str:
    """Send."""
    return text


TOOLS: list[Function] = [shell, add, send]
ARGUMENTS = ['{"command": "ls"}', '{"x": 1, "y": 2}', '{"text": "a"}', "{}", "", "null", "[1]", '{"x":', "\ud800"]
ids = st.sampled_from(["", "a", "b", "a_2"])
good_calls = st.sampled_from(
    [("shell", '{"command": "ls"}'), ("add", '{"x": 1, "y": 2}'), ("send", '{"text": "a"}')]
).flatmap(lambda asked: st.builds(ToolCall, id=ids, name=st.just(asked[0]), arguments=st.just(asked[1])))
calls = good_calls | st.builds(
    ToolCall,
    id=ids,
    name=st.sampled_from(["shell", "add", "send", "unknown"]),
    arguments=st.sampled_from(ARGUMENTS),
)
scripts = st.lists(st.lists(calls, min_size=1, max_size=4), max_size=4)


def check_conversation(messages: list[Message]) -> None:
    """Every assistant message with calls is followed by exactly their results, in call order, each under its id."""
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            assert waiting and message.tool_call_id == waiting.pop(0)
            assert message.content is not None
            message.content.encode()
            continue
        assert not waiting
        waiting = [asked.id for asked in message.tool_calls]
        assert len(set(waiting)) == len(waiting) and all(waiting)
        assert all(isinstance(json.loads(asked.arguments), dict) for asked in message.tool_calls)
    assert not waiting
