"""Which rule answers, and what it makes of prompt and results; no socket involved."""

import json
from typing import Any

import pytest

from workers.model_server.answers import Answer
from workers.model_server.conversation import ChatRequest, Conversation
from workers.model_server.errors import BadRequestError
from workers.model_server.script import parse_script
from workers.model_server.scripted import ScriptedAnswers
from workers.model_server.templates import fill

FILES = {"type": "function", "function": {"name": "list_files", "parameters": {}}}


def ask(script: str, *messages: dict[str, Any]) -> Answer:
    request = ChatRequest.model_validate({"model": "m", "messages": messages, "tools": [FILES]})
    return ScriptedAnswers(parse_script(script)).answer(request, Conversation.read(request.messages))


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def step(*contents: str) -> list[dict[str, Any]]:
    """An assistant's message with as many calls as there are results, and the results in reverse order."""
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": "list_files", "arguments": f'{{"n": {number}}}'}}
        for number, _ in enumerate(contents)
    ]
    results = [
        {"role": "tool", "tool_call_id": f"c{number}", "content": content} for number, content in enumerate(contents)
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *reversed(results)]


LIST = '[[rules]]\nmatch = "^List (?P<folder>.+)"\ncalls = [{ tool = "list_files", arguments = { f = "{folder}" } }]\n'


def test_the_first_rule_that_fits_answers() -> None:
    script = '[[rules]]\nmatch = "a"\ntext = "first"\n[[rules]]\nmatch = "b"\ntext = "second"'
    assert ask(script, user("ab")).text == "first"
    assert ask(script, user("b")).text == "second"


def test_parts_of_a_message_are_read_as_one_text() -> None:
    parts = [{"type": "text", "text": "List "}, {"type": "image_url"}, {"type": "text", "text": "/x"}]
    assert json.loads(ask(LIST, user(parts)).calls[0].arguments) == {"f": "/x"}


def test_turns_are_counted_from_the_last_user_message() -> None:
    script = LIST + '[[rules]]\nmatch = "^List"\nturn = 2\ntext = "third: {results}"'
    assert ask(script, user("List a"), *step("x"), user("List b")).calls
    assert ask(script, user("List b"), *step("x")).text == "list_files returned: x"
    assert ask(script, user("List b"), *step("x"), *step("y", "z")).text == "third: y\nz"


def test_a_rule_may_look_at_the_first_message_at_any_turn() -> None:
    script = '[[rules]]\nmatch = "^loop"\non = "first"\nturn = "any"\ncalls = [{ tool = "list_files" }]'
    assert ask(script, user("loop"), *step("x"), user("something else"), *step("y")).calls


def test_a_rule_may_ask_what_the_last_results_contain() -> None:
    script = '[[rules]]\nmatch = "^List"\nresults = "(?i)denied"\ntext = "I may not: {result[1]}"\n' + LIST
    assert ask(script, user("List a")).calls
    assert ask(script, user("List a"), *step("fine", "Denied!")).text == "I may not: Denied!"
    assert ask(script, user("List a"), *step("denied"), *step("fine")).text == (
        'list_files({"n": 0}) returned: denied\nlist_files({"n": 0}) returned: fine'
    )


def test_results_come_in_the_order_of_their_calls() -> None:
    assert ask(LIST + '[[rules]]\nmatch = ""\nturn = 1\ntext = "{results}"', user("a"), *step("1", "2")).text == "1\n2"


@pytest.mark.parametrize(
    "messages",
    [
        [*step("x"), {"role": "tool", "tool_call_id": "c0", "content": "again"}],
        [*step("x"), user("next"), {"role": "tool", "tool_call_id": "c0", "content": "late"}],
        [step("x")[0], user("no result")],
    ],
)
def test_results_that_do_not_belong_to_the_calls_are_refused(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(BadRequestError):
        ask(LIST, user("List a"), *messages)


@pytest.mark.parametrize(
    ("template", "schema", "filled"),
    [
        ("{n}", {"type": "integer"}, 3),
        ("{n}", {"type": "number"}, 3.0),
        ("{n}", {}, "3"),
        ("{word}", {"type": "integer"}, "three"),
        ("{yes}", {"type": "boolean"}, True),
        ("{n} files", {"type": "integer"}, "3 files"),
        ({"a": ["{n}", 1]}, {"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [3, 1]}),
        ('{"json": {{n}}} ${ }', {}, '{"json": {n}} ${ }'),
        ("{result[0]}{result[7]}", {}, "r0"),
    ],
)
def test_placeholders_are_filled_in(template: Any, schema: dict[str, Any], filled: Any) -> None:
    groups = {"n": "3", "word": "three", "yes": "True"}
    value = fill(template, groups=groups, results=["r0"], schema=schema)
    assert value == filled
    assert type(value) is type(filled)
