"""`AgentSpec`: what the loop has to know of an agent.

Never holds a model, a store or anything else that does I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, JsonValue
from pydantic_core import to_json

from agent_core.models.base import ResponseSchema, ToolSpec
from agent_core.tools.function import Function
from agent_core.tools.schema import strict_schema, without_titles


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """An agent's settings, fixed when it is built; `ValueError` for a tool whose schema cannot be made.

    `tool_specs` are the tools as the model is shown them.
    """

    name: str
    id: str
    model_id: str
    functions: Mapping[str, Function]
    system_prompt: str = ""
    tool_call_limit: int | None = None
    retries: int = 0
    retry_delay_seconds: float = 1.0
    add_history_to_context: bool = False
    num_history_runs: int = 3
    tool_specs: tuple[ToolSpec, ...] = field(init=False)
    _output_classes: dict[str, type[BaseModel]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        specs = tuple(
            ToolSpec(name=f.name, description=f.description, parameters=f.parameters, strict=f.strict)
            for f in self.functions.values()
        )
        object.__setattr__(self, "tool_specs", specs)

    def response_schema(self, output_class: type[BaseModel]) -> dict[str, JsonValue]:
        """Return the stored form of an output schema, and remember its class for the end of the run.

        The snapshot holds the schema only: a class cannot be stored, and naming one would let a store choose code.
        """
        schema = strict_schema(without_titles(output_class.model_json_schema()))
        stored: dict[str, JsonValue] = {"name": output_class.__name__, "schema": schema}
        self._output_classes[_key(stored)] = output_class
        return stored

    def output_class(self, stored: Mapping[str, JsonValue]) -> type[BaseModel] | None:
        """Return the class behind a stored schema; None in a process that never saw it."""
        return self._output_classes.get(_key(stored))


def requested_schema(stored: Mapping[str, JsonValue] | None) -> ResponseSchema | None:
    """Return the schema that a model is asked to fit."""
    if stored is None:
        return None
    schema = stored["schema"]
    return ResponseSchema(name=str(stored["name"]), schema=schema if isinstance(schema, dict) else {})


def _key(stored: Mapping[str, JsonValue]) -> str:
    return to_json(stored).decode()
