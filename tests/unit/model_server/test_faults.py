"""Faults as they are written, and how often they happen."""

import pytest

from workers.model_server.answers import Answer, Call, spoil
from workers.model_server.errors import FaultError
from workers.model_server.faults import Fault, FaultCounter, FaultKind


@pytest.mark.parametrize("kind", FaultKind)
def test_every_kind_is_written_by_its_name(kind: FaultKind) -> None:
    assert Fault.parse(kind.value).kind is kind


def test_parameters_are_read() -> None:
    fault = Fault.parse(" rate_limit ; times=2; retry_after = 0.5 ;")
    assert (fault.kind, fault.times, fault.retry_after) == (FaultKind.RATE_LIMIT, 2, 0.5)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "Unknown fault ''"),
        ("explode", "the faults are: rate_limit, server_error"),
        ("slow;second=1", "'second=1' in the fault 'slow;second=1' is no parameter=value; there are: times"),
        ("slow;fast", "'fast' in the fault"),
        ("slow;times=0", "has a bad times: "),
    ],
)
def test_what_is_not_understood_is_named(line: str, sentence: str) -> None:
    with pytest.raises(FaultError) as caught:
        Fault.parse(line)
    assert sentence in str(caught.value)


def test_times_are_counted_per_key() -> None:
    counter = FaultCounter()
    fault = Fault.parse("server_error;times=1")
    assert counter.due(fault, key="a") is fault
    assert counter.due(fault, key="a") is None
    assert counter.due(fault, key="b") is fault
    named = Fault.parse("server_error;times=1;key=mine")
    assert counter.due(named, key="a") is named
    assert counter.due(named, key="b") is None
    for _ in range(3):
        assert counter.due(Fault.parse("disconnect"), key="a") is not None
    assert counter.due(None, key="a") is None


@pytest.mark.parametrize("kind", ["unknown_tool", "malformed_arguments"])
def test_faults_of_tool_calls_leave_a_text_alone(kind: str) -> None:
    answer = Answer(text="hello")
    assert spoil(answer, Fault.parse(kind)) == answer


def test_malformed_arguments_are_so_in_every_call() -> None:
    calls = (Call("1", "f", "{}"), Call("2", "g", '{"a": "b"}'))
    spoiled = spoil(Answer(calls=calls), Fault.parse("malformed_arguments"))
    assert [call.arguments for call in spoiled.calls] == ["{", '{"a": "b"']
