"""The commands about runs and people, and what is said to bad input, all through the real `errandry`."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from agent_core.events import RunStarted, ToolCallExecuting
from agent_core.run import RunStatus
from queues import keys
from queues.client import Client
from queues.connections import connect
from queues.embedded import EmbeddedServer
from tests.support.command import Command
from tests.support.queue_floor import Floor, external
from tests.support.valkey import configured, embedded_server, redis_connection, redis_url
from tests.support.waiting import wait_until
from workers.model_server.server import ModelServer

__all__ = ["embedded_server", "redis_connection", "redis_url"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROJECT = Path(__file__).parent / "people_project"


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A project that is up, with its scripted model."""
    folder = tmp_path_factory.mktemp("up") / "project"
    shutil.copytree(PROJECT, folder)
    command = Command(folder)
    with command.up("--no-flower") as up:
        assert "tool 'ask_warehouse' of agent 'counter' is external and in no pool" in up.said()
        yield command


@pytest.fixture(scope="module")
def client(counter: Command) -> Iterator[Client]:
    """What brings runs to where a command is tried, and looks at what came of it: quicker than the command itself."""
    url = EmbeddedServer.attach(counter.folder / ".errandry")
    assert url is not None
    client = Client(url)
    yield client
    client.close()


@pytest.fixture
def project(tmp_path: Path) -> Command:
    """A project of which nothing runs."""
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder)
    return Command(folder)


def waiting_call(client: Client, prompt: str) -> tuple[str, str]:
    """A run that waits for a person, and its call."""
    run = client.submit("counter", prompt)
    (call,) = run.wait(30, until="paused").tools
    return run.run_id, call.tool_call_id


def answer_of(client: Client, run_id: str) -> str:
    return str(client.wait(run_id, timeout=30).content)


def test_submit_show_and_list(counter: Command) -> None:
    key = ["--idempotency-key", "once", "--session-id", "s1", "--user-id", "u1", "--priority", "high"]
    ended = counter.run("submit", "counter", "Say hello", "--follow", "--metadata", "case=7=8", *key)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith(" s  completed\n\nhello\n")
    again = counter.run("submit", "counter", "Say hello", "--idempotency-key", "once", "--json")
    run_id = json.loads(again.stdout)["run_id"]
    shown = json.loads(counter.run("show", run_id, "--json").stdout)
    assert (shown["metadata"], shown["session_id"], shown["user_id"]) == ({"case": "7=8"}, "s1", "u1")
    listed = counter.run("runs", "--status", "completed", "--agent", "counter")
    assert re.search(rf"^{run_id}  COMPLETED  counter +\d+s  Say hello$", listed.stdout, re.MULTILINE)
    assert run_id not in counter.run("runs", "--status", "ERROR").stdout
    conflict = counter.run("submit", "counter", "Say bye", "--idempotency-key", "once")
    assert conflict.returncode == 1
    assert run_id in conflict.stderr


def test_a_call_in_a_pool_is_followed_and_shown(counter: Command) -> None:
    ended = counter.run("submit", "counter", "Echo hi for 0 s", "--follow", "--json")
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "RunStarted"
    assert names[-1] == "RunCompleted"
    assert "ToolCallExecuting" in names
    shown = counter.run("show", events[0]["run_id"]).stdout
    assert re.search(r"^  echo\(text='hi', seconds=0.0\): succeeded in pool shell after \d", shown, re.MULTILINE)
    assert re.search(r"^    attempt 1 on shell@.* executing, succeeded, sandbox ns$", shown, re.MULTILINE)
    followed = counter.run("follow", events[0]["run_id"])
    assert followed.returncode == 0
    assert "echo executes in pool shell, sandbox ns" in followed.stdout


def test_cancel_kills_the_call_and_follow_says_so(counter: Command, client: Client) -> None:
    run_id = client.submit("counter", "Echo hi for 20 s").run_id
    with counter.started("follow", run_id) as following:
        following.wait_for_line("echo executes in pool shell")
        assert counter.run("cancel", run_id, "--reason", "asked by mistake").returncode == 0
        assert following.process.wait(15) == 1
        assert "CANCELLED: " in following.said()
        assert "asked by mistake" in following.said()
    assert counter.run("cancel", run_id).stdout == f"{run_id} has ended already\n"


def test_a_person_settles_with_a_result_or_an_error(counter: Command, client: Client) -> None:
    run_id, call_id = waiting_call(client, "Ask the warehouse for bolts")
    listed = counter.run("pending", run_id).stdout
    assert "ask_warehouse(item='bolts') waits for a person's result" in listed
    assert f"errandry settle {run_id} {call_id} --result" in listed
    assert counter.run("settle", run_id, call_id, "--result", "200 in stock").returncode == 0
    assert answer_of(client, run_id) == "ask_warehouse returned: 200 in stock"

    run_id, call_id = waiting_call(client, "Ask the warehouse for nuts")
    neither = counter.run("settle", run_id, call_id)
    assert (neither.returncode, neither.stderr) == (2, "Error: Invalid value: give either --result or --error\n")
    assert counter.run("settle", run_id, call_id, "--error", "closed on Sundays").returncode == 0
    assert answer_of(client, run_id) == "ask_warehouse returned: [failed] closed on Sundays"


