"""The page's project with all its processes, a gateway in front of it, and a browser that looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_core.run import RunOutput
from queues.client import RunHandle
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.browser import Browser, chromium
from tests.support.gateways import Served, serving
from tests.support.walking import Walk, walking

PROJECT = Path(__file__).parent / "page_project"
BOUND = 120


@dataclass(frozen=True)
class Paged:
    """A person at the page of a project that runs."""

    walk: Walk
    served: Served
    browser: Browser

    def submit(self, agent: str, prompt: str, **how: object) -> RunHandle:
        """A run, as another program would submit it."""
        return self.walk.client.submit(agent, prompt, **how)  # type: ignore[arg-type]

    def open_list(self, query: str = "") -> None:
        """The list of runs, loaded anew."""
        self.browser.open("about:blank")
        self.browser.open(f"{self.served.url}/#/{query}")

    def open_run(self, run: RunHandle) -> None:
        """The page of a run, loaded anew."""
        self.browser.open("about:blank")
        self.browser.open(f"{self.served.url}/#/runs/{run.run_id}")
        self.browser.wait_text(run.output().agent_name, "h1")

    def paused(self, agent: str, prompt: str, **how: object) -> RunHandle:
        """A run that waits for a person, and its page."""
        run = self.submit(agent, prompt, **how)
        run.wait(timeout=BOUND, until="paused")
        self.open_run(run)
        return run

    def ended(self, run: RunHandle) -> RunOutput:
        """Its end, which the page has to say, too."""
        output = run.wait(timeout=BOUND)
        self.browser.wait_text(output.status.lower(), ".run-title .badge")
        return output

    def open_row(self, name: str) -> str:
        """Open a row of the timeline; what can be read there."""
        self.browser.find(".row-head", name)
        head = "[...document.querySelectorAll('.row-head')].find(e => e.textContent.includes(arguments[0]))"
        self.browser.run(f"const head = {head}; if (head.ariaExpanded === 'false') head.click()", name)
        return str(self.browser.run(f"return {head}.parentElement.innerText", name))


@contextmanager
def paging(folder: Path, browser_folder: Path, server: EmbeddedServer) -> Iterator[Paged]:
    """All processes of the project, a gateway without keys and a browser, until the end of the block."""
    server.revive()
    with connect(server.url) as connection:
        connection.flushall()
    with (
        walking(folder, server.url, source=PROJECT) as walk,
        serving(walk.settings) as served,
        chromium(browser_folder) as browser,
    ):
        yield Paged(walk, served, browser)
