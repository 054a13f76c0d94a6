"""Flower over real workers, through its API: what it says of runs and calls is true, and nothing of their payload."""

from __future__ import annotations

import base64
import json

import httpx2
import pytest

from agent_core.run import RunStatus
from queues.acl import FLOWER
from queues.celery_app import watching_app
from queues.connections import connect
from queues.embedded import EmbeddedServer
from queues.envelopes import call_envelope, continuation_envelope, start_envelope
from queues.redis_url import resolved
from tests.support.waiting import wait_until
from tests.support.walking import kill, tool_worker
from tests.support.watched import BOUND, TOKEN, Task, Watched

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(300)]


def test_each_agent_and_each_tool_has_its_own_name_and_each_pool_its_workers(watched: Watched) -> None:
    run = watched.done("Run echo here")
    watched.comes_to(lambda: watched.task(f"{run.run_id}:1"), name="agents.ops", worker="agents@test")
    watched.comes_to(lambda: watched.call(run, "run_command"), name="tools.shell.run_command", worker="shell@test")
    assert {"agents.ops", "tools.shell.run_command"} <= set(watched.get("/api/task/types").json()["task-types"])
    assert all(row["status"] for row in watched.workers().values())
    seen = watched.asked_worker(
        "shell@test",
        lambda told: "active" in told and told.get("stats", {}).get("total", {}).get("tools.shell.run_command", 0) >= 1,
    )
    assert {queue["name"] for queue in seen["active_queues"]} == {"tools.shell", "tools.shell.high", "tools.shell.low"}
    assert "tools.shell.run_command" in str(seen["registered"])


def test_a_paused_run_is_no_success_and_says_what_it_waits_for(watched: Watched) -> None:
    gate = watched.gate("paused-gate")
    both = watched.submit(f"Both, with {gate}")
    asked = watched.submit("Ask why", "careful")
    approved = watched.submit("Delete things", "careful")
    pauses = {
        both: "PAUSED for count_words (python), wait_for (shell)",
        asked: "PAUSED for ask_colleague (a person)",
        approved: "PAUSED for delete_all (approval)",
    }
    for run, text in pauses.items():
        watched.comes_to(lambda run=run: watched.task(run.run_id), state="PAUSED", result=text)  # type: ignore[misc]
    # One pool has answered, the other one has not: its hint came too early, and comes once more.
    early = watched.comes_to(lambda: watched.task(f"{both.run_id}:1"), state="RETRY")
    assert early["result"] == "waiting: other calls of this step have no answer yet"
    gate.touch()
    assert both.wait(timeout=BOUND).status is RunStatus.COMPLETED
    watched.comes_to(lambda: watched.task(f"{both.run_id}:1"), state="SUCCESS", result="COMPLETED")
    # The stretch before has paused, and that stays so.
    assert watched.task(both.run_id)["state"] == "PAUSED"
    found = watched.get("/api/tasks?state=PAUSED").json()
    assert {both.run_id, asked.run_id, approved.run_id} <= set(found)


def test_failures_and_cancellations_are_none_either(watched: Watched) -> None:
    failed = watched.done("Fail with a reason of its own")
    assert failed.output().status is RunStatus.COMPLETED
    call = watched.comes_to(lambda: watched.call(failed, "fail_with"), state="FAILURE", result="failed (tool error)")
    assert call["exception"] == "failed (tool error)" and call["traceback"] is None and call["runtime"] > 0

    broken = watched.done("Break it")
    ended = watched.comes_to(lambda: watched.task(broken.run_id), state="FAILURE")
    assert ended["result"].startswith("ERROR: no usable reply of the model")
    assert broken.run_id in watched.get("/api/tasks?state=FAILURE").json()

    cancelled = watched.submit(f"Wait for {watched.gate('never')}")
    watched.comes_to(lambda: watched.call(cancelled, "wait_for"), state="STARTED")
    cancelled.cancel()
    watched.comes_to(lambda: watched.call(cancelled, "wait_for"), state="CANCELLED", result="cancelled")


def test_a_call_whose_worker_was_killed_is_not_shown_as_executed_for_ever(watched: Watched) -> None:
    run = watched.submit(f"Wait for {watched.gate('nobody-comes')}")
    watched.comes_to(lambda: watched.call(run, "wait_for"), state="STARTED")
    kill(watched.walk, "shell")
    watched.walk.processes.start(tool_worker(watched.walk, "shell", name="shell"))
    run.wait(timeout=BOUND)
    ended = watched.comes_to(lambda: watched.call(run, "wait_for"), state="FAILURE")
    assert ended["result"] == "lost: its worker died, and whether it took effect is unknown"
    assert ended["parent_id"] == run.run_id


