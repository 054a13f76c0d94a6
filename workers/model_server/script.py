"""The script of a scripted model: its rules, read from TOML and checked before the server starts.

Never answers a request; `scripted.py` does. A script looks like this:

    [[rules]]
    name = "list files"
    match = '^What files are in (?P<folder>[^ ?]+)'
    example = "What files are in /tmp?"
    calls = [{ tool = "list_files", arguments = { folder = "{folder}" } }]

    [[rules]]
    name = "list files, told"
    match = '^What files are in (?P<folder>[^ ?]+)'
    turn = 1
    text = "In {folder} I see: {results}"

Rules are tried from top to bottom; the first one that fits answers. A rule fits if its `match` is found in the last
user message (`on = "first"`: in the first one), and if the model has answered `turn` times since the last user message.
Left out, `turn` is 0, or any turn after tool results if `results`, a regex for the last tool results, is given; "any"
fits always. A prompt whose rules have no answer for the turn after tool results is answered with those results.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from workers.model_server.errors import FaultError, ScriptError
from workers.model_server.faults import Fault
from workers.model_server.templates import placeholders


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


def _check_fault(line: str) -> str:
    try:
        Fault.parse(line)
    except FaultError as error:
        raise ValueError(str(error)) from error
    return line


Pattern = Annotated[str, AfterValidator(_check_pattern)]
FaultLine = Annotated[str, AfterValidator(_check_fault)]


class ScriptedCall(BaseModel):
    """A tool call of a rule; texts within the arguments may hold placeholders (see `templates.py`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)


class Rule(BaseModel):
    """When a prompt like this comes, answer so: with a text, with tool calls, with both, or with JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: Pattern
    name: str = ""
    example: str | None = None
    """A prompt that fits; it is what an unmatched prompt is told about."""
    on: Literal["first", "last"] = "last"
    turn: Annotated[int, Field(ge=0)] | Literal["any"] | None = None
    results: Pattern | None = None
    text: str | None = None
    calls: tuple[ScriptedCall, ...] = ()
    answer: dict[str, Any] | None = None
    """A table that is sent as JSON text: what a request with `response_format` wants to read."""
    fault: FaultLine | None = None

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if self.answer is not None and (self.text is not None or self.calls):
            raise ValueError("answer stands alone: it cannot go with text or calls")
        if self.text is None and not self.calls and self.answer is None:
            raise ValueError("the rule says nothing: give it text, calls or answer")
        pattern = re.compile(self.match)
        if self.example is not None and not pattern.search(self.example):
            raise ValueError(f"the example {self.example!r} does not fit the match {self.match!r}")
        known = {"results", "result", "prompt", *pattern.groupindex, *map(str, range(pattern.groups + 1))}
        used = placeholders([self.text, self.answer, [call.arguments for call in self.calls]])
        for name in used:
            if name not in known:
                raise ValueError(
                    f"the placeholder {{{name}}} is no group of match; for the text itself write {{{{{name}}}}}"
                )
        return self


class Script(BaseModel):
    """All rules of a scripted model, and how it makes its ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[Rule, ...]
    model: str = "scripted"
    """The name under which GET /v1/models lists it; requests may name any model."""
    seed: str | None = None
    """With a seed the ids are made from it and from the conversation, so that the same run has the same ids."""
    call_ids: Literal["unique", "reused", "same"] = "unique"
    """`reused`: every turn counts from call_0 again, as with some providers; `same`: all calls of a turn are call_0."""

    @model_validator(mode="after")
    def _name_rules(self) -> Self:
        if not self.rules:
            raise ValueError("a script needs at least one rule")
        named = tuple(
            rule if rule.name else rule.model_copy(update={"name": f"rule {position}"})
            for position, rule in enumerate(self.rules, start=1)
        )
        names = [rule.name for rule in named]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            # Faults are counted per rule, so two rules of one name would share a count.
            raise ValueError(f"two rules have the name {twice!r}; give each its own")
        object.__setattr__(self, "rules", named)
        return self


def parse_script(text: str, *, source: str = "the script") -> Script:
    """Read a script from TOML text; raises ScriptError naming `source`, the rule, the field and the reason."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScriptError(f"{source} is not valid TOML: {error}.") from error
    try:
        return Script.model_validate(tables)
    except ValidationError as error:
        raise ScriptError("\n".join(_sentence(source, tables, problem) for problem in error.errors())) from error


def load_script(path: Path) -> Script:
    """Read a script from a file; raises ScriptError also when the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"The script {path} cannot be read: {error}.") from error
    return parse_script(text, source=str(path))


def _sentence(source: str, tables: dict[str, Any], problem: Any) -> str:
    location = list(problem["loc"])
    where = source
    if len(location) > 1 and location[0] == "rules":
        rule = tables["rules"][location[1]]
        name = rule.get("name") if isinstance(rule, dict) else None
        where = f"{source}, rule {location[1] + 1}" + (f" ({name!r})" if name else "")
        location = location[2:]
    field = ".".join(str(part) for part in location)
    reason = problem["msg"].removeprefix("Value error, ").removesuffix(".")
    return f"{where}, {field}: {reason}." if field else f"{where}: {reason}."
