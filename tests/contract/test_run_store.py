"""What every run store holds, and the stored form of a snapshot. Each test runs against each store."""

import json
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Thread

import pytest
from pydantic import BaseModel, JsonValue

from agent_core.agent import Agent
from agent_core.errors import StaleRunError
from agent_core.messages import Message, ToolCall, Usage
from agent_core.models.scripted import ScriptedModel, call
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.store import InMemoryRunStore, RunStore
from agent_core.tools import Function
from agent_core.tools.execution import CallMetrics, CallOutcome, CallResult, ToolExecution, UserInputField
from queues.run_store import RedisRunStore

GOLDEN = Path(__file__).parent / "golden" / "run_snapshot_v1.json"
# As snapshots were written at first, with every null and default. They still lie in some Redis.
IN_FULL = Path(__file__).parent / "golden" / "run_snapshot_v1_in_full.json"


@pytest.fixture(params=["in_memory", pytest.param("in_redis", marks=pytest.mark.redis)])
def stores(request: pytest.FixtureRequest) -> RunStore:
    if request.param == "in_memory":
        return InMemoryRunStore()
    return RedisRunStore(request.getfixturevalue("redis_url"))


def new_run(store: RunStore, *, session_id: str | None = None, run_id: str | None = None) -> RunSnapshot:
    snapshot = RunSnapshot.create(agent_name="ops", input="go", session_id=session_id, run_id=run_id)
    return store.save(snapshot, expected_version=0)


def finish(store: RunStore, snapshot: RunSnapshot, status: RunStatus) -> RunSnapshot:
    snapshot.output.status = status
    return store.save(snapshot, expected_version=snapshot.version)


def test_a_run_reads_back_as_it_was_saved(stores: RunStore) -> None:
    saved = new_run(stores)

    assert saved.version == 1
    assert stores.load(saved.run_id) == saved
    assert stores.load("run_unknown") is None


@pytest.mark.parametrize("way", ["the same object", "a copy through JSON", "what was saved", "what was loaded"])
def test_a_long_run_may_be_saved_from_whatever_tells_it_whole(stores: RunStore, way: str) -> None:
    snapshot = RunSnapshot.create(agent_name="ops", input="page " * 2000)
    for version in range(6):
        snapshot.step = version
        snapshot.output.messages.append(Message(role="user", content=f"{version} " * 2000))
        saved = stores.save(snapshot, expected_version=version)
        loaded = stores.load(snapshot.run_id)
        assert loaded is not None and loaded.output == snapshot.output
        match way:
            case "a copy through JSON":
                snapshot = RunSnapshot.from_json(saved.to_json())
            case "what was saved":
                snapshot = saved
            case "what was loaded":
                snapshot = loaded


def test_what_is_loaded_is_a_copy_of_its_own(stores: RunStore) -> None:
    saved = new_run(stores)
    loaded = stores.load(saved.run_id)
    assert loaded is not None
    loaded.output.input = saved.output.input = "changed"

    again = stores.load(saved.run_id)
    assert again is not None and again.output.input == "go"


def test_a_save_under_an_old_version_is_refused(stores: RunStore) -> None:
    first = new_run(stores)
    stores.save(first, expected_version=1)

    for expected in (0, 1, 3):
        with pytest.raises(StaleRunError, match=first.run_id):
            stores.save(first, expected_version=expected)
    loaded = stores.load(first.run_id)
    assert loaded is not None and loaded.version == 2


def test_a_run_that_is_not_stored_cannot_be_changed(stores: RunStore) -> None:
    snapshot = RunSnapshot.create(agent_name="ops", input="go")
    with pytest.raises(StaleRunError):
        stores.save(snapshot, expected_version=1)
    assert stores.load(snapshot.run_id) is None


