"""Whatever callers do to one run, in any order: every call is answered once, one continue wins, nothing is lost."""

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent_core.agent import Agent
from agent_core.errors import MissingResultError, ModelError, RunAlreadyContinuedError
from agent_core.models.scripted import ScriptedModel, Turn
from agent_core.requirement import RunRequirement
from agent_core.run import RunSnapshot, RunStatus
from agent_core.store import InMemoryRunStore
from agent_core.tools import tool
from agent_core.tools.context import RunContext
from agent_core.tools.execution import CallOutcome, ToolExecution
from tests.properties.agent_core.conversations import calls, check_conversation, good_calls
from tests.support.run_modes import RUN_MODES, RunMode

modes = st.sampled_from(RUN_MODES)
waiting_calls = good_calls.filter(lambda call: call.name != "add")
turns = st.one_of(
    st.lists(waiting_calls, min_size=2, max_size=4),
    st.lists(good_calls, min_size=1, max_size=3),
    st.lists(calls, min_size=1, max_size=4),
    st.builds(ModelError, st.just("down")),
)
scripts = st.lists(turns, min_size=1, max_size=5)
limits = st.sampled_from([None, None, None, 0, 3, 6])
executed: Counter[str] = Counter()
Key = tuple[int, str]


@tool(external_execution=True)
def shell(command: str) -> str:
    """Run a command."""
    raise AssertionError("an external tool is never called by its agent")


@tool
def add(x: int, y: int, run_context: RunContext) -> int:
    """Add."""
    executed[run_context.idempotency_key] += 1
    return x + y


@tool(requires_confirmation=True)
def send(text: str, run_context: RunContext) -> str:
    """Send."""
    executed[run_context.idempotency_key] += 1
    return text


def key_of(call: ToolExecution) -> Key:
    return call.step, call.tool_call_id


class MeetingStore(InMemoryRunStore):
    """Lets the callers of a race meet once they have loaded the run, so that each believes to be alone."""

    def __init__(self) -> None:
        super().__init__()
        self._race: threading.Barrier | None = None
        self._expected = 0

    def race(self, runners: int) -> None:
        self._race, self._expected = threading.Barrier(runners, timeout=60), runners

    def load(self, run_id: str) -> RunSnapshot | None:
        snapshot = super().load(run_id)
        with self._lock:
            meets = self._expected > 0
            self._expected -= meets
        if meets and self._race is not None:
            self._race.wait()
        return snapshot


