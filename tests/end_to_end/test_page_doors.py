"""The run page and its gateway: keys, refusals, a gateway that goes and comes back, long runs, an empty project."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from agent_core.events import ToolCallCompleted, ToolCallStarted
from agent_core.tools.execution import CallOutcome, ToolExecution
from queues.client import Client
from queues.redis_url import url_of
from tests.support import browser as browsing
from tests.support.browser import Browser, chromium
from tests.support.command import Command
from tests.support.gateways import Served, Story, project, serving
from tests.support.ports import free_port
from tests.support.queue_floor import Floor
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not browsing.is_there(), reason=browsing.MISSING),
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as found:
        found.size(1280, 900)
        yield found


@pytest.fixture
def browser(opened: Browser) -> Browser:
    """A browser that has seen nothing yet of what a test looks for in its log."""
    opened.open("about:blank")
    opened.complaints()
    return opened


@pytest.fixture
def story(tmp_path: Path, redis_url: str, redis_connection: redis.Redis) -> Story:
    """A run of a project without workers, in the test's own hands."""
    client = Client(url_of(project(tmp_path, redis_url)))
    run_id = client.submit("ops", "hello").run_id
    client.close()
    return Story(Floor(redis_connection), run_id)


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    with serving(project(tmp_path, redis_url)) as found:
        yield found


def test_an_empty_list_says_what_to_do_next(browser: Browser, served: Served) -> None:
    browser.open(f"{served.url}/")
    browser.wait_text("No runs yet, and no agent worker is up.")
    assert "errandry up" in browser.text(".empty") and "errandry submit" in browser.text(".empty")
    with served.asking() as client:
        client.post("/v1/runs", json={"agent": "ops", "input": "the first"})
    browser.wait_text("the first", ".runs")
    assert browser.complaints() == []


def test_a_key_is_asked_for_kept_in_this_tab_and_forgotten(
    browser: Browser, tmp_path: Path, redis_url: str, redis_connection: redis.Redis
) -> None:
    with serving(project(tmp_path, redis_url), keys=True) as served:
        with served.asking("all") as client:
            run_id = client.post("/v1/runs", json={"agent": "ops", "input": "a secret run"}).json()["run_id"]
        browser.open(f"{served.url}/")
        browser.find("#key-dialog")
        assert browser.focused() == "Key" and "Send an API key" in browser.text("#key-why")
        browser.press("two words", "Enter")
        browser.wait_text("letters, digits", "#key-complaint")
        browser.press("Escape")
        browser.wait_text("Enter a key", ".list")
        assert "a secret run" not in browser.text()
        browser.click("button", "Enter a key")
        browser.type("#key-input", "ek_" + "x" * 43)
        browser.press("Enter")
        browser.wait_text("This API key is not known", "#key-why")
        browser.type("#key-input", served.keys["read"])
        browser.press("Enter")
        browser.wait_text("a secret run", ".runs")

        kept = "return [Object.values(sessionStorage), Object.values(localStorage), document.cookie, location.href]"
        assert browser.run(kept) == [[served.keys["read"]], [], "", f"{served.url}/"]
        assert served.keys["read"] not in browser.run("return document.documentElement.outerHTML")
        browser.run("window.isOld = true; location.reload()")
        browser.wait("return !window.isOld", "the page is loaded anew")
        browser.wait_text("a secret run", ".runs")

        # This key reads, and may do nothing else; the page says so in the gateway's words.
        Story(Floor(redis_connection), run_id).tells("some text")
        browser.click("a", "a secret run")
        browser.wait_text("some text", ".messages")
        browser.click("button", "Cancel run…")
        browser.click("button", "Cancel the run")
        browser.wait_text("'read' lacks the role operate", "#cancel-complaint")
        assert not browser.run("return document.getElementById('cancel-fields').disabled")
        browser.press("Escape")

        browser.click("button", "Forget API key")
        browser.wait("return document.getElementById('key-dialog').open", "a key is asked for again")
        assert browser.run("return sessionStorage.length") == 0
        assert "some text" not in browser.text()
        policies = [each for each in browser.complaints() if "401" not in each and "403" not in each]
        assert policies == []


