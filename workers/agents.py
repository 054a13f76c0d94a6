"""Loads the agents of a project and finds each external tool's pool; starts no process and calls no model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from agent_core.agent import Agent
from agent_core.errors import ImportStringError
from agent_core.registry import functions_of, load_object
from agent_core.tools.function import Function
from agent_core.tools.toolkit import Toolkit
from queues.errors import SettingsError, UnknownPoolError
from queues.offers import ToolOffer
from queues.parts import Routing
from queues.settings import PoolSettings, Settings

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Project:
    """The agents of a project by name, where their external tools execute, and all tools that pools execute."""

    agents: Mapping[str, Agent]
    routing: Routing
    offers: Mapping[str, ToolOffer] = field(default_factory=dict)


def load_project(settings: Settings) -> Project:
    """What `errandry.toml` lists; an agent's name is its own, else that of the variable that holds it.

    Raises SettingsError for an empty list, two agents of one name, a name unfit for a task, an import string that
    leads to no Agent, or a tool that a pool lists and that is not external; UnknownPoolError for a tool that names a
    pool nobody declared.
    """
    if not settings.agents:
        raise SettingsError('no agent is listed; add agents = ["package.module:agent"] to errandry.toml')
    offers = _listed_tools(settings)
    listed = {name: offer.pool for name, offer in offers.items()}
    agents: dict[str, Agent] = {}
    pools: dict[str, str] = {}
    for source in settings.agents:
        name, agent = _load_agent(source)
        if name in agents:
            raise SettingsError(f'agents: two agents are named {name!r}; give "{source}" another name=')
        agents[name] = agent
        for function in agent.functions().values():
            pool = _pool_of(function, name, listed, settings)
            if pool is not None:
                pools[function.name] = pool
                offers[function.name] = _offer(pool, settings.pools[pool], function)
    patience = {pool: described.queue_seconds for pool, described in settings.pools.items()}
    queue_seconds = {pool: seconds for pool, seconds in patience.items() if seconds is not None}
    approvals = {pool: described.approval_seconds for pool, described in settings.pools.items() if described.approval}
    routing = Routing(pools=pools, queue_seconds=queue_seconds, approvals=approvals)
    return Project(agents=agents, routing=routing, offers=offers)


def _load_agent(source: str) -> tuple[str, Agent]:
    agent = load_object(source)
    if not isinstance(agent, Agent):
        raise SettingsError(f'agents: "{source}" is a {type(agent).__name__}, not an Agent; name an Agent object')
    # An agent that was given no name bears the default one; two of those would be one task.
    name = source.rpartition(":")[2] if agent.name == "agent" else agent.name
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f'agents: "{source}" is named {name!r}; use letters, digits, "_", "-" and ".", since it names a task'
        )
    return name, agent


def _listed_tools(settings: Settings) -> dict[str, ToolOffer]:
    offers: dict[str, ToolOffer] = {}
    for pool, described in settings.pools.items():
        for source in described.tools:
            for name, function in _tools(source).items():
                offer = offers.setdefault(name, _offer(pool, described, function))
                if offer.pool != pool:
                    raise SettingsError(f"tool {name!r} is in the pools {offer.pool!r} and {pool!r}; keep it in one")
    return offers


def _offer(pool: str, described: PoolSettings, function: Function | None) -> ToolOffer:
    """What producers are told of a tool; of one that only its pool can import, the pool's own rules alone."""
    offer = ToolOffer(pool, queue_seconds=described.queue_seconds, approval=described.approval)
    if function is None:
        return offer
    return replace(
        offer,
        timeout_seconds=function.timeout_seconds,
        max_attempts=function.max_attempts,
        backoff_seconds=function.backoff_seconds,
        on_lost=function.on_lost,
    )


def _tools(source: str) -> dict[str, Function | None]:
    """The tools behind an import string, by name; of a toolkit those that the agent leaves to others.

    A module that exists only where its pool runs cannot be imported here; then the name after the colon counts.
    """
    try:
        found = load_object(source)
        functions = functions_of(found, source)
    except ImportStringError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        return {source.rpartition(":")[2]: None}
    is_toolkit = isinstance(found, Toolkit) or (isinstance(found, type) and issubclass(found, Toolkit))
    return {function.name: function for function in functions if function.external_execution or not is_toolkit}


def _pool_of(function: Function, agent: str, listed: Mapping[str, str], settings: Settings) -> str | None:
    if not function.external_execution:
        if function.name in listed:
            raise SettingsError(
                f"tool {function.name!r} is listed in pool {listed[function.name]!r}, but agent {agent!r} would run it "
                "itself; mark it @tool(external_execution=True), or take it out of the pool"
            )
        return None
    if function.pool is None:
        return listed.get(function.name)
    if function.pool not in settings.pools:
        raise UnknownPoolError(
            f"tool {function.name!r} of agent {agent!r} names pool {function.pool!r}, and errandry.toml has "
            f"{', '.join(sorted(settings.pools)) or 'no pools'}; add [pools.{function.pool}] to it"
        )
    if listed.get(function.name, function.pool) != function.pool:
        raise SettingsError(
            f"tool {function.name!r} of agent {agent!r} names pool {function.pool!r}, but errandry.toml lists "
            f"it in pool {listed[function.name]!r}; make both the same"
        )
    return function.pool
