"""`ScriptedModel`: a model that plays a script, for tests and first steps without a key.

Never reads a clock, a network or a random number: one script and one conversation give one reply.

    model = ScriptedModel([call("add", x=1, y=2), "It is 3."])
    run = Agent(model=model, tools=[add]).run("Add 1 and 2")
    assert run.content == "It is 3." and run.tools[0].result == "3"
    assert model.requests[1].messages[-1].content == "3"
"""

import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Sequence

from pydantic_core import to_json

from agent_core.errors import ModelError
from agent_core.messages import ToolCall, Usage
from agent_core.models.base import ModelReply, ModelRequest

Turn = str | ToolCall | Sequence[ToolCall] | ModelReply | Exception | Callable[[ModelRequest], "str | ModelReply"]


def call(tool_name: str, /, *, call_id: str = "", **arguments: object) -> ToolCall:
    """Return a request to call `tool_name`; without a `call_id` the run gives the call an id of its own."""
    return ToolCall(id=call_id, name=tool_name, arguments=to_json(arguments).decode())


class ScriptedModel:
    """Replies with the n-th turn where the run's conversation has n replies, so one script serves many runs.

    A turn is a text, a call or several, a `ModelReply`, a function of the request, or an exception. An exception is
    raised once in the life of the model; the call after it gets the turn behind it. Past the end: `ModelError`.
    """

    def __init__(self, turns: Sequence[Turn], *, id: str = "scripted") -> None:
        self._turns = tuple(turns)
        self._id = id
        self._raised: set[int] = set()
        self.requests: deque[ModelRequest] = deque(maxlen=1000)

    @property
    def id(self) -> str:
        return self._id

    def reply(self, request: ModelRequest) -> ModelReply:
        self.requests.append(request)
        turn = self._turn(sum(m.role == "assistant" and not m.from_history for m in request.messages))
        if isinstance(turn, Exception):
            raise turn
        if callable(turn):
            turn = turn(request)
        if isinstance(turn, ModelReply):
            return turn
        usage = Usage(input_tokens=len(request.messages), output_tokens=1, total_tokens=len(request.messages) + 1)
        usage += Usage(model_calls=1)
        if isinstance(turn, str):
            return ModelReply(content=turn, usage=usage, finish_reason="stop")
        calls = (turn,) if isinstance(turn, ToolCall) else tuple(turn)
        return ModelReply(tool_calls=calls, usage=usage, finish_reason="tool_calls")

    async def areply(self, request: ModelRequest) -> ModelReply:
        return self.reply(request)

    def stream(self, request: ModelRequest) -> Generator[str | ModelReply, None, None]:
        reply = self.reply(request)
        yield from re.findall(r"\s*\S+\s*$|\s*\S+|\s+", reply.content or "")
        yield reply

    async def astream(self, request: ModelRequest) -> AsyncGenerator[str | ModelReply, None]:
        for piece in self.stream(request):
            yield piece

    def _turn(self, replies: int) -> Turn:
        for place, turn in enumerate(self._turns):
            if isinstance(turn, Exception):
                if replies == 0 and place not in self._raised:
                    self._raised.add(place)
                    return turn
                continue
            if replies == 0:
                return turn
            replies -= 1
        raise ModelError(f"The script of {len(self._turns)} turns has come to its end. Add a turn for this call.")
