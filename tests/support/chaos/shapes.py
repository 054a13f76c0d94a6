"""What a run of the chaos project does, step by step, and the script by which its model asks for just that."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass

# How often a call may be executed at all: its tool's attempts.
ATTEMPTS = {"write_letter": 1, "weigh": 1, "jot": 1, "trip": 2, "fetch_page": 5, "ask_person": 0}

_WEIGHTS = {"write_letter": 6, "fetch_page": 6, "weigh": 4, "trip": 2, "jot": 2, "ask_person": 1}
_SECONDS = (0.0, 0.0, 0.1, 0.4)


@dataclass(frozen=True)
class Asked:
    """One tool call that the model will ask for."""

    tool: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Shape:
    """The steps of a run, each a batch of calls; `fault` is how the model behaves at its first turn.

    With an `input` it is a run of somebody's own agent, of which nobody knows what it will ask for.
    """

    name: str
    steps: tuple[tuple[Asked, ...], ...] = ()
    fault: str | None = None
    agent: str = "chaotic"
    input: str | None = None

    @property
    def asks_people(self) -> bool:
        return any(call.tool == "ask_person" for batch in self.steps for call in batch)

    def prompt(self, run: str) -> str:
        """What to submit, so that the model asks for this shape on behalf of `run`."""
        return f"{self.name} for {run}" if self.input is None else self.input


def word_of(run: str, step: int, place: int) -> str:
    """The argument of one call; no two calls of all runs have the same. Steps and places count from 1."""
    return f"{run}/{step}/{place}"


def one(tool: str, *, seconds: float = 0.0, fault: str | None = None, name: str = "") -> Shape:
    """A run of a single call."""
    return Shape(name or tool, ((Asked(tool, seconds),),), fault)


def random_shapes(seed: int, *, count: int = 30) -> list[Shape]:
    """Runs of one or two steps, each with one to five calls, over all pools."""
    dice = random.Random(seed)
    return [Shape(f"random-{seed}-{number}", _random_steps(dice)) for number in range(count)]


def _random_steps(dice: random.Random) -> tuple[tuple[Asked, ...], ...]:
    tools, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    return tuple(
        tuple(
            Asked(tool, 0.0 if tool == "ask_person" else dice.choice(_SECONDS))
            for tool in dice.choices(tools, weights, k=dice.choice((1, 1, 2, 2, 3, 5)))
        )
        for _ in range(dice.choice((1, 1, 2)))
    )


def script_of(shapes: Iterable[Shape]) -> str:
    """The model's script, as TOML: one rule per shape and turn."""
    return "\n".join(rule for shape in shapes for rule in _rules(shape))


def _rules(shape: Shape) -> list[str]:
    match = json.dumps(rf"^{shape.name} for (?P<run>\S+)$")
    rules = []
    for turn, batch in enumerate(shape.steps):
        calls = ", ".join(_call(call, turn + 1, place) for place, call in enumerate(batch, start=1))
        rules.append(f"[[rules]]\nmatch = {match}\nturn = {turn}\ncalls = [{calls}]")
    rules.append(f'[[rules]]\nmatch = {match}\nturn = {len(shape.steps)}\ntext = "done {{run}}: {{results}}"')
    if shape.fault is not None:
        rules[0] += f"\nfault = {json.dumps(shape.fault)}"
    return rules


def _call(call: Asked, step: int, place: int) -> str:
    word = json.dumps(word_of("{run}", step, place))
    return f'{{ tool = "{call.tool}", arguments = {{ word = {word}, seconds = {call.seconds} }} }}'
