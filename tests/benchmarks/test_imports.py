"""What `import agent_core.agent` costs on top of `import openai`, which every program that uses a model pays anyway."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

PROGRAM = """
import time
begun = time.process_time()
import openai
loaded = time.process_time()
import agent_core.agent
print(loaded - begun, time.process_time() - loaded)
"""


def cpu_seconds(bytecode: Path) -> tuple[float, float]:
    # As in an installation, the modules are compiled once and read from their bytecode from then on.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    printed = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True, timeout=60)
    floor, extra = printed.split()
    return float(floor), float(extra)


def test_the_agent_on_top_of_the_sdk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpu_seconds(tmp_path)
    samples = [cpu_seconds(tmp_path) for _ in range(9)]
    with capsys.disabled():
        print(f"\nCPU of imports in {len(samples)} fresh interpreters (median, least to most)")
        for name, column in zip(
            ("import openai", "then import agent_core.agent"), zip(*samples, strict=True), strict=True
        ):
            costs = [seconds * 1000 for seconds in column]
            print(f"  {name:30}{statistics.median(costs):6.0f} ms  ({min(costs):.0f} to {max(costs):.0f})")
