"""An agent worker dies while its model speaks: the next one asks anew, and readers know which text is void."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent_core.events import RunContinued, RunEvent
from agent_core.run import RunStatus
from queues.embedded import EmbeddedServer
from tests.support.walking import Walk, agent_worker, kill, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]

BOUND = 60


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    with walking(tmp_path_factory.mktemp("interrupted"), cleared_server.url) as running:
        yield running


def text_in(events: list[RunEvent]) -> str:
    return "".join(str(event.content) for event in events if event.event == "RunContent")


def test_text_of_a_worker_that_died_is_void_and_told_anew(walk: Walk) -> None:
    run = walk.client.submit("ops", "Tell a story that hangs")
    heard: list[RunEvent] = []
    killed = False
    for event in run.events(timeout=BOUND):
        heard.append(event)
        if not killed and len(text_in(heard)) > 50:
            kill(walk, "agents")
            walk.processes.start(agent_worker(walk, name="agents"))
            killed = True
    output = run.output()
    assert output.status is RunStatus.COMPLETED
    (place,) = (place for place, event in enumerate(heard) if isinstance(event, RunContinued))
    continued, before, after = heard[place], heard[:place], heard[place + 1 :]
    assert isinstance(continued, RunContinued) and continued.voids_text and continued.step == 1
    assert {event.step for event in before} == {1}
    said = text_in(before)
    assert 50 < len(said) < len(str(output.content)) and str(output.content).startswith(said)
    assert text_in(after) == output.content
    # Whoever reads it later finds the same.
    assert [event.event_id for event in run.events(timeout=BOUND)] == [event.event_id for event in heard]
