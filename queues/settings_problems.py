"""Turns what a validator found into sentences that name the place, the key and the way out.

It never repeats the value of a key that may hold a password.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from queues.errors import SettingsError

_SECRET_KEYS = frozenset({"redis_url", "secrets", "set_env"})
_SENTENCES = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text in quotes",
    "tuple_type": 'must be a list, as in ["one", "two"]',
    "dict_type": "must be a table, as in [pools.shell]",
    "model_type": "must be a table, as in [pools.shell]",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be {ge} or more",
}
Location = tuple[int | str, ...]


@dataclass(frozen=True)
class Sources:
    """Where the values came from, so that a sentence can name the place to mend."""

    config_file: Path | None
    from_environment: Mapping[str, object]
    overrides: Mapping[str, object]
    prefix: str

    def place_of(self, location: Location) -> str:
        path = [str(part) for part in location if isinstance(part, str) and part != "[key]"]
        if path and path[0] in self.overrides:
            return f"argument {path[0]}"
        variable = _reached(self.from_environment, path)
        if variable:
            return f"environment variable {self.prefix}{'__'.join(variable).upper()}"
        return str(self.config_file or "settings")


def explain(error: ValidationError, *, model: type[BaseModel], sources: Sources) -> str:
    """One sentence for each problem, one problem on a line."""
    details = error.errors(include_url=False)
    return "\n".join(f"{sources.place_of(detail['loc'])}: {_problem(detail, model)}." for detail in details)


def refuse_misspelt_variables(environ: Iterable[str], *, prefix: str, keys: Sequence[str]) -> None:
    """Raises for a variable that is almost a setting; others that merely share the prefix are none of our business."""
    for variable in sorted(environ):
        key = variable.removeprefix(prefix).split("__")[0].lower()
        if not variable.startswith(prefix) or key in keys:
            continue
        meant = difflib.get_close_matches(key, keys, n=1, cutoff=0.85)
        if meant:
            raise SettingsError(
                f"environment variable {variable} sets nothing; did you mean {prefix}{meant[0].upper()}?"
            )


def _problem(detail: ErrorDetails, model: type[BaseModel]) -> str:
    location, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    key = _dotted(location)
    if kind == "extra_forbidden":
        return f"{key} is not a setting; {_way_out(str(location[-1]), _fields_at(model, location[:-1]))}"
    if kind == "value_error":
        return f"{key} {context['error']}".strip()
    sentence = _SENTENCES.get(kind, detail["msg"][:1].lower() + detail["msg"][1:]).format(**context)
    shown = (
        "" if kind == "missing" or not _SECRET_KEYS.isdisjoint(location) else f" (it is {str(detail['input'])[:60]!r})"
    )
    return f"{key} {sentence}{shown}"


def _way_out(key: str, allowed: Sequence[str]) -> str:
    meant = difflib.get_close_matches(key, allowed, n=1)
    return f"did you mean {meant[0]}?" if meant else f"the keys here are {', '.join(allowed)}"


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    """The keys allowed in the table at `location`, found by walking down the models' annotations."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue  # the name of a pool: the model was already entered through the mapping's values
        inner = [candidate for candidate in _types_in(field.annotation) if issubclass(candidate, BaseModel)]
        model = inner[0] if inner else model
    return list(model.model_fields)


def _types_in(annotation: object) -> list[type]:
    found = [annotation] if isinstance(annotation, type) and not get_args(annotation) else []
    return found + [inner for argument in get_args(annotation) for inner in _types_in(argument)]


def _reached(values: Mapping[str, object], path: Sequence[str]) -> list[str]:
    """The names of the variable that set the value at `path` or above it; empty if the environment did not."""
    walked: list[str] = []
    here: object = values
    for part in path:
        if not isinstance(here, Mapping):
            return walked
        if part not in here:
            return []
        walked.append(part)
        here = here[part]
    return walked


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        if part == "[key]":
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
