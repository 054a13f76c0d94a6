"""The agents of the benchmarks; their model is a server beside them, whose address lies in this project's folder."""

from pathlib import Path

from agent_core.agent import Agent
from agent_core.models.openai import OpenAIChat

from .tools import stamp

_MODEL_URL = (Path(__file__).parents[1] / "model_url").read_text(encoding="utf-8")


def _agent(name: str, *, remembers: bool = False) -> Agent:
    model = OpenAIChat("bench", base_url=_MODEL_URL, api_key="none", max_retries=0)
    return Agent(name=name, model=model, tools=[stamp], add_history_to_context=remembers)


caller = _agent("caller")
rememberer = _agent("rememberer", remembers=True)
