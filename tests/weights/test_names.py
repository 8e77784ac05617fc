"""Keymaps, detection, folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from backend.base.errors import BadFile, MissingFile, UnknownModel
from backend.weights.detect import Signature, count, recognise, sample_of
from backend.weights.file import Entry, Renamed, Views, identity
from backend.weights.keymap import Drop, MappedNames, Part, Prefix, Rename, Split, apply
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors


def test_rules_and_views(tmp_path: Path) -> None:
    qkv, plain, linear = torch.arange(18.0).reshape(6, 3), torch.ones(2), torch.arange(6.0).reshape(2, 3)
    save_safetensors(tmp_path / "x", {"m.in_proj": qkv, "m.plain": plain, "m.proj": linear, "junk": plain, "odd": plain})
    file = open_weights(tmp_path / "x")
    rules = (
        Drop("junk"),
        Split(r"(m)\.in_proj", (r"\1.q", r"\1.k", r"\1.v")),
        Rename(r"m\.proj", "m.out", transpose=True),
        Prefix("m.", "net."),
    )
    mapped = apply(rules, file)
    assert mapped.unmatched == ("odd",)
    view = MappedNames(file, mapped.parts)
    assert set(view) == {"m.q", "m.k", "m.v", "m.out", "net.plain"}
    assert torch.equal(view.tensor("m.k"), qkv[2:4]) and view["m.k"] == Entry((2, 3), torch.float32, 24)
    assert torch.equal(view.tensor("m.out"), linear.T) and view["m.out"].shape == (3, 2)
    assert Part("x", ones=2).shape((4, 5)) == (4, 5, 1, 1)
    tensors = Views(view)
    assert "m.q" in tensors and "nope" not in tensors and len(tensors) == 5
    for key in view:
        view.prefetch(key)
        view.release(key)


def test_renamed(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "x", {"a": torch.ones(2), "b": torch.zeros(3)})
    file = open_weights(tmp_path / "x")
    view = Renamed(file, {"c": "b"})
    assert list(view) == ["c"] and view["c"].shape == (3,) and not view.tensor("c").any()
    before = identity(view)
    save_safetensors(tmp_path / "x", {"a": torch.ones(2), "b": torch.zeros(4)})
    assert identity(open_weights(tmp_path / "x")) != before


@dataclass(frozen=True)
class Kind:
    name: str
    signature: Signature


def header(**shapes: tuple[int, ...]) -> dict[str, Entry]:
    return {key: Entry(shape, torch.float32, 0) for key, shape in shapes.items()}


def test_recognition_is_exclusive() -> None:
    wide = Kind("wide", Signature(("w",), where=lambda h: h["w"].shape[0] > 4))
    narrow = Kind("narrow", Signature(("w",), lacks=("x",), where=lambda h: h["w"].shape[0] < 8))
    assert recognise(header(w=(2,)), (wide, narrow)) is narrow
    assert recognise(header(w=(9,)), (wide, narrow)) is wide
    with pytest.raises(UnknownModel, match="wide and narrow"):
        recognise(header(w=(6,)), (wide, narrow))
    with pytest.raises(UnknownModel, match="2 tensors"):
        recognise(header(w=(2,), x=(1,)), (wide, narrow))


def test_count() -> None:
    assert count(["a.0.x", "a.10.x", "a.b.x", "ab.20.x"], "a") == 11
    assert count([], "a") == 0
    assert sample_of(["c", "a", "b", "d"]) == "a, b, c, ..."
    assert sample_of([]) == "none"


def folder_with(path: Path, names: dict[str, torch.Tensor], file: str) -> Path:
    save_safetensors(path / file, names)
    return path


def test_folder_choices(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no weights"):
        open_weights(tmp_path)
    folder_with(tmp_path, {"a": torch.zeros(1)}, "diffusion_pytorch_model.fp16.safetensors")
    assert open_weights(tmp_path).tensor("a").tolist() == [0]
    folder_with(tmp_path, {"a": torch.ones(1)}, "diffusion_pytorch_model.safetensors")
    assert open_weights(tmp_path).tensor("a").tolist() == [1]


def shards(path: Path, table: object) -> Path:
    save_safetensors(path / "one.safetensors", {"a": torch.zeros(1)})
    save_safetensors(path / "two.safetensors", {"b": torch.ones(1)})
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    return path


def test_shards(tmp_path: Path) -> None:
    file = open_weights(shards(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"}))
    assert set(file) == {"a", "b"} and file.tensor("b").tolist() == [1]
    file.prefetch("a")
    file.release("a")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "no weight_map"),
        ({"a": 3}, "no weight_map"),
        ({"a": "../one.safetensors"}, "not a file beside it"),
        ({"a": "/etc/passwd"}, "not a file beside it"),
        ({"b": "one.safetensors"}, "'b' is not in one"),
    ],
)
def test_bad_indexes(tmp_path: Path, table: object, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        open_weights(shards(tmp_path, table))


def test_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"three\.safetensors"):
        open_weights(shards(tmp_path, {"a": "three.safetensors"}))


def test_index_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(BadFile, match="not valid JSON"):
        open_weights(tmp_path)
