"""The model of the benchmarks does as its prompt says, and writes down when it was asked."""

from __future__ import annotations

import json
from typing import Any

from workers.bench.model import answer_to, prompt


def asked(text: str, *, answers: int = 0) -> dict[str, Any]:
    earlier = [{"role": "assistant", "content": None}, {"role": "tool", "content": "done"}] * answers
    return {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": text}, *earlier]}


def test_it_asks_for_calls_until_the_steps_are_over() -> None:
    text = prompt(calls=2, steps=2)
    for answers in (0, 1):
        answer, wait_seconds = answer_to(asked(text, answers=answers), asked_at=17)
        assert [json.loads(call.arguments) for call in answer.calls] == [{"asked_at": "17"}] * 2
        assert len({call.call_id for call in answer.calls}) == 2
        assert wait_seconds == 0
    answer, _ = answer_to(asked(text, answers=2), asked_at=18)
    assert (answer.text, answer.calls) == ("18", ())


def test_it_waits_as_long_as_it_is_told() -> None:
    answer, wait_seconds = answer_to(asked(prompt(calls=0, steps=0, wait_seconds=2)), asked_at=5)
    assert (answer.text, wait_seconds) == ("5", 2)


def test_answers_of_earlier_runs_of_the_session_do_not_count() -> None:
    history = asked(prompt(calls=1), answers=1)["messages"]
    answer, _ = answer_to({"messages": [*history, {"role": "user", "content": prompt(calls=1)}]}, asked_at=1)
    assert len(answer.calls) == 1
