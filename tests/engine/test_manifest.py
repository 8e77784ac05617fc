"""What is saved with a result about how it was made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backend.base.paths import Folders
from backend.engine import manifest
from backend.engine.manifest import Manifest, fingerprint
from backend.storage.images import read_texts
from tests.faults.soak.oom_points import MODEL, Machine


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.of(tmp_path)
    made.create()
    (tmp_path / "models" / "loras").mkdir(parents=True)
    (tmp_path / "models" / "loras" / "a.safetensors").write_bytes(b"weights")
    (made.input / "b.png").write_bytes(b"picture")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return made


def test_names_versions_seeds_and_files(folders: Folders) -> None:
    graph = {
        "1": {"inputs": {"lora_name": "a.safetensors", "image": "b.png", "text": "a. b", "seed": 7, "noise_seed": ["2", 0]}},
        "2": {"inputs": {"value": "../secret.txt", "other": str(folders.input / "b.png"), "gone": "c.png", "long": "x." * 3000}},
        "3": {"_meta": {}},
    }
    made = Manifest({"torch": "1"}).of(graph, folders)
    assert made["torch"] == "1"
    assert made["seeds"] == {"1": 7}
    assert list(made["files"]) == ["input/b.png", "loras/a.safetensors"]
    assert all(mark.startswith("sha256:") and len(mark) == 71 for mark in made["files"].values())


def test_a_file_that_changed_has_another_fingerprint(folders: Folders) -> None:
    path, made = folders.input / "b.png", Manifest({})
    graph = {"1": {"inputs": {"image": "b.png"}}}
    before = made.of(graph, folders)
    path.write_bytes(b"Picture")
    os.utime(path, ns=(1, 1))
    assert made.of(graph, folders) != before


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "WHOLE", 1000)
    path = tmp_path / "large"
    path.write_bytes(bytes(3 << 20))
    first = fingerprint(path)
    assert first.startswith("sampled:")
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert fingerprint(path) != first


def test_the_same_manifest_means_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        machine = Machine(tmp_path / name)
        machine.bench.services.manifest = Manifest({"torch": "1"})
        outcome, data = machine.run()
        assert outcome.status == "success" and data is not None
        made.append(data)
    assert made[0] == made[1]
    path = tmp_path / "made.png"
    path.write_bytes(made[0])
    told = json.loads(read_texts(path)["manifest"])
    assert told["seeds"] == {"5": 1}
    assert list(told["files"]) == [f"checkpoints/{MODEL.name}"]
