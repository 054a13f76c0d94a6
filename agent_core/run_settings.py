"""The keywords of the run and continue methods, written down once for all of them.

Never read from anywhere: they are what a caller passes.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from pydantic import BaseModel, JsonValue

from agent_core.requirement import RunRequirement
from agent_core.tools.execution import ToolExecution


class RunSettings(TypedDict, total=False):
    """What a single run may settle for itself; the agent's own setting counts otherwise."""

    session_id: str | None
    user_id: str | None
    run_id: str | None
    metadata: Mapping[str, JsonValue] | None
    output_schema: type[BaseModel] | None


class ContinueSettings(TypedDict, total=False):
    """Which run is continued, and with what: `updated_tools`, `requirements`, or the output as the caller holds it."""

    run_id: str | None
    updated_tools: Sequence[ToolExecution] | None
    requirements: Sequence[RunRequirement] | None
    session_id: str | None


def refuse_unknown(method: str, settings: Mapping[str, object], known: type) -> None:
    """Raise the `TypeError` that Python raises for a keyword that a method does not have."""
    unknown = [name for name in settings if name not in known.__annotations__]
    if unknown:
        raise TypeError(f"{method}() got an unexpected keyword argument {unknown[0]!r}")