def test_a_run_that_is_retried_shows_its_new_end(watched: Watched) -> None:
    run = watched.done("Break once, then ask why", "careful")
    watched.comes_to(lambda: watched.task(run.run_id), state="FAILURE")
    watched.walk.client.retry(run.run_id)
    run.wait(timeout=BOUND, until="paused")
    wait_until(lambda: any(watched.tasks_of(run)), "Flower has heard of the retry", timeout_seconds=BOUND)
    (again,) = [key for key in watched.tasks_of(run) if key]
    watched.comes_to(lambda: watched.tasks_of(run)[again], state="PAUSED", result="PAUSED for ask_colleague (a person)")


def test_calls_hang_under_the_stretch_that_asked_for_them_over_pauses_and_attempts(watched: Watched) -> None:
    file = watched.gate("needed-file")
    run = watched.submit(f"Step by step with {file}")
    again = watched.comes_to(lambda: watched.call(run, "need_file"), state="RETRY")
    assert again["result"].startswith("failed (tool error), attempt ") and "is tried again" in again["result"]
    file.write_text("here")
    assert run.wait(timeout=BOUND).content == "all four done"
    watched.comes_to(lambda: watched.task(f"{run.run_id}:3"), state="SUCCESS", result="COMPLETED")
    watched.comes_to(lambda: watched.call(run, "need_file"), state="SUCCESS")
    found = watched.tasks_of(run)
    run_id = run.run_id
    assert {key: found[key]["parent_id"] for key in ("", ":1", ":2", ":3")} == {
        "": None, ":1": run_id, ":2": run_id, ":3": run_id
    }  # fmt: skip
    calls = {task["name"]: task for task in found.values() if task["name"].startswith("tools.")}
    assert {name: task["parent_id"] for name, task in calls.items()} == {
        "tools.shell.run_command": run_id,
        "tools.python.count_words": f"{run_id}:1",
        "tools.python.need_file": f"{run_id}:1",  # also after attempts that the sweep published
        "tools.open.greet": f"{run_id}:2",
    }
    assert {task["root_id"] for task in found.values()} == {run_id}
    assert calls["tools.python.need_file"]["result"].startswith("succeeded, attempt ")
    page = watched.get(f"/task/{run_id}:1").text
    for child in (task["uuid"] for task in calls.values() if task["parent_id"] == f"{run_id}:1"):
        assert f"/task/{child.replace(':', '%3A')}" in page
        assert watched.get(f"/task/{child}").status_code == httpx2.codes.OK


def test_a_doubled_or_late_message_changes_nothing_that_is_known(
    watched: Watched, embedded_server: EmbeddedServer
) -> None:
    paused = watched.submit("Ask why again", "careful")
    paused.wait(timeout=BOUND, until="paused")
    run = watched.done("Run echo once")
    tool_call = run.output().tools[0]
    watched.comes_to(lambda: watched.task(f"{run.run_id}:1"), state="SUCCESS")
    watched.comes_to(lambda: watched.task(paused.run_id), state="PAUSED")
    ids = (run.run_id, tool_call.step, tool_call.tool_call_id)
    with connect(embedded_server.url) as owner:
        for envelope in (
            start_envelope("careful", paused.run_id, "normal"),
            continuation_envelope("ops", run.run_id, 1, "normal"),
            call_envelope("shell", "run_command", ids, "normal", parent_id=run.run_id),
            start_envelope("ops", "run_of_nobody", "normal"),
        ):
            owner.lpush(envelope.queue, envelope.render())
    nobody = watched.comes_to(lambda: watched.task("run_of_nobody"), state="REVOKED")
    assert nobody["result"] == "nothing to do, a duplicate or late message: there is no such run (any more)"
    watched.comes_to(lambda: {"told": watched.task(paused.run_id)["revoked"] is not None}, told=True)
    watched.comes_to(lambda: {"told": watched.call(run, "run_command")["revoked"] is not None}, told=True)
    assert (watched.task(paused.run_id)["state"], watched.task(paused.run_id)["result"]) == (
        "PAUSED", "PAUSED for ask_colleague (a person)",
    )  # fmt: skip
    assert [watched.task(f"{run.run_id}:1")[key] for key in ("state", "result")] == ["SUCCESS", "COMPLETED"]
    assert [watched.call(run, "run_command")[key] for key in ("state", "result")] == ["SUCCESS", "succeeded"]