def test_the_page_comes_back_after_its_gateway_was_killed(
    browser: Browser, tmp_path: Path, redis_url: str, redis_connection: redis.Redis
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    settings = project(folder, redis_url)
    (folder / "errandry.toml").write_text('agents = ["a:ops"]\n[pools.shell]\ntools = ["t:run"]\n')
    client = Client(url_of(settings))
    story = Story(Floor(redis_connection), client.submit("ops", "hello").run_id)
    client.close()
    kept = {name: value for name, value in settings.as_environment().items() if "REDIS" in name}
    command = Command(folder, kept)
    port = str(free_port())
    with command.started("gateway", "--port", port) as gateway:
        url = gateway.wait_for_line("Gateway is ready at").rpartition(" ")[2]
        story.tells("one ")
        browser.open(f"{url}/#/runs/{story.run_id}")
        browser.wait_text("one", ".messages")
        assert browser.text("#link-state") == "Live"
        browser.run("window.isTheSame = true")
        gateway.stop(signal.SIGKILL)
    browser.wait_text("Reconnecting…", "#link-state")
    story.tells("two ", "three")
    with command.started("gateway", "--port", port) as gateway:
        gateway.wait_for_line("Gateway is ready at")
        browser.wait_text("one two three", ".messages li[data-role=assistant]")
        browser.wait_text("Live", "#link-state")
        story.ends("one two three")
        browser.wait_text("completed", ".run-title .badge")
        browser.wait_text("Complete", "#link-state")
        assert browser.run("return window.isTheSame")
        browser.wait(
            "return document.querySelector('main').innerText.split('one two three').length === 2", "all is told once"
        )
        browser.click("a", "All runs")
        browser.wait_text("hello", ".runs")
    browser.wait_text("The gateway cannot be reached just now.", ".list")
    with command.started("gateway", "--port", port) as gateway:
        gateway.wait_for_line("Gateway is ready at")
        browser.wait_text("Live", "#link-state")
        assert "cannot be reached" not in browser.text(".list")


def test_a_run_of_many_events_is_drawn_in_part(browser: Browser, story: Story, served: Served) -> None:
    for start in range(0, 700, 100):
        story.happens(*(event for number in range(start, start + 100) for event in call(story.run_id, number)))
    browser.open(f"{served.url}/#/runs/{story.run_id}")
    browser.wait_text("tool_699", ".rows")
    rows = "return document.querySelectorAll('.row').length"
    browser.wait(f"{rows} === 200", "only the last rows are drawn")
    assert browser.run("return document.querySelectorAll('*').length") < 5000
    # What the page draws follows the run still.
    story.happens(*call(story.run_id, 700))
    browser.wait_text("tool_700", ".rows")
    browser.click("button", "earlier rows")
    browser.wait(f"{rows} > 1400", "all of them are drawn once they are asked for")
    assert browser.complaints() == []


def test_a_tab_that_nobody_looks_at_holds_no_stream(browser: Browser, story: Story, served: Served) -> None:
    story.tells("one ")
    browser.open(f"{served.url}/#/runs/{story.run_id}")
    browser.wait_text("one", ".messages")
    hide = (
        "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    assert served.streams.open == 1
    browser.run(hide, True)
    wait_until(lambda: served.streams.open == 0, "the stream is given back", timeout_seconds=60)
    story.tells("two")
    browser.run(hide, False)
    browser.wait_text("one two", ".messages")
    assert browser.text("#link-state") == "Live"


def call(run_id: str, number: int) -> tuple[ToolCallStarted, ToolCallCompleted]:
    """An inline call at a step of its own, from its beginning to its end."""
    begun = ToolExecution(tool_call_id=f"call_{number}", tool_name=f"tool_{number}", step=number + 1)
    done = begun.model_copy(update={"result": "done " * 50, "outcome": CallOutcome.SUCCEEDED})
    where: dict[str, Any] = {"run_id": run_id, "agent_name": "ops", "step": number + 1}
    return ToolCallStarted(**where, tool=begun), ToolCallCompleted(**where, tool=done)
