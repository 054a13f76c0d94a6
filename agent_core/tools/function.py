"""`Function`: one tool, with all that is known about it.

Never decides where a call is executed; it only says what the tool asks for.
"""

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import Literal

from pydantic import JsonValue

from agent_core.tools.context import RunContext
from agent_core.tools.execution import UserInputField
from agent_core.tools.schema import (
    INJECTED,
    ArgumentsSchema,
    JsonSchema,
    arguments_schema,
    read_docstring,
    schema_digest,
)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_POOL = re.compile(r"[a-z][a-z0-9_-]{0,40}")


def _no_entrypoint() -> None:
    """Stand for an entrypoint that was not given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Function:
    """A tool. Every way to make one ends here, so every rule is checked here: `ValueError` if one is broken."""

    name: str = ""
    entrypoint: Callable[..., object] = _no_entrypoint
    description: str = ""
    strict: bool = False
    instructions: str | None = None
    requires_confirmation: bool = False
    requires_user_input: bool = False
    user_input_fields: tuple[str, ...] = ()
    external_execution: bool = False
    stop_after_tool_call: bool = False
    show_result: bool | None = None
    tool_hooks: tuple[Callable[..., object], ...] = field(default=())
    pool: str | None = None
    timeout_seconds: float | None = None
    max_attempts: int = 1
    backoff_seconds: float = 1.0
    on_lost: Literal["report", "retry"] = "report"

    def __post_init__(self) -> None:
        name = self.name or getattr(self.entrypoint, "__name__", "")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "user_input_fields", tuple(self.user_input_fields or ()))
        object.__setattr__(self, "tool_hooks", tuple(self.tool_hooks or ()))
        if self.pool is not None and not (self.requires_confirmation or self.requires_user_input):
            # A tool that names a pool is meant to run there; next to the model's key would be the wrong guess.
            object.__setattr__(self, "external_execution", True)
        self._check_pause()
        self._check_limits()
        if self.entrypoint is _no_entrypoint:
            raise ValueError(f"Tool {name!r} has no entrypoint. Give the function that it stands for.")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a tool: 1 to 64 letters, digits, '_' or '-'. Give name=.")
        if not self.description:
            object.__setattr__(self, "description", read_docstring(self.entrypoint).description)

    def _check_pause(self) -> None:
        flags = ("external_execution", "requires_confirmation", "requires_user_input")
        chosen = [flag for flag in flags if getattr(self, flag)]
        if len(chosen) > 1:
            raise ValueError(f"Tool {self.name!r} sets {' and '.join(chosen)}; a tool can pause in one way only.")
        if self.user_input_fields and not self.requires_user_input:
            raise ValueError(f"Tool {self.name!r} has user_input_fields; set requires_user_input=True as well.")
        if self.pool is not None and not self.external_execution:
            raise ValueError(
                f"Tool {self.name!r} names pool {self.pool!r}, but {chosen[0]} executes it with the agent."
            )

    def _check_limits(self) -> None:
        if self.pool is not None and not _POOL.fullmatch(self.pool):
            raise ValueError(f"Tool {self.name!r}: {self.pool!r} is no name for a pool (lower case, digits, '-', '_').")
        if self.timeout_seconds is not None and not self.timeout_seconds > 0:
            raise ValueError(f"Tool {self.name!r}: timeout_seconds is {self.timeout_seconds}; it must be above 0.")
        if self.max_attempts < 1:
            raise ValueError(f"Tool {self.name!r}: max_attempts is {self.max_attempts}; it must be 1 or more.")
        if not self.backoff_seconds >= 0:
            raise ValueError(f"Tool {self.name!r}: backoff_seconds is {self.backoff_seconds}; it must not be negative.")
        if self.on_lost not in ("report", "retry"):
            raise ValueError(f"Tool {self.name!r}: on_lost is {self.on_lost!r}; it must be 'report' or 'retry'.")

    def __get__(self, instance: object, owner: type | None = None) -> "Function":
        """Bind the tool to an object, so that `@tool` works on methods."""
        if instance is None:
            return self
        binder = getattr(self.entrypoint, "__get__", None)  # an object with a __call__ has none and needs none
        return self if binder is None else replace(self, entrypoint=binder(instance, owner))

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call the entrypoint as if it had never been made a tool."""
        return self.entrypoint(*args, **kwargs)

    @property
    def pauses(self) -> bool:
        """Whether a call of this tool pauses the run."""
        return self.external_execution or self.requires_confirmation or self.requires_user_input

    @property
    def shows_result(self) -> bool:
        """Whether the result belongs to the run's content; a tool that ends the run shows it unless told not to."""
        return self.stop_after_tool_call if self.show_result is None else self.show_result

    @property
    def parameters(self) -> JsonSchema:
        """Return the JSON schema of the arguments that the model gives."""
        return self._offered.parameters

    @cached_property
    def schema_digest(self) -> str:
        """Return a short name for what the tool accepts, from the model and from people together."""
        return schema_digest(self._schema.parameters)

    @cached_property
    def is_async(self) -> bool:
        """Whether the tool must be awaited."""
        inner = self.entrypoint.func if isinstance(self.entrypoint, functools.partial) else self.entrypoint
        return any(inspect.iscoroutinefunction(part) for part in (inner, *self.tool_hooks)) or (
            inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004 - an object with an async __call__
        )

    def make_ready(self) -> None:
        """Work out now what a call needs, for a process from which others are forked."""
        _ = self.parameters, self._injected
        if self.is_async:
            import_module("asyncio")

    @cached_property
    def user_fields(self) -> tuple[UserInputField, ...]:
        """Return the arguments that a person gives; none unless the tool requires user input."""
        if not self.requires_user_input:
            return ()
        properties: dict[str, JsonSchema] = self._schema.parameters["properties"]
        required = self._schema.parameters.get("required", ())
        unknown = [name for name in self.user_input_fields if name not in properties]
        if unknown:
            raise ValueError(f"Tool {self.name!r} has no parameter {unknown[0]!r}, which user_input_fields names.")
        return tuple(
            UserInputField(
                name=name,
                field_type=str(properties[name].get("type", "any")),
                description=str(properties[name].get("description", "")),
                required=name in required,
            )
            for name in self.user_input_fields or properties
        )

    def check(self, arguments: Mapping[str, JsonValue]) -> None:
        """Check what the model sent; `ArgumentsError` names field and reason. Nothing is called."""
        self._offered.validate(arguments)

    def check_all(self, arguments: Mapping[str, JsonValue]) -> None:
        """Check the arguments of a call together with those that a person gave; `ArgumentsError` as above."""
        self._schema.validate(arguments)

    def call(
        self, arguments: Mapping[str, JsonValue], *, context: RunContext | None = None, agent: object = None
    ) -> object:
        """Validate, then call through the hooks, and return what the tool returns.

        An async tool is run in an event loop of its own; inside a running loop use `acall`.
        """
        if self.is_async:
            # Sandboxed calls are forked from a process that has loaded what is needed, and most tools need no loop.
            import asyncio  # noqa: PLC0415

            return asyncio.run(self.acall(arguments, context=context, agent=agent))
        args, kwargs = self._bind(arguments, context, agent)
        return self._hooked(context, agent)(*args, **kwargs)

    async def acall(
        self, arguments: Mapping[str, JsonValue], *, context: RunContext | None = None, agent: object = None
    ) -> object:
        """Do as `call`, awaiting whatever the tool or a hook returns to be awaited."""
        args, kwargs = self._bind(arguments, context, agent)
        outcome = self._hooked(context, agent)(*args, **kwargs)
        while isinstance(outcome, Awaitable):
            outcome = await outcome
        return outcome

    @cached_property
    def _schema(self) -> ArgumentsSchema:
        return arguments_schema(self.entrypoint, tool_name=self.name, strict=self.strict)

    @cached_property
    def _offered(self) -> ArgumentsSchema:
        if not self.requires_user_input:
            return self._schema
        hidden = [entry.name for entry in self.user_fields]
        return arguments_schema(self.entrypoint, tool_name=self.name, strict=self.strict, hidden=hidden)

    @cached_property
    def _injected(self) -> dict[str, bool]:
        """Which parameters the agent fills in, and whether each must be given."""
        named = inspect.signature(self.entrypoint).parameters
        return {name: named[name].default is inspect.Parameter.empty for name in INJECTED if name in named}

    def _bind(
        self, arguments: Mapping[str, JsonValue], context: RunContext | None, agent: object
    ) -> tuple[list[object], dict[str, object]]:
        values = self._schema.validate(arguments)
        for injected, value in (("agent", agent), ("run_context", context)):
            if injected in self._injected and (value is not None or self._injected[injected]):
                values[injected] = value
        positional = [values.pop(name) for name in self._schema.positional_only if name in values]
        return positional, values

    def _hooked(self, context: RunContext | None, agent: object) -> Callable[..., object]:
        call: Callable[..., object] = self.entrypoint
        for hook in reversed(self.tool_hooks):
            call = functools.partial(self._through, hook, call, context, agent)
        return call

    def _through(
        self,
        hook: Callable[..., object],
        inner: Callable[..., object],
        context: RunContext | None,
        agent: object,
        *args: object,
        **arguments: object,
    ) -> object:
        """Call one hook, giving it whichever of the known parameters it names."""
        function_call = functools.partial(inner, *args)
        offered: dict[str, object] = {
            "function_name": self.name, "function_call": function_call, "arguments": arguments,
            "run_context": context, "agent": agent,
        }  # fmt: skip
        wanted = inspect.signature(hook).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in wanted.values())
        return hook(**{name: value for name, value in offered.items() if open_ended or name in wanted})
