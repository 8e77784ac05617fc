"""Which files of this machine a graph means."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backend.storage.digests import Digests, Match
from backend.workflow.library import hashes_of, located

OFFERED = ["SD15/dream.safetensors", "old/Twice.ckpt", "new/twice.ckpt", "renamed.safetensors"]
DIGEST = "ab" * 32


class Shelf:
    """Offers `OFFERED` to Load.name."""

    complete = True

    def names(self, type: str, input: str) -> Sequence[str] | None:
        return OFFERED if (type, input) == ("Load", "name") else None

    def by_hash(self, type: str, input: str, digest: str) -> tuple[str | None, bool]:
        return ("renamed.safetensors" if DIGEST.startswith(digest) else None), self.complete

    def elsewhere(self, name: str) -> Sequence[str]:
        return ["diffusion_models/flux.safetensors"] if name == "flux.safetensors" else []


def ask(value: Any, type: str = "Load", hash: str = "") -> tuple[Any, list[Any]]:
    known = {str(value).lower(): hash} if hash else {}
    prompt, report = located({"1": {"class_type": type, "inputs": {"name": value, "other": 3}}}, Shelf(), known)
    assert prompt["1"]["inputs"]["other"] == 3
    return prompt["1"]["inputs"]["name"], report


@pytest.mark.parametrize(("wanted", "hash", "chosen", "how"), [
    ("SD15\\dream.safetensors", "", "SD15/dream.safetensors", "name"), ("dream.safetensors", "", "SD15/dream.safetensors", "name"),
    ("sd15/Dream.safetensors", "", "SD15/dream.safetensors", "name"), ("x/twice.ckpt", "", "new/twice.ckpt", "name"),
    ("lost.safetensors", DIGEST, "renamed.safetensors", "hash"), ("dream.safetensors", DIGEST[:10], "renamed.safetensors", "hash"),
    ("lost.safetensors", "cd" * 32, None, "nowhere"), ("flux.safetensors", "", None, "nowhere"),
])  # fmt: skip
def test_where_a_file_is_found(wanted: str, hash: str, chosen: str | None, how: str) -> None:
    name, (about,) = ask(wanted, hash=hash)
    assert name == (chosen or wanted) and about.chosen == chosen and about.how == how and wanted in about.note


def test_what_is_said() -> None:
    assert "There is also old/Twice.ckpt" in ask("x/twice.ckpt")[1][0].note
    assert "diffusion_models/flux.safetensors" in ask("flux.safetensors")[1][0].note


@pytest.mark.parametrize(
    ("value", "type"), [("renamed.safetensors", "Load"), ("a prompt", "Load"), ("a.safetensors", "Other"), (7, "Load")]
)
def test_what_is_left_alone(value: Any, type: str) -> None:
    assert ask(value, type) == (value, [])


def test_broken_graphs_pass_through() -> None:
    broken: dict[str, Any] = {"1": None, "2": {"inputs": []}, "3": {"inputs": {"name": "a.ckpt"}}}
    assert located(broken, Shelf(), {}) == (broken, [])


def test_hashes_in_files() -> None:
    models = [{"name": "A.ckpt", "hash": DIGEST.upper(), "hash_type": "SHA256"}, {"name": "b.ckpt", "hash": "12", "hash_type": "crc"}, 5]
    graph = {"nodes": [{"properties": {"models": models}}, None], "definitions": {"subgraphs": [{"nodes": [{"properties": 3}]}, 1]}}
    assert hashes_of(graph) == {"a.ckpt": DIGEST}
    assert hashes_of(None) == hashes_of({"nodes": 5}) == {}


def test_digests_are_remembered(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a", "b")}
    for name, path in files.items():
        path.write_bytes(name.encode() * 100)
    wanted = hashlib.sha256(b"b" * 100).hexdigest()
    assert Digests(tmp_path / "known.json").find(files, wanted, patience=-1) == Match(None, False)
    assert Digests(tmp_path / "known.json").find(files, wanted[:10]) == Match("b", True)
    again = Digests(tmp_path / "known.json")
    assert again.find(files, wanted, patience=-1) == Match("b", True)  # nothing had to be read
    assert again.find(files | {"gone": tmp_path / "gone"}, "0" * 64) == Match(None, True)
    files["b"].write_bytes(b"c" * 100)
    os.utime(files["b"], ns=(1, 1))
    assert again.find(files, wanted) == Match(None, True)
    (tmp_path / "known.json").write_text('{"a": 1}')
    assert Digests(tmp_path / "known.json").find(files, "0" * 64) == Match(None, True)
