"""A variant nobody thought of takes one folder, and no edit elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import backend.families
from backend.families import shelf
from backend.families.load import load_checkpoint
from tests.families import kinds, tiny

VARIANT = '''
"""A made-up model: Stable Diffusion 1 shown six more channels."""

from dataclasses import replace

from backend.families.sd import SD1_FAMILY, sd1
from backend.families.sd.conditions import told
from backend.families.sd.shown import required

FAMILIES = (
    replace(
        SD1_FAMILY,
        name="Stable Diffusion 1 with normals",
        signature=replace(SD1_FAMILY.signature, where=sd1(10)),
        inputs=told("Stable Diffusion 1 with normals", required("concat_image", 6, "normals and depth", "My Node")),
    ),
)
'''


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "families" / "made_up"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(VARIANT)
    monkeypatch.setattr(backend.families, "__path__", [*backend.families.__path__, str(folder.parent)])
    yield
    sys.modules.pop("backend.families.made_up", None)


def test_one_new_folder(made_up: None, tmp_path: Path) -> None:
    path = kinds.make("sd1", 10).single(tmp_path / "m.safetensors")
    found = load_checkpoint(path, tiny.services(tmp_path))
    assert found.model is not None and found.model.family.name == "Stable Diffusion 1 with normals"
    assert len({family.name for family in shelf()}) == len(shelf())