def test_a_person_approves_or_denies(counter: Command, client: Client) -> None:
    run_id, call_id = waiting_call(client, "Delete scratch")
    assert f"errandry approve {run_id} {call_id}" in counter.run("show", run_id).stdout
    assert counter.run("approve", run_id, call_id).stdout == f"{call_id} is approved\n"
    assert answer_of(client, run_id) == "delete_files returned: deleted scratch"

    run_id, call_id = waiting_call(client, "Delete home")
    assert counter.run("deny", run_id, call_id, "--note", "never").stdout == f"{call_id} is denied\n"
    answer = answer_of(client, run_id)
    assert "deleted home" not in answer
    assert "never" in answer


def test_a_person_gives_input(counter: Command, client: Client) -> None:
    run_id, call_id = waiting_call(client, "Book a room")
    assert f"errandry answer {run_id} {call_id} city=… nights=…" in counter.run("pending", run_id).stdout
    answers = {
        "'city' is no answer; write field=value": ["city"],
        "book_room asks for nights as integer, and 'two' is none": ["city=Paris", "nights=two"],
        "book_room asks for city, nights; not for stars": ["stars=5"],
    }
    refusals = counter.run_together(*(["answer", run_id, call_id, *fields] for fields in answers.values()))
    for sentence, refused in zip(answers, refusals, strict=True):
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"Error: {sentence}")
    assert counter.run("answer", run_id, call_id, "city=Paris", "nights=2").returncode == 0
    assert answer_of(client, run_id) == "book_room returned: 2 nights in Paris"


def test_a_run_that_ran_out_of_time_goes_on_with_a_retry(counter: Command, client: Client) -> None:
    submitted = counter.run("submit", "counter", "Ask the warehouse for bolts", "--deadline-seconds", "1000")
    run_id = submitted.stdout.strip()
    client.wait(run_id, timeout=30, until="paused")
    connection = connect(str(EmbeddedServer.attach(counter.folder / ".errandry")))
    expires = float(connection.zscore(keys.DEADLINES, run_id) or 0) / 1000
    assert 900 < expires - time.time() < 1000
    connection.zadd(keys.DEADLINES, {run_id: 1})  # the deadline has passed
    connection.close()
    ended = counter.run("follow", run_id)
    assert ended.returncode == 1
    assert "\nERROR: expired: nobody answered ask_warehouse in time\n" in ended.stdout
    assert f"errandry retry {run_id} " in counter.run("show", run_id).stdout

    retried = counter.run("retry", run_id, "--follow")
    assert retried.returncode == 0, retried.stdout
    assert retried.stdout.endswith("ask_warehouse returned: [expired] No answer came in time.\n")
    # The whole story, from the first event on, past the end that the retry has undone.
    followed = counter.run("follow", run_id).stdout
    assert re.search(r"s  ended in an error\n.* s  continued\n.* s  completed\n", followed, re.DOTALL), followed
    refused = counter.run("retry", run_id)
    assert refused.returncode == 1
    assert refused.stderr == f"Error: run {run_id} is COMPLETED; only a run that ended in ERROR can be retried\n"


def test_the_doctor_finds_a_project_that_is_up_well(counter: Command) -> None:
    examined = counter.run("doctor", "--json", "--release")
    found = json.loads(examined.stdout)
    assert (examined.returncode, found["level"]) == (0, "ok"), found
    told = {finding["subject"]: finding["text"] for finding in found["findings"]}
    assert told["agents.announced"] == "on offer: counter"
    assert re.fullmatch(r"shell@\S+; 0 messages wait", told["workers.shell"])
    assert "this code can carry on" in told["release.runs"]
    assert told["sandbox.shell"] == "the wall of pool shell can be had on this machine"


def test_pools_are_shown_with_their_workers_and_levels(counter: Command) -> None:
    (shell,) = [pool for pool in json.loads(counter.run("pools", "--json").stdout) if pool["pool"] == "shell"]
    (worker,) = shell["workers"]
    assert re.fullmatch(r"shell@\S+:\d+", worker["worker"])
    assert (shell["level_required"], worker["level"], worker["gaps"]) == ("ns", "ns", [])
    assert shell["concurrency"] == worker["concurrency"] > 0
    assert set(shell["waiting"].values()) == {0}
    assert f"{worker['worker']}  level ns" in counter.run("pools").stdout


