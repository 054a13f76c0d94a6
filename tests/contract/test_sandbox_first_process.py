"""A worker that is the first process of its machine, as in a container without an init: its walls are as good.

Its number, 1, is then also that of each call in a pid namespace of its own, and the wall's own test must not take the
call itself for its supervisor.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.support.sandboxes import ROOT

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the wall is made of Linux namespaces"),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare"),
]

_FIRST_PROCESS = """
import json, os
from contextlib import closing
from tests.support.sandboxes import opened, run
with closing(opened()) as sandbox:
    print(json.dumps([os.getpid(), sandbox.level, run(sandbox, "add", a=1, b=2).content]))
"""


def test_a_worker_with_the_number_one_gets_its_wall() -> None:
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", _FIRST_PROCESS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1, "ns", "3"]
