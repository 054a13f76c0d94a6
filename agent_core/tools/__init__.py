"""Tools: what a model may call. Hands on the three names that users need, each loaded when it is asked for.

Whoever needs the record of a call alone, as a client of the queue does, is spared what makes a tool of a function.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_core.tools.decorator import tool
    from agent_core.tools.function import Function
    from agent_core.tools.toolkit import Toolkit

__all__ = ["Function", "Toolkit", "tool"]

_HOMES = {"Function": "function", "Toolkit": "toolkit", "tool": "decorator"}


def __getattr__(name: str) -> object:
    """Load one of the three names; any other is an AttributeError, as ever."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
