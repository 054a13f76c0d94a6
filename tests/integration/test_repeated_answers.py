"""The same answer once more, after the run has gone on: whoever never heard that it arrived may send it again."""

from __future__ import annotations

import pytest

from agent_core.answers import apply_answers
from agent_core.errors import InvalidAnswerError
from agent_core.events import RunCompleted
from agent_core.run import RunStatus
from agent_core.tools.execution import ToolExecution, UserInputField
from queues.errors import AlreadyAnsweredError
from queues.not_given import NOT_GIVEN
from queues.people import People
from tests.support.queue_floor import DONE, Floor, claimed, external
from tests.support.waiting import wait_until

pytestmark = pytest.mark.redis

FIELDS = [
    UserInputField(name="city", field_type="string"),
    UserInputField(name="nights", field_type="integer"),
    UserInputField(name="note", field_type="string", required=False),
]


@pytest.fixture
def people(floor: Floor) -> People:
    return People(floor.runs)


def asking(floor: Floor) -> str:
    """The id of a run that waits for a result, a decision and some values."""
    decision = ToolExecution(tool_call_id="d", tool_name="look_up", requires_confirmation=True, step=1)
    values = ToolExecution(tool_call_id="v", tool_name="look_up", requires_user_input=True, step=1)
    values.user_input_schema = [field.model_copy() for field in FIELDS]
    return floor.paused(external("r", None), decision, values).run_id


def answer(
    people: People, run_id: str, *, by: str = "ann", result: object = 1, note: str = "", city: str = "Rome"
) -> None:
    people.settle(run_id, "r", result=result, error=None, answered_by=by)
    people.confirm(run_id, "d", False, note=note, answered_by=by)
    people.provide_input(run_id, "v", {"city": city, "nights": 2}, answered_by=by)


def end(floor: Floor, run_id: str) -> None:
    """What an agent worker does with the answers, and the end of the run."""
    run = claimed(floor.claims, run_id)
    apply_answers(run.snapshot.calls, run.answers)
    run.snapshot.output.status = RunStatus.COMPLETED
    floor.claims.finish(run, run.snapshot, [RunCompleted(run_id=run_id, agent_name="ops")])
    wait_until(lambda: floor.runs.load(run_id).snapshot.status.is_finished, "the run has ended")


def test_a_repeat_changes_nothing_also_after_the_end(floor: Floor, people: People) -> None:
    run_id = asking(floor)
    answer(people, run_id)
    end(floor, run_id)
    before = floor.runs.load(run_id).snapshot
    answer(people, run_id)
    assert floor.runs.load(run_id).snapshot == before and floor.continuations() == 1


@pytest.mark.parametrize("other", [{"by": "bob"}, {"result": 2}, {"note": "no"}, {"city": "Oslo"}], ids=str)
def test_another_answer_is_refused_and_told_of_the_first(floor: Floor, people: People, other: dict[str, str]) -> None:
    run_id = asking(floor)
    answer(people, run_id)
    end(floor, run_id)
    with pytest.raises(AlreadyAnsweredError, match="was answered by ann at 2"):
        answer(people, run_id, **other)


def test_a_repeat_of_changed_arguments_is_one(floor: Floor, people: People) -> None:
    call = external("a").model_copy(update={"requires_approval": True, "tool_args": {"n": 1}})
    run_id = floor.paused(call).run_id
    people.confirm(run_id, "a", True, arguments={"n": 2})
    floor.calls.settle(floor.executing(run_id, "a"), DONE)
    end(floor, run_id)
    people.confirm(run_id, "a", True, arguments={"n": 2})
    for arguments in ({"n": 1}, {"n": 3}, None):
        with pytest.raises(AlreadyAnsweredError):
            people.confirm(run_id, "a", True, arguments=arguments)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"city": 5, "nights": 2}, "city of look_up is no string"),
        ({"city": None, "nights": 2}, "city of look_up is no string"),
        ({"city": "Rome", "nights": "two"}, "nights of look_up is no integer"),
        ({"city": "Rome", "nights": 2, "note": []}, "note of look_up is no string"),
        ({"city": "Rome"}, "look_up also needs nights"),
        (["city"], "the input of look_up must be an object"),
    ],
)
def test_values_of_another_kind_are_refused_while_they_can_be_mended(
    floor: Floor, people: People, values: dict[str, object], told: str
) -> None:
    run_id = asking(floor)
    with pytest.raises(InvalidAnswerError, match=told):
        people.provide_input(run_id, "v", values)  # type: ignore[arg-type]
    people.provide_input(run_id, "v", {"city": "Rome", "nights": "2", "note": None})


def test_words_are_texts(floor: Floor, people: People) -> None:
    run_id = asking(floor)
    with pytest.raises(InvalidAnswerError, match="error is 5; give a text"):
        people.settle(run_id, "r", result=NOT_GIVEN, error=5)  # type: ignore[arg-type]
