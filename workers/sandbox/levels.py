"""What makes a level: how its zygotes are started, which steps each call takes, and what the self-test must find.

It never starts anything; `opening` chooses one, and what is expected here is tried out before a call is trusted to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from workers.sandbox.base import SandboxLevel
from workers.sandbox.confinement import Plan

# In this order: what needs a right comes before the step that gives it up.
_NS_STEPS = (
    "die_with_parent",
    "own_session",
    "namespaces",
    "scratch",
    "workspace",
    "fresh_proc",
    "own_user",
    "way_out",
    "first_to_go",
    "no_proc",
    "own_descriptors",
    "resources",
    "no_capabilities",
    "no_new_privileges",
    "only_these_files",
    "filtered",
)


def ns_steps(*, proc: str, way_out: bool, landlock: bool) -> tuple[str, ...]:
    """The steps of level ns, with a /proc of the call's own or none, a way to the network or none, Landlock or not."""
    left_out = {"fresh_proc" if proc == "none" else "no_proc"}
    left_out |= {name for name, wanted in (("way_out", way_out), ("only_these_files", landlock)) if not wanted}
    return tuple(step for step in _NS_STEPS if step not in left_out)


@dataclass(frozen=True)
class Grants:
    """What Landlock leaves to a call: the paths below which it may read, only list, or write as well."""

    read: tuple[str, ...]
    listed: tuple[str, ...]
    write: tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """A kind of wall. `outer` gives the words that put a zygote's command behind its outer wall, asked at each start.

    `expected` are the answers that `looking` must bring back; `detail` is reported with each result, and so are the
    `gaps`, what this level leaves open, in words. `grants` are asked at each start as well.
    """

    name: SandboxLevel
    outer: Callable[[Sequence[str]], list[str]]
    plan: Plan
    expected: Mapping[str, object] = field(default_factory=dict)
    detail: Mapping[str, JsonValue] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    grants: Callable[[], Grants] | None = None

    def renewed(self) -> Plan:
        """The plan for a zygote that is started now, with the files as they are now."""
        if self.grants is None:
            return self.plan
        granted = self.grants()
        return replace(self.plan, read=granted.read, listed=granted.listed, write=granted.write)


def expected_of_ns(*, network: bool, proc: str, init: bool) -> dict[str, object]:
    """What a call at level ns must find: nothing of this machine, and only its own scratch to write to."""
    processes = [1, 2] if init else [1]
    return {
        "python": True,
        "capabilities": [0] * 4,
        "bounding": 0,
        "no_new_privs": True,
        "filtered": True,
        "threads": 1,
        "canary": False,
        "project": True,
        "project_writable": False,
        "host_root": False,
        "system_writable": False,
        "scratch": True,
        "network": network,
        "supervisor": False,
        "stranger": init,  # its own first process, if it is not that itself
        "namespaces": False,
        "mounts": False,
        "memory": False,
        "processes": processes if proc == "fresh" else [],
        "descriptors": [0, 1, 2, 4],
    }
