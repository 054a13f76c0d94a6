"""What Flower has shown it shows again after it was killed, stopped, or given a spoilt file; one Flower a project."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest

from tests.support.waiting import wait_until
from tests.support.walking import kill
from tests.support.watched import BOUND, TOKEN, Watched, flower_of

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]


def stop(watched: Watched) -> None:
    """Stop Flower as `errandry up` does."""
    os.kill(watched.walk.processes.pids()["flower"], signal.SIGTERM)
    wait_until(lambda: "flower" not in watched.walk.processes.pids(), "Flower has left", timeout_seconds=BOUND)


def test_what_was_saved_survives_a_kill(watched: Watched) -> None:
    run = watched.done(f"Greet the one with {TOKEN}")
    failed = watched.done("Fail with canary-reason")
    watched.comes_to(lambda: watched.task(f"{failed.run_id}:1"), state="SUCCESS")
    # What workers of pools tell may come later than what the agent worker tells.
    call_id = str(watched.comes_to(lambda: watched.call(run, "greet"), state="SUCCESS")["uuid"])
    watched.comes_to(lambda: watched.call(failed, "fail_with"), state="FAILURE")
    before, rows = watched.get("/api/tasks").json(), watched.workers()
    watched.saved(before)
    written = watched.history.read_bytes()
    assert run.run_id.encode() in written and b"succeeded: Good morning" in written
    assert b"canary-reason" not in written and TOKEN.encode() not in written
    assert watched.history.stat().st_mode & 0o077 == 0

    kill(watched.walk, "flower")
    watched.start()
    after = watched.get("/api/tasks").json()
    assert {key: after[key]["result"] for key in before} == {key: before[key]["result"] for key in before}
    assert {key: after[key]["state"] for key in before} == {key: before[key]["state"] for key in before}
    assert call_id in watched.task(run.run_id)["children"], "a saved run knows its calls again"
    assert watched.get(f"/task/{run.run_id}").text.count(call_id.replace(":", "%3A")) >= 1
    assert watched.get("/api/tasks?state=FAILURE").json().keys() >= {watched.call(failed, "fail_with")["uuid"]}
    wait_until(lambda: "python@test" in watched.workers(), "it hears the workers", timeout_seconds=BOUND)
    for counter in ("task-received", "task-failed"):
        assert watched.workers()["python@test"][counter] == rows["python@test"][counter]


def test_a_stop_keeps_everything(watched: Watched) -> None:
    run = watched.done("Run echo just before the stop")
    watched.comes_to(lambda: watched.task(f"{run.run_id}:1"), state="SUCCESS")
    stop(watched)
    watched.start()
    assert watched.task(f"{run.run_id}:1")["result"] == "COMPLETED"
    # And it goes on: what comes now is added.
    later = watched.done("Run echo later")
    watched.comes_to(lambda: watched.task(f"{later.run_id}:1"), state="SUCCESS")


def test_from_its_start_on_it_hears_all_of_workers_that_nobody_listened_to(watched: Watched) -> None:
    stop(watched)
    unheard, listens = watched.done("Run echo into the void"), threading.Event()

    def keep_busy() -> None:
        while not listens.is_set():
            watched.done("Run echo again and again")

    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(keep_busy)
        watched.start()
        run = watched.done("Run echo for all to hear")
        listens.set()
        busy.result(BOUND)
    watched.comes_to(lambda: watched.task(f"{run.run_id}:1"), state="SUCCESS")
    heard = watched.tasks_of(run)
    assert len(heard) == 3 and all(task["received"] and task["started"] for task in heard.values())
    assert watched.tasks_of(unheard) == {}


def test_a_second_flower_is_refused_and_spoils_nothing(watched: Watched) -> None:
    second = flower_of(watched.walk)
    refused = subprocess.run(
        second.command, env=dict(second.env), cwd=second.cwd, capture_output=True, text=True, timeout=BOUND, check=False
    )
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    pid = watched.walk.processes.pids()["flower"]
    assert f"Another Flower of this project runs (process {pid})" in refused.stderr
    run = watched.done("Run echo undisturbed")
    watched.comes_to(lambda: watched.task(f"{run.run_id}:1"), state="SUCCESS")


@pytest.mark.parametrize("spoilt", ["cut", "flipped", "junk", "empty", "of another kind"])
def test_a_spoilt_history_is_set_aside_and_what_can_be_read_of_it_stays(watched: Watched, spoilt: str) -> None:
    if "flower" not in watched.walk.processes.pids():
        watched.start()
    run = watched.done("Run echo before it is spoilt")
    watched.comes_to(lambda: watched.task(f"{run.run_id}:1"), state="SUCCESS")
    stop(watched)
    whole = watched.history.read_bytes()
    second_line = whole.index(b"\n") + 5
    watched.history.write_bytes(
        {
            "cut": whole[:-20],
            "flipped": whole[:second_line] + b"\xff\x00" + whole[second_line + 2 :],
            "junk": b"this is no history\n[[[",
            "empty": b"",
            "of another kind": b'{"another": 1}\n{"task": {"uuid": 5}}\n',
        }[spoilt]
    )
    said = len(watched.walk.lines)
    watched.start()
    warned = any("history" in line and "can be read" in line for line in watched.walk.lines[said:])
    assert warned == (spoilt != "empty")
    assert watched.history.with_name("flower-history.unreadable").exists() or spoilt == "empty"
    assert (watched.task(run.run_id) != {}) == (spoilt in ("cut", "flipped"))
    again = watched.done("Run echo anew")
    watched.comes_to(lambda: watched.task(f"{again.run_id}:1"), state="SUCCESS")
    assert watched.get("/tasks").status_code == HTTPStatus.OK
