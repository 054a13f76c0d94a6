"""`Toolkit`: tools that belong together, with settings for some of them by name.

Never holds a tool that is not a `Function` in the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from agent_core.tools.function import Function


class Toolkit:
    """A named set of tools. A name in one of the lists that no tool bears is a `ValueError`."""

    def __init__(
        self,
        name: str = "",
        tools: Sequence[Function | Callable[..., object]] = (),
        *,
        instructions: str | None = None,
        include_tools: Sequence[str] | None = None,
        exclude_tools: Sequence[str] = (),
        requires_confirmation_tools: Sequence[str] = (),
        external_execution_required_tools: Sequence[str] = (),
        stop_after_tool_call_tools: Sequence[str] = (),
        pool: str | None = None,
    ) -> None:
        self.name = name or type(self).__name__
        self.instructions = instructions
        functions = unique_functions([as_function(entry) for entry in tools], owner=f"Toolkit {self.name!r}")
        lists = {
            "include_tools": include_tools or (),
            "exclude_tools": exclude_tools or (),
            "requires_confirmation_tools": requires_confirmation_tools or (),
            "external_execution_required_tools": external_execution_required_tools or (),
            "stop_after_tool_call_tools": stop_after_tool_call_tools or (),
        }
        for list_name, names in lists.items():
            self._check_names(list_name, names, known=functions)
        self.functions: dict[str, Function] = {}
        for tool_name, function in functions.items():
            if tool_name in lists["exclude_tools"] or (include_tools is not None and tool_name not in include_tools):
                continue
            external = function.external_execution or tool_name in lists["external_execution_required_tools"]
            self.functions[tool_name] = replace(
                function,
                external_execution=external,
                requires_confirmation=function.requires_confirmation
                or tool_name in lists["requires_confirmation_tools"],
                stop_after_tool_call=function.stop_after_tool_call or tool_name in lists["stop_after_tool_call_tools"],
                pool=function.pool or (pool if external else None),
            )

    def _check_names(self, list_name: str, names: Sequence[str], *, known: dict[str, Function]) -> None:
        for tool_name in names:
            if tool_name not in known:
                raise ValueError(
                    f"Toolkit {self.name!r}: {list_name} names {tool_name!r}, but its tools are "
                    f"{', '.join(sorted(known)) or 'none'}."
                )


def as_function(entry: Function | Callable[..., object]) -> Function:
    """Return `entry` as a tool: a `Function` as it is, a plain callable wrapped; `TypeError` for anything else."""
    if isinstance(entry, Function):
        return entry
    if callable(entry) and not isinstance(entry, type):
        return Function(entrypoint=entry)
    raise TypeError(f"{entry!r} is no tool. Give a function, a method, a @tool, a Function or a Toolkit object.")


def unique_functions(functions: Sequence[Function], *, owner: str) -> dict[str, Function]:
    """Return the tools by name; `ValueError` if two bear the same."""
    by_name: dict[str, Function] = {}
    for function in functions:
        if function.name in by_name:
            raise ValueError(f"{owner} has two tools named {function.name!r}. Rename one, or leave one out.")
        by_name[function.name] = function
    return by_name
