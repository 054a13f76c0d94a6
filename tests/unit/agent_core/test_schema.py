"""The schema and the validation of tool arguments, from all that Python offers to describe them."""

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from agent_core.errors import ArgumentsError
from agent_core.tools import Function, tool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(BaseModel):
    title: str
    tags: list[str] = []


@dataclass
class Point:
    x: int
    y: int


def properties(function: Function) -> dict[str, Any]:
    return dict(function.parameters["properties"])


def test_types_become_json_schema() -> None:
    @tool
    def paint(colour: Colour, how: Literal["fast", "slow"], amount: int | None = None, title: str = "x") -> None:
        """Paint."""

    assert paint.parameters["required"] == ["colour", "how"]
    assert paint.parameters["additionalProperties"] is False
    shown = properties(paint)
    assert shown["how"] == {"enum": ["fast", "slow"], "type": "string"}
    assert shown["amount"] == {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
    assert shown["title"] == {"type": "string", "default": "x"}
    assert paint.parameters["$defs"]["Colour"] == {"enum": ["red", "blue"], "type": "string"}


def test_a_model_keeps_its_field_named_title() -> None:
    @tool
    def visit(place: Place, point: Point) -> None:
        """Go there."""

    assert set(visit.parameters["$defs"]["Place"]["properties"]) == {"title", "tags"}
    assert "title" not in visit.parameters["$defs"]["Place"]


@pytest.mark.parametrize(
    "docstring",
    [
        "Add.\n\nArgs:\n    x (int): the first\n    y: the second\n",
        "Add.\n\nParameters\n----------\nx : int\n    the first\ny\n    the second\n",
        "Add.\n\n:param int x: the first\n:param y: the second\n",
    ],
    ids=["google", "numpy", "rest"],
)
def test_descriptions_come_from_the_docstring(docstring: str) -> None:
    def add(x, y):  # type: ignore[no-untyped-def]
        return x + y

    add.__doc__ = docstring
    function = Function(entrypoint=add)

    assert function.description == "Add."
    assert properties(function)["x"] == {"description": "the first", "type": "integer"}
    assert properties(function)["y"]["description"] == "the second"


def test_annotated_constraints_hold_and_their_description_counts() -> None:
    @tool
    def wait(seconds: Annotated[int, Field(ge=1, le=5, description="how long")]) -> int:
        """Wait.

        Args:
            seconds: ignored
        """
        return seconds

    assert properties(wait)["seconds"] == {"description": "how long", "maximum": 5, "minimum": 1, "type": "integer"}
    with pytest.raises(ArgumentsError, match="seconds: Input should be less than or equal to 5"):
        wait.call({"seconds": 6})


def test_values_arrive_as_python_values() -> None:
    seen: dict[str, object] = {}

    @tool
    def keep(day: date, colour: Colour, place: Place, point: Point, pairs: tuple[int, ...], raw: bytes) -> None:
        seen.update(locals())

    keep.call(
        {
            "day": "2026-01-31",
            "colour": "red",
            "place": {"title": "a"},
            "point": {"x": 1, "y": 2},
            "pairs": [1, 2],
            "raw": "ab",
        }
    )

    assert {name: seen[name] for name in ("day", "colour", "point", "pairs", "raw")} == {
        "day": date(2026, 1, 31),
        "colour": Colour.RED,
        "point": Point(1, 2),
        "pairs": (1, 2),
        "raw": b"ab",
    }
    assert isinstance(seen["place"], Place)


@pytest.mark.parametrize("name", ["schema", "copy", "model_config", "json", "_hidden", "self_", "field_0"])
def test_no_parameter_name_is_special(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def f({name}: int, other: int = 3) -> int:\n    return {name} + other", scope)
    function = Function(entrypoint=scope["f"])

    assert list(properties(function)) == [name, "other"]
    assert function.call({name: 1}) == 4
    assert function.call({name: 1, "other": 1}) == 2


def test_every_fault_is_named_with_its_field() -> None:
    @tool
    def book(place: Place, nights: int) -> None:
        """Book."""

    with pytest.raises(ArgumentsError) as caught:
        book.call({"place": {"title": 1}, "nights": "many", "force": True})

    message = str(caught.value)
    assert "'book'" in message
    for part in ("place.title: Input should be a valid string", "nights: Input", "force: No such argument"):
        assert part in message


def test_injected_parameters_are_not_shown() -> None:
    def look(query: str, agent: object, run_context: object = None) -> object:
        return (query, agent, run_context)

    function = Function(entrypoint=look)

    assert list(properties(function)) == ["query"]
    assert function.call({"query": "q"}, agent="the agent") == ("q", "the agent", None)
    with pytest.raises(ArgumentsError):
        function.call({"query": "q", "agent": "forged"})


def test_a_tool_with_keyword_arguments_takes_any() -> None:
    def anything(first: int, /, *args: int, **rest: int) -> tuple[object, ...]:
        return first, args, rest

    function = Function(entrypoint=anything)

    assert function.parameters["additionalProperties"] is True
    assert function.call({"first": 1, "b": 2}) == (1, (), {"b": 2})


def test_defaults_that_json_cannot_hold_stay_with_the_function() -> None:
    marker = object()

    def find(query: str, where: Any = marker) -> bool:
        return where is marker

    function = Function(entrypoint=find)

    assert "default" not in properties(function)["where"]
    assert function.call({"query": "q"}) is True


def test_strict_requires_all_and_null_means_the_default() -> None:
    @tool(strict=True)
    def find(query: str, limit: int = 5, note: str | None = "n", place: Place | None = None) -> tuple[object, ...]:
        return query, limit, note, place

    assert find.parameters["required"] == ["query", "limit", "note", "place"]
    assert properties(find)["limit"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert find.parameters["$defs"]["Place"]["additionalProperties"] is False
    assert find.parameters["$defs"]["Place"]["required"] == ["title", "tags"]
    assert find.call({"query": "q", "limit": None, "note": None, "place": None}) == ("q", 5, None, None)


class Caller:
    def __call__(self, size: int) -> int:
        return size * 2


def _wrapped(function: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(function)
    def wrapper(*args: int, **kwargs: int) -> int:
        return function(*args, **kwargs)

    return wrapper


@_wrapped
def doubled(size: int) -> int:
    return size * 2


@pytest.mark.parametrize("entrypoint", [Caller(), functools.partial(doubled), doubled, lambda size: size * 2])
def test_any_callable_can_be_a_tool(entrypoint: Callable[..., object]) -> None:
    function = Function(name="double", entrypoint=entrypoint)

    assert list(properties(function)) == ["size"]
    assert function.call({"size": 2}) == 4


def test_a_type_without_json_schema_is_a_value_error_naming_the_tool() -> None:
    class Connection:
        pass

    def query(connection: Connection) -> None:
        """Query."""

    with pytest.raises(ValueError, match="'query'"):
        _ = Function(entrypoint=query).parameters


def test_an_unknown_annotation_is_a_value_error_naming_it() -> None:
    def query(x: "Missing") -> None:  # type: ignore[name-defined]  # noqa: F821
        """Query."""

    with pytest.raises(ValueError, match="Missing"):
        _ = Function(entrypoint=query).parameters
