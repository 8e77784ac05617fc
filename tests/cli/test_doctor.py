"""The doctor's findings: each tells the truth about what it looked at, and a broken look does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.base.config import Settings
from backend.cli import doctor
from backend.cli.doctor import Finding


def texts(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.topic: finding for finding in findings}


def test_versions_compare_with_the_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.metadata.version

    def version(name: str) -> str:
        if name == "pyyaml":
            raise doctor.metadata.PackageNotFoundError(name)
        return "0.0.1" if name == "aiohttp" else real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    found = list(doctor.versions(Settings()))
    assert any(f.ok is False and "pyyaml 6" in f.text and "make run" in f.text for f in found)
    assert any("aiohttp 0.0.1 instead of" in f.text for f in found)


def test_folders_say_what_is_missing(tmp_path: Path) -> None:
    found = texts(doctor.folders(Settings(base_directory=tmp_path / "nowhere")))
    assert found["models"].ok is False
    assert found["output"].text.startswith(str(tmp_path / "nowhere" / "output"))
    assert found["output"].ok is True, "it will be made there"


def test_a_full_disk_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE_SPACE", 2**63)
    found = texts(doctor.folders(Settings(base_directory=tmp_path)))
    assert found["output"].ok is False
    assert "only" in found["output"].text


def test_no_checkpoint_is_a_finding(tmp_path: Path) -> None:
    assert texts(doctor.models(Settings(base_directory=tmp_path)))["checkpoints"].ok is False
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    (tmp_path / "models" / "checkpoints" / "a.safetensors").touch()
    found = texts(doctor.models(Settings(base_directory=tmp_path)))["checkpoints"]
    assert (found.ok, found.text) == (None, "1 file(s): a.safetensors")


def test_a_random_net_stands_in_for_the_model_that_ships(tmp_path: Path) -> None:
    found = texts(doctor.forward(Settings(base_directory=tmp_path, memory="cpu")))
    assert found["net"].ok is True
    assert "a random net took 2 steps" in found["net"].text


def test_a_damaged_model_is_a_finding_that_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "emulsion-tiny.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    (found,) = doctor._contained(doctor.forward, Settings(base_directory=tmp_path, memory="cpu"))
    assert found.ok is False
    assert "emulsion-tiny.safetensors" in found.text


def test_the_exit_status_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "devices", lambda settings: iter([Finding("device", "one", True)]))
    monkeypatch.setattr(doctor, "forward", lambda settings: iter(()))
    assert doctor.main(["--base-directory", str(tmp_path)]) == 1
    assert "need attention" in capsys.readouterr().out
    assert doctor.main(["--no-such-flag"]) == 2
    assert "--no-such-flag" in capsys.readouterr().err
