"""The drivers: how inline tools are called, what is left when a caller goes away, cancelling while a run runs."""

import asyncio
import threading
from collections.abc import Generator
from typing import Any

import pytest

from agent_core.agent import Agent
from agent_core.errors import StaleRunError
from agent_core.models.base import ModelReply, ModelRequest
from agent_core.models.scripted import ScriptedModel, Turn, call
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.store import InMemoryRunStore, may_block
from agent_core.tools import Function, tool
from agent_core.tools.context import RunContext
from agent_core.tools.execution import CallOutcome
from tests.support.run_modes import RUN_MODES, RunMode

modes = pytest.mark.parametrize("mode", RUN_MODES, ids=str)


def agent_of(*turns: Turn, tools: list[Function], **settings: Any) -> Agent:
    return Agent(model=ScriptedModel(turns), tools=tools, **settings)


def status_of(agent: Agent, run_id: str) -> RunStatus:
    stored = agent.get_run_output(run_id)
    assert stored is not None
    return stored.status


@modes
def test_async_tools_of_a_batch_run_at_the_same_time(mode: RunMode) -> None:
    arrived: dict[str, asyncio.Event] = {}

    @tool
    async def meet(name: str) -> str:
        """Wait for the other."""
        arrived.setdefault(name, asyncio.Event()).set()
        async with asyncio.timeout(10):
            await arrived.setdefault("b" if name == "a" else "a", asyncio.Event()).wait()
        return name

    output = mode.run(agent_of([call("meet", name="a"), call("meet", name="b")], "done", tools=[meet]), "go")

    assert [record.result for record in output.tools] == ["a", "b"]


@pytest.mark.parametrize("mode", [mode for mode in RUN_MODES if "async" in mode.name], ids=str)
def test_sync_tools_of_an_async_run_do_not_hold_up_one_another(mode: RunMode) -> None:
    barrier = threading.Barrier(2, timeout=10)

    @tool
    def meet(name: str) -> str:
        """Wait for the other."""
        barrier.wait()
        return name

    output = mode.run(agent_of([call("meet", name="a"), call("meet", name="b")], "done", tools=[meet]), "go")

    assert [record.outcome for record in output.tools] == [CallOutcome.SUCCEEDED] * 2


@pytest.mark.parametrize("mode", [mode for mode in RUN_MODES if "async" not in mode.name], ids=str)
def test_sync_tools_of_a_sync_run_are_called_in_order_in_the_callers_thread(mode: RunMode) -> None:
    seen: list[tuple[str, int]] = []

    @tool
    def note(name: str) -> None:
        """Note the thread."""
        seen.append((name, threading.get_ident()))

    mode.run(agent_of([call("note", name=name) for name in "abc"], "done", tools=[note]), "go")

    assert seen == [(name, threading.get_ident()) for name in "abc"]


def test_clients_that_async_tools_keep_find_the_same_loop_again() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    @tool
    async def look() -> str:
        """Note the loop."""
        loops.append(asyncio.get_running_loop())
        return ""

    agent = agent_of(call("look"), call("look"), "done", tools=[look])
    agent.run("go")

    assert loops[0] is loops[1]


def test_an_async_tool_may_run_another_agent_with_async_tools() -> None:
    @tool
    async def inner() -> str:
        """Say something."""
        await asyncio.sleep(0)
        return "from inside"

    @tool
    async def outer() -> str:
        """Ask another agent, without waiting properly."""
        return str(agent_of(call("inner"), "inner done", tools=[inner]).run("go").tools[0].result)

    output = agent_of(call("outer"), "done", tools=[outer]).run("go")

    assert output.tools[0].result == "from inside"


@modes
@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_that_takes_too_long_is_timed_out(mode: RunMode, is_async: bool) -> None:
    released = threading.Event()

    @tool(timeout_seconds=0.05)
    def slow() -> str:
        """Take long."""
        released.wait(timeout=10)
        return "late"

    @tool(name="slow", timeout_seconds=0.05)
    async def aslow() -> str:
        """Take long."""
        await asyncio.sleep(10)
        return "late"

    output = mode.run(agent_of(call("slow"), "done", tools=[aslow if is_async else slow]), "go")
    released.set()

    assert output.tools[0].outcome is CallOutcome.TIMED_OUT
    assert "did not return within 0.05 seconds" in str(output.tools[0].result)


