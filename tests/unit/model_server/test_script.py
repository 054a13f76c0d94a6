"""Scripts are checked as a whole before a server starts, and refused in words that name the place."""

from pathlib import Path

import pytest

from workers.model_server.errors import ScriptError
from workers.model_server.script import load_script, parse_script


def refusal(text: str) -> str:
    with pytest.raises(ScriptError) as caught:
        parse_script(text, source="demo.toml")
    return str(caught.value)


def test_rules_without_a_name_are_called_by_their_place() -> None:
    script = parse_script('[[rules]]\nmatch = "a"\ntext = "b"\n[[rules]]\nmatch = "c"\ntext = "d"\nname = "mine"')
    assert [rule.name for rule in script.rules] == ["rule 1", "mine"]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ('match = "("\ntext = "x"', "demo.toml, rule 1 ('r'), match: '(' is no regular expression: "),
        ('match = "a"', "demo.toml, rule 1 ('r'): the rule says nothing: give it text, calls or answer."),
        ('match = "a"\ntext = "x"\ntxt = "y"', "demo.toml, rule 1 ('r'), txt: Extra inputs are not permitted."),
        ('match = "a"\ntext = "x"\nfault = "slw"', "demo.toml, rule 1 ('r'), fault: Unknown fault 'slw'"),
        ('match = "a"\ntext = "x"\nexample = "bbb"', "the example 'bbb' does not fit the match 'a'"),
        (
            'match = "a"\ntext = "{path}"',
            "the placeholder {path} is no group of match; for the text itself write {{path}}",
        ),
        ('match = "a"\ncalls = [{ tool = "f", arguments = { x = ["{y}"] } }]', "the placeholder {y} is no group"),
        ('match = "a"\ntext = "x"\nanswer = { y = 1 }', "answer stands alone"),
        ('match = "a"\ntext = "x"\nturn = -1', "rule 1 ('r'), turn"),
    ],
)
def test_a_bad_rule_is_refused_by_name_and_field(rule: str, sentence: str) -> None:
    told = refusal(f'[[rules]]\nname = "r"\n{rule}')
    assert sentence in told and told.endswith(".") and not told.endswith("..")


def test_every_problem_of_a_script_is_named_at_once() -> None:
    problems = refusal('[[rules]]\nmatch = "("\ntext = "x"\n[[rules]]\nmatch = "a"\ntext = 1').splitlines()
    assert [problem.split(",")[1] for problem in problems] == [" rule 1", " rule 2"]


def test_two_rules_of_one_name_are_refused() -> None:
    assert "two rules have the name 'a'" in refusal('[[rules]]\nname = "a"\nmatch = "x"\ntext = "y"\n' * 2)


def test_what_is_no_script_is_refused(tmp_path: Path) -> None:
    assert "demo.toml is not valid TOML" in refusal("rules = [")
    assert "demo.toml, rules: Field required." in refusal("")
    assert refusal("rules = []") == "demo.toml: a script needs at least one rule."
    with pytest.raises(ScriptError, match=r"none\.toml cannot be read"):
        load_script(tmp_path / "none.toml")
