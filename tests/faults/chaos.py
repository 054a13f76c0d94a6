"""Kill everything at random while runs go on, and count what was lost, doubled or mixed up: it should be nothing.

Starts a server, a scripted model, two agent workers and one or two tool workers for each of three pools, all as real
processes with leases of two seconds; workers are forked from one that has imported everything, so that those that were
killed are back at once. While the runs are worked off it kills agent workers, tool workers, tools in the middle of
their execution, any process of their sandboxes and the server itself with SIGKILL, and freezes workers past their
leases. Tools note each execution in a file outside Redis, which their sandboxes let them write. At the end that file is
held against what Redis says. Prints a table and one line of JSON.

Exit code 0: no promise was broken. 1: one was, or the time was over before all runs had ended.

    python -m tests.faults.chaos --runs 200 --seed 7

With --hosts the store, the agent workers and the tool workers are on three hosts of their own (network namespaces; this
takes root), and hosts are cut off besides: silently, so that nobody is told; unplugged, so that the host notices; or
deaf, so that only answers are lost.

    python -m tests.faults.chaos --runs 60 --seed 7 --hosts

With --project the same is done to your own agents, with your prompts; they must need no person. What their tools do
outside is not known here: that no attempt of a call begins twice is all that is held of them.

    python -m tests.faults.chaos --project ~/support --agent ops --prompt 'What files are there?' --runs 50
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent_core.run import RunStatus
from tests.support.chaos.audit import Findings
from tests.support.chaos.cutter import Cutter
from tests.support.chaos.fleet import Fleet
from tests.support.chaos.hosted import HostedFleet
from tests.support.chaos.load import Load, dice_of, patiently
from tests.support.chaos.own import OwnFleet, own_shapes
from tests.support.chaos.saboteur import Saboteur
from tests.support.chaos.shapes import Shape, one, random_shapes
from tests.support.hosts.places import obstacle
from tests.support.waiting import comes_true

LEASE_SECONDS = 2.0
SEATS = {"agents": 2, "letters": 2, "pages": 1, "scales": 1}
_OPEN_AT_ONCE = 60
_QUIET_SECONDS = 4.0  # if no run ends for that long, the next fault comes all the same
_LET_BE_SECONDS = 90.0  # how long the last runs get once nothing is broken any more
_UNANSWERED = one("ask_person", name="unanswered")


@dataclass(frozen=True)
class Experiment:
    """What to do to how many runs."""

    runs: int
    seed: int
    kills: int
    seconds: float
    cuts: int = 0  # more than none: on three hosts
    project: Path | None = None
    agent: str = ""
    prompts: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one experiment as the command line describes it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="how many runs to submit (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="what chance is drawn from (default: 1)")
    parser.add_argument("--kills", type=int, help="how many faults to spread over the runs (default: one per 4 runs)")
    parser.add_argument("--hosts", action="store_true", help="on three hosts, which are cut off besides")
    parser.add_argument("--cuts", type=int, help="how many cuts, with --hosts (default: one per 6 runs, at least one)")
    parser.add_argument("--minutes", type=float, default=10.0, help="give up after this long (default: 10)")
    parser.add_argument("--folder", type=Path, help="keep the ledger, the server's data and all output there")
    parser.add_argument("--project", type=Path, help="break the project in this folder instead of the one for tests")
    parser.add_argument("--agent", default="", help="which of its agents to submit to")
    parser.add_argument("--prompt", action="append", default=[], help="what to ask it; may be given several times")
    given = parser.parse_args(arguments)
    if given.project and not (given.agent and given.prompt):
        parser.error("--project needs --agent and at least one --prompt")
    if given.project and given.hosts:
        parser.error("--hosts breaks the project for tests only; leave --project out")
    if given.hosts and (reason := obstacle()) is not None:
        parser.error(reason)
    kills = given.runs // 4 if given.kills is None else given.kills
    cuts = max(1, given.runs // 6 if given.cuts is None else given.cuts) if given.hosts else 0
    experiment = Experiment(runs=given.runs, seed=given.seed, kills=kills, cuts=cuts, seconds=given.minutes * 60,
                            project=given.project and given.project.resolve(), agent=given.agent,
                            prompts=tuple(given.prompt))  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="errandry-chaos-") as temporary:
        findings = carry_out(experiment, given.folder or Path(temporary))
    print(findings.table())
    print(json.dumps({"seed": experiment.seed, **json.loads(findings.to_json())}, sort_keys=True))
    return 0 if findings.is_clean else 1


def carry_out(experiment: Experiment, folder: Path) -> Findings:
    """Start a fleet in `folder`, break it as often as asked for, and look at what came of the runs."""
    began = time.monotonic()
    shapes = own_shapes(experiment.agent, experiment.prompts) or random_shapes(experiment.seed)
    with _fleet(experiment, folder, shapes) as fleet:
        load, dice = Load(fleet), dice_of(experiment.seed)
        saboteur, faults = _saboteur(experiment, fleet, dice), experiment.kills + experiment.cuts
        deadline = began + experiment.seconds
        struck_at, ended = began, 0
        while (len(load.runs) < experiment.runs or load.open) and time.monotonic() < deadline:
            saboteur.mend()
            if len(load.runs) < experiment.runs and len(load.open) < _OPEN_AT_ONCE and fleet.server.is_alive:
                _submit_one(load, experiment, dice.random(), dice.choice(shapes))
            else:
                time.sleep(0.03)
            load.try_to_look()
            now, ended = time.monotonic(), len(load.runs) - len(load.open)
            wanted = faults * ended / experiment.runs
            if saboteur.struck < faults and (saboteur.struck < wanted or now - struck_at > _QUIET_SECONDS):
                saboteur.strike()
                struck_at = now
        saboteur.relent()
        relented = time.monotonic()
        load.settle_down(
            timeout_seconds=min(_LET_BE_SECONDS, max(1.0, deadline - time.monotonic())), each=saboteur.mend
        )
        let_be_seconds = time.monotonic() - relented
        findings = load.audit()
        findings.told.update(saboteur.done)
        findings.told["seconds until all had ended, once nothing was broken any more"] = round(let_be_seconds)
        load.close()
    _count_processes_left(fleet, findings)
    findings.told["seconds"] = round(time.monotonic() - began)
    return findings


def _fleet(experiment: Experiment, folder: Path, shapes: Sequence[Shape]) -> Fleet:
    if experiment.project is not None:
        return OwnFleet(folder, experiment.project, lease_seconds=LEASE_SECONDS)
    fleet = HostedFleet if experiment.cuts else Fleet
    return fleet(folder, [*shapes, _UNANSWERED], seats=SEATS, lease_seconds=LEASE_SECONDS)


def _saboteur(experiment: Experiment, fleet: Fleet, dice: random.Random) -> Saboteur:
    if not isinstance(fleet, HostedFleet):
        return Saboteur(fleet, dice, lease_seconds=LEASE_SECONDS)
    share = experiment.cuts / (experiment.cuts + experiment.kills)
    return Cutter(fleet, dice, lease_seconds=LEASE_SECONDS, share=share)


def _submit_one(load: Load, experiment: Experiment, chance: float, shape: Shape) -> None:
    name = f"s{experiment.seed}r{len(load.runs)}"
    if shape.input is not None:
        load.submit(shape, name, end=None)
    elif chance < 0.04:
        load.submit(_UNANSWERED, name, end=RunStatus.ERROR, deadline_seconds=1.0)
    elif chance < 0.10:
        run = load.submit(shape, name, end=None)
        patiently(lambda: load.fleet.client.cancel(run.run_id, "chaos"))
    else:
        load.submit(shape, name, deadline_seconds=3600 if chance < 0.2 else None)


def _count_processes_left(fleet: Fleet, findings: Findings) -> None:
    if comes_true(lambda: not fleet.leftovers(), timeout_seconds=30):
        return
    for pid in fleet.leftovers():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            command = "(gone since)"
        findings.broke("processes_left", f"{pid} {command}")


if __name__ == "__main__":
    sys.exit(main())