def test_the_doctor_names_what_is_wrong_and_how_to_mend_it(
    project: Command, redis_url: str, redis_connection: redis.Redis
) -> None:
    without_server = project.run("doctor", "--no-sandbox")
    assert without_server.returncode == 1
    assert re.search(r"^problem  redis.reachable: no redis_url is set and no embedded", without_server.stdout, re.M)

    project.environment = {"ERRANDRY_REDIS_URL": redis_url}
    Floor(redis_connection).paused(external("a"))
    examined = project.run("doctor", "--release", "--no-sandbox")
    assert examined.returncode == 1
    lines = examined.stdout.splitlines()
    assert "problem  agents.announced: no agent worker offers counter" in lines
    assert "problem  workers.shell: no tool worker of pool shell answers; 1 message waits in its queues" in lines
    assert "         remedy: start `errandry tool-worker --pool shell`, or all with `errandry up`" in lines
    assert "problem  release.runs: this code cannot carry on 1 unfinished run" in lines
    assert lines[-1] == "4 problems, 0 warnings"


def test_dead_letters_are_listed_shown_and_dug_up(project: Command, redis_url: str, floor: Floor) -> None:
    project.environment = {"ERRANDRY_REDIS_URL": redis_url}
    assert project.run("dead", "list").stdout == "no dead letters\n"
    run_id = floor.submitted()
    floor.kill_three_holders(run_id)
    wait_until(lambda: "buried" in floor.sweep_runs(), "the third holder's lease has run out")
    call_id, ended_call_id = floor.buried_call(), floor.buried_call()
    floor.cancel(ended_call_id.partition(":")[0])

    listed, as_json, shown_run, shown_call, parked = project.run_together(
        ["dead", "list"], ["dead", "list", "--json"], ["dead", "show", run_id], ["dead", "show", call_id],
        ["show", run_id],
    )  # fmt: skip
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [
        [ended_call_id, "call"], [call_id, "call"], [run_id, "run"],
    ]  # fmt: skip
    assert [letter["id"] for letter in json.loads(as_json.stdout)] == [ended_call_id, call_id, run_id]
    assert "reason   buried: 3 workers died while they held this run" in shown_run.stdout
    assert "call     step 1: a of look_up, pool shell" in shown_call.stdout
    assert re.search(r"^buried   \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", shown_call.stdout, re.MULTILINE)
    assert f"errandry dead requeue {call_id} " in shown_call.stdout
    assert "\nERROR: buried: 3 workers died" in parked.stdout

    gone = project.run("dead", "requeue", ended_call_id)
    assert gone.returncode == 1
    assert "has ended meanwhile" in gone.stdout
    assert project.run("dead", "requeue", call_id).stdout == f"{call_id} is requeued\n"
    assert project.run("dead", "requeue", run_id).stdout == f"{run_id} goes on\n"
    assert floor.runs.load(run_id).snapshot.status is RunStatus.PENDING
    assert floor.letters.latest(limit=10) == []
    again = project.run("dead", "requeue", run_id)
    assert again.returncode == 1
    assert again.stderr == f"Error: there is no dead letter '{run_id}'; `errandry dead list` shows them\n"


def test_what_is_not_there_is_named(counter: Command, client: Client) -> None:
    run_id, call_id = waiting_call(client, "Ask the warehouse for screws")
    commands = {
        "no agent worker offers an agent named 'nobody'; on offer: counter": ["submit", "nobody", "hello"],
        "there is no run 'run_none'": ["show", "run_none"],
        f"run {run_id} does not wait for call 'call_x'; it waits for:": ["settle", run_id, "call_x", "--result", "1"],
        f"call {call_id} of ask_warehouse does not ask for confirmation": ["approve", run_id, call_id],
        "there is no dead letter 'run_none'": ["dead", "show", "run_none"],
        "'nonsense' is no metadata; write --metadata": ["submit", "counter", "Say hi", "--metadata", "nonsense"],
    }
    for sentence, refused in zip(commands, counter.run_together(*commands.values()), strict=True):
        assert refused.returncode == 1, refused.stdout
        assert refused.stderr.startswith(f"Error: {sentence}")
        assert len(refused.stderr.splitlines()) == 1


