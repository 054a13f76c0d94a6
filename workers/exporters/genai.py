"""The names that OpenTelemetry's conventions for generative AI give to spans and attributes: each that we use.

Followed is release 0.1.0 of the conventions (open-telemetry/semantic-conventions-genai, their home since 1.41 of
semantic-conventions). All of them are in development there, so a later release may rename them: then this file changes,
and the changelog says so. Knows nothing of runs.
"""

from __future__ import annotations

CONVENTIONS = "semantic-conventions-genai 0.1.0"

OPERATION = "gen_ai.operation.name"
INVOKE_AGENT = "invoke_agent"
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"

PROVIDER = "gen_ai.provider.name"
# By the conventions this names the form that is spoken, which the endpoint of any provider may speak.
OPENAI = "openai"

AGENT_NAME = "gen_ai.agent.name"
CONVERSATION_ID = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOOL_NAME = "gen_ai.tool.name"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_TYPE = "gen_ai.tool.type"
FUNCTION = "function"

# Of the general conventions, and stable.
ERROR_TYPE = "error.type"


def tool_call(name: str, tool_call_id: str) -> dict[str, str | int]:
    """What the conventions ask of a span that executes a tool."""
    return {OPERATION: EXECUTE_TOOL, TOOL_NAME: name, TOOL_CALL_ID: tool_call_id, TOOL_TYPE: FUNCTION}


def span_name(operation: str, what: str) -> str:
    """How the conventions name a span of the operation: `chat gpt-5`, `execute_tool look_up`."""
    return f"{operation} {what}"