def test_counters_metrics_and_filters_agree_with_the_states(watched: Watched) -> None:
    failed = watched.done("Fail with something")
    watched.comes_to(lambda: watched.call(failed, "fail_with"), state="FAILURE")
    watched.heard_until()
    tasks: list[Task] = list(watched.get("/api/tasks").json().values())
    rows = watched.workers()
    for worker in ("python@test", "open@test"):
        of_worker = [task for task in tasks if task.get("worker") == worker]
        assert rows[worker].get("task-succeeded", 0) == sum(task["state"] == "SUCCESS" for task in of_worker)
        assert rows[worker].get("task-failed", 0) == sum(task["state"] == "FAILURE" for task in of_worker)
    wait_until(lambda: watched.workers()["agents@test"]["active"] == 0, "nothing is active", timeout_seconds=BOUND)
    metrics = watched.get("/metrics").text.splitlines()
    paused = 'flower_events_total{task="agents.ops",type="task-paused",worker="agents@test"}'
    assert any(line.startswith(paused) for line in metrics)
    waiting = [line for line in metrics if line.startswith(("flower_task_prefetch_time_seconds{", "flower_worker_pre"))]
    assert waiting and {line.rpartition(" ")[2] for line in waiting if "agents.ops" in line} == {"0.0"}


def test_nothing_of_arguments_and_results_is_anywhere_unless_the_pool_opted_in(
    watched: Watched, embedded_server: EmbeddedServer
) -> None:
    gate = watched.gate("canary-gate-of-nobody")
    with connect(embedded_server.url) as owner, owner.pubsub() as heard:
        heard.psubscribe("/0.celeryev/*")
        executing = watched.submit(f"Wait for {gate}")
        watched.comes_to(lambda: watched.call(executing, "wait_for"), state="STARTED")
        # It looks while a call is executed.
        active = watched.asked_worker("shell@test", lambda told: told.get("active"))
        unsafe = _inspect(watched)
        run = watched.done("Run echo canary-$((40 + 2))-result")
        assert "canary-42-result" in str(run.output().tools[0].result)
        watched.done("Fail with canary-reason")
        gate.touch()
        executing.wait(timeout=BOUND)
        open_one = watched.done(f"Greet Bob, who knows {TOKEN} {'and more ' * 60}")
        shown = watched.comes_to(lambda: watched.call(open_one, "greet"), state="SUCCESS")
        watched.heard_until()
        events = []
        while (message := heard.get_message(timeout=0.5)) is not None:
            events.append(str(message["data"]))
    task_ids = list(watched.get("/api/tasks").json())
    assert watched.ask("GET", "/healthcheck").text == "OK"
    places = {
        "tasks": watched.get("/api/tasks").text,
        "infos": "".join(watched.get(f"/api/task/info/{task_id}").text for task_id in task_ids),
        "pages": "".join(watched.get(f"/task/{task_id}").text for task_id in task_ids),
        "worker": watched.get("/worker/shell@test").text,
        "events": "".join(_decoded(event) for event in events),
        "active": json.dumps(active),
        "active, asked for the arguments themselves": unsafe,
        "metrics": watched.get("/metrics").text,
    }
    assert executing.run_id in places["events"] and executing.run_id in unsafe, "the places do hold something"
    for canary in ("canary-gate-of-nobody", "canary-$", "canary-42-result", "canary-reason", TOKEN):
        assert not [place for place, text in places.items() if canary in text], canary
    # The pool that opted in: the beginning, on one line, without its secrets.
    assert shown["kwargs"].startswith('{"name": "Bob, who knows [secret GREETING_TOKEN] and more')
    assert shown["kwargs"].endswith(" …")
    assert shown["result"].startswith("succeeded: Good morning, Bob, who knows [secret GREETING_TOKEN]")
    assert len(shown["kwargs"]) < 220 and len(shown["result"]) < 220
    assert "Bob, who knows [secret" in places["events"]


def _inspect(watched: Watched) -> str:
    """What `inspect active` answers to whoever does not ask for the short form."""
    app = watching_app(resolved(watched.walk.settings, FLOWER))
    with app.connection_for_write() as connection:
        answer = app.control.inspect(timeout=5, connection=connection).active(safe=False)
    app.close()
    return json.dumps(answer)


def _decoded(message: str) -> str:
    """An event with its body, as it came over the wire."""
    try:
        body = json.loads(message)["body"]
    except (ValueError, TypeError, KeyError):
        return message
    return message + base64.b64decode(body).decode()