class RunMachine(RuleBasedStateMachine):
    """One run under fire, and then another. What has to hold at the end of a move is checked in it; the rest below."""

    def __init__(self) -> None:
        super().__init__()
        executed.clear()
        self.store = MeetingStore()
        self.runs = 0

    @initialize(script=scripts, limit=limits, mode=modes)
    def begin(self, script: list[Turn], limit: int | None, mode: RunMode) -> None:
        self.runs += 1
        self.given: dict[Key, str] = {}
        self.seen: dict[Key, tuple[CallOutcome | None, object]] = {}
        self.old: list[ToolExecution] = []
        self.model, self.limit = ScriptedModel([*script, "done"]), limit
        try:
            mode.run(self.agent(), "go", run_id=self.run_id)
        except ModelError:
            assert self.status is RunStatus.ERROR

    @precondition(lambda self: self.status in (RunStatus.COMPLETED, RunStatus.CANCELLED))
    @rule(script=scripts, limit=limits, mode=modes)
    def begin_another(self, script: list[Turn], limit: int | None, mode: RunMode) -> None:
        self.begin(script, limit, mode)

    @property
    def run_id(self) -> str:
        return f"run_{self.runs}"

    def agent(self) -> Agent:
        """Return a fresh object each time: all that a run is lies in its store."""
        return Agent(model=self.model, tools=[shell, add, send], db=self.store, tool_call_limit=self.limit)

    @property
    def snapshot(self) -> RunSnapshot:
        snapshot = self.store.load(self.run_id)
        assert snapshot is not None
        return snapshot

    @property
    def status(self) -> RunStatus:
        return self.snapshot.status

    def answer(self, waiting: Sequence[ToolExecution], *, confirms: bool) -> list[RunRequirement]:
        """Give each call an answer of its own, and note it as given."""
        requirements = [RunRequirement(call) for call in waiting]
        for requirement in requirements:
            call = requirement.tool_execution
            if requirement.needs_confirmation:
                requirement.confirm() if confirms else requirement.reject("no")
                self.given[key_of(call)] = "confirmed" if confirms else "rejected"
            else:
                text = f"result of {key_of(call)}"
                requirement.set_external_execution_result(text)
                self.given[key_of(call)] = text
        return requirements

    @precondition(lambda self: self.status is RunStatus.PAUSED)
    @rule(data=st.data(), mode=modes, confirms=st.booleans(), as_tools=st.booleans())
    def bring_some_answers(self, data: st.DataObject, mode: RunMode, confirms: bool, as_tools: bool) -> None:
        waiting = self.snapshot.pending
        earlier = [call for call in self.snapshot.output.tools if call.step < self.snapshot.step]
        number = data.draw(st.integers(1, len(waiting)), label="number of answers")
        chosen = data.draw(st.permutations(waiting), label="order")[:number]
        requirements = self.answer(chosen, confirms=confirms)
        requirements += data.draw(st.lists(st.sampled_from(requirements), max_size=2), label="those that come twice")
        records = [requirement.tool_execution for requirement in requirements]
        try:
            if as_tools:
                mode.continue_run(self.agent(), run_id=self.run_id, updated_tools=[*earlier, *records])
            else:
                mode.continue_run(self.agent(), run_id=self.run_id, requirements=requirements)
        except MissingResultError:
            assert len(chosen) < len(waiting) and self.status is RunStatus.PAUSED
            unanswered = [key_of(call) for call in waiting if call not in chosen]
            assert [key_of(call) for call in self.snapshot.pending] == unanswered
            return
        except ModelError:
            assert self.status is RunStatus.ERROR
        assert len(chosen) == len(waiting)
        self.old = records

    def race(self, mode: RunMode, brought: Sequence[Sequence[ToolExecution]]) -> list[str]:
        """Continue the run from as many threads at the same time, each with what it brings; return how each fared."""
        replies_before, requests_before = self.snapshot.output.metrics.model_calls, len(self.model.requests)

        def attempt(records: Sequence[ToolExecution]) -> str:
            try:
                mode.continue_run(self.agent(), run_id=self.run_id, updated_tools=records)
            except RunAlreadyContinuedError:
                return "lost"
            except MissingResultError:
                return "kept"
            except ModelError:
                return "won"
            return "won"

        self.store.race(len(brought))
        with ThreadPoolExecutor(len(brought)) as pool:
            results = sorted(pool.map(attempt, brought))
        # Who lost called no model: what was asked is what the winner was answered, or failed to be.
        replies = self.snapshot.output.metrics.model_calls - replies_before
        assert len(self.model.requests) - requests_before == replies + (self.status is RunStatus.ERROR)
        self.old = [record for records in brought for record in records]
        return results

    @precondition(lambda self: self.status is RunStatus.PAUSED)
    @rule(mode=modes, threads=st.integers(2, 4))
    def several_threads_bring_all_answers(self, mode: RunMode, threads: int) -> None:
        records = [requirement.tool_execution for requirement in self.answer(self.snapshot.pending, confirms=True)]
        assert self.race(mode, [records] * threads) == ["lost"] * (threads - 1) + ["won"]

    @precondition(lambda self: len(self.snapshot.pending) > 1)
    @rule(mode=modes)
    def several_threads_bring_one_answer_each(self, mode: RunMode) -> None:
        records = [requirement.tool_execution for requirement in self.answer(self.snapshot.pending, confirms=True)]
        assert self.race(mode, [[record] for record in records]) == ["kept"] * (len(records) - 1) + ["won"]

    @precondition(lambda self: self.status is RunStatus.PAUSED)
    @rule(mode=modes)
    def bring_nothing(self, mode: RunMode) -> None:
        before = self.snapshot
        with pytest.raises(MissingResultError):
            mode.continue_run(self.agent(), run_id=self.run_id)
        assert self.snapshot == before

    @precondition(lambda self: self.status is RunStatus.ERROR)
    @rule(mode=modes)
    def continue_after_the_error(self, mode: RunMode) -> None:
        try:
            mode.continue_run(self.agent(), run_id=self.run_id)
        except ModelError:
            assert self.status is RunStatus.ERROR

    @precondition(lambda self: bool(self.old) and self.status in (RunStatus.PAUSED, RunStatus.COMPLETED))
    @rule(mode=modes)
    def bring_old_answers_again(self, mode: RunMode) -> None:
        before = self.snapshot
        with pytest.raises(RunAlreadyContinuedError):
            mode.continue_run(self.agent(), run_id=self.run_id, updated_tools=self.old)
        assert self.snapshot == before

    @precondition(lambda self: self.status in (RunStatus.COMPLETED, RunStatus.CANCELLED))
    @rule(mode=modes)
    def continue_what_is_over(self, mode: RunMode) -> None:
        before = self.snapshot
        with pytest.raises(RunAlreadyContinuedError):
            mode.continue_run(self.agent(), run_id=self.run_id)
        assert self.agent().cancel_run(self.run_id) is before.output.is_cancelled
        assert self.snapshot == before

    @precondition(lambda self: self.status is RunStatus.PAUSED)
    @rule()
    def cancel(self) -> None:
        assert self.agent().cancel_run(self.run_id)
        assert self.status is RunStatus.CANCELLED
        assert all(call.is_settled for call in self.snapshot.calls)

    @invariant()
    def the_stored_form_reads_back_as_the_same_state(self) -> None:
        snapshot = self.snapshot
        assert RunSnapshot.from_json(snapshot.to_json()) == snapshot
        assert snapshot.status is not RunStatus.RUNNING

    @invariant()
    def an_answer_is_never_changed_and_never_lost(self) -> None:
        records = {key_of(call): call for call in self.snapshot.output.tools}
        assert len(records) == len(self.snapshot.output.tools)
        for key, seen in self.seen.items():
            assert (records[key].outcome, records[key].result) == seen
        self.seen = {key: (call.outcome, call.result) for key, call in records.items() if call.is_settled}
        for key, answer in self.given.items():
            call = records[key]
            if call.outcome is CallOutcome.CANCELLED:
                continue
            assert not call.is_paused
            if answer == "rejected":
                assert call.outcome is CallOutcome.DENIED and "They said: no" in str(call.result)
            elif answer != "confirmed":
                assert (call.outcome, call.result) == (CallOutcome.SUCCEEDED, answer)

    @invariant()
    def every_inline_call_is_executed_once(self) -> None:
        expected = {
            f"{self.run_id}:{call.step}:{call.tool_call_id}"
            for call in self.snapshot.output.tools
            if call.tool_name in ("add", "send") and call.outcome is CallOutcome.SUCCEEDED
        }
        assert {key: times for key, times in executed.items() if key.startswith(f"{self.run_id}:")} == dict.fromkeys(
            expected, 1
        )

    @invariant()
    def the_conversation_is_whole(self) -> None:
        output = self.snapshot.output
        said = [message for message in output.messages if message.role == "assistant"]
        assert output.metrics.model_calls == len(said)
        open_step = output.status in (RunStatus.PAUSED, RunStatus.CANCELLED)
        check_conversation(output.messages[:-1] if open_step else output.messages)
        if output.status is RunStatus.COMPLETED:
            assert output.content == "done" and all(call.is_settled for call in output.tools)


RunMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
TestRunMachine = RunMachine.TestCase
