"""Whether the gateway does what its description says: schemathesis asks a running one in every way it can think of."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent_core.errors import StaleRunError
from queues.claims import ClaimedRun
from queues.connections import connect
from tests.support.gateways import Story, project, serving
from tests.support.queue_floor import Floor
from tests.support.redis_users import nobody_refused
from workers.gateway.api_keys import ROLES, create_key

pytestmark = [pytest.mark.redis, pytest.mark.slow]

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
# It puts nothing but letters and digits into headers of its own making, and no event id is made of those alone.
SETTINGS = """
[parameters]
"path.pool" = "shell"
"header.last-event-id" = "1700000000000-0"
"""


@pytest.mark.timeout(300)
def test_every_answer_is_one_that_is_described(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    secret = tmp_path / "secret"
    secret.write_text("s" * 40)
    secret.chmod(0o600)
    settings = project(
        tmp_path,
        redis_url,
        pools={"shell": {"tools": ["t:run"], "served_by": "http"}},
        gateway={"webhook_secret": f"file:{secret}"},
    )
    key = create_key(settings.api_keys_file, "tester", roles=ROLES, pools=["shell"])
    with nobody_refused(redis_url), serving(settings) as served, every_run_done(redis_url):
        done = subprocess.run(
            [
                str(SCHEMATHESIS), "--no-color", "--config-file", str(tmp_path / "schemathesis.toml"),
                "run", f"{served.url}/openapi.json", "--header", f"Authorization: Bearer {key}",
                "--checks", "all", "--max-examples", "5", "--seed", "7", "--request-timeout", "60",
                # Waits for a call, for as long as it is asked to.
                "--exclude-path-regex", "/claim$",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@contextmanager
def every_run_done(owner_url: str) -> Iterator[None]:
    """An agent worker of a kind: whatever is submitted says a word and is done, so that no stream stays open."""
    over = threading.Event()

    def work() -> None:
        with connect(owner_url) as connection:
            floor = Floor(connection)
            while not over.is_set():
                found = connection.brpop(["agents.high", "agents", "agents.low"], timeout=1)
                if found is None:
                    continue
                run_id = json.loads(found[1])["headers"]["root_id"]
                run = floor.claims.claim(run_id, owner="agents@test")
                # It may be cancelled before, and meanwhile.
                with suppress(StaleRunError):
                    if isinstance(run, ClaimedRun):
                        story = Story(floor, run_id, run)
                        story.tells("a word")
                        story.ends()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join(30)
