"""What the child's side brings along."""

import json
import subprocess
import sys

from tests.support.sandboxes import ROOT


def test_the_runner_imports_no_model_no_agent_and_no_store() -> None:
    script = "import json, sys, workers.sandbox.runner; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)

    assert "workers.sandbox.runner" in modules
    forbidden = {"openai", "redis", "celery", "kombu", "agent_core.agent", "agent_core.models", "queues.settings"}
    assert not forbidden & set(modules)
    assert not [name for name in modules if name.startswith(("rich", "queues."))]
