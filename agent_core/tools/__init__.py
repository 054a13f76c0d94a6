"""Tools: what a model may call. Hands on the three names that users need, and nothing that is heavy to import."""

from agent_core.tools.decorator import tool
from agent_core.tools.function import Function
from agent_core.tools.toolkit import Toolkit

__all__ = ["Function", "Toolkit", "tool"]
