"""Somebody's own project under the same faults: their agents, their tools, their prompts; nothing about it is known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from queues.settings import Settings, load_settings
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.shapes import Shape


class OwnFleet(Fleet):
    """Two agent workers and two tool workers for each pool of the project in `project`, on a server of their own.

    Its model is the endpoint that OPENAI_API_KEY and OPENAI_BASE_URL name, else its `model_script`.
    """

    def __init__(self, folder: Path, project: Path, *, lease_seconds: float) -> None:
        self._project = project
        seats = dict.fromkeys(("agents", *load_settings(project).pools), 2)
        super().__init__(folder, (), seats=seats, lease_seconds=lease_seconds)

    def _settings(self) -> Settings:
        return load_settings(self._project, **self.timing)

    def _model_environment(self) -> dict[str, str]:
        found = {name: os.environ[name] for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL") if name in os.environ}
        if not found and self.settings.model_script_file is not None:
            return self._scripted_model(self.settings.model_script_file)
        return found


def own_shapes(agent: str, prompts: Sequence[str]) -> list[Shape]:
    """One kind of run for each prompt."""
    return [Shape(f"prompt {number}", agent=agent, input=prompt) for number, prompt in enumerate(prompts, start=1)]
