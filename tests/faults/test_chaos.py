"""The chaos experiment in short: everything is killed at random, and no promise is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.chaos import Experiment, carry_out

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.fault]


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_whatever_is_killed(tmp_path: Path) -> None:
    findings = carry_out(Experiment(runs=300, seed=20, kills=75, seconds=500), tmp_path)
    assert findings.is_clean, findings.table()
    assert findings.told["runs"] == 300 and findings.told["executions"] > 300


def test_the_experiment_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tests.faults.chaos", "--help"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=30,
    ).stdout
    assert all(option in shown for option in ("--runs", "--seed", "--minutes", "--kills", "--folder", "Exit code"))
