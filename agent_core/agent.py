"""`Agent`: a model, instructions and tools, and the ways to run them.

Never keeps anything of a run on itself: one agent serves many threads, and what a run is lies in its store.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, Unpack, overload

from pydantic import BaseModel, JsonValue

from agent_core.cancelling import cancel_run
from agent_core.continuing import Continuation
from agent_core.drive import Driver, Journal, StoreJournal
from agent_core.events import RunEvent
from agent_core.inline import InlineTools
from agent_core.loop import RunLoop
from agent_core.models.base import Model
from agent_core.prompt import system_prompt
from agent_core.run import RunOutput, RunSnapshot, RunStatus
from agent_core.run_settings import ContinueSettings, RunSettings, refuse_unknown
from agent_core.spec import AgentSpec
from agent_core.store import InMemoryRunStore, RunStore, may_block
from agent_core.stretch import Prepare, Stretch
from agent_core.tools.execution import CallAnswer, as_text
from agent_core.tools.function import Function
from agent_core.tools.toolkit import Toolkit, as_function, unique_functions
from agent_core.utils.pprint import pprint_run_response

Stream = Iterator[RunEvent | RunOutput]
AsyncStream = AsyncIterator[RunEvent | RunOutput]


class Agent:
    """Runs a model with tools. Without `db` its runs live in this process, the newest thousand of them."""

    def __init__(
        self,
        *,
        model: Model,
        name: str | None = None,
        id: str | None = None,
        tools: Sequence[Function | Toolkit | Callable[..., object]] | None = None,
        instructions: str | Sequence[str] | None = None,
        description: str | None = None,
        markdown: bool = False,
        db: RunStore | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        tool_call_limit: int | None = None,
        output_schema: type[BaseModel] | None = None,
        retries: int = 0,
        retry_delay_seconds: float = 1.0,
        add_history_to_context: bool = False,
        num_history_runs: int = 3,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> None:
        entries = [entry if isinstance(entry, Toolkit) else as_function(entry) for entry in tools or ()]
        unfolded = [f for e in entries for f in (e.functions.values() if isinstance(e, Toolkit) else (e,))]
        self.name = name or id or "agent"
        self.id = id or self.name
        self.model = model
        self.db: RunStore = InMemoryRunStore() if db is None else db
        self.markdown = markdown
        self._defaults = RunSettings(
            session_id=session_id, user_id=user_id, metadata=metadata or {}, output_schema=output_schema
        )
        self._spec = AgentSpec(
            name=self.name,
            id=self.id,
            model_id=model.id,
            functions=unique_functions(unfolded, owner=f"Agent {self.name!r}"),
            system_prompt=system_prompt(
                description=description, instructions=instructions, markdown=markdown, tools=entries
            ),
            tool_call_limit=tool_call_limit,
            retries=retries,
            retry_delay_seconds=retry_delay_seconds,
            add_history_to_context=add_history_to_context,
            num_history_runs=num_history_runs,
        )
        self._remember_schema(output_schema)

    def functions(self) -> dict[str, Function]:
        """Return the tools by name, toolkits unfolded."""
        return dict(self._spec.functions)

    def advance(
        self,
        snapshot: RunSnapshot,
        *,
        answers: Mapping[str, CallAnswer],
        journal: Journal,
        stream: bool = False,
    ) -> Iterator[RunEvent]:
        """Carry a run one stretch further: to its next pause, or to its end.

        A PENDING run is started; any other goes on with the answers (by tool call id) of the step under way. All saves
        go through the journal, the last one with the final status; a model's error ends in a saved ERROR, not in an
        exception. `StaleRunError` from the journal is passed on: somebody else has the run. With `stream` the text is
        told as the model says it; a reply that breaks off is asked for again, and `RunContinued.voids_text` says so.
        """
        if snapshot.status is RunStatus.PENDING and snapshot.response_schema is None:
            snapshot.response_schema = self._remember_schema(self._defaults["output_schema"])
        loop = RunLoop(self._spec, snapshot, answers=answers, may_void=True)
        return self._driver(journal, stream=stream).drive(loop)

    @overload
    def run(self, input: object, *, stream: Literal[False] = False, **settings: Unpack[RunSettings]) -> RunOutput: ...

    @overload
    def run(
        self,
        input: object,
        *,
        stream: Literal[True],
        stream_events: bool = ...,
        yield_run_output: bool = ...,
        **settings: Unpack[RunSettings],
    ) -> Stream: ...

    def run(
        self,
        input: object,
        *,
        stream: bool = False,
        stream_events: bool = False,
        yield_run_output: bool = False,
        **settings: Unpack[RunSettings],
    ) -> RunOutput | Stream:
        """Run the agent on `input` (text, a pydantic model, or JSON-able) until it is done or paused.

        `ModelError` if the model fails; the run is kept and can be continued. With `stream=True` events come as they
        happen: text, pauses and bad ends; all of them with `stream_events`; the output last with `yield_run_output`.
        """
        stretch = self._begin(input, settings, stream=stream)
        if stream:
            return stretch.tell(all_events=stream_events, output=yield_run_output)
        return stretch.finish()

    @overload
    def arun(
        self, input: object, *, stream: Literal[False] = False, **settings: Unpack[RunSettings]
    ) -> Coroutine[object, object, RunOutput]: ...

    @overload
    def arun(
        self,
        input: object,
        *,
        stream: Literal[True],
        stream_events: bool = ...,
        yield_run_output: bool = ...,
        **settings: Unpack[RunSettings],
    ) -> AsyncStream: ...

    def arun(
        self,
        input: object,
        *,
        stream: bool = False,
        stream_events: bool = False,
        yield_run_output: bool = False,
        **settings: Unpack[RunSettings],
    ) -> Coroutine[object, object, RunOutput] | AsyncStream:
        """Do as `run`: to be awaited, or with `stream=True` to be iterated with `async for`."""
        stretch = self._begin(input, settings, stream=stream)
        if stream:
            return stretch.atell(all_events=stream_events, output=yield_run_output)
        return stretch.afinish()

    @overload
    def continue_run(
        self,
        run_response: RunOutput | None = None,
        *,
        stream: Literal[False] = False,
        **settings: Unpack[ContinueSettings],
    ) -> RunOutput: ...

    @overload
    def continue_run(
        self,
        run_response: RunOutput | None = None,
        *,
        stream: Literal[True],
        stream_events: bool = ...,
        yield_run_output: bool = ...,
        **settings: Unpack[ContinueSettings],
    ) -> Stream: ...

    def continue_run(
        self,
        run_response: RunOutput | None = None,
        *,
        stream: bool = False,
        stream_events: bool = False,
        yield_run_output: bool = False,
        **settings: Unpack[ContinueSettings],
    ) -> RunOutput | Stream:
        """Continue a paused run with the answers to its calls, or a run that ended in a model's error.

        Exactly one of simultaneous continues wins; `RunAlreadyContinuedError` for the others and for finished runs,
        `MissingResultError` while an answer is missing, `TypeError` for a result that is no JSON. After an error the
        run stands where it stood, with the answers that were given kept.
        """
        stretch = self._resume(run_response, settings, stream=stream)
        if stream:
            return stretch.tell(all_events=stream_events, output=yield_run_output)
        return stretch.finish()

    @overload
    def acontinue_run(
        self,
        run_response: RunOutput | None = None,
        *,
        stream: Literal[False] = False,
        **settings: Unpack[ContinueSettings],
    ) -> Coroutine[object, object, RunOutput]: ...

    @overload
    def acontinue_run(
        self,
        run_response: RunOutput | None = None,
        *,
        stream: Literal[True],
        stream_events: bool = ...,
        yield_run_output: bool = ...,
        **settings: Unpack[ContinueSettings],
    ) -> AsyncStream: ...

    def acontinue_run(
        self,
        run_response: RunOutput | None = None,
        *,
        stream: bool = False,
        stream_events: bool = False,
        yield_run_output: bool = False,
        **settings: Unpack[ContinueSettings],
    ) -> Coroutine[object, object, RunOutput] | AsyncStream:
        """Do as `continue_run`: to be awaited, or with `stream=True` to be iterated with `async for`."""
        stretch = self._resume(run_response, settings, stream=stream)
        if stream:
            return stretch.atell(all_events=stream_events, output=yield_run_output)
        return stretch.afinish()

    def cancel_run(self, run_id: str) -> bool:
        """Cancel the run: one that is paused at once, one that is running before its next step. False if it is over."""
        return cancel_run(self.db, run_id)

    def get_run_output(self, run_id: str) -> RunOutput | None:
        """Return what has come of the run so far, as stored; None if the store does not hold it."""
        snapshot = self.db.load(run_id)
        return None if snapshot is None else snapshot.output

    def print_response(self, input: object, *, stream: bool = False, **settings: Unpack[RunSettings]) -> None:
        """Run the agent and print what comes of it."""
        response = self.run(input, stream=True, **settings) if stream else self.run(input, **settings)
        pprint_run_response(response, markdown=self.markdown)

    def _begin(self, input: object, settings: RunSettings, *, stream: bool) -> Stretch:
        refuse_unknown("run", settings, RunSettings)
        chosen: RunSettings = {**self._defaults, **{k: v for k, v in settings.items() if v is not None}}  # type: ignore[typeddict-item]
        snapshot = RunSnapshot.create(
            agent_name=self.name,
            input=as_text(input, what="The input of the run"),
            run_id=chosen.get("run_id"),
            session_id=chosen["session_id"],
            user_id=chosen["user_id"],
            metadata={**(self._defaults["metadata"] or {}), **(chosen["metadata"] or {})},
        )
        snapshot.response_schema = self._remember_schema(chosen["output_schema"])
        return self._stretch(lambda: (snapshot, {}), stream=stream)

    def _resume(self, run_response: RunOutput | None, settings: ContinueSettings, *, stream: bool) -> Stretch:
        refuse_unknown("continue_run", settings, ContinueSettings)
        continuation = Continuation(run_response=run_response, **settings)
        return self._stretch(partial(continuation.prepare, self.db, self._spec.functions), stream=stream)

    def _stretch(self, prepare: Prepare, *, stream: bool) -> Stretch:
        driver = self._driver(StoreJournal(self.db), stream=stream)
        return Stretch(spec=self._spec, driver=driver, store=self.db, prepare=prepare)

    def _driver(self, journal: Journal, *, stream: bool) -> Driver:
        tools = InlineTools(functions=self._spec.functions, agent=self)
        return Driver(model=self.model, tools=tools, journal=journal, stream=stream, blocks=may_block(self.db))

    def _remember_schema(self, output_class: type[BaseModel] | None) -> dict[str, JsonValue] | None:
        return None if output_class is None else self._spec.response_schema(output_class)
