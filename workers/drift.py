"""What has become of the tools of calls that an earlier or later release of the code asked for. Changes nothing.

An answer to a call is an answer, however its tool's parameters have changed since. A run cannot be carried on only
where the agent lacks the tool, or would execute it at a place where it no longer belongs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent_core.errors import ArgumentsError
from agent_core.inline import arguments_of
from agent_core.tools.execution import ToolExecution
from agent_core.tools.function import Function


def obstacles(calls: Iterable[ToolExecution], functions: Mapping[str, Function]) -> list[str]:
    """Why code with these tools cannot carry on a run with these calls under way; empty if it can."""
    calls = list(calls)
    missing = sorted({call.tool_name for call in calls} - functions.keys())
    found = [f"lacks the tool {', '.join(missing)} of a call that is under way"] if missing else []
    moved = {call.tool_name for call in calls if _is_out_of_place(call, functions.get(call.tool_name))}
    if moved:
        found.append(f"would execute {', '.join(sorted(moved))} beside the model's key, though it is external now")
    return found


def changes(calls: Iterable[ToolExecution], functions: Mapping[str, Function]) -> list[str]:
    """Which calls were asked for under other parameters than their tools have now, and whether that matters."""
    return [
        f"call {call.tool_call_id} of {call.tool_name}, whose parameters have changed since; {_fit(call, function)}"
        for call in calls
        if (function := functions.get(call.tool_name)) is not None
        and call.schema_digest not in (None, function.schema_digest)
    ]


def _is_out_of_place(call: ToolExecution, function: Function | None) -> bool:
    """Whether the agent worker would itself execute, once a person has agreed, what now belongs behind a wall."""
    return function is not None and function.external_execution and not call.external_execution_required


def _fit(call: ToolExecution, function: Function) -> str:
    try:
        # What people are still to give is not there yet, so only the model's part can be judged.
        (function.check if call.is_paused and call.requires_user_input else function.check_all)(arguments_of(call))
    except ArgumentsError as error:
        return f"the model will be told so unless an old worker executes it: {error}"
    except Exception as error:  # a validator of the user's types may raise anything
        return f"its arguments could not be checked: {type(error).__name__}: {error}"
    return "its arguments still fit"