def test_a_taken_flower_port_is_named_before_anything_starts(project: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        project.environment = {"ERRANDRY_REDIS_URL": "redis://127.0.0.1:1/0"}
        for refused in project.run_together(["up", "--flower-port", port], ["flower", "--port", port]):
            assert refused.returncode == 1
            assert f"Error: Port {port} on 127.0.0.1, for Flower, is taken by another program" in refused.stderr


def test_flower_keeps_to_this_machine_without_a_password(project: Command) -> None:
    project.environment = {"ERRANDRY_REDIS_URL": "redis://127.0.0.1:1/0"}
    refused = project.run("flower", "--address", "0.0.0.0")
    assert refused.returncode == 2
    assert "add --basic-auth USER:PASSWORD" in refused.stderr


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("counter.agents:counter", "counter.nothing:counter", "there is no module 'counter.nothing'"),
        ("counter.agents:counter", "counter.tools:echo", "is a Function, not an Agent"),
        ("counter.tools:echo", "counter.tools:shout", "'counter.tools' has no 'shout'"),
        ('agents = ["', 'agents = "', "is not valid TOML"),
        ("agents", "agent", "agent is not a setting; did you mean agents?"),
    ],
)
def test_a_wrong_project_is_a_sentence(project: Command, before: str, after: str, sentence: str) -> None:
    settings = project.folder / "errandry.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace(before, after, 1), encoding="utf-8")
    refused = project.run("agent-worker")
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert refused.stderr.startswith("Error: ")
    assert "Traceback" not in refused.stderr


def test_a_module_that_raises_is_a_sentence_for_agents_and_tools(project: Command) -> None:
    tools = project.folder / "counter" / "tools.py"
    tools.write_text('raise RuntimeError("no licence")\n', encoding="utf-8")
    *refusals, debugged = project.run_together(
        ["agent-worker"], ["tool-worker", "--pool", "shell"], ["up", "--no-flower"], ["--debug", "agent-worker"]
    )
    for refused in refusals:
        assert refused.returncode != 0
        assert "no licence" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert "Traceback" in debugged.stderr
    assert project.left_behind() == []


def test_an_unknown_pool_is_named(project: Command) -> None:
    refused = project.run("tool-worker", "--pool", "gpu")
    assert (refused.returncode, refused.stderr) == (2, "Error: there is no pool 'gpu'; errandry.toml has shell\n")


def test_without_a_server_the_way_out_is_named(project: Command) -> None:
    refused = project.run("submit", "counter", "Say hello")
    assert refused.returncode == 1
    assert "start `errandry up` there, or set redis_url" in refused.stderr


def test_a_wrong_password_and_a_full_redis_are_sentences(
    project: Command, redis_url: str, redis_connection: redis.Redis
) -> None:
    project.environment = {"ERRANDRY_REDIS_URL": re.sub(r":[^:@]+@", ":wrong@", redis_url)}
    refused = project.run("submit", "counter", "Say hello")
    assert refused.returncode == 1
    assert "refused user or password" in refused.stderr
    assert "wrong@" not in refused.stderr

    project.environment = {"ERRANDRY_REDIS_URL": redis_url}
    kept = project.run("submit", "counter", "Say hello").stdout.strip()
    with configured(redis_connection, "maxmemory", 1):
        refused = project.run("submit", "counter", "Say hello")
        assert refused.returncode == 1
        assert "is out of memory and refuses writes" in refused.stderr
        assert project.run("show", kept).returncode == 0
    assert [line.split()[0] for line in project.run("runs").stdout.splitlines()] == [kept]


def test_an_agent_worker_alone_without_a_key_ends_runs_in_error(project: Command, redis_url: str) -> None:
    project.environment = {"ERRANDRY_REDIS_URL": redis_url}
    with project.started("agent-worker") as worker:
        worker.wait_for_line("worker is ready: agents counter; 20 runs at once")
        ended = project.run("submit", "counter", "Say hello", "--follow")
        assert ended.returncode == 1
        assert "ERROR: " in ended.stdout
        assert "OPENAI_API_KEY" in ended.stdout
        assert "Traceback" not in ended.stdout + worker.said()
        assert worker.stop(signal.SIGTERM) == 0


def test_workers_finish_what_they_hold_before_they_leave(project: Command, redis_url: str) -> None:
    client = Client(redis_url)
    with ModelServer(project.folder / "model.toml") as model:
        project.environment = {
            "ERRANDRY_REDIS_URL": redis_url,
            "OPENAI_BASE_URL": model.base_url,
            "OPENAI_API_KEY": "none",
        }
        with project.started("tool-worker", "--pool", "shell") as tools, project.started("agent-worker") as agents:
            tools.wait_for_line("worker is ready: pool shell; 4 calls at once")
            agents.wait_for_line("worker is ready")
            executed = client.submit("counter", "Echo again for 1 s")
            next(event for event in executed.events(timeout=20) if isinstance(event, ToolCallExecuting))
            assert tools.stop(signal.SIGTERM) == 0
            assert executed.wait(10).content == "echo returned: again"

            answered = client.submit("counter", "Say slowly hello")
            next(event for event in answered.events(timeout=20) if isinstance(event, RunStarted))
            assert agents.stop(signal.SIGTERM) == 0
            # Nobody is left who could have done it afterwards.
            assert (answered.status(), answered.output().content) == (RunStatus.COMPLETED, "hello")
            assert len([request for request in model.requests if request.fault is not None]) == 1
    client.close()
