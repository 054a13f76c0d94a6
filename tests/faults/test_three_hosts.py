"""The chaos experiment on three hosts in short: hosts are cut off besides, and no promise is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.chaos import Experiment, carry_out
from tests.support.hosts.places import obstacle

_OBSTACLE = obstacle()
pytestmark = [
    *(pytest.mark.redis, pytest.mark.slow, pytest.mark.fault),
    pytest.mark.skipif(_OBSTACLE is not None, reason=_OBSTACLE or ""),
]


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_whatever_is_cut_off(tmp_path: Path) -> None:
    findings = carry_out(Experiment(runs=30, seed=21, kills=6, cuts=5, seconds=500), tmp_path)
    assert findings.is_clean, findings.table()
    assert findings.told["runs"] == 30 and findings.told["executions"] > 30
    assert sum(count for what, count in findings.told.items() if what.startswith("cuts that were")) >= 3
