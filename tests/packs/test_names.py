"""The names that real packs import and touch are there. The count comes from a survey of packs, which the project does not ship."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.packs import importer
from backend.packs.scan import missing
from tests.packs.home import Home

SURVEY = Path(__file__).parents[3] / "shared" / "packs.md"
_ROW = re.compile(r"\| (\S+) \| (\d+) \| \d+ \|")
OWN = {"utils", "utils.here"}
"""A module of a pack's own that the survey took for one of the application's."""


def test_names_that_packs_touch_are_there(home: Home) -> None:
    if not SURVEY.is_file():
        pytest.skip(f"{SURVEY} is not here")
    importer.install()
    section, found, lacking = "", 0, {}
    for line in SURVEY.read_text("utf-8").splitlines():
        section = line if line.startswith("## ") else section
        row = _ROW.match(line)
        if row is None or row[1] in OWN or not ("Modules" in section or "module.attribute" in section):
            continue
        if missing(row[1]) is None:
            found += 1
        else:
            lacking[row[1]] = int(row[2])
    assert not {name for name, packs in lacking.items() if packs > 1}
    assert found / (found + len(lacking)) > 0.93, sorted(lacking)
