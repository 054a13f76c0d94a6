"""Events of real runs, as they were told, and the records of these runs; see `tests/unit/cli/recorded`."""

from __future__ import annotations

import json
from pathlib import Path

from agent_core.events import RunEvent, event_from_dict
from agent_core.run import RunOutput

_FOLDER = Path(__file__).parents[1] / "unit" / "cli" / "recorded"


def recorded_events(name: str) -> list[RunEvent]:
    """The events of the run, in the order in which a reader got them."""
    lines = (_FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [event_from_dict({"run_id": "run_1", "agent_name": "clerk", **json.loads(line)}) for line in lines]


def recorded_output(name: str) -> RunOutput:
    """The run's output after the last of them."""
    return RunOutput.from_dict(json.loads((_FOLDER / f"{name}.output.json").read_text(encoding="utf-8")))