@modes
@pytest.mark.parametrize("is_async", [False, True])
def test_a_failing_tool_is_tried_again_as_often_as_it_allows(mode: RunMode, is_async: bool) -> None:
    tries: list[int] = []

    def flaky() -> str:
        """Work at the third try."""
        tries.append(1)
        if len(tries) < 3:
            raise OSError("not yet")
        return "worked"

    async def aflaky() -> str:
        """Work at the third try."""
        return flaky()

    function = tool(name="flaky", max_attempts=3, backoff_seconds=0.001)(aflaky if is_async else flaky)
    output = mode.run(agent_of(call("flaky"), "done", tools=[function]), "go")

    metrics = output.tools[0].metrics
    assert output.tools[0].result == "worked" and metrics is not None and metrics.attempt == 3
    assert metrics.wall_seconds is not None


@modes
@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), KeyError("k"), RuntimeError("\udcff")])
def test_whatever_a_tool_raises_is_its_result(mode: RunMode, error: BaseException) -> None:
    @tool
    def fail() -> str:
        """Fail."""
        raise error

    output = mode.run(agent_of(call("fail"), "done", tools=[fail]), "go")

    assert output.status is RunStatus.COMPLETED and output.tools[0].outcome is CallOutcome.FAILED
    assert type(error).__name__ in str(output.tools[0].result)


def test_a_result_that_is_no_json_is_a_failure_of_the_tool() -> None:
    @tool
    def odd() -> object:
        """Give something odd."""
        return object()

    output = agent_of(call("odd"), "done", tools=[odd]).run("go")

    assert output.tools[0].outcome is CallOutcome.FAILED and "'odd'" in str(output.tools[0].result)


@modes
def test_tools_are_given_the_agent_and_the_context_of_the_call(mode: RunMode) -> None:
    seen: list[tuple[object, RunContext]] = []

    @tool
    def look(agent: Agent, run_context: RunContext) -> None:
        """Look around."""
        seen.append((agent, run_context))

    agent = agent_of(call("look", call_id="c"), "done", tools=[look], user_id="u")
    output = mode.run(agent, "go", session_id="s")

    context = RunContext(run_id=output.run_id, step=1, tool_call_id="c", session_id="s", user_id="u")
    assert seen == [(agent, context)] and context.idempotency_key == f"{output.run_id}:1:c"


def test_a_caller_that_stops_listening_leaves_a_cancelled_run() -> None:
    agent = agent_of("some words here", tools=[])
    events = agent.run("go", stream=True, run_id="left")
    next(events)
    events.close()  # type: ignore[attr-defined]

    assert status_of(agent, "left") is RunStatus.CANCELLED


def test_an_async_caller_that_stops_listening_leaves_a_cancelled_run() -> None:
    agent = agent_of("some words here", tools=[])

    async def listen() -> None:
        events = agent.arun("go", stream=True, run_id="left")
        await anext(events)
        await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(listen())

    assert status_of(agent, "left") is RunStatus.CANCELLED


