"""What has to hold before a paused run goes on in process: found, waiting, and every call answered.

Never goes on itself; the claim is the loop's first save.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent_core.answers import apply_answers, check_inputs, collect_answers, missing_result
from agent_core.errors import RunAlreadyContinuedError, RunNotFoundError, StaleRunError
from agent_core.requirement import RunRequirement
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.store import RunStore
from agent_core.tools.execution import CallAnswer, ToolExecution
from agent_core.tools.function import Function


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What a caller of `continue_run` brings along."""

    run_response: RunOutput | None = None
    run_id: str | None = None
    updated_tools: Sequence[ToolExecution] | None = None
    requirements: Sequence[RunRequirement] | None = None
    session_id: str | None = None

    def __post_init__(self) -> None:
        if self.run_response is None and self.run_id is None:
            raise TypeError("continue_run() needs the paused run: give run_response, or run_id.")

    def prepare(self, store: RunStore, functions: Mapping[str, Function]) -> tuple[RunSnapshot, dict[str, CallAnswer]]:
        """Return the paused snapshot and the answers that make it whole.

        If answers are missing, those given are kept in the store and `MissingResultError` is raised. Every other
        error leaves the stored run as it was. A run in ERROR needs no answers: what is due is the model's reply.
        """
        while True:
            snapshot = self._find(store)
            _check_waiting(snapshot)
            if snapshot.status is RunStatus.ERROR and not snapshot.pending:
                return snapshot, {}
            answers = collect_answers(snapshot, self._given())
            check_inputs(snapshot.calls, answers, functions)
            missing = [call for call in snapshot.pending if call.tool_call_id not in answers]
            if not missing:
                return snapshot, answers
            apply_answers(snapshot.calls, answers)
            if answers and not _kept(store, snapshot):
                continue  # another caller kept answers of its own meanwhile: put both together
            raise missing_result(snapshot.run_id, missing)

    def _find(self, store: RunStore) -> RunSnapshot:
        run_id = self.run_id or (self.run_response.run_id if self.run_response else "")
        snapshot = store.load(run_id)
        if snapshot is None and self.run_response is not None and self.run_response.is_paused:
            snapshot = RunSnapshot.from_output(self.run_response)
        if snapshot is None:
            raise RunNotFoundError(
                f"Run {run_id!r} is not in the store of this agent. To continue it in another process give both "
                "agents the same store (db=), or pass its output as run_response."
            )
        if self.session_id is not None and self.session_id != snapshot.output.session_id:
            raise RunNotFoundError(f"Run {run_id!r} does not belong to session {self.session_id!r}.")
        return snapshot

    def _given(self) -> list[ToolExecution]:
        given = list(self.updated_tools or ())
        given += [requirement.tool_execution for requirement in self.requirements or ()]
        return given or list(self.run_response.tools if self.run_response else ())


def _kept(store: RunStore, snapshot: RunSnapshot) -> bool:
    try:
        store.save(snapshot, expected_version=snapshot.version)
    except StaleRunError:
        return False
    return True


def _check_waiting(snapshot: RunSnapshot) -> None:
    if snapshot.status in (RunStatus.PAUSED, RunStatus.ERROR):
        return
    reason = {
        RunStatus.PENDING: "has not begun",
        RunStatus.RUNNING: "was continued already and is RUNNING",
    }.get(snapshot.status, f"is {snapshot.status}, which is final; start a new run in its session instead")
    raise RunAlreadyContinuedError(f"Run {snapshot.run_id!r} cannot be continued: it {reason}.")
