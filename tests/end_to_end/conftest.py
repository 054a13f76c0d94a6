"""Fixtures of the tests of Flower."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from queues.embedded import EmbeddedServer
from tests.support.watched import TOKEN, Watched, watching


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, embedded_server: EmbeddedServer) -> Iterator[Watched]:
    """A project at work, whose pool `open` has a secret, under a Flower with a password."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREETING_TOKEN", TOKEN)
        with watching(tmp_path_factory.mktemp("watched"), embedded_server) as found:
            yield found
