"""A call that a producer executes without a run: from what was asked for to what goes to the pool, and from the answer
to its text. Sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue, ValidationError

from agent_core.identifiers import new_id
from agent_core.tools.execution import MAX_ARGUMENTS_BYTES, CallOutcome, CallResult, ToolExecution
from queues.errors import CallFailedError, CallRefusedError, WaitTimeoutError
from queues.lone_calls import LoneCall
from queues.offers import Offers
from queues.protocol import CallRequest
from queues.tracing import traceparent_here

NO_STEP = 0


def lone_call(
    tool: ToolExecution | str,
    args: Mapping[str, JsonValue] | None,
    *,
    pool: str | None,
    timeout: float | None,
    offers: Offers,
) -> LoneCall:
    """The call, under an id of its own, for the pool that is named or that offers the tool; by the tool's own rules.

    UnknownToolError, UnknownPoolError, or CallRefusedError for arguments that cannot be sent and for a pool that asks
    a person first.
    """
    if isinstance(tool, ToolExecution):
        if args is not None:
            raise CallRefusedError(f"the call of {tool.tool_name} brings its arguments along; leave args out")
        name, call_id, args, pool = tool.tool_name, tool.tool_call_id, tool.tool_args, pool or tool.pool
    else:
        name, call_id = tool, new_id("call")
    offer = offers.find(name, pool=pool)
    if offer.approval:
        raise CallRefusedError(f"pool {offer.pool} executes {name} only once a person has approved it; submit a run")
    try:
        request = CallRequest(
            run_id=new_id("exec"),
            step=NO_STEP,
            tool_call_id=call_id,
            tool_name=name,
            tool_args=dict(args or {}),
            timeout_seconds=offer.timeout_seconds,
            max_attempts=offer.max_attempts,
            backoff_seconds=offer.backoff_seconds,
            on_lost=offer.on_lost,
            traceparent=traceparent_here(),
        )
        size = len(request.model_dump_json(include={"tool_args"}))
    except (ValidationError, ValueError) as error:
        raise CallRefusedError(f"the arguments of {name} cannot be sent: {error}") from error
    if size > MAX_ARGUMENTS_BYTES:
        raise CallRefusedError(f"the arguments of {name} have {size} bytes; {MAX_ARGUMENTS_BYTES} are allowed")
    patience = [seconds for seconds in (offer.queue_seconds, timeout) if seconds is not None]
    return LoneCall(offer.pool, request, queue_seconds=min(patience, default=None))


def text_of(call: LoneCall, answer: CallResult | None, *, timeout: float | None) -> str:
    """The result of the tool; CallFailedError for any other outcome, WaitTimeoutError if there is no answer."""
    name = call.request.tool_name
    if answer is None:
        raise WaitTimeoutError(
            f"pool {call.pool} has not answered the call of {name} in {timeout:g} s; it is cancelled"
        )
    if answer.outcome is not CallOutcome.SUCCEEDED:
        raise CallFailedError(
            f"{name} in pool {call.pool}: {answer.message_text()}", outcome=answer.outcome, content=answer.content
        )
    return answer.content
