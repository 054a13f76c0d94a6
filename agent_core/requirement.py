"""`RunRequirement`: one thing that a paused run waits for, with the verbs to give it.

Never holds a state of its own: what it is given is written on the `ToolExecution`, so both ways to answer agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from agent_core.tools.execution import ToolExecution, UserInputField


@dataclass(frozen=True)
class RunRequirement:
    """Say yes or no, give the input, or give the result; the wrong verb for the call is a `ValueError`."""

    tool_execution: ToolExecution

    @property
    def needs_external_execution(self) -> bool:
        """Whether the result of an external tool is outstanding."""
        return self.tool_execution.external_execution_required and self.tool_execution.is_paused

    @property
    def needs_confirmation(self) -> bool:
        """Whether a yes or no is outstanding."""
        return self.tool_execution.requires_confirmation and self.tool_execution.is_paused

    @property
    def needs_user_input(self) -> bool:
        """Whether arguments from a person are outstanding."""
        return self.tool_execution.requires_user_input and self.tool_execution.is_paused

    @property
    def user_input_schema(self) -> list[UserInputField]:
        """Return the fields that a person has to give."""
        return self.tool_execution.user_input_schema or []

    def is_resolved(self) -> bool:
        """Return whether nothing is outstanding (any more)."""
        return not self.tool_execution.is_paused

    def confirm(self) -> None:
        """Say yes: the call is executed when the run continues."""
        self._expect(self.tool_execution.requires_confirmation, "confirm()")
        self.tool_execution.confirmed = True

    def reject(self, note: str | None = None) -> None:
        """Say no: the model is told so, with the note."""
        self._expect(self.tool_execution.requires_confirmation, "reject()")
        self.tool_execution.confirmed = False
        self.tool_execution.confirmation_note = note

    def provide_user_input(self, values: Mapping[str, JsonValue]) -> None:
        """Give the fields; an unknown name, or a required one left out, is a `ValueError`."""
        self._expect(self.tool_execution.requires_user_input, "provide_user_input()")
        fields = {entry.name: entry for entry in self.user_input_schema}
        unknown = [name for name in values if name not in fields]
        lacking = [name for name, entry in fields.items() if entry.required and name not in values]
        if unknown or lacking:
            fault = f"has no field {unknown[0]!r}" if unknown else f"needs the field {lacking[0]!r}"
            raise ValueError(f"Tool {self.tool_execution.tool_name!r} {fault}; its fields are {', '.join(fields)}.")
        for name, value in values.items():
            fields[name].value = value
        self.tool_execution.answered = True

    def set_external_execution_result(self, result: object) -> None:
        """Give the result of an external tool: a `str`, a JSON-able value or a pydantic model."""
        self._expect(self.tool_execution.external_execution_required, "set_external_execution_result()")
        self.tool_execution.result = result

    def _expect(self, fits: bool, verb: str) -> None:
        if not fits:
            raise ValueError(
                f"{verb} does not fit the call of {self.tool_execution.tool_name!r}: see its needs_… flags."
            )
