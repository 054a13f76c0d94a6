"""What a tool may learn about the call that it serves.

Never carries the agent's model, its keys or its messages.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Given to a tool that has a parameter named `run_context`."""

    run_id: str
    step: int
    tool_call_id: str
    session_id: str | None = None
    user_id: str | None = None

    @property
    def idempotency_key(self) -> str:
        """Return `run_id:step:tool_call_id`: the same for every attempt of one call, never for two calls."""
        return f"{self.run_id}:{self.step}:{self.tool_call_id}"

    @classmethod
    def from_idempotency_key(cls, key: str) -> "RunContext":
        """Return the context that `key` names; `ValueError` if it is not such a key."""
        run_id, step, tool_call_id = key.split(":", 2)
        return cls(run_id=run_id, step=int(step), tool_call_id=tool_call_id)
