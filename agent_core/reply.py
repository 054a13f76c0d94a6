"""Fits the final reply of a run to the schema that was asked for.

Never asks the model again: that is the loop's decision.
"""

from collections.abc import Mapping

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import from_json

from agent_core.errors import ModelError, OutputSchemaError
from agent_core.models.base import ModelReply

_FENCE = "```"


def fit_to_schema(
    reply: ModelReply, stored: Mapping[str, JsonValue], *, output_class: type[BaseModel] | None
) -> object | ModelError:
    """Return the structured content, or the error; it is `retryable` if saying it to the model may help.

    Without the class (a process that never saw it) the content is what the JSON holds.
    """
    name = stored["name"]
    if reply.refusal is not None:
        return OutputSchemaError(f"The model refused to answer in the form of {name!r}: {reply.refusal}")
    text = _without_fence(reply.content or "")
    try:
        return from_json(text) if output_class is None else output_class.model_validate_json(text)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors())
    except ValueError as error:
        reasons = str(error)
    return OutputSchemaError(
        f"The answer does not fit the output schema {name!r}: {reasons}. Answer with JSON that fits, and nothing else.",
        retryable=True,
    )


def _without_fence(text: str) -> str:
    """Return the text without the Markdown fence that some models put around JSON."""
    stripped = text.strip()
    if stripped.startswith(_FENCE) and stripped.endswith(_FENCE):
        return stripped.removesuffix(_FENCE).partition("\n")[2]
    return stripped
