"""The `@tool` decorator.

Never checks anything itself: `Function` does.
"""

from collections.abc import Callable, Sequence
from typing import Literal, overload

from agent_core.tools.function import Function


@overload
def tool(function: Callable[..., object], /) -> Function: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = False,
    instructions: str | None = None,
    requires_confirmation: bool = False,
    requires_user_input: bool = False,
    user_input_fields: Sequence[str] = (),
    external_execution: bool = False,
    stop_after_tool_call: bool = False,
    show_result: bool | None = None,
    tool_hooks: Sequence[Callable[..., object]] = (),
    pool: str | None = None,
    timeout_seconds: float | None = None,
    max_attempts: int = 1,
    backoff_seconds: float = 1.0,
    on_lost: Literal["report", "retry"] = "report",
) -> Callable[[Callable[..., object]], Function]: ...


def tool(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = False,
    instructions: str | None = None,
    requires_confirmation: bool = False,
    requires_user_input: bool = False,
    user_input_fields: Sequence[str] = (),
    external_execution: bool = False,
    stop_after_tool_call: bool = False,
    show_result: bool | None = None,
    tool_hooks: Sequence[Callable[..., object]] = (),
    pool: str | None = None,
    timeout_seconds: float | None = None,
    max_attempts: int = 1,
    backoff_seconds: float = 1.0,
    on_lost: Literal["report", "retry"] = "report",
) -> Function | Callable[[Callable[..., object]], Function]:
    """Make a function, a coroutine function or a method a tool.

    Bare (`@tool`) or with arguments (`@tool(external_execution=True)`). Raises `ValueError` for settings that
    exclude one another, at once.
    """

    def decorate(entrypoint: Callable[..., object]) -> Function:
        return Function(
            name=name or "",
            entrypoint=entrypoint,
            description=description or "",
            strict=strict,
            instructions=instructions,
            requires_confirmation=requires_confirmation,
            requires_user_input=requires_user_input,
            user_input_fields=tuple(user_input_fields or ()),
            external_execution=external_execution,
            stop_after_tool_call=stop_after_tool_call,
            show_result=show_result,
            tool_hooks=tuple(tool_hooks or ()),
            pool=pool,
            timeout_seconds=timeout_seconds,
            max_attempts=max_attempts,
            backoff_seconds=backoff_seconds,
            on_lost=on_lost,
        )

    return decorate if function is None else decorate(function)
