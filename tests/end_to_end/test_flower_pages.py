"""Flower in a real browser: what a person sees of runs and calls, and that what cannot work is not offered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agent_core.run import RunStatus
from queues.client import RunHandle
from queues.embedded import EmbeddedServer
from tests.support import browser as browsing
from tests.support.browser import Browser, chromium
from tests.support.waiting import wait_until
from tests.support.watched import BOUND, LOGIN, TOKEN, Watched, watching

pytestmark = [
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not browsing.is_there(), reason=browsing.MISSING),
]


@dataclass(frozen=True)
class Looked:
    """A person with the password, in front of Flower."""

    watched: Watched
    browser: Browser

    def open(self, path: str) -> None:
        self.browser.open("about:blank")
        self.browser.open(self.watched.url.replace("http://", f"http://{':'.join(LOGIN)}@") + path)

    def wait_row(self, run: RunHandle, *texts: str) -> None:
        """The page of tasks has a row of the run that says all of this."""
        self.open("/tasks")
        self.browser.wait(
            "return [...document.querySelectorAll('#tasks-table tbody tr')].some(row => "
            "arguments.length === [...arguments].filter(text => row.innerText.includes(text)).length)",
            f"there is a row {texts}",
            run.run_id,
            *texts,
        )


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory, embedded_server: EmbeddedServer) -> Iterator[Looked]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREETING_TOKEN", TOKEN)
        with (
            watching(tmp_path_factory.mktemp("watched"), embedded_server) as watched,
            chromium(tmp_path_factory.mktemp("browser")) as browser,
        ):
            browser.size(1600, 1000)
            yield Looked(watched, browser)


def test_the_page_of_tasks_tells_pauses_failures_and_ends_apart(looked: Looked) -> None:
    watched = looked.watched
    asked, broken, failed = (
        watched.submit("Ask why", "careful"), watched.done("Break it"), watched.done("Fail with canary-reason"),
    )  # fmt: skip
    # The page is loaded anew once Flower has heard of it: it does not refresh itself.
    watched.comes_to(lambda: watched.task(asked.run_id), state="PAUSED")
    watched.comes_to(lambda: watched.task(f"{failed.run_id}:1"), state="SUCCESS")
    looked.wait_row(asked, "agents.careful", "PAUSED", "PAUSED for ask_colleague (a person)", "agents@test")
    looked.wait_row(broken, "agents.ops", "FAILURE", "ERROR: no usable reply of the model")
    looked.wait_row(failed, "tools.python.fail_with", "FAILURE", "failed (tool error)", "python@test")
    looked.wait_row(failed, "agents.ops", "SUCCESS", "COMPLETED")
    lefts = looked.browser.run(
        "return ['.dataTables_scrollHead th', '#tasks-table tbody tr:first-child td'].map(cells => "
        "[...document.querySelectorAll(cells)].map(cell => Math.round(cell.getBoundingClientRect().left)))"
    )
    assert len(lefts[0]) == len(lefts[1]) == 7
    assert max(abs(head - cell) for head, cell in zip(*lefts, strict=True)) < 25, "headings stand over their columns"
    looked.open("/tasks?state=PAUSED")
    looked.browser.wait_text("PAUSED for ask_colleague (a person)", "#tasks-table")
    states = looked.browser.run("return [...document.querySelectorAll('#tasks-table .badge')].map(e => e.innerText)")
    assert states and set(states) == {"PAUSED"}
    assert "canary-reason" not in looked.browser.text()


def test_the_page_of_a_task_leads_up_and_down(looked: Looked) -> None:
    browser, watched = looked.browser, looked.watched
    run = watched.done("Run echo canary-result")
    call_id = str(watched.comes_to(lambda: watched.call(run, "run_command"), state="SUCCESS")["uuid"])
    watched.comes_to(lambda: watched.task(f"{run.run_id}:1"), state="SUCCESS")
    looked.open(f"/task/{run.run_id}")
    browser.wait_text("PAUSED for run_command (shell)")
    assert "<Task" not in browser.text()
    browser.click(f'.detail-list a[title="{call_id}"]')
    browser.wait_text("tools.shell.run_command")
    page = browser.text(".detail-list")
    assert f"run={run.run_id} step=1 tool=run_command" in page and "succeeded" in page
    assert "canary" not in page
    browser.click(f'.detail-list a[title="{run.run_id}"]')
    browser.wait_text("PAUSED for run_command (shell)")
    browser.click(f'.detail-list a[title="{run.run_id}:1"]')
    browser.wait_text("COMPLETED", ".detail-list")


def test_the_page_of_workers_has_each_pool_and_a_worker_can_be_shut_down_and_nothing_else(looked: Looked) -> None:
    browser, watched = looked.browser, looked.watched
    looked.open("/")
    for name in ("agents@test", "shell@test", "python@test", "open@test"):
        browser.wait(
            "return [...document.querySelectorAll('#workers-table tbody tr')].some(row => "
            "row.innerText.includes(arguments[0]) && row.innerText.includes('Online'))",
            f"{name} is online",
            name,
        )
    looked.open("/worker/open@test")
    browser.wait_text("open@test", "h1")
    offered = browser.run(
        "return [...document.querySelectorAll('main button, main input, .detail-page button, .page-section button, "
        ".page-section input')].filter(e => e.checkVisibility()).map(e => e.innerText.trim() || e.id)"
    )
    assert offered == ["Actions"]
    assert "Limits" not in browser.text(".worker-tabs")
    browser.click("#worker-tab-queues")
    browser.wait_text("tools.open.high", "#tab-queues")
    assert "Cancel" not in browser.text("#tab-queues") and "Add" not in browser.text("#tab-queues")
    browser.click("#worker-group")
    assert browser.text(".dropdown-menu.show").split("\n") == ["Shut Down", "Refresh", "Refresh All"]
    pids = watched.walk.processes.pids()
    browser.click("#worker-shutdown")
    browser.wait_text("Shutting down!")
    wait_until(lambda: "open" not in watched.walk.processes.pids(), "the worker has left", timeout_seconds=BOUND)
    assert {**watched.walk.processes.pids(), "open": pids["open"]} == pids
    looked.open("/")
    browser.wait(
        "return ![...document.querySelectorAll('#workers-table tbody tr')].some(row => "
        "row.innerText.includes('open@test') && row.innerText.includes('Online'))",
        "it is offline",
    )
    assert watched.done("Run echo others go on").output().status is RunStatus.COMPLETED