def test_a_cancelled_task_leaves_a_cancelled_run() -> None:
    async def cancelled() -> RunStatus:
        started = asyncio.Event()

        @tool
        async def wait() -> str:
            """Wait."""
            started.set()
            await asyncio.sleep(10)
            return ""

        agent = agent_of(call("wait"), "done", tools=[wait])
        task = asyncio.create_task(agent.arun("go", run_id="left"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return status_of(agent, "left")

    assert asyncio.run(cancelled()) is RunStatus.CANCELLED


def test_a_caller_that_leaves_at_the_pause_leaves_it_paused() -> None:
    external = Function(name="shell", entrypoint=lambda: "", external_execution=True)
    agent = agent_of(call("shell"), tools=[external])
    events = agent.run("go", stream=True, run_id="left")
    next(events)
    events.close()  # type: ignore[attr-defined]

    assert status_of(agent, "left") is RunStatus.PAUSED


@modes
def test_a_running_run_is_cancelled_before_its_next_step(mode: RunMode) -> None:
    @tool
    def stop(agent: Agent, run_context: RunContext) -> bool:
        """Cancel the run."""
        return agent.cancel_run(run_context.run_id)

    agent = agent_of(call("stop"), "never", tools=[stop])
    output = mode.run(agent, "go")

    assert output.is_cancelled and output.error == "The run was cancelled."
    assert output.tools[0].result == "true"
    assert status_of(agent, output.run_id) is RunStatus.CANCELLED


@modes
def test_a_cancel_that_comes_while_the_model_replies_is_heeded(mode: RunMode) -> None:
    agents: list[Agent] = []

    def reply(request: ModelRequest) -> str:
        agents[0].cancel_run("mine")
        return "too late"

    agents.append(agent_of(reply, tools=[]))
    assert mode.run(agents[0], "go", run_id="mine").is_cancelled


class Endless(ScriptedModel):
    """Streams until it is told to stop; knows when it was left."""

    left = False

    def stream(self, request: ModelRequest) -> Generator[str | ModelReply, None, None]:
        try:
            while True:
                yield "on "
        finally:
            self.left = True


def test_a_reply_that_streams_on_and_on_can_be_cancelled() -> None:
    model = Endless([])
    agent = Agent(model=model)
    events = agent.run("go", stream=True, run_id="mine", yield_run_output=True)
    next(events)
    agent.cancel_run("mine")
    *_, last = events

    assert isinstance(last, RunOutput) and last.is_cancelled and model.left


class PausingStore(InMemoryRunStore):
    """Is asked to cancel a run at the very moment when it pauses."""

    def save(self, snapshot: RunSnapshot, *, expected_version: int) -> RunSnapshot:
        if snapshot.status is RunStatus.PAUSED and expected_version < 3:
            self.request_cancel(snapshot.run_id)
        return super().save(snapshot, expected_version=expected_version)


@modes
def test_a_cancel_at_the_moment_of_the_pause_is_not_lost(mode: RunMode) -> None:
    external = Function(name="shell", entrypoint=lambda: "", external_execution=True)
    agent = agent_of(call("shell"), tools=[external], db=PausingStore())

    output = mode.run(agent, "go")

    assert output.is_cancelled and status_of(agent, output.run_id) is RunStatus.CANCELLED


class ThreadNotingStore(InMemoryRunStore):
    """Notes the threads in which it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def load(self, run_id: str) -> RunSnapshot | None:
        self.threads.add(threading.get_ident())
        return super().load(run_id)

    def save(self, snapshot: RunSnapshot, *, expected_version: int) -> RunSnapshot:
        self.threads.add(threading.get_ident())
        return super().save(snapshot, expected_version=expected_version)


@pytest.mark.parametrize("mode", [mode for mode in RUN_MODES if "async" in mode.name], ids=str)
def test_a_store_that_blocks_never_holds_up_the_event_loop(mode: RunMode) -> None:
    store = ThreadNotingStore()
    external = Function(name="shell", entrypoint=lambda: "", external_execution=True)
    agent = agent_of(call("shell"), "done", tools=[external], db=store)
    run = mode.run(agent, "go")
    run.tools[0].result = "x"
    mode.continue_run(agent, run)

    assert store.threads and threading.get_ident() not in store.threads


def test_only_the_memory_store_itself_is_known_never_to_block() -> None:
    assert may_block(ThreadNotingStore()) and not may_block(InMemoryRunStore())


def test_one_agent_serves_many_threads() -> None:
    @tool
    def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    def ask(request: ModelRequest) -> ModelReply:
        return ModelReply(tool_calls=(call("double", call_id="c", number=int(request.messages[0].content or 0)),))

    agent = agent_of(ask, lambda request: str(request.messages[-1].content), tools=[double])
    results: dict[int, object] = {}

    def go(number: int) -> None:
        results[number] = agent.run(str(number)).content

    threads = [threading.Thread(target=go, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert results == {number: str(2 * number) for number in range(12)}


def test_a_run_id_is_used_once() -> None:
    agent = agent_of("done", tools=[])
    agent.run("go", run_id="mine")

    with pytest.raises(StaleRunError, match="'mine' exists already"):
        agent.run("go", run_id="mine")
