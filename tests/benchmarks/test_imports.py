"""What imports cost: of the agent on top of `import openai`, which every program that uses a model pays anyway, and of
the client, which loads what it needs when it is made.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

AGENT = """
import time
begun = time.process_time()
import openai
loaded = time.process_time()
import agent_core.agent
print(loaded - begun, time.process_time() - loaded)
"""

CLIENT = """
import time
begun = time.process_time()
import queues.client
imported = time.process_time()
queues.client.Client("redis://localhost")
made = time.process_time()
import openai
print(imported - begun, made - imported, time.process_time() - made)
"""


def cpu_seconds(bytecode: Path, program: str) -> tuple[float, ...]:
    # As in an installation, the modules are compiled once and read from their bytecode from then on.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    printed = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True, timeout=60)
    return tuple(float(seconds) for seconds in printed.split())


def test_the_agent_on_top_of_the_sdk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpu_seconds(tmp_path, AGENT)
    samples = [cpu_seconds(tmp_path, AGENT) for _ in range(9)]
    with capsys.disabled():
        print(f"\nCPU of imports in {len(samples)} fresh interpreters (median, least to most)")
        for name, column in zip(
            ("import openai", "then import agent_core.agent"), zip(*samples, strict=True), strict=True
        ):
            costs = [seconds * 1000 for seconds in column]
            print(f"  {name:30}{statistics.median(costs):6.0f} ms  ({min(costs):.0f} to {max(costs):.0f})")


def test_the_client_against_the_sdk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cpu_seconds(tmp_path, CLIENT)
    samples = [cpu_seconds(tmp_path, CLIENT) for _ in range(20)]
    with capsys.disabled():
        print(f"\nCPU of imports in {len(samples)} fresh interpreters (median, least to most; share of the SDK's)")
        for name, column in zip(
            ("import queues.client", "then Client(url)", "then import openai"), zip(*samples, strict=True), strict=True
        ):
            costs = [seconds * 1000 for seconds in column]
            share = statistics.median(cost / sample[2] for cost, sample in zip(column, samples, strict=True))
            print(
                f"  {name:30}{statistics.median(costs):6.0f} ms  ({min(costs):.0f} to {max(costs):.0f}; {share:.2f}x)"
            )
