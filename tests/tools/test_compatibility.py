"""Real workflows: every file opens and converts, what is missing is explained, and the rest is valid apart from absent models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nodes import builtin
from tools.compatibility import Verdict, lacking, survey
from tools.compatibility.__main__ import HEAD, page
from tools.compatibility.reasons import reason

SHARED = Path(__file__).resolve().parents[3] / "shared"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
KNOWN = (
    r".*Value not in list: type: '\w+' not in .*",  # text encoders of families that came after the published description
    r".*linked to output 0 of node .*, which has 0 outputs",  # SaveImage got an output after it
)


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    if not (SHARED / "workflows").is_dir():
        pytest.skip("the collection of workflow files is not here")
    return survey(SHARED / "workflows")


def test_every_file_opens_and_converts(verdicts: list[Verdict]) -> None:
    assert len(verdicts) > 200
    assert not [v.name for v in verdicts if not (v.opened and v.converted)]


def test_what_is_not_valid_is_known(verdicts: list[Verdict]) -> None:
    odd = [(v.name, text) for v in verdicts for text in v.problems if not any(re.fullmatch(known, text) for known in KNOWN)]
    assert not odd


def test_every_missing_type_is_explained(verdicts: list[Verdict]) -> None:
    published = json.loads((SHARED / "object_info.json").read_text("utf-8"))
    ours = {t.id for t in builtin()}
    unexplained = [type for type in [*lacking(verdicts), *(published.keys() - ours)] if reason(type) is None]
    assert not unexplained


def test_most_nodes_of_image_workflows_are_here(verdicts: list[Verdict]) -> None:
    images = [v for v in verdicts if v.medium == "image"]
    uses = sum(v.types.total() for v in images)
    assert sum(v.types[type] for v in images for type in v.missing) <= 0.05 * uses


def test_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert text.startswith(HEAD) and "unknown |" not in text
    lines = page([Verdict("a", missing=("Hunyuan3Dv2Conditioning",), opened=True, converted=True)], ["KSampler", "Hunyuan3Dv2Conditioning"])
    assert any("1 of 2 are here" in line for line in lines) and any("Hunyuan" in line for line in lines)
