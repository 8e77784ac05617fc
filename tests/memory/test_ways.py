"""Mapping or reading, as measured, once for each file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from backend.memory import ways
from backend.memory.ways import Speeds, Ways, file_system
from backend.weights import mapped
from backend.weights.mapped import READING, MappedFile


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little files count as large ones."""
    monkeypatch.setattr(ways, "_LARGE", 1 << 20)
    monkeypatch.setattr(ways, "_PIECE", 32 << 10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(1 << 20))
    return path


@pytest.mark.parametrize(("speeds", "maps"), [(Speeds(100, 110, 0), True), (Speeds(100, 130, 0), False), (Speeds(100, 10, 99), True)])
def test_large_reads_have_to_be_clearly_faster(
    small: None, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speeds: Speeds, maps: bool
) -> None:
    asked: list[Path] = []

    def measure(path: Path, size: int) -> Speeds:
        asked.append(path)
        return speeds

    monkeypatch.setattr(ways, "_measure", measure)
    kept = tmp_path / "reading.json"
    assert Ways(kept).maps(file, 1 << 20) is maps
    assert Ways(kept).maps(file, 1 << 20) is maps
    assert asked == [file], "it is measured once and remembered"
    assert Ways(kept).known(file) == speeds


def test_a_small_file_is_not_worth_the_question(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ways, "_measure")
    assert Ways().maps(file, 1 << 20)


def test_what_is_in_memory_tells_nothing(small: None, file: Path) -> None:
    file.read_bytes()
    assert ways._measure(file, 1 << 20) is None
    assert Ways().known(file) is None


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="files cannot be dropped from memory here")
def test_a_cold_file_is_tried_all_ways(small: None, file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    speeds = ways._measure(file, 1 << 20)
    if speeds is None:
        pytest.skip("this file system keeps files in memory")
    assert speeds.mapped > 0 and speeds.read > 0 and speeds.around >= 0


@pytest.mark.parametrize(("around", "passes"), [(0, False), (74, False), (76, True), (200, True)])
def test_the_page_cache_is_passed_by_where_that_is_as_fast(
    small: None, file: Path, monkeypatch: pytest.MonkeyPatch, around: int, passes: bool
) -> None:
    monkeypatch.setattr(ways, "_measure", lambda path, size: Speeds(90, 100, around))
    tried = Ways()
    assert not tried.around(file), "not before it was measured"
    assert tried.maps(file, 1 << 20)
    assert tried.around(file) is passes


def test_a_file_system_may_not_be_passed_by(small: None, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> int:
        raise OSError("Invalid argument")

    monkeypatch.setattr(ways, "open_around", refuse)
    monkeypatch.setattr(ways.Asking, "in_memory", lambda asking, start, nbytes: 0.0)
    speeds = ways._measure(file, 1 << 20)
    assert speeds is not None and speeds.around == 0 < speeds.mapped and not speeds.passes_by


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', '{"NAME": ["x", 2, 3]}', '{"NAME": [1, 2]}'])
def test_a_damaged_record_is_forgotten(text: str, file: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text.replace("NAME", file_system(file)))
    assert Ways(tmp_path / "r.json").known(file) is None


def test_file_systems_have_names(tmp_path: Path) -> None:
    device = os.stat(tmp_path).st_dev
    mounts = tmp_path / "mounts"
    mounts.write_text(f"36 35 {os.major(device)}:{os.minor(device)} / /models rw,noatime shared:1 - nfs4 nas:/models rw\n")
    assert file_system(tmp_path, mounts) == "nfs4 nas:/models /models"
    assert file_system(tmp_path, tmp_path / "none") == "unknown"
    assert file_system(tmp_path / "none") == "unknown"
    mounts.write_text("")
    assert file_system(tmp_path, mounts) == f"device {device}"


def test_files_are_read_where_that_is_faster(small: None, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_measure", lambda path, size: Speeds(1, 2, 0))
    monkeypatch.setattr(READING, "maps", Ways().maps)
    opened = MappedFile(file)
    monkeypatch.setattr(mapped.torch, "frombuffer", None)  # what makes a view
    assert bytes(opened.view(5, (7,), torch.uint8).numpy()) == file.read_bytes()[5:12]
