"""One server for the attacks that need a real one; short patience, so that what waits for a timeout does not wait long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.wiretap import Server, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("faults"), "--request-timeout", "1", "--cancel-grace", "1") as one:
        yield one
