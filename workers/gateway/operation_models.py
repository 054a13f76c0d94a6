"""What operators are told over HTTP: agents, pools, dead letters, health."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from queues.dead_letters import DeadLetter


class AgentNames(BaseModel):
    """The agents that agent workers announce just now."""

    agents: list[str]


class PoolWorker(BaseModel):
    """A tool worker that is there: its level of sandbox, how many calls at once, and what the level leaves open."""

    model_config = ConfigDict(from_attributes=True)

    worker: str
    level: str
    concurrency: int
    gaps: list[str]


class PoolView(BaseModel):
    """A pool: its tools, the workers that are there, and how many calls wait in each of its queues."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    tools: list[str]
    concurrency: int
    workers: list[PoolWorker]
    waiting: dict[str, int]


class PoolList(BaseModel):
    """The pools whose tools agent workers have told of lately."""

    pools: list[PoolView]


class DeadLetterList(BaseModel):
    """What was buried, the newest first."""

    dead_letters: list[DeadLetter]


class Requeued(BaseModel):
    """What became of a dead letter."""

    id: str
    requeued: bool = Field(
        description="False if the run of a call has ended meanwhile; the letter is gone all the same."
    )


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The gateway takes requests, and its store answers."""

    status: Literal["ready"] = "ready"
    agents_announced: int = Field(description="How many agents are on offer; runs are stored and wait if it is 0.")
