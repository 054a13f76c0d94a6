"""What `errandry doctor` finds, each unsafe setting and each standstill made real on a real server."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from agent_core.agent import Agent
from agent_core.models.scripted import ScriptedModel
from agent_core.run import RunStatus
from agent_core.tools.execution import ToolExecution
from queues import keys
from queues.checkup import Finding, Level
from queues.claims import Claims
from queues.connections import connect
from queues.consumers import agent_findings, ask_consumers, consumer_findings
from queues.parts import Routing
from queues.passwords import as_user
from queues.run_checkup import RunCheckup
from queues.run_store import RedisRunStore
from queues.server_checkup import server_findings
from queues.server_config import find_server_binary
from queues.settings import PoolSettings, SandboxSettings, Settings
from queues.user_checkup import AGENT_WORKER, TOOL_WORKER
from tests.support.queue_floor import (
    DONE,
    EXPIRED,
    TIMING,
    Floor,
    at_step_one,
    claimed,
    external,
    function,
    pending_snapshot,
)
from tests.support.redis_users import without_user
from tests.support.valkey import configured
from tests.support.waiting import wait_until
from workers.agents import Project
from workers.checkup import Scope, examine
from workers.release import release_findings

pytestmark = pytest.mark.redis


def of(subject: str, findings: list[Finding]) -> Finding:
    (finding,) = [finding for finding in findings if finding.subject == subject]
    return finding


def not_well(findings: list[Finding]) -> dict[str, Level]:
    return {finding.subject: finding.level for finding in findings if finding.level is not Level.OK}


def awaited(floor: Floor, subject: str) -> Finding:
    """What an impatient look finds wrong, as soon as it does."""
    wait_until(lambda: subject in not_well(looked(floor, patience_seconds=0)), f"{subject} is found")
    return of(subject, looked(floor, patience_seconds=0))


def set_user(connection: redis.Redis, *rules: str) -> None:
    connection.execute_command("ACL", "SETUSER", *rules)  # type: ignore[no-untyped-call]


# The server


def test_the_embedded_server_is_safe(redis_connection: redis.Redis) -> None:
    findings = server_findings(redis_connection, durability="fsync")
    assert not_well(findings) == {}
    assert {finding.subject for finding in findings} == {
        "redis.reachable", "redis.password", "redis.users", "redis.clock", "redis.version", "redis.role",
        "redis.eviction", "redis.durability", "redis.fsync", "redis.memory", "redis.clients",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "subject", "level", "words"),
    [
        ("maxmemory-policy", "allkeys-lru", "redis.eviction", Level.PROBLEM, "maxmemory-policy is allkeys-lru"),
        ("appendonly", "no", "redis.durability", Level.PROBLEM, "appendonly is off"),
        ("appendfsync", "no", "redis.fsync", Level.WARNING, "appendfsync is no"),
        ("maxmemory", 1, "redis.memory", Level.PROBLEM, "is full and refuses new runs"),
        ("maxclients", 60, "redis.clients", Level.WARNING, "of 60 connections are taken"),
    ],
)
def test_an_unsafe_setting_is_named_with_its_remedy(
    redis_connection: redis.Redis, name: str, value: object, subject: str, level: Level, words: str
) -> None:
    with configured(redis_connection, name, value):
        findings = server_findings(redis_connection)
    assert not_well(findings) == {subject: level}
    assert words in of(subject, findings).text
    assert of(subject, findings).remedy


def test_a_nearly_full_server_is_a_warning(redis_connection: redis.Redis) -> None:
    # So much that it does not matter what an earlier test's keys and connections still take, or give back just now.
    redis_connection.setrange("ballast", 32 * 1024 * 1024, "x")
    used = int(redis_connection.info("memory")["used_memory"])
    with configured(redis_connection, "maxmemory", int(used / 0.9)):
        assert not_well(server_findings(redis_connection)) == {"redis.memory": Level.WARNING}


def test_a_server_without_a_password_is_a_problem(redis_url: str, redis_connection: redis.Redis) -> None:
    set_user(redis_connection, "default", "on", "nopass", "+ping", "+acl|whoami", "+client|list")
    try:
        # A user of one's own does not help while strangers get in without any.
        assert not_well(server_findings(redis_connection)) == {"redis.password": Level.PROBLEM}
        strangers = connect(without_user(redis_url))
        assert of("redis.users", server_findings(strangers)).level is Level.WARNING
        strangers.close()
    finally:
        set_user(redis_connection, "default", "reset")


def test_workers_that_share_a_user_are_a_warning(redis_url: str, redis_connection: redis.Redis) -> None:
    def connected(name: str, user: str) -> redis.Redis:
        set_user(redis_connection, user, "on", ">secret", "+ping", "+client|setname", "+client|setinfo")
        worker = connect(as_user(redis_url, user, "secret"), client_name=name)
        worker.ping()
        return worker

    agents, shell = connected(AGENT_WORKER, "one"), connected(f"{TOOL_WORKER}shell", "two")
    assert of("redis.users", server_findings(redis_connection)).level is Level.OK
    python = connected(f"{TOOL_WORKER}python", "one")
    finding = of("redis.users", server_findings(redis_connection))
    assert finding.level is Level.WARNING
    assert finding.details == ("agent workers, tool workers of pool python: user one",)
    assert "errandry acl" in finding.remedy
    for worker in (agents, shell, python):
        worker.close()


def test_a_unix_socket_needs_no_password(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    command = [str(find_server_binary()), "--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            connection = connect(f"unix://{socket}")

            def answers() -> bool:
                # Its file is there a moment before it listens.
                with suppress(redis.ConnectionError):
                    return bool(connection.ping())
                return False

            wait_until(answers, "the server answers")
            # What a server is like before anybody configured it: nothing survives its end.
            expected = {"redis.durability": Level.PROBLEM, "redis.users": Level.WARNING}
            assert not_well(server_findings(connection)) == expected
            connection.close()
        finally:
            server.terminate()


def test_a_replica_is_a_problem(redis_connection: redis.Redis) -> None:
    redis_connection.replicaof("127.0.0.1", "1")
    try:
        finding = of("redis.role", server_findings(redis_connection))
    finally:
        redis_connection.replicaof("NO", "ONE")
    assert finding.level is Level.PROBLEM
    assert "replica of 127.0.0.1:1" in finding.text


def test_clocks_that_are_apart_are_a_warning(redis_connection: redis.Redis) -> None:
    began = time.monotonic()
    findings = server_findings(redis_connection, clock=lambda: time.time() - 60)
    took = time.monotonic() - began
    assert not_well(findings) == {"redis.clock": Level.WARNING}
    told = re.search(r"are (\d+) s apart", of("redis.clock", findings).text)
    assert told is not None and 60 <= int(told[1]) <= 60 + took + 1


@pytest.mark.parametrize(
    ("forbidden", "unseen"),
    [("-config", {"redis.fsync"}), ("-info", {"redis.settings"}), ("-@dangerous", {"redis.settings", "redis.users"})],
)
def test_what_the_user_may_not_see_is_a_warning(
    redis_url: str, redis_connection: redis.Redis, forbidden: str, unseen: set[str]
) -> None:
    set_user(redis_connection, "narrow", "on", ">secret", "~*", "&*", "+@all", forbidden)
    ours = connect(as_user(redis_url, "narrow", "secret"))
    findings = server_findings(ours)
    ours.close()
    assert not_well(findings) == dict.fromkeys(unseen, Level.WARNING)
    assert all("cannot be seen with this user" in of(subject, findings).text for subject in unseen)


def test_a_server_that_is_not_there_or_refuses_is_one_problem(redis_url: str) -> None:
    password = str(urlsplit(redis_url).password)
    for url, words in (
        ("redis://127.0.0.1:1/0", "cannot be reached"),
        (redis_url.replace(password, "wrong"), "refused user or password"),
    ):
        connection = connect(url)
        (finding,) = server_findings(connection)
        connection.close()
        assert (finding.level, finding.subject) == (Level.PROBLEM, "redis.reachable")
        assert words in finding.text
        assert password not in finding.text


# The runs


def looked(floor: Floor, *, patience_seconds: float = 30.0, limit: int = 100) -> list[Finding]:
    checkup = RunCheckup(
        floor.connection, timing=TIMING, pools=["shell"], limit=limit, patience_seconds=patience_seconds
    )
    return list(checkup.findings())


def test_runs_that_get_on_are_well(floor: Floor) -> None:
    floor.submitted()
    claimed(floor.claims, floor.submitted())
    floor.paused(external("a"))
    ended = claimed(floor.claims, floor.submitted())
    ended.snapshot.output.status = RunStatus.COMPLETED
    floor.claims.finish(ended, ended.snapshot, [])
    findings = looked(floor)
    assert not_well(findings) == {}
    assert of("runs.stuck", findings).text == "no run stands still (3 unfinished runs among the newest 4 of 4)"


def test_a_run_whose_holder_died_is_a_problem(floor: Floor) -> None:
    held = claimed(floor.claims, floor.submitted()).run_id
    dead = claimed(Claims(floor.connection, timing=EXPIRED), floor.submitted(), owner="agents@gone").run_id
    finding = awaited(floor, "runs.orphaned")
    assert finding.level is Level.PROBLEM
    assert finding.details[0].startswith(f"{dead}: agents@gone stopped renewing its lease")
    assert held not in str(finding)


def test_a_pending_run_that_nobody_takes_is_a_warning(floor: Floor) -> None:
    run_id = floor.submitted()
    finding = awaited(floor, "runs.pending")
    assert (finding.level, finding.details[0].partition(":")[0]) == (Level.WARNING, run_id)


def test_a_webhook_that_nobody_posts_is_a_warning(floor: Floor) -> None:
    floor.webhook_url = "https://example.com/hook"
    run = claimed(floor.claims, floor.submitted())
    run.snapshot.output.status = RunStatus.COMPLETED
    floor.claims.finish(run, run.snapshot, [])
    assert "runs.webhooks" not in not_well(looked(floor))
    finding = awaited(floor, "runs.webhooks")
    assert finding.level is Level.WARNING and "errandry gateway" in finding.remedy


def test_a_retried_run_is_not_old(floor: Floor) -> None:
    run = claimed(floor.claims, floor.submitted())
    run.snapshot.output.status = RunStatus.ERROR
    floor.claims.finish(run, run.snapshot, [])
    floor.connection.hset(keys.run(run.run_id), "created", "1")
    floor.runs.retry(floor.runs.load(run.run_id))
    assert not_well(looked(floor)) == {}


def test_a_paused_run_whose_answers_are_in_is_a_problem(floor: Floor) -> None:
    waiting = floor.paused(external("a")).run_id
    answered = floor.paused(external("a")).run_id
    assert floor.calls.settle(floor.executing(answered, "a"), DONE) == "last"
    finding = awaited(floor, "runs.answered")
    assert finding.level is Level.PROBLEM
    assert finding.details[0].startswith(f"{answered}: agent ops, ready ")
    assert waiting not in str(finding)


def test_a_paused_run_is_judged_by_its_answers_and_not_by_its_pause(floor: Floor) -> None:
    asked = ToolExecution(tool_call_id="a", tool_name="look_up", step=1, requires_confirmation=True)
    run_id = floor.paused(asked).run_id
    # It has waited for a person for ages, and was answered just now.
    began = time.monotonic()
    floor.connection.hset(keys.run(run_id), "created", "1")
    assert floor.runs.answer(floor.runs.load(run_id), "a", DONE) == "last"
    floor.connection.delete(keys.events(run_id))
    assert not_well(looked(floor)) == {}
    # Twice was its message published again: it is due 120 seconds after the answer, and that is 30 seconds from now.
    floor.connection.hset(keys.run(run_id), "repushes", "2")
    assert not_well(looked(floor, patience_seconds=150)) == {}
    told = re.search(r"ready (\d+) s ago$", of("runs.answered", looked(floor, patience_seconds=60)).details[0])
    assert told is not None and 90 <= int(told[1]) <= 90 + (time.monotonic() - began) + 1


def test_parked_runs_say_why(floor: Floor) -> None:
    run_id = floor.submitted()
    floor.claims.park(run_id, "parked: no agent worker at hand offers ops")
    finding = of("runs.parked", looked(floor))
    assert (finding.level, finding.text) == (Level.WARNING, "no worker at hand can carry on 1 run")
    assert finding.details == (f"{run_id}: parked: no agent worker at hand offers ops",)


def test_runs_of_plain_processes_are_nobodys_fault(floor: Floor) -> None:
    store = RedisRunStore.on(floor.connection, timing=TIMING)
    snapshot = pending_snapshot()
    snapshot.output.status = RunStatus.PAUSED
    store.save(snapshot, expected_version=0)
    findings = looked(floor, patience_seconds=-1)
    assert not_well(findings) == {}
    assert "0 unfinished runs among the newest 1 of 1" in of("runs.stuck", findings).text


@pytest.mark.parametrize("index", [keys.DUE, keys.DEADLINES, keys.pool_due("shell")])
def test_a_sweep_that_is_late_is_a_problem(floor: Floor, index: str) -> None:
    def overdue(seconds: float) -> dict[str, Level]:
        floor.connection.zadd(index, {"[]": (time.time() - seconds) * 1000})
        return not_well(looked(floor))

    assert overdue(10) == {}
    assert overdue(60) == {"runs.sweep": Level.PROBLEM}


def test_junk_that_a_pool_wrote_stops_nobody(settings: Settings, floor: Floor) -> None:
    floor.connection.set(keys.pool_due("shell"), "junk")
    settings = settings.model_copy(update={"pools": {"shell": pool()}})
    found = {finding.subject: finding for finding in examine(settings, Scope(release=True))}
    assert found["runs"].level is Level.PROBLEM
    assert "something there cannot be read" in found["runs"].text
    assert found["runs.stuck"].level is found["runs.dead"].level is found["sandbox.shell"].level is Level.OK


def test_dead_letters_are_named(floor: Floor) -> None:
    call_id = floor.buried_call()
    finding = of("runs.dead", looked(floor))
    assert (finding.level, finding.text.partition(":")[0]) == (Level.WARNING, "1 dead letter")
    assert finding.details[0].startswith(f"{call_id}: 3 workers of pool shell died")


def test_the_look_is_bounded_and_names_a_few(floor: Floor) -> None:
    for _ in range(7):
        floor.claims.park(floor.submitted(), "parked: for the test")
    finding = of("runs.parked", looked(floor))
    assert "7 runs" in finding.text
    assert len(finding.details) == 6
    assert finding.details[5] == "… and 2 more"
    assert "2 runs" in of("runs.parked", looked(floor, limit=2)).text
    # The sweep is late for the oldest ones: they are looked at though they are not among the newest.
    (oldest,) = floor.connection.zrange(keys.RUNS, 0, 0)
    floor.connection.zadd(keys.DUE, {str(oldest): 1})
    assert "3 runs" in of("runs.parked", looked(floor, limit=2)).text


# Who serves


def test_agents_that_nobody_offers_are_a_problem(floor: Floor) -> None:
    floor.claims.announce(["ops"], valid_seconds=60)
    floor.claims.announce(["gone"], valid_seconds=-1)
    assert not_well(list(agent_findings(floor.connection, ["ops"]))) == {}
    (finding,) = agent_findings(floor.connection, ["ops", "gone", "never"])
    assert (finding.level, finding.text) == (Level.PROBLEM, "no agent worker offers gone, never")


def test_queues_that_nobody_consumes_are_a_problem(floor: Floor, redis_url: str) -> None:
    settings = Settings(redis_url=redis_url, pools={"shell": PoolSettings(tools=("a:b",))})
    floor.paused(external("a"), external("b"))
    assert ask_consumers(settings, within_seconds=0.1) == {}
    findings = list(consumer_findings(floor.connection, ["shell"], {}))
    assert not_well(findings) == {"workers.agents": Level.PROBLEM, "workers.shell": Level.PROBLEM}
    assert of("workers.shell", findings).text == "no tool worker of pool shell answers; 2 messages wait in its queues"
    served = {"tools.shell": ["shell@here"], "tools.shell.high": ["shell@here"]}
    (_, partly) = consumer_findings(floor.connection, ["shell"], served)
    assert (partly.level, partly.text) == (Level.WARNING, "nobody consumes tools.shell.low")


def test_workers_that_may_not_be_asked_are_a_warning(redis_url: str, redis_connection: redis.Redis) -> None:
    set_user(redis_connection, "mute", "on", ">secret", "~*", "resetchannels", "+@all")
    url = as_user(redis_url, "mute", "secret")
    findings = list(examine(Settings(redis_url=url), Scope(sandboxes=False)))
    assert of("workers", findings).level is Level.WARNING
    assert "cannot be seen with this user" in of("workers", findings).text


# The code


def project_of(*agents: str, tools: bool = True) -> Project:
    listed = [function()] if tools else []
    return Project(
        agents={name: Agent(name=name, model=ScriptedModel([]), tools=listed) for name in agents},
        routing=Routing(pools={"look_up": "shell"}, queue_seconds={}),
    )


@pytest.mark.parametrize(
    ("project", "pools", "words"),
    [
        (lambda: project_of("ops"), ["shell"], None),
        (lambda: project_of("support"), ["shell"], "PAUSED, agent ops, which is not in this project"),
        (lambda: project_of("ops", tools=False), ["shell"], "lacks the tool look_up of a call that is under way"),
        (lambda: project_of("ops"), ["python"], "waits for pool shell, which is not in this project"),
    ],
)
def test_a_release_names_the_runs_that_it_would_break(
    floor: Floor, project: Callable[[], Project], pools: list[str], words: str | None
) -> None:
    run_id = floor.paused(external("a")).run_id
    checkup = RunCheckup(floor.connection, timing=TIMING, pools=pools, limit=10)
    (finding,) = release_findings(floor.connection, checkup.unfinished(), project(), pools=pools)
    if words is None:
        assert (finding.level, finding.text) == (Level.OK, "this code can carry on 1 unfinished run")
    else:
        assert finding.level is Level.PROBLEM
        assert finding.details[0].startswith(f"{run_id}: ")
        assert words in finding.details[0]


def test_a_release_looks_at_inline_calls_and_newer_snapshots_too(floor: Floor) -> None:
    inline = claimed(floor.claims, floor.submitted())
    call = ToolExecution(tool_call_id="a", tool_name="add", step=1)
    floor.claims.checkpoint(inline, at_step_one(inline.snapshot, [call]), [], [])
    newer = floor.submitted()
    floor.connection.hset(keys.run(newer), "snapshot", '{"schema": 99}')
    floor.submitted()
    checkup = RunCheckup(floor.connection, timing=TIMING, pools=[], limit=10)
    (finding,) = release_findings(floor.connection, checkup.unfinished(), project_of("ops"), pools=[])
    assert "cannot carry on 2 unfinished runs" in finding.text
    assert any("schema 99" in detail for detail in finding.details)
    assert any("RUNNING, agent ops, which lacks the tool add" in detail for detail in finding.details)


# The whole


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    tmp_path.chmod(0o755)
    (tmp_path / "examined_tools.py").write_text("def look_up(key: str) -> str:\n    return key\n", encoding="utf-8")
    return Settings(redis_url=redis_url, project_dir=tmp_path)


def pool(**sandbox: object) -> PoolSettings:
    return PoolSettings(tools=("examined_tools:look_up",), sandbox=SandboxSettings.model_validate(sandbox))


def test_sandboxes_are_tried(settings: Settings) -> None:
    pools = {
        "walled": pool(secrets=["A_KEY_THAT_ONLY_THE_WORKER_HAS"]),
        "open": pool(level="none"),
        "refused": pool(backend="none"),
    }
    settings = settings.model_copy(update={"pools": pools, "redis_url": None})
    found = {finding.subject: finding for finding in examine(settings, Scope())}
    assert {subject: finding.level for subject, finding in found.items()} == {
        "project.agents": Level.WARNING,
        "redis.reachable": Level.PROBLEM,
        "sandbox.walled": Level.OK,
        "sandbox.open": Level.WARNING,
        "sandbox.refused": Level.PROBLEM,
    }
    assert "start `errandry up`" in found["redis.reachable"].text
    assert 'level = "none"' in found["sandbox.refused"].text
    assert not [f for f in examine(settings, Scope(sandboxes=False)) if f.subject.startswith("sandbox")]


def test_a_project_that_cannot_be_loaded_is_a_problem(settings: Settings) -> None:
    broken = settings.model_copy(update={"agents": ("no_such_module:ops",)})
    finding = of("project.agents", list(examine(broken, Scope(release=True))))
    assert finding.level is Level.PROBLEM
    assert "no_such_module" in finding.text


def test_an_examination_changes_nothing(settings: Settings, floor: Floor) -> None:
    floor.paused(external("a"))
    floor.claims.park(floor.submitted(), "parked: for the test")
    claimed(Claims(floor.connection, timing=EXPIRED), floor.submitted())

    before = stored(floor.connection)
    assert len(before) > 8
    list(examine(settings, Scope(release=True)))
    assert stored(floor.connection) == before


def stored(connection: redis.Redis) -> dict[str, object]:
    """Every key with what it holds, but for the reply queue of Celery's remote control, which expires by itself."""
    read: dict[str, Callable[[str], object]] = {
        "hash": connection.hgetall,
        "zset": lambda key: connection.zrange(key, 0, -1, withscores=True),
        "list": lambda key: connection.lrange(key, 0, -1),
        "stream": connection.xrange,
    }
    names = [str(key) for key in connection.scan_iter() if not str(key).startswith("_kombu.")]
    return {name: read[str(connection.type(name))](name) for name in names}
