"""Packs change a process for good; each test gets one that looks new."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.diffusion.samplers import SAMPLERS
from backend.diffusion.schedules import SCHEDULERS
from backend.packs import facade, importer
from backend.packs.host import HOST
from tests.packs.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    before = set(sys.modules)
    samplers, schedulers = dict(SAMPLERS), dict(SCHEDULERS)
    yield Home(tmp_path)
    importer.uninstall()
    facade._WAYS.clear()
    for table, kept in ((SAMPLERS, samplers), (SCHEDULERS, schedulers)):
        table.clear()
        table.update(kept)  # type: ignore[arg-type]
    for name in set(sys.modules) - before:
        if str(tmp_path) in name or "custom_nodes" in name:
            del sys.modules[name]
    HOST.reset()
