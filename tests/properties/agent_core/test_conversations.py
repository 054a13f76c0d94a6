"""Whatever a model asks for, the conversation stays one that every provider accepts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_core.agent import Agent
from agent_core.errors import MissingResultError
from agent_core.models.scripted import ScriptedModel
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from tests.properties.agent_core.conversations import TOOLS, check_conversation, scripts


@settings(max_examples=60, deadline=None)
@given(script=scripts, limit=st.none() | st.integers(0, 4), order=st.randoms(use_true_random=False))
def test_every_run_ends_with_a_conversation_that_is_whole(script, limit, order) -> None:  # type: ignore[no-untyped-def]
    agent = Agent(model=ScriptedModel([*script, "done"]), tools=TOOLS, tool_call_limit=limit)
    run = agent.run("go")
    for _ in range(len(script) * 5):
        if not run.is_paused:
            break
        waiting = run.active_requirements
        order.shuffle(waiting)
        requirement = waiting[0]
        if requirement.needs_confirmation:
            requirement.confirm() if order.random() < 0.5 else requirement.reject()
        else:
            requirement.set_external_execution_result({"answer": order.random()})
        try:
            run = agent.continue_run(run_id=run.run_id, requirements=[requirement])
        except MissingResultError:
            stored = agent.get_run_output(run.run_id)
            assert stored is not None and len(stored.active_requirements) == len(waiting) - 1
            run = stored

    assert run.status is RunStatus.COMPLETED and run.content == "done"
    check_conversation(run.messages)
    assert run.metrics.model_calls == len(script) + 1
    assert all(record.is_settled for record in run.tools)
    if limit is not None:
        assert sum(record.outcome != "denied" for record in run.tools) <= limit
    snapshot = agent.db.load(run.run_id)
    assert snapshot is not None and RunSnapshot.from_json(snapshot.to_json()) == snapshot
    assert RunOutput.from_dict(run.to_dict()).to_dict() == run.to_dict()
