"""A gateway of the test's own, as most tests of it want one; a module that wants another has its own fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.gateways import Served, project, serving
from tests.support.redis_users import nobody_refused


@pytest.fixture
def served(tmp_path: Path, redis_url: str) -> Iterator[Served]:
    """Without keys and pools; none of its Redis commands may be refused."""
    with nobody_refused(redis_url), serving(project(tmp_path, redis_url)) as found:
        yield found


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    """Somebody on this machine who asks it."""
    with served.asking() as asking:
        yield asking
