"""The texts of a script: filling in what a prompt said and what tools returned.

Never evaluates anything: a placeholder is a name in braces, and everything else is text.

`{path}` is a named group of the rule's `match`, `{1}` a numbered one, `{prompt}` the whole message, `{results}` the
last tool results joined by new lines, `{result[0]}` the first of them. `{{path}}` is the text `{path}`; braces around
anything that is no name, as in JSON, stand for themselves.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{(?P<literal>\w+(?:\[\d+\])?)\}\}|\{(?P<name>\w+)(?:\[(?P<position>\d+)\])?\}")


def placeholders(template: Any) -> Iterator[str]:
    """Name every placeholder of a text, or of the texts within a table or a list."""
    if isinstance(template, str):
        yield from (found["name"] for found in _PLACEHOLDER.finditer(template) if found["name"])
    elif isinstance(template, Mapping):
        for value in template.values():
            yield from placeholders(value)
    elif isinstance(template, list):
        for value in template:
            yield from placeholders(value)


def fill_text(template: str, *, groups: Mapping[str, str], results: Sequence[str]) -> str:
    """Fill in one text; a result that is not there is filled in as an empty text."""

    def value_of(found: re.Match[str]) -> str:
        if found["literal"]:
            return "{" + found["literal"] + "}"
        if found["name"] == "results":
            return "\n".join(results)
        if found["name"] == "result":
            position = int(found["position"] or 0)
            return results[position] if position < len(results) else ""
        return groups[found["name"]]

    return _PLACEHOLDER.sub(value_of, template)


def fill(template: Any, *, groups: Mapping[str, str], results: Sequence[str], schema: Mapping[str, Any]) -> Any:
    """Fill in every text of a table or a list.

    A text that is one placeholder and nothing else takes the type that the schema asks for, as a model's would:
    "{count}" becomes the number 3 for an integer parameter. What does not convert stays a text.
    """
    if isinstance(template, str):
        text = fill_text(template, groups=groups, results=results)
        return _as_type(text, schema) if _PLACEHOLDER.fullmatch(template) else text
    if isinstance(template, Mapping):
        properties = schema.get("properties", {})
        return {
            name: fill(value, groups=groups, results=results, schema=properties.get(name, {}))
            for name, value in template.items()
        }
    if isinstance(template, list):
        items = schema.get("items", {})
        return [fill(value, groups=groups, results=results, schema=items) for value in template]
    return template


def _as_type(text: str, schema: Mapping[str, Any]) -> Any:
    wanted = schema.get("type")
    try:
        if wanted == "integer":
            return int(text)
        if wanted == "number":
            return float(text)
    except ValueError:
        return text
    if wanted == "boolean" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return text
