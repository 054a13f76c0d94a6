"""The walls that this machine can put up, each with the user that the worker runs as; tried once each.

It never falls back: a wall that cannot be had is skipped with the machine's own words.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.support.backends import skip_if_the_machine_is_to_blame
from tests.support.container_image import engine_with_image
from tests.support.hostile.campaign import report
from tests.support.ordinary_user import run_as_ordinary_user

CAMPAIGN_SECONDS = 500
_SCRIPT = (
    "import json, sys\nfrom tests.support.hostile.campaign import report\n"
    "print(json.dumps(report(json.loads(sys.argv[1]), timeout_seconds=float(sys.argv[2]))))"
)


@dataclass(frozen=True)
class Wall:
    """A backend, the level that it is to have, and whether the worker gives root up before it starts."""

    backend: str
    level: str
    ordinary: bool = False
    only: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For the list of tests."""
        return f"{self.backend}{'-ordinary' if self.ordinary else ''}"


@cache
def campaign(wall: Wall) -> dict[str, dict[str, Any]]:
    """What came of each payload behind the wall, by name; "" is the wall itself."""
    plan = {"backend": wall.backend, "only": list(wall.only)}
    if wall.ordinary and os.geteuid() == 0:
        lines = run_as_ordinary_user(
            _SCRIPT, json.dumps(plan), str(CAMPAIGN_SECONDS), timeout_seconds=CAMPAIGN_SECONDS + 30
        )
    else:
        lines = report(plan, timeout_seconds=CAMPAIGN_SECONDS)
    return {line.get("name", ""): line for line in lines}


def seen(wall: Wall, name: str) -> dict[str, Any]:
    """What came of one payload; skips the test if the wall cannot be had here."""
    if wall.backend == "container":
        engine_with_image()
    everything = campaign(wall)
    if "unavailable" in everything[""]:
        skip_if_the_machine_is_to_blame(wall.backend, everything[""]["unavailable"])
        raise AssertionError(everything[""]["unavailable"])
    return everything[name]
