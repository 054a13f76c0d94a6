"""What Flower says of deliveries: which event tells it, and that nothing of a payload gets into the words."""

from __future__ import annotations

import pytest

from agent_core.run import RunOutput, RunStatus
from agent_core.tools.execution import CallOutcome, ToolExecution
from workers.watching.words import Kind, first_of, of_refused_call, of_refused_run, of_settled, of_stretch

KINDS = {
    CallOutcome.SUCCEEDED: Kind.SUCCEEDED,
    CallOutcome.CANCELLED: Kind.CANCELLED,
    **dict.fromkeys(
        (CallOutcome.FAILED, CallOutcome.TIMED_OUT, CallOutcome.LOST, CallOutcome.EXPIRED, CallOutcome.DENIED),
        Kind.FAILED,
    ),
}


def ended(status: RunStatus, error: str | None = None) -> RunOutput:
    return RunOutput(run_id="run_1", agent_id="ops", agent_name="ops", input="x", status=status, error=error)


def waiting(name: str, **how: object) -> ToolExecution:
    return ToolExecution.model_validate(
        {"tool_call_id": "c", "tool_name": name, "external_execution_required": True, **how}
    )


@pytest.mark.parametrize("outcome", CallOutcome)
def test_every_outcome_has_its_event(outcome: CallOutcome) -> None:
    word = of_settled(outcome, "settled")
    assert word == outcome.value and word.kind is KINDS[outcome]
    assert word.shown == outcome.value.replace("_", " ")


def test_a_call_that_is_tried_again_or_refused_is_no_success() -> None:
    again = of_settled(CallOutcome.FAILED, "retry", attempt="attempt 1 of 3", status="tool_error")
    assert (again, again.kind, again.shown) == (
        "retry", Kind.AGAIN, "failed (tool error), attempt 1 of 3, is tried again",
    )  # fmt: skip
    for verdict in ("already", "stale", "missing"):
        late = of_settled(CallOutcome.SUCCEEDED, verdict)
        assert late == verdict and late.kind is Kind.FAILED and f"refused as {verdict}" in late.shown


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("expired: nobody answered canary in time", "ERROR: expired"),
        ("buried: 3 workers died while they held this run; canary", "ERROR: buried"),
        ("The run cannot go on: ValueError: canary", "ERROR: cannot go on, ValueError; `errandry show RUN` says more"),
        ("The run cannot go on: canary canary", "ERROR: no usable reply of the model; `errandry show RUN` says more"),
        ("canary", "ERROR: no usable reply of the model; `errandry show RUN` says more"),
    ],
)
def test_the_reason_of_an_error_quotes_nobody(error: str, shown: str) -> None:
    word = of_stretch(ended(RunStatus.ERROR, error), [])
    assert word.kind is Kind.FAILED and word.shown == shown


def test_a_pause_says_whom_it_waits_for_and_stays_short() -> None:
    pending = [
        waiting("ls", pool="shell"),
        waiting("ls", pool="shell"),
        waiting("pay", pool="bank", requires_approval=True),
        waiting("ask"),
        waiting("form", external_execution_required=False, requires_user_input=True),
        waiting("rm", external_execution_required=False, requires_confirmation=True),
        waiting("done", pool="shell", result="canary", outcome="succeeded"),
    ]
    word = of_stretch(ended(RunStatus.PAUSED), pending)
    assert word.kind is Kind.PAUSED and word.shown == word
    assert (
        word == "PAUSED for ls (shell) 2 times, pay (approval), ask (a person), form (a person's input), rm (approval)"
    )
    many = of_stretch(ended(RunStatus.PAUSED), [waiting(f"t{number}", pool="p") for number in range(100)])
    assert many.endswith("t7 (p) and 92 other tools") and len(many) < 200


def test_only_an_early_hint_comes_again() -> None:
    assert of_refused_run("waiting", is_early=True).kind is Kind.AGAIN
    assert of_refused_run("waiting", is_early=False).kind is Kind.COPY
    assert of_refused_run("held", is_early=False).kind is Kind.ELSEWHERE
    assert {of_refused_run(word, is_early=False).kind for word in ("finished", "missing")} == {Kind.COPY}
    assert {of_refused_call(word).kind for word in ("settled", "missing")} == {Kind.COPY}
    assert {of_refused_call(word).kind for word in ("held", "lost")} == {Kind.ELSEWHERE}


def test_what_a_pool_shows_is_one_short_line() -> None:
    assert first_of("a\n\tb\x1b[31m \u202e c") == "a b?[31m ? c"
    assert first_of("x" * 200) == "x" * 200
    assert first_of("x" * 201) == "x" * 200 + " …"
    assert first_of(" " * 5_000 + "x").endswith("…") and len(first_of("y " * 50_000)) <= 202
