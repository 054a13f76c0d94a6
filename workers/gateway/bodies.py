"""What every body that a caller sends has in common: text that can be stored, JSON with a bound, no unknown fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

_DEEPEST = 64


def _encodable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("holds half of a character (a lone surrogate), which no text has") from None
    return text


def _bounded(value: JsonValue) -> JsonValue:
    """Checked level by level, since what is nested too deeply cannot be walked by a function that calls itself."""
    level: list[JsonValue] = [value]
    for _ in range(_DEEPEST):
        for inner in level:
            if isinstance(inner, str):
                _encodable(inner)
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer if isinstance(outer, list) else [*outer, *outer.values()])
        ]
        if not level:
            return value
    raise ValueError(f"is nested more than {_DEEPEST} levels deep")


Text = Annotated[str, AfterValidator(_encodable)]
Short = Annotated[Text, Field(min_length=1, max_length=200)]
Json = Annotated[JsonValue, AfterValidator(_bounded)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_bounded)]


class Body(BaseModel):
    """A body that a caller sends: what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
