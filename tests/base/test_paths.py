from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from backend.base.errors import BadFile, BadInput, MissingFile, Problem, Refused
from backend.base.paths import Folders, contain, expand_prefix, next_save


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.of(tmp_path)
    made.create()
    return made


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


ESCAPES = ["../x", "a/../../x", "/etc/passwd", "..", "a/b/../../../x"]


@pytest.mark.parametrize("name", ESCAPES)
def test_paths_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        contain(tmp_path / "root", name)


@pytest.mark.parametrize("name", ["\0", "a" * 300, "b/" * 3000, "é" * 200])
def test_unusable_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput):
        contain(tmp_path, name)


def test_links_are_followed_before_the_check(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    with pytest.raises(Refused):
        contain(root, "out/passwd")
    with pytest.raises(Problem):
        contain(root, "loop/x/../../../etc")
    assert contain(root, "a/../b") == root / "b"


def test_listing_is_recursive_sorted_and_fresh(folders: Folders) -> None:
    loras = folders.models / "loras"
    touch(loras / "b.safetensors")
    touch(loras / "sub" / "a.SAFETENSORS")
    touch(loras / "notes.txt")
    touch(loras / ".git" / "x.safetensors")
    assert folders.list("loras") == ["b.safetensors", os.path.join("sub", "a.SAFETENSORS")]
    time.sleep(0.01)
    touch(loras / "sub" / "c.pt")
    assert os.path.join("sub", "c.pt") in folders.list("loras")
    touch(folders.output / "loras" / "made.safetensors")
    assert "made.safetensors" in folders.list("loras")
    assert folders.list("clip") == folders.list("text_encoders")
    with pytest.raises(BadInput, match="nonsense"):
        folders.list("nonsense")


def test_a_link_to_its_own_parent_is_walked_once(folders: Folders) -> None:
    vae = folders.models / "vae"
    touch(vae / "a.pt")
    (vae / "again").symlink_to(vae)
    assert folders.list("vae") == ["a.pt"]


def test_finding_never_leaves_the_directories(folders: Folders) -> None:
    inside = touch(folders.models / "vae" / "a.pt")
    touch(folders.models / "secret.pt")
    assert folders.find("vae", "a.pt") == inside
    assert [folders.find("vae", n) for n in ("../secret.pt", str(inside), "\0", "x.pt")] == [None] * 4
    with pytest.raises(MissingFile, match=r"x\.pt"):
        folders.find_or_raise("vae", "x.pt")


def test_kinds_can_be_added(folders: Folders, tmp_path: Path) -> None:
    touch(tmp_path / "mine" / "a.xyz")
    folders.add("mine", tmp_path / "mine")
    assert folders.list("mine") == ["a.xyz"]
    folders.add("checkpoints", tmp_path / "mine", first=True)
    assert folders.kind("checkpoints").paths[0] == tmp_path / "mine"


def test_diffusers_folders_are_those_with_an_index(folders: Folders) -> None:
    touch(folders.models / "diffusers" / "sd" / "model_index.json")
    touch(folders.models / "diffusers" / "sd" / "unet" / "w.safetensors")
    touch(folders.models / "diffusers" / "other" / "readme.md")
    assert folders.list("diffusers") == ["sd"]
    assert folders.find("diffusers", "sd") == folders.models / "diffusers" / "sd"


def test_extra_directories(tmp_path: Path) -> None:
    (tmp_path / "sd" / "A").mkdir(parents=True)
    file = tmp_path / "extra.yaml"
    file.write_text(
        "one:\n  base_path: sd\n  is_default: true\n  checkpoints: A\n  loras: |\n    B\n    C\n  custom_nodes: packs\n  new_kind: D\n"
    )
    made = Folders.of(tmp_path, extra=[file])
    assert made.kind("checkpoints").paths[0] == tmp_path / "sd" / "A"
    assert made.kind("loras").paths[:2] == [tmp_path / "sd" / "C", tmp_path / "sd" / "B"]
    assert made.custom_nodes[0] == tmp_path / "sd" / "packs"
    assert made.kind("new_kind").paths == [tmp_path / "sd" / "D"]
    file.write_text("a: [")
    with pytest.raises(BadFile):
        Folders.of(tmp_path, extra=[file])
    with pytest.raises(MissingFile):
        Folders.of(tmp_path, extra=[tmp_path / "none.yaml"])


def test_annotated_names(folders: Folders) -> None:
    touch(folders.output / "sub" / "x.png")
    assert folders.annotated("x.png [output]") == ("x.png", "output")
    assert folders.annotated("x[1].png") == ("x[1].png", "input")
    assert folders.resolve("sub/x.png [output]") == folders.output / "sub" / "x.png"
    with pytest.raises(MissingFile):
        folders.resolve("x.png")
    with pytest.raises(Refused):
        folders.resolve("../../etc/passwd [temp]")
    with pytest.raises(BadInput):
        folders.directory("models")


def test_the_counter_follows_the_highest(tmp_path: Path) -> None:
    assert next_save("a", tmp_path).counter == 1
    for name in ("a_00001_.png", "a_00007_.png", "a_9x_.png", "ab_00099_.png", "a_00008.png", "A_00011_.png"):
        touch(tmp_path / name)
    made = next_save("a", tmp_path)
    assert (made.counter, made.name, made.subfolder) == (9 if os.path.normcase("A") == "A" else 12, "a", "")


def test_prefixes_make_subfolders_but_never_leave(tmp_path: Path) -> None:
    made = next_save("day/one/x", tmp_path)
    assert made.folder == tmp_path / "day" / "one" and made.subfolder == os.path.join("day", "one") and made.folder.is_dir()
    for prefix in ("../x", "/etc/x", "a/../../x", "..", "", "a/.."):
        with pytest.raises(Refused):
            next_save(prefix, tmp_path / "root")


def test_patterns_in_prefixes() -> None:
    when = time.strptime("2025-03-04 05:06:07", "%Y-%m-%d %H:%M:%S")
    text = expand_prefix("%year%-%month%-%day% %hour%%minute%%second% %width%x%height% %other%", 64, 32, when)
    assert text == "2025-03-04 050607 64x32 %other%"