def test_of_simultaneous_saves_one_wins(stores: RunStore) -> None:
    saved = new_run(stores)
    barrier, won = Barrier(5, timeout=10), []

    def save(number: int) -> None:
        mine = saved.model_copy(deep=True)
        mine.output.input = str(number)
        barrier.wait()
        try:
            stores.save(mine, expected_version=1)
            won.append(str(number))
        except StaleRunError:
            pass

    threads = [Thread(target=save, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    loaded = stores.load(saved.run_id)
    assert loaded is not None and won == [loaded.output.input]


def test_history_is_the_last_completed_runs_oldest_first(stores: RunStore) -> None:
    ends = [RunStatus.COMPLETED, RunStatus.ERROR, RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.COMPLETED]
    runs = [finish(stores, new_run(stores, session_id="s"), status) for status in ends]
    finish(stores, new_run(stores, session_id="other"), RunStatus.COMPLETED)
    new_run(stores, session_id="s")

    def ids(limit: int) -> list[str]:
        return [run.run_id for run in stores.history("s", limit=limit)]

    completed = [run.run_id for run, status in zip(runs, ends, strict=True) if status is RunStatus.COMPLETED]
    assert (ids(2), ids(10), ids(0)) == (completed[-2:], completed, [])
    assert stores.history("nobody", limit=3) == []


def test_a_cancel_is_requested_until_the_run_is_finished(stores: RunStore) -> None:
    saved = new_run(stores)
    assert not stores.cancel_requested(saved.run_id)
    stores.request_cancel(saved.run_id)
    stores.request_cancel(saved.run_id)
    assert stores.cancel_requested(saved.run_id)
    finish(stores, saved, RunStatus.CANCELLED)
    assert not stores.cancel_requested(saved.run_id)


def test_an_agent_pauses_and_continues_through_the_store(stores: RunStore) -> None:
    shell = Function(name="shell", entrypoint=lambda command: command, external_execution=True)

    def agent() -> Agent:
        return Agent(model=ScriptedModel([call("shell", command="ls"), "done"]), tools=[shell], db=stores)

    run = agent().run("go")
    run.tools[0].result = "files"

    assert agent().continue_run(run_id=run.run_id, updated_tools=run.tools).content == "done"
    with pytest.raises(ValueError, match="COMPLETED"):
        agent().continue_run(run)


def test_the_memory_store_is_bounded_and_keeps_waiting_runs_longest() -> None:
    store = InMemoryRunStore(max_runs=3)
    waiting = new_run(store, session_id="s")
    finished = [finish(store, new_run(store, session_id="s"), RunStatus.COMPLETED) for _ in range(4)]

    assert store.load(waiting.run_id) is not None
    assert [store.load(run.run_id) is not None for run in finished] == [False, False, True, True]
    assert [run.run_id for run in store.history("s", limit=9)] == [run.run_id for run in finished[2:]]
    with pytest.raises(ValueError, match="max_runs"):
        InMemoryRunStore(max_runs=0)


def golden_snapshot() -> RunSnapshot:
    """Return a snapshot in which every field is set."""
    moment = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
    settled = ToolExecution(
        tool_call_id="call_1", tool_name="shell", tool_args={"command": "ls"}, step=1,
        external_execution_required=True, pool="shell", schema_digest="0123456789ab", created_at=moment,
    )  # fmt: skip
    metrics = CallMetrics(
        pool="shell", worker="w1", attempt=1, queue_wait_seconds=0.5, wall_seconds=0.25, cpu_seconds=0.125,
        peak_memory_mb=8.0, exit_code=0, sandbox_level="ns", truncated=True,
    )  # fmt: skip
    settled.settle(CallResult(outcome=CallOutcome.FAILED, content="no such file", metrics=metrics))
    waiting = ToolExecution(
        tool_call_id="call_2", tool_name="post", tool_args={"text": "hi"}, step=2, requires_user_input=True,
        user_input_schema=[UserInputField(name="address", field_type="string", description="where")],
        created_at=moment,
    )  # fmt: skip
    refused = ToolExecution(
        tool_call_id="call_3", tool_name="send", step=2, requires_confirmation=True, confirmed=False,
        confirmation_note="no", answered=True, created_at=moment,
    )  # fmt: skip
    asked = ToolCall(id="call_1", name="shell", arguments='{"command":"ls"}')
    output = RunOutput(
        run_id="run_1", agent_id="ops-1", agent_name="ops", session_id="ses_1", user_id="u", input="go",
        content=None, content_type="str", model="m", status=RunStatus.PAUSED, error=None,
        messages=[
            Message(role="system", content="Be brief."),
            Message(role="user", content="earlier", from_history=True),
            Message(role="user", content="go"),
            Message(role="assistant", tool_calls=(asked,), finish_reason="tool_calls"),
            Message(role="tool", content="[failed] no such file", tool_call_id="call_1", tool_name="shell",
                    tool_call_error=True),
        ],
        metrics=Usage(input_tokens=10, output_tokens=5, total_tokens=15, cached_tokens=4, reasoning_tokens=2,
                      model_calls=1),
        tools=[settled, waiting, refused], metadata={"ticket": 7}, created_at=moment,
    )  # fmt: skip
    return RunSnapshot(
        schema_number=1, version=3, step=2, phase="tools", shown=["| a |"],
        response_schema={"name": "City", "schema": {"type": "object"}}, schema_retried=True, output=output,
    )  # fmt: skip


def test_the_stored_form_is_the_golden_one() -> None:
    """A change here changes what older processes can read: raise the schema number, and say so in the changelog."""
    assert json.dumps(json.loads(golden_snapshot().to_json()), indent=2) + "\n" == GOLDEN.read_text(encoding="utf-8")


def test_the_golden_form_still_reads() -> None:
    assert RunSnapshot.from_json(GOLDEN.read_bytes()) == golden_snapshot()


def test_what_was_written_in_full_still_reads() -> None:
    expected = golden_snapshot()
    expected.output.tools[0].schema_digest = None  # no call had one then
    assert RunSnapshot.from_json(IN_FULL.read_bytes()) == expected


class Place(BaseModel):
    """Structured content with a default and a None."""

    city: str
    country: str = "Chile"
    height: float | None = None


def test_nothing_of_what_users_gave_is_left_out_as_a_default() -> None:
    snapshot = RunSnapshot.create(agent_name="ops", input="", metadata={"ticket": None})
    args: dict[str, JsonValue] = {"flag": False, "deep": {"nothing": None, "none": []}}
    snapshot.output.tools = [ToolExecution(tool_call_id="a", tool_name="t", tool_args=args)]
    snapshot.output.content = Place(city="Arica")

    stored = json.loads(snapshot.to_json())
    assert stored["schema"] == 1
    assert stored["output"]["content"] == {"city": "Arica", "country": "Chile", "height": None}

    read = RunSnapshot.from_json(snapshot.to_json())
    assert read.output.metadata == {"ticket": None}
    assert read.output.tools[0].tool_args == args
