"""A model's text on its way to a reader through real workers, as it streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent_core.events import RunEvent
from agent_core.run import RunStatus
from queues.client import Client
from queues.embedded import EmbeddedServer
from queues.redis_url import url_of
from tests.support.walking import Walk, walking

pytestmark = [pytest.mark.redis, pytest.mark.slow]

BOUND = 60


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory, cleared_server: EmbeddedServer) -> Iterator[Walk]:
    with walking(tmp_path_factory.mktemp("streamed"), cleared_server.url) as running:
        yield running


def text_in(events: list[RunEvent]) -> str:
    return "".join(str(event.content) for event in events if event.event == "RunContent")


def test_text_is_told_while_the_model_still_speaks(walk: Walk) -> None:
    """The model stops half-way for some seconds: what it said before is told before that, by the server's clock."""
    run = walk.client.submit("ops", "Tell a story")
    events = list(run.events(timeout=BOUND))
    output = run.output()
    assert output.status is RunStatus.COMPLETED and text_in(events) == output.content
    assert [event.event for event in events if event.event != "RunContent"] == ["RunStarted", "RunCompleted"]
    done = events[-1].created_at
    early = [event for event in events if (done - event.created_at).total_seconds() > 2]
    assert len(text_in(early)) >= len(str(output.content)) // 3
    assert walk.model.requests[-1].body["stream"] is True


def test_reading_goes_on_in_the_middle_of_a_reply(walk: Walk) -> None:
    run = walk.client.submit("ops", "Tell a story")
    heard: list[RunEvent] = []
    for event in run.events(timeout=BOUND):
        heard.append(event)
        if len(text_in(heard)) > 20:
            break
    # Another reader, who knows nothing but where the first one stopped.
    other = Client(url_of(walk.settings))
    rest = list(other.events(run.run_id, after=heard[-1].event_id, timeout=BOUND))
    other.close()
    whole = list(run.events(timeout=BOUND))
    assert [event.event_id for event in (*heard, *rest)] == [event.event_id for event in whole]
    assert text_in(heard) and text_in(rest) and text_in(heard) + text_in(rest) == run.output().content


def test_calls_in_pools_stand_between_the_texts_of_their_steps(walk: Walk) -> None:
    run = walk.client.submit("ops", "Everything at once")
    output = run.wait(timeout=BOUND)
    events = list(run.events(timeout=BOUND))
    names = [event.event for event in events]
    assert text_in([event for event in events if event.step == 2]) == output.content
    assert names.index("RunPaused") < names.index("RunContinued") < names.index("RunContent")
    assert not any(getattr(event, "voids_text", False) for event in events)
