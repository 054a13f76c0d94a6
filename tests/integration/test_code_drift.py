"""What `errandry doctor --release` says of runs whose tools have changed since they paused, and what a worker does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel, call
from agent_core.run import RunSnapshot, RunStatus
from agent_core.tools import Function
from agent_core.tools.execution import CallResult, Confirmation, ToolExecution
from queues.checkup import Finding, Level
from queues.claims import ClaimedRun
from queues.journal import QueueJournal
from queues.leases import Lease
from queues.parts import Routing
from queues.run_checkup import RunCheckup
from queues.run_store import RedisRunStore
from tests.support.queue_floor import TIMING, Floor, claimed
from workers.agents import Project
from workers.drift import changes, obstacles
from workers.release import release_findings

pytestmark = pytest.mark.redis


def look_up(key: str) -> str:
    """Look something up."""
    raise AssertionError("an external tool is never called by its agent")


def reworded(key: str) -> str:
    """Find something.

    Args:
        key: What to look for.
    """
    raise AssertionError("an external tool is never called by its agent")


def with_another_default(key: str, limit: int = 10) -> str:
    """Look something up."""
    raise AssertionError("an external tool is never called by its agent")


def renamed(term: str) -> str:
    """Look something up."""
    raise AssertionError("an external tool is never called by its agent")


def delete(name: str) -> str:
    """Delete something."""
    return f"deleted {name}"


def release(*tools: Function) -> Project:
    """A release of the project whose only agent has these tools."""
    asked = call("look_up", key="colour") if tools[0].name == "look_up" else call("delete", name="a")
    agent = Agent(name="ops", model=ScriptedModel([asked, "done"]), tools=list(tools))
    return Project(agents={"ops": agent}, routing=Routing(pools={}, queue_seconds={}))


def looking(entrypoint: Callable[..., str]) -> Function:
    return Function(name="look_up", entrypoint=entrypoint, external_execution=True)


def deleting(**settings: object) -> Function:
    return Function(name="delete", entrypoint=delete, **settings)  # type: ignore[arg-type]


def carried_on(floor: Floor, run_id: str, project: Project) -> RunSnapshot:
    """The run after its next stretch under a release."""
    run = claimed(floor.claims, run_id)
    agent = project.agents["ops"]
    assert obstacles(run.snapshot.pending, agent.functions()) == []
    journal = QueueJournal(
        floor.claims,
        run,
        store=RedisRunStore.on(floor.connection, timing=TIMING),
        functions=agent.functions(),
        routing=project.routing,
        lease=Lease(floor.claims.renewal(run), None),
        task_id=run_id,
    )
    for event in agent.advance(run.snapshot, answers=run.answers, journal=journal):
        journal.tell(event)
    return journal.run.snapshot


def paused_under(floor: Floor, project: Project) -> tuple[str, ToolExecution]:
    run_id = floor.submitted()
    snapshot = carried_on(floor, run_id, project)
    assert snapshot.status is RunStatus.PAUSED
    (asked,) = snapshot.pending
    return run_id, asked


def judged(floor: Floor, project: Project) -> dict[str, Finding]:
    checkup = RunCheckup(floor.connection, timing=TIMING, pools=[], limit=10)
    found = release_findings(floor.connection, checkup.unfinished(), project, pools=[])
    return {finding.subject: finding for finding in found}


@pytest.mark.parametrize("entrypoint", [look_up, reworded])
def test_words_are_no_change(floor: Floor, entrypoint: Callable[..., str]) -> None:
    paused_under(floor, release(looking(look_up)))
    found = judged(floor, release(looking(entrypoint)))
    assert list(found) == ["release.runs"]
    assert found["release.runs"].level is Level.OK


@pytest.mark.parametrize(
    ("entrypoint", "words"),
    [(with_another_default, "its arguments still fit"), (renamed, "key: No such argument")],
)
def test_changed_parameters_are_a_warning_and_the_answer_counts(
    floor: Floor, entrypoint: Callable[..., str], words: str
) -> None:
    run_id, asked = paused_under(floor, release(looking(look_up)))
    after = release(looking(entrypoint))

    found = judged(floor, after)
    assert found["release.runs"].level is Level.OK
    changed = found["release.schemas"]
    assert changed.level is Level.WARNING
    assert changed.details[0].startswith(f"{run_id}: agent ops, call {asked.tool_call_id} of look_up, whose parameters")
    assert words in changed.details[0]

    floor.runs.answer(floor.runs.load(run_id), asked.tool_call_id, CallResult(content="green"))
    done = carried_on(floor, run_id, after)
    assert (done.status, done.output.tools[0].result) == (RunStatus.COMPLETED, "green")


def test_a_run_without_digests_is_judged_by_its_tools_alone(floor: Floor) -> None:
    """As runs were stored before there were any."""
    call_of_old = ToolExecution(tool_call_id="a", tool_name="look_up", step=1, external_execution_required=True)
    floor.paused(call_of_old)
    assert list(judged(floor, release(looking(renamed)))) == ["release.runs"]


def test_a_call_that_people_let_run_is_not_run_here_once_its_tool_is_external(floor: Floor) -> None:
    run_id, asked = paused_under(floor, release(deleting(requires_confirmation=True)))
    after = release(deleting(external_execution=True))

    finding = judged(floor, after)["release.runs"]
    assert finding.level is Level.PROBLEM
    assert finding.details[0].startswith(f"{run_id}: PAUSED, agent ops, which would execute delete beside the model's")

    floor.runs.answer(floor.runs.load(run_id), asked.tool_call_id, Confirmation(confirmed=True))
    run = floor.claims.claim(run_id, owner="of the new release")
    assert isinstance(run, ClaimedRun)
    assert obstacles(run.snapshot.pending, after.agents["ops"].functions())
    floor.claims.park(run_id, "parked", run=run)

    back = carried_on(floor, run_id, release(deleting(requires_confirmation=True)))
    assert (back.status, back.output.tools[0].result) == (RunStatus.COMPLETED, "deleted a")


def test_a_call_for_which_people_give_arguments_is_judged_by_the_models_part() -> None:
    asked = ToolExecution(tool_call_id="a", tool_name="delete", requires_user_input=True, schema_digest="of another")
    (sentence,) = changes([asked], {"delete": deleting(requires_user_input=True)})
    assert sentence == "call a of delete, whose parameters have changed since; its arguments still fit"


def test_older_runs_than_were_looked_at_are_counted(floor: Floor) -> None:
    for _ in range(3):
        paused_under(floor, release(looking(look_up)))
    checkup = RunCheckup(floor.connection, timing=TIMING, pools=[], limit=2)
    found = release_findings(
        floor.connection, checkup.unfinished(), release(looking(look_up)), pools=[], unseen=checkup.unseen()
    )
    assert [(f.subject, f.text.partition(",")[0]) for f in found] == [
        ("release.runs", "this code can carry on 2 unfinished runs"),
        ("release.unseen", "not looked at: 1 older run"),
    ]
