"""The example file that ships means what its comments say."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.base.config import Settings
from tests.conftest import ROOT


def test_the_example_adds_its_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    example = ROOT / "extra_model_paths.yaml.example"
    (tmp_path / "extra_model_paths.yaml").write_text(example.read_text())
    folders = Settings(base_directory=tmp_path).folders()
    shared = tmp_path / "home" / "models"
    assert folders.kind("checkpoints").paths[0] == shared / "checkpoints"
    assert {shared / "loras", shared / "more/loras"} <= set(folders.kind("loras").paths[:2])
    assert folders.kind("vae").paths[0] == shared / "vae"
