"""Finds objects by import string (`package.module:attribute`) and the tools in them.

Never imports the agent or a model: tool workers use it behind the wall.
"""

import importlib

from agent_core.errors import ImportStringError
from agent_core.tools.function import Function
from agent_core.tools.toolkit import Toolkit, as_function


def load_object(import_string: str) -> object:
    """Import the module and return the attribute (dots go deeper). `ImportStringError` says what is wrong."""
    module_name, colon, path = import_string.partition(":")
    if not (module_name and colon and path):
        raise ImportStringError(
            f"{import_string!r} is no import string. Write 'package.module:attribute', as in 'support.tools:search'."
        )
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        raise ImportStringError(
            f"{import_string!r} cannot be loaded: there is no module {missing!r}. "
            "Start in the project's directory, or install the package that holds it."
        ) from error
    except (Exception, SystemExit) as error:
        raise ImportStringError(
            f"{import_string!r} cannot be loaded: {module_name!r} raised {type(error).__name__} "
            f"while it was imported: {error}. Mend the module; `python -c 'import {module_name}'` shows where."
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ImportStringError(
                f"{import_string!r} cannot be loaded: {module_name!r} has no {path!r}. Check the name behind the colon."
            )
        found = getattr(found, part)
    return found


def functions_of(found: object, source: str) -> list[Function]:
    """Return the tools that `found` stands for; `source` is what the message of an `ImportStringError` names."""
    try:
        if isinstance(found, type) and issubclass(found, Toolkit):
            found = found()
        if isinstance(found, Toolkit):
            return list(found.functions.values())
        if isinstance(found, Function) or callable(found):
            return [as_function(found)]
    except Exception as error:
        raise ImportStringError(f"{source!r} gives no tools: {type(error).__name__}: {error}") from error
    raise ImportStringError(
        f"{source!r} is a {type(found).__name__}, not a tool. Name a function, a @tool, a Toolkit or its class."
    )
